"""Whether many categories of a column are other spellings of a more frequent one, such as ``Berln``."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 50
"""Number of different texts above which misspelled ones are searched."""
CLEAR_SHARE = 0.25
"""Share of the different texts that are nearly a more frequent one.

Lists of first names that are spelled right have up to 0.12; surnames, cities, countries and jobs less.
"""
CLEAR_ROWS = 0.02
"""Share of the rows that have such a text."""
TIMES_AS_FREQUENT = 5
"""How often the right spelling is found for each of a wrong one; ``Anna`` and ``Hanna`` are both right."""
SHORTEST_WORD = 4
"""Length from which one letter of a word may be wrong: ``Type A`` and ``Type B`` are different."""
SHORTEST_TEXT = 5
LONGEST_TEXT = 60
MOST_FREQUENT = 5000
"""Number of the most frequent texts to which others are compared; this bounds time and memory."""
OTHERS = 2000
"""Number of the other texts that are compared."""
WITH_DIGITS = 0.05
"""Share of texts with a digit from which they are codes."""
WITH_VOWELS = 0.9
ONE_LENGTH = 0.5
"""Share of texts of one length from which they are codes."""
IN_CAPITALS = 0.9


def share_of_misspelled(texts: Sequence[str], counts: np.ndarray[Any, Any]) -> float:
    """Return the share of texts that are nearly a more frequent one; 0 if they are too few to matter.

    A text is nearly another one if it differs in letter case, accents, spaces and punctuation, or if a letter
    is missing, is added, is another one or has changed places, and the other text is much more frequent. The
    last letter of a word does not count, since endings such as ``-o`` and ``-a`` are right.

    Args:
        texts: different texts.
        counts: number of rows of each, shape (texts,).
    """
    if len(texts) <= FEWEST:
        return 0.0
    order = np.argsort(-counts, kind="stable")
    others = order[MOST_FREQUENT:]
    order = np.concatenate([order[:MOST_FREQUENT], others[:: max(1, len(others) // OTHERS)]])
    some, frequencies = [texts[index] for index in order], counts[order]
    if not _are_words(some):
        return 0.0
    is_near = _are_near(some, frequencies.tolist())
    if frequencies[is_near].sum() < CLEAR_ROWS * frequencies.sum():
        return 0.0
    return float(is_near.mean())


def _are_words(texts: Sequence[str]) -> bool:
    """Return whether texts are words, and not codes, identifiers or numbers with units."""
    with_digits = sum(any(map(str.isdigit, text)) for text in texts)
    with_vowels = sum(bool(re.search(r"(?i)[aeiouy]|[^\x00-\x7f]", text)) for text in texts)
    [(_, of_one_length)] = Counter(map(len, texts)).most_common(1)
    return (
        with_digits <= WITH_DIGITS * len(texts)
        and with_vowels >= WITH_VOWELS * len(texts)
        and of_one_length <= ONE_LENGTH * len(texts)
    )


def _are_near(texts: Sequence[str], counts: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return whether each text is nearly one before it, shape (texts,); the most frequent ones are first.

    Two texts with one wrong letter have a text in common if one letter of each is left out, so that no text
    has to be compared with all others.
    """
    in_capitals = sum(map(str.isupper, texts)) >= IN_CAPITALS * len(texts)
    whole: dict[str, int] = {}
    shortened: dict[str, int] = {}
    found = np.zeros(len(texts), dtype=bool)
    for place, (text, count) in enumerate(zip(texts, counts, strict=True)):
        letters, without_one = _spelling(text)
        enough = TIMES_AS_FREQUENT * count
        found[place] = (
            letters in whole
            or shortened.get(letters, 0) >= enough
            or any(whole.get(part, 0) >= enough for part in without_one)
            # codes in capital letters differ in one place, too
            or (not in_capitals and any(shortened.get(part, 0) >= enough for part in without_one))
        )
        whole.setdefault(letters, count)
        for part in without_one:
            shortened.setdefault(part, count)
    return found


def _spelling(text: str) -> tuple[str, list[str]]:
    """Return the letters and digits of a text, and the same without each of the letters that may be wrong."""
    plain = unicodedata.normalize("NFKD", text[: 2 * LONGEST_TEXT].casefold())
    words = re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
    letters = "".join(words)
    if not SHORTEST_TEXT <= len(letters) <= LONGEST_TEXT:
        return letters or text, []
    places: list[int] = []
    start = 0
    for word in words:
        places += range(start, start + len(word) - 1) if len(word) >= SHORTEST_WORD else ()
        start += len(word)
    return letters, [letters[:place] + letters[place + 1 :] for place in places]
