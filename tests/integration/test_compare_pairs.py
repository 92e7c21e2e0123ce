"""Pairs of services with one planted difference, each found and named; and pairs without any, none found."""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.responses import Response

from tests.support.compared_services import (
    COLUMNS,
    CONTRACT,
    Answer,
    Row,
    Service,
    customers,
    score,
    services,
)
from tier0.core.comparison_catalogue import ANSWERED, CLASS_ORDER, FLIPS, LATENCY, SCORES
from tier0.core.comparison_catalogue import CONTRACT as FORM
from tier0.core.verdict import CheckResult, Verdict
from tier0.runs.compare import compare

ROWS = 800


class Planted(NamedTuple):
    """A service that differs from the old one.

    Attributes:
        service: the service.
        check: id of the check that has to fail.
        kind: kind that it has to name.
        slice: slice that it has to name; empty for none.
        old: the old service.
    """

    service: Service
    check: str
    kind: str
    slice: str = ""
    old: str = "old"


def scores_changed(change: Callable[[float], float]) -> Callable[[Answer, Sequence[Row]], Answer]:
    """Return the change of an answer in which each probability is changed."""
    return lambda answer, _: {
        **answer,
        "probabilities": [[change(value) for value in values] for values in answer["probabilities"]],
    }


def without(name: str) -> Callable[[Answer, Sequence[Row]], Answer]:
    return lambda answer, _: {key: value for key, value in answer.items() if key != name}


def renamed(old: str, new: str) -> Callable[[Answer, Sequence[Row]], Answer]:
    return lambda answer, _: {new if key == old else key: value for key, value in answer.items()}


def is_old_premium(row: Row) -> bool:
    return bool(row["plan"] == "premium" and row["age"] > 60)


def exchanged(answer: Answer, _: Sequence[Row]) -> Answer:
    labels = ["no" if label == "yes" else "yes" for label in answer["predictions"]]
    return {**answer, "predictions": labels}


def only_rows(keep: Callable[[int, Row], bool]) -> Callable[[Answer, Sequence[Row]], Answer]:
    """Return a change that leaves out the values of the other rows."""

    def changed(answer: Answer, rows: Sequence[Row]) -> Answer:
        kept = [index for index, row in enumerate(rows) if keep(index - len(rows), row)]
        parts = {key: [answer[key][index] for index in kept] for key in ("predictions", "probabilities")}
        return {**answer, **parts}

    return changed


def refuses_missing(_: Answer, rows: Sequence[Row]) -> Response | None:
    return (
        Response("income is required", 422)
        if any(row["income"] is None and row["age"] > 75 for row in rows)
        else None
    )


def slow(seconds: float, seed: int) -> Callable[[], float]:
    """Return times of requests that vary by a third, and now and then by much more."""
    draw = random.Random(seed)
    return lambda: seconds * draw.uniform(0.7, 1.3) * (4 if draw.random() < 0.03 else 1)


PLANTED = {
    "threshold": Planted(Service(threshold=0.55), FLIPS, "threshold"),
    "threshold_slightly": Planted(Service(threshold=0.49), FLIPS, "threshold"),
    "threshold_with_noise": Planted(
        Service(lambda row: score(row) + random.gauss(0, 1e-13), threshold=0.52),
        FLIPS,
        "threshold",
        "",
        "last_bits",
    ),
    "default": Planted(Service(lambda row: score(row, income=0.0)), SCORES, "default", "income is missing"),
    "default_of_labels": Planted(
        Service(lambda row: score(row, income=-60_000.0), without("probabilities")),
        FLIPS,
        "default",
        "income is missing",
        "labels",
    ),
    "rounding": Planted(Service(changed=scores_changed(lambda value: round(value, 3))), SCORES, "rounding"),
    "rounding_finely": Planted(
        Service(changed=scores_changed(lambda value: round(value, 6))), SCORES, "rounding"
    ),
    "slice": Planted(
        Service(lambda row: score(row, shift=2.0 * is_old_premium(row))),
        SCORES,
        "slice",
        'plan = "premium" and age > 60',
    ),
    "slice_of_labels": Planted(
        Service(lambda row: score(row, shift=5.0 * is_old_premium(row)), without("probabilities")),
        FLIPS,
        "slice",
        'plan = "premium" and age > 60',
        "labels",
    ),
    "slice_with_noise": Planted(
        Service(lambda row: score(row, shift=0.5 * is_old_premium(row)) + random.gauss(0, 1e-7)),
        SCORES,
        "slice",
        'plan = "premium" and age > 60',
        "noisy",
    ),
    "version": Planted(
        Service(
            lambda row: score(row, weights=(0.025, -0.013, 0.2, -0.00003)),
            lambda answer, _: {**answer, "model_tag": "churn:2"},
        ),
        SCORES,
        "version",
    ),
    "version_slightly": Planted(
        Service(lambda row: score(row, weights=(0.0211, -0.017, 0.2131, -0.000031))), SCORES, "version"
    ),
    "field_removed": Planted(Service(changed=without("model_tag")), FORM, "field_removed"),
    "field_renamed": Planted(Service(changed=renamed("probabilities", "scores")), FORM, "field_renamed"),
    "field_renamed_and_changed": Planted(
        Service(lambda row: score(row, shift=0.5 * is_old_premium(row)), renamed("probabilities", "scores")),
        SCORES,
        "slice",
        'plan = "premium" and age > 60',
    ),
    "part_removed": Planted(Service(changed=without("probabilities")), FORM, "field_removed"),
    "type": Planted(
        Service(
            changed=lambda answer, _: {
                **answer,
                "predictions": [label == "yes" for label in answer["predictions"]],
            }
        ),
        FORM,
        "type",
    ),
    "status": Planted(Service(bad=500), FORM, "status"),
    "latency": Planted(Service(seconds=slow(0.05, 2)), LATENCY, "latency", "", "slow"),
    "class_order": Planted(
        Service(
            changed=lambda answer, _: {
                **answer,
                "probabilities": [row[::-1] for row in answer["probabilities"]],
            }
        ),
        CLASS_ORDER,
        "class_order",
    ),
    "labels_exchanged": Planted(Service(changed=exchanged), CLASS_ORDER, "class_order"),
    "unanswered": Planted(Service(respond=refuses_missing), ANSWERED, "unanswered"),
    "scale": Planted(Service(changed=scores_changed(lambda value: 100 * value)), SCORES, "affine"),
    "rows_dropped": Planted(
        Service(changed=only_rows(lambda _, row: row["income"] is not None)),
        ANSWERED,
        "unanswered",
        "income is missing",
    ),
    "last_row_dropped": Planted(
        Service(changed=only_rows(lambda place, _: place != -1)), ANSWERED, "unanswered"
    ),
}


class TwoWorkers:
    """Answers like one of two workers in turn, whose arithmetic differs in the last bits."""

    def __init__(self) -> None:
        self._turn = itertools.count()

    def __call__(self, answer: Answer, _: Sequence[Row]) -> Answer:
        bits = 1 + 2.0**-51 * (next(self._turn) % 2)
        return {
            **answer,
            "probabilities": [[one * bits, other * bits] for one, other in answer["probabilities"]],
        }


class Counted:
    """Adds the number of the request, its time and a random id."""

    def __init__(self) -> None:
        self._number = itertools.count(random.randrange(1000))

    def __call__(self, answer: Answer, rows: Sequence[Row]) -> Answer:
        number = next(self._number)
        return {
            **answer,
            "request_id": f"{random.getrandbits(64):x}",
            "took_ms": random.random(),
            "served": number,
            "trace": [f"{number}-{place}" for place in range(len(rows))],
        }


def noisy(sigma: float) -> Callable[[Row], float]:
    return lambda row: score(row) + random.gauss(0, sigma)


def sometimes_other(row: Row) -> float:
    """Return another score for one of fifty requests of a row, at random."""
    return score(row, shift=3.0 if random.random() < 0.02 else 0.0)


def other_key_order(answer: Answer, _: Sequence[Row]) -> Answer:
    return dict(reversed(answer.items()))


def any_key_order(answer: Answer, _: Sequence[Row]) -> Answer:
    return dict(random.sample(list(answer.items()), len(answer)))


def refuses_one_of_a_hundred(_: Answer, __: Sequence[Row]) -> Response | None:
    return Response("too many requests", 503) if random.random() < 0.01 else None


class Unsteady(Service):
    """Not deterministic to the last bit, with ids and times, keys in any order, and refusals under load."""

    def __init__(self) -> None:
        counted = Counted()
        super().__init__(
            noisy(1e-15),
            lambda answer, rows: any_key_order(counted(answer, rows), rows),
            seconds=slow(0.003, random.randrange(9)),
            respond=refuses_one_of_a_hundred,
        )


def sorted_rows(answer: Answer, rows: Sequence[Row]) -> Answer:
    """Compute the answers in another order of the rows, and return them in the order of the request."""
    order = sorted(range(len(rows)), key=lambda place: rows[place]["age"])
    back = {place: number for number, place in enumerate(order)}
    predictions = [answer["predictions"][place] for place in order]
    return {**answer, "predictions": [predictions[back[place]] for place in range(len(rows))]}


def on_the_decision(row: Row) -> float:
    """Return scores of which some are on the threshold, up to noise in the last bits."""
    return (0.5 if row["calls"] == 9 else score(row)) + random.gauss(0, 1e-15)


HEALTHY: dict[str, Callable[[], Service]] = {
    "same": Service,
    "two_workers": lambda: Service(changed=TwoWorkers()),
    "counted": lambda: Service(changed=Counted()),
    "last_bits": lambda: Service(noisy(1e-15)),
    "noise": lambda: Service(noisy(1e-6)),
    "much_noise": lambda: Service(noisy(0.01)),
    "sometimes_other": lambda: Service(sometimes_other),
    "load": lambda: Service(seconds=slow(0.004, random.randrange(9))),
    "more_load": lambda: Service(seconds=slow(0.02, random.randrange(9))),
    "key_order": lambda: Service(changed=other_key_order),
    "any_key_order": lambda: Service(changed=any_key_order),
    "refusals": lambda: Service(respond=refuses_one_of_a_hundred),
    "unsteady": Unsteady,
    "sorted_rows": lambda: Service(changed=sorted_rows),
    "on_the_decision": lambda: Service(on_the_decision),
    "labels_only": lambda: Service(changed=without("probabilities")),
    "noisy_labels": lambda: Service(noisy(0.01), without("probabilities")),
    "one_number": lambda: Service(
        changed=lambda answer, _: {"score": [row[1] for row in answer["probabilities"]]}
    ),
    "float32": lambda: Service(
        changed=scores_changed(lambda value: float(f"{value * (1 + random.gauss(0, 6e-8)):.8g}"))
    ),
    "regression": lambda: Service(
        changed=lambda answer, _: {
            "predictions": [1e5 * row[1] * (1 + random.gauss(0, 1e-12)) for row in answer["probabilities"]]
        }
    ),
    "by_row": lambda: Service(
        changed=lambda answer, rows: [
            {"label": label, "score": row[1], "customer": dict(given)}
            for label, row, given in zip(answer["predictions"], answer["probabilities"], rows, strict=True)
        ]
    ),
    "refuses_some": lambda: Service(respond=refuses_missing),
    "constant": lambda: Service(lambda _: 0.25),
    "warnings": lambda: Service(
        changed=lambda answer, rows: {**answer, "warnings": ["slow"] * random.randint(0, 2 * len(rows))}
    ),
}
OLD = {
    "old": Service(),
    "last_bits": Service(noisy(1e-13)),
    "labels": Service(changed=without("probabilities")),
    "noisy": Service(noisy(1e-7)),
    "slow": Service(seconds=slow(0.025, 1)),
}


@pytest.fixture(scope="module")
def url() -> Iterator[Callable[[str], str]]:
    named = {f"new_{name}": planted.service for name, planted in PLANTED.items()}
    named |= {f"old_{name}": service for name, service in OLD.items()}
    named |= {f"{side}_well_{name}": make() for name, make in HEALTHY.items() for side in ("old", "new")}
    with services(named) as url:
        yield url


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "sample.csv"
    write(path, customers(ROWS))
    return path


def write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def asked(old: str, new: str, **options: Any) -> Verdict:
    return compare(old, new, contract=CONTRACT, on_fail="return", **options)


def failed(verdict: Verdict) -> dict[str, CheckResult]:
    return {result.id: result for result in verdict.checks if result.status not in {"pass", "not_judged"}}


EACH = 4
"""`make test` runs one pair of so many; `make test-all` runs all."""
NEEDS_A_QUIET_MACHINE = {"latency"}


def sampled(pairs: Iterable[str]) -> list[Any]:
    """Return the names of pairs, with the marks of those that are slow or need the machine alone."""
    return [
        pytest.param(
            name,
            marks=[
                *([] if number % EACH == 0 or name in NEEDS_A_QUIET_MACHINE else [pytest.mark.slow]),
                *([pytest.mark.alone] if name in NEEDS_A_QUIET_MACHINE else []),
            ],
        )
        for number, name in enumerate(pairs)
    ]


@pytest.mark.parametrize("name", sampled(PLANTED))
def test_a_difference_is_found_and_named(name: str, url: Callable[[str], str], rows: Path) -> None:
    planted = PLANTED[name]
    verdict = asked(url(f"old_{planted.old}"), url(f"new_{name}"), rows=rows)
    results = failed(verdict)
    assert verdict.exit_status == 1
    assert planted.check in results, [str(result.message) for result in verdict.checks]
    evidence = results[planted.check].evidence
    assert planted.kind in evidence.get("kinds", [evidence["kind"]]), results[planted.check].message
    assert not planted.slice or evidence["slices"][0].startswith(f"{planted.slice} ("), evidence["slices"]
    if planted.check != LATENCY:
        assert LATENCY not in results, results[LATENCY].message


@pytest.mark.parametrize("name", sampled(HEALTHY))
def test_no_difference_is_found(name: str, url: Callable[[str], str], rows: Path) -> None:
    verdict = asked(url(f"old_well_{name}"), url(f"new_well_{name}"), rows=rows)
    assert not failed(verdict), [result.message for result in failed(verdict).values()]
    assert verdict.exit_status == 0


@pytest.mark.parametrize("turn", [1, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(2, 11))])
def test_a_service_is_never_different_from_itself(turn: int, url: Callable[[str], str], rows: Path) -> None:
    for name in ("unsteady", "two_workers"):
        verdict = asked(url(f"old_well_{name}"), url(f"old_well_{name}"), rows=rows)
        assert not failed(verdict), (turn, [result.message for result in failed(verdict).values()])
        assert verdict.exit_status == 0
