"""Words of a text that give the target away, such as those of a note about what happened.

A word tells a class if nearly all texts of the class have it, and nearly none of the others. Where the other
words tell the classes as well, as those of two languages do, the problem is easy, and no word is a leak.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.pipeline.leak_measures import EXACT, MIN_OF_CLASS, NEARLY_PERFECT, NULL, Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORD = r"(?u)\b\w+\b"
NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f']\d+)*")
MAX_CHARACTERS = 5000
"""Limit of the characters of a text that are read."""
MAX_WORDS = 20_000
"""Limit of the different words."""
FEWEST_FOR_EXACT = 200
"""Number of rows below which a relation without an error may be chance."""
MUCH_WORSE = 10
NOT_EASY = 0.02
BESIDE = 2
"""Number of words on each side of a word that may belong to the same phrase."""
SAME_PHRASE = 0.8
"""Share of a word's occurrences beside another one, from which it belongs to the same phrase."""
FOLDS = 3
MIN_SHUFFLED = 0.5
"""Share of the texts without the target of another row, below which texts contain any target by chance."""


def measure_words(
    texts: Sequence[str], classes: np.ndarray[Any, Any], rng: np.random.Generator
) -> Measured | None:
    """Return how well single words tell the classes; None unless they do so nearly perfectly.

    Args:
        texts: text of each row; an empty one where it is missing.
        classes: number of the class of each row, from 0.
        rng: source of the shuffled target.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: PLC0415

    texts = [text[:MAX_CHARACTERS] for text in texts]
    counter = CountVectorizer(binary=True, token_pattern=WORD, min_df=MIN_OF_CLASS, max_features=MAX_WORDS)
    try:
        present = counter.fit_transform(texts)
    except ValueError:  # no word is in enough rows
        return None
    errors = _errors_of_words(present, classes)
    by_class = errors.min(axis=0)
    told = by_class <= NEARLY_PERFECT
    enough = np.bincount(classes) >= MIN_OF_CLASS
    if enough.sum() < 2 or (enough & ~told).sum() > 1:
        return None
    error = float(by_class[told & enough].max())
    shuffled = _errors_of_words(present, rng.permutation(classes)).min(axis=0)
    if error >= NULL * float(shuffled[enough].min()):
        return None
    words = counter.get_feature_names_out()
    telling = words[(errors[:, told & enough] <= NEARLY_PERFECT).any(axis=1)]
    phrase = _with_words_beside(texts, set(telling))
    others = _error_of_words(present[:, [word not in phrase for word in words]], classes)
    if others < max(NOT_EASY, MUCH_WORSE * error):
        return None
    best = words[errors[:, told & enough].argmin(axis=0)]
    is_exact = error <= EXACT and len(texts) >= FEWEST_FOR_EXACT
    return Measured("words", error, is_exact, words=tuple(dict.fromkeys(best.tolist())))


def _errors_of_words(present: Any, classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the error of each word for each class: mean share of texts without it, and of others with it."""
    sizes = np.bincount(classes)
    of_class = np.stack([present.T @ (classes == number) for number in range(len(sizes))], axis=1)
    of_others = of_class.sum(axis=1, keepdims=True) - of_class
    others = np.maximum(len(classes) - sizes, 1)
    errors: np.ndarray[Any, Any] = (1 - of_class / np.maximum(sizes, 1) + of_others / others) / 2
    return errors


def _with_words_beside(texts: Iterable[str], telling: set[str]) -> set[str]:
    """Return these words, and those that nearly always belong to the same phrase."""
    word, everywhere, beside = re.compile(WORD), Counter[str](), Counter[str]()
    for text in texts:
        found = word.findall(text.lower())
        everywhere.update(found)
        near = {
            neighbour
            for place, one in enumerate(found)
            if one in telling
            for neighbour in range(max(place - BESIDE, 0), min(place + BESIDE + 1, len(found)))
        }
        beside.update(found[place] for place in near)
    return telling | {one for one, count in beside.items() if count >= SAME_PHRASE * everywhere[one]}


def _error_of_words(present: Any, classes: np.ndarray[Any, Any]) -> float:
    """Return the error of a model of words on rows that it was not fitted on, mean of the classes."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.metrics import balanced_accuracy_score  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold, cross_val_predict  # noqa: PLC0415

    if not present.shape[1]:
        return 1.0
    model = LogisticRegression(class_weight="balanced", max_iter=200)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, present, classes, cv=folds)
    return 1.0 - float(balanced_accuracy_score(classes, predicted))


def measure_numbers(
    texts: Sequence[str], target: np.ndarray[Any, Any], rng: np.random.Generator
) -> Measured | None:
    """Return in how many texts the target is written; None unless it is in nearly all of them.

    Args:
        texts: text of each row; an empty one where it is missing.
        target: number of each row.
        rng: source of the shuffled target.
    """
    numbers = [_numbers_in(text[:MAX_CHARACTERS]) for text in texts]
    error, shuffled = (
        float(
            np.mean([not _is_among(number, found) for number, found in zip(numbers_of, numbers, strict=True)])
        )
        for numbers_of in (target, rng.permutation(target))
    )
    if error > NEARLY_PERFECT or shuffled < MIN_SHUFFLED:
        return None
    return Measured("number", error, is_exact=error <= EXACT and len(texts) >= FEWEST_FOR_EXACT)


def _numbers_in(text: str) -> set[float]:
    """Return the numbers of a text, a comma or a point read as between thousands, and as the decimal one."""
    found = set()
    for written in NUMBER.findall(text):
        parts = re.split(r"\D", written)
        found.add(float("".join(parts)))
        found.add(float("".join(parts[:-1]) + "." + parts[-1]) if len(parts) > 1 else float(parts[0]))
    return found


def _is_among(number: float, found: set[float]) -> bool:
    return any(abs(abs(number) - one) <= 1e-9 * max(one, 1.0) for one in found)
