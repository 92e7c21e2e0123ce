"""Words of texts that give the target away, beside texts that only say much about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from tier0.pipeline.data import Dataset, Task
from tier0.pipeline.leaks import Leak, find_leaks

Rng = np.random.Generator
NAMES = ("churned", "stayed", "paused")


def texts(rng: Rng, vocabulary: Sequence[str], length: int, rows: int) -> list[str]:
    """Return texts in which the first words of the vocabulary are the most frequent."""
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = rng.choice(np.array(vocabulary), (rows, length), p=weights / weights.sum())
    return [" ".join(row) for row in drawn.tolist()]


def common(rng: Rng, rows: int, length: int = 30) -> list[str]:
    return texts(rng, [f"w{number}" for number in range(600)], length, rows)


def leaks_of(notes: Sequence[str], target: Sequence[object], rng: Rng, task: Task) -> list[Leak]:
    frame = pd.DataFrame({"x": rng.normal(size=len(notes)), "note": list(notes)})
    kinds = {"x": "number", "note": "text"}
    return find_leaks(
        Dataset("made_up", frame, ["x", "note"], np.asarray(target), "left", task, kinds=kinds)  # type: ignore[arg-type]
    )


def with_its_name(rng: Rng, classes: np.ndarray) -> list[str]:
    return [
        f"{text} customer {NAMES[one]} today"
        for text, one in zip(common(rng, len(classes)), classes, strict=True)
    ]


def with_its_name_among_hints(rng: Rng, classes: np.ndarray) -> list[str]:
    hinted = np.where(rng.random(len(classes)) < 0.8, classes, (classes + 1) % (classes.max() + 1))
    named = with_its_name(rng, classes)
    return [f"hint{hint} {text} hint{hint}b" for text, hint in zip(named, hinted, strict=True)]


def with_a_phrase_of_several_forms(rng: Rng, classes: np.ndarray) -> list[str]:
    """Return texts of which only those of the last class have no word of their own."""
    ways = rng.choice(["request", "phone", "letter"], len(classes)).tolist()
    return [
        text if one == classes.max() else f"{text} account{one} closed{one} by {way} {text}"
        for text, one, way in zip(common(rng, len(classes), 12), classes, ways, strict=True)
    ]


def in_its_language(rng: Rng, classes: np.ndarray) -> list[str]:
    """Return texts whose most frequent words tell the class, as many others do."""
    rows = len(classes)
    spoken = [texts(rng, [f"l{one}w{word}" for word in range(600)], 60, rows) for one in range(3)]
    return [spoken[one][row] for row, one in enumerate(classes)]


def on_its_topic(rng: Rng, classes: np.ndarray) -> list[str]:
    topics = [texts(rng, [f"t{one}w{word}" for word in range(40)], 5, len(classes)) for one in range(3)]
    return [
        f"{text} {topics[one][row]}"
        for row, (text, one) in enumerate(zip(common(rng, len(classes)), classes, strict=True))
    ]


def with_any_name(rng: Rng, classes: np.ndarray) -> list[str]:
    names = rng.choice(np.array(NAMES), len(classes)).tolist()
    return [f"{text} {name}" for text, name in zip(common(rng, len(classes)), names, strict=True)]


Write = Callable[[Rng, np.ndarray], list[str]]
PLANTED: list[Write] = [with_its_name, with_its_name_among_hints, with_a_phrase_of_several_forms]
CLEAN: list[Write] = [
    in_its_language,
    on_its_topic,
    with_any_name,
    lambda rng, classes: common(rng, len(classes)),
]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rows", [60, 400])
@pytest.mark.parametrize("write", PLANTED)
def test_words_that_tell_the_class_are_found(write: Write, rows: int, count: int) -> None:
    rng = np.random.default_rng(rows + count)
    classes = rng.integers(0, count, rows)

    found = leaks_of(write(rng, classes), classes.tolist(), rng, "classification")

    assert [leak.column for leak in found] == ["note"]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rows", [60, 400])
@pytest.mark.parametrize("write", CLEAN)
def test_texts_that_say_much_about_the_class_are_not_accused(write: Write, rows: int, count: int) -> None:
    rng = np.random.default_rng(rows + count)
    classes = rng.integers(0, count, rows)

    assert leaks_of(write(rng, classes), classes.tolist(), rng, "classification") == []


def test_a_word_of_a_rare_class_is_found_and_named() -> None:
    rng = np.random.default_rng(0)
    rare = (np.arange(2000) % 100 == 0).astype(int)
    notes = common(rng, len(rare))
    told = [f"{text} chargeback" if one else text for text, one in zip(notes, rare, strict=True)]

    assert leaks_of(notes, rare.tolist(), rng, "classification") == []
    assert "'chargeback'" in leaks_of(told, rare.tolist(), rng, "classification")[0].reason


@pytest.mark.parametrize("form", ["{:.2f}", "{:,.2f}", "EUR {:.2f}.", "({:.2f})"])
@pytest.mark.parametrize("rows", [60, 400])
def test_a_target_that_is_written_in_the_text_is_found(form: str, rows: int) -> None:
    rng = np.random.default_rng(rows)
    prices = rng.lognormal(7, 1, rows).round(2).tolist()
    asked = (np.array(prices) * rng.uniform(0.8, 1.2, rows)).tolist()

    def notes(numbers: Sequence[float]) -> list[str]:
        return [
            f"{text} {form.format(number)}" for text, number in zip(common(rng, rows), numbers, strict=True)
        ]

    assert [leak.column for leak in leaks_of(notes(prices), prices, rng, "regression")] == ["note"]
    assert leaks_of(notes(asked), prices, rng, "regression") == []


def test_numbers_among_which_the_target_is_by_chance_are_not_accused() -> None:
    rng = np.random.default_rng(1)
    rooms = rng.integers(1, 6, 400)
    notes = [" ".join(map(str, row)) for row in rng.permuted(np.tile(np.arange(1, 9), (400, 1)), axis=1)]

    assert leaks_of([f"numbers {text}" for text in notes], rooms.tolist(), rng, "regression") == []
