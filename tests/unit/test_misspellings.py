"""Categories with typing errors, and categories that only look like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tier0.pipeline.inference import Taken, Wishes, take_column
from tier0.pipeline.misspellings import MOST_FREQUENT, OTHERS, share_of_misspelled


def take(values: Sequence[str] | pa.Array, kind: str | None = None) -> Taken:
    return take_column("where", pa.chunked_array([pa.array(values)]), Wishes(kind=kind))


def misspelled(names: Sequence[str], rows: int = 4000, share: float = 0.3) -> list[str]:
    draw = np.random.default_rng(1)

    def typed(name: str) -> str:
        place = int(draw.integers(0, len(name)))
        letter = "abcdefghijklmnopqrstuvwxyz"[draw.integers(0, 26)]
        forms = [
            name.upper(),
            f"{name} ",
            name[:place] + name[place + 1 :],
            name[:place] + letter + name[place:],
            name[:place] + letter + name[place + 1 :],
        ]
        return forms[draw.integers(0, len(forms))] if draw.random() < share else name

    return [typed(names[number]) for number in draw.integers(0, len(names), rows)]


def in_proportion(names: Sequence[str], rows: int = 4000) -> list[str]:
    """Return names of which the first ones are much more frequent, as those of people and places are."""
    shares = 1 / np.arange(1, len(names) + 1)
    return list(np.random.default_rng(1).choice(np.array(names, object), rows, p=shares / shares.sum()))


def listed(names: str) -> list[str]:
    return names.split()


CITIES = listed(
    "Berlin Hamburg Munich Cologne Frankfurt Stuttgart Leipzig Dortmund Essen Bremen Dresden Hanover "
    "Nuremberg Duisburg Bochum Wuppertal Bielefeld Bonn Mannheim Karlsruhe Augsburg Wiesbaden "
    "Gelsenkirchen Aachen Braunschweig Chemnitz Kiel Halle Magdeburg Freiburg Krefeld Mainz Erfurt "
    "Rostock Kassel Hagen Potsdam Oldenburg Leverkusen Osnabrueck Solingen Heidelberg Darmstadt "
    "Regensburg Ingolstadt Wolfsburg Offenbach Pforzheim Heilbronn Ulm Bottrop Koblenz Bremerhaven "
    "Reutlingen Remscheid Jena Trier Erlangen Moers Siegen "
)
FIRST_NAMES = listed(
    "Maria Marie Mario Marian Marina Martin Martina Anna Anne Hanna Hannah Johanna Susanna Susanne "
    "Christian Christina Christine Christiane Kristin Kristina Jan Jana Jens Johann Johannes Jonas "
    "Jonathan Julia Julian Juliane Julius Karl Karla Carla Carlo Daniel Daniela Danielle Michael Michaela "
    "Michel Michelle Gabriel Gabriela Gabriele Andrea Andreas Stefan Stefanie Stephan Stephanie Simon "
    "Simone Sophia Sophie Sofia Laura Laurin Lena Lea Leo Leon Leonie Nina Nico Nicolas Nicole Paul Paula "
    "Pauline Robert Roberta Roberto "
)


def repeated(names: Sequence[str], rows: int, others: Sequence[str], fewer: int) -> list[str]:
    return [*names] * rows + [*others] * fewer


def stammered(name: str) -> str:
    return f"{name[:3]}{name[2:]}"


CORRECT = {
    "cities": in_proportion(CITIES),
    "first_names": in_proportion(FIRST_NAMES),
    "names_as_frequent_as_each_other": repeated(CITIES, 30, [stammered(name) for name in CITIES], 10),
    "endings": repeated([f"{name}o" for name in CITIES], 60, [f"{name}a" for name in CITIES], 5),
    "variants_in_short_words": repeated(
        [f"{name} AU" for name in CITIES], 60, [f"{name} BU" for name in CITIES], 5
    ),
    "codes_of_one_length": in_proportion(
        [f"{one}{two}o{three}el" for one in "abcde" for two in "fghij" for three in "klm"]
    ),
    "codes_in_capitals": repeated(
        [f"B{name.upper()}" for name in CITIES], 60, [f"K{name.upper()}" for name in CITIES], 5
    ),
    "codes_without_vowels": in_proportion(
        [f"{one}{two}{end}" for one in "bcdfgh" for two in "jklmn" for end in ("rst", "rstvw", "zrtpqkl")]
    ),
    "codes_with_digits": repeated([f"{name}1x" for name in CITIES], 60, [f"{name}2x" for name in CITIES], 5),
    "few": misspelled(CITIES[:2], rows=60),
    "mistakes_in_few_rows": repeated(CITIES[:20], 1000, [name.upper() for name in CITIES[:20]] * 3, 1)
    + [stammered(name) for name in CITIES[:20]]
    + [f"{name[0]}{name}" for name in CITIES[:20]],
    "mistakes_in_few_names": repeated(CITIES, 60, [stammered(name) for name in CITIES[:12]], 10),
}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("names", [CITIES, CITIES[:20], [name.upper() for name in CITIES], FIRST_NAMES[::4]])
def test_categories_with_typing_errors_are_taken_for_misspelled(names: list[str], share: float) -> None:
    values = misspelled(names, share=share)

    for cells in (pa.array(values), pa.array(values).dictionary_encode()):
        assert take(cells).kind == "misspelled"
    assert take(values, "category").kind == "category"


def test_letter_case_and_spaces_are_enough() -> None:
    values = repeated(CITIES, 20, [f"{name.upper()} " for name in CITIES], 15)

    assert take(values).kind == "misspelled"


@pytest.mark.parametrize("case", CORRECT)
def test_categories_that_are_spelled_right_are_not(case: str) -> None:
    assert take(CORRECT[case]).kind == "category"


def test_the_number_of_texts_that_are_compared_is_bounded() -> None:
    compared: list[int] = []

    class Watched(list[str]):
        def __getitem__(self, place: Any) -> Any:
            compared.append(place)
            return super().__getitem__(place)

    many = Watched(f"{one} {two} {three}" for one in CITIES for two in CITIES for three in CITIES[:30])

    assert share_of_misspelled(many, np.ones(len(many), dtype=int)) == 0
    assert len(many) > 100_000
    assert 0 < len(compared) <= MOST_FREQUENT + 2 * OTHERS
