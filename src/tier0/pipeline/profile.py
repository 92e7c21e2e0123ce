"""The profile of a table: what each column was taken for, from what, and what is done with it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Kind = Literal[
    "number", "category", "misspelled", "boolean", "date", "time", "text", "id", "index", "constant", "empty"
]
DECLARED_KINDS = ("number", "category", "misspelled", "boolean", "date", "time", "text", "id")
"""Kinds that a person may declare; the others follow from the values."""
LEFT_OUT: frozenset[Kind] = frozenset({"date", "id", "index", "constant", "empty"})
"""Kinds of columns that are left out, unless a person keeps them."""
ID_WORDS = frozenset(
    {
        *(
            "id",
            "ids",
            "uuid",
            "guid",
            "key",
            "pk",
            "nr",
            "no",
            "num",
            "number",
            "identifier",
            "serial",
            "sku",
        ),
        *(
            "reference",
            "ref",
            "hash",
            "token",
            "email",
            "mail",
            "phone",
            "ssn",
            "iban",
            "barcode",
            "ean",
            "isbn",
        ),
    }
)
ID_ENDINGS = re.compile(
    r"(?:customer|client|user|patient|passenger|order|member|row|object|account|product|item|employee|student|emp"
    r"|session|transaction|trans|device|record|case|person|household|family|invoice|ticket|loan|store|shop|visit"
    r"|encounter|subject|sample|movie|property|listing|host|policy|claim|contract|booking|reservation|cust)id$"
)
GROUP_WORDS = frozenset(
    {
        *(
            "customer",
            "client",
            "user",
            "patient",
            "household",
            "family",
            "subject",
            "person",
            "member",
            "student",
        ),
        *(
            "session",
            "account",
            "device",
            "hospital",
            "clinic",
            "school",
            "site",
            "employee",
            "company",
            "author",
        ),
    }
)
PLACE_WORDS = frozenset({"zip", "zipcode", "postal", "postcode", "plz", "pincode"})
"""Words in names of columns whose codes repeat in more rows than these, however different they are here."""
TIME_WORDS = frozenset(
    {
        *(
            "date",
            "time",
            "timestamp",
            "ts",
            "at",
            "on",
            "day",
            "epoch",
            "unix",
            "created",
            "updated",
            "since",
        ),
        *("modified", "datetime", "when", "start", "started", "end", "ended", "begin", "dob"),
    }
)
UUID = r"^\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?$"
INDEX_NAME = re.compile(
    r"(?i)^(?:index|idx|level_0|row\W?(?:names?|num(?:ber)?|id|no|nr)?|s\W?(?:no|nr)\W?|#|x\.?1?|\.\.\.1|obs|instant)$"
)
WORD_IN_CAMEL_CASE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
MANY_CATEGORIES = 50
FEWEST_FOR_ID = 10
"""Number of rows from which different values are evidence of an identifier."""
FEWEST_FOR_DENSE = 100
FEWEST_FOR_DIGITS = 200
REPEATED_ID = 0.2
"""Share of different values from which a column with the name of an identifier that repeats is one."""
REPEATED_TEXT = 0.02
"""Share of different values from which texts of several words do not count as categories."""
NEARLY = 0.01
"""Share of rows whose value may occur before in a column of identifiers."""
DENSE = 1.2
WORDS_OF_TEXT = 3
MAX_EXACT_INTEGER = 2**53
FIRST_YEAR, LAST_YEAR = 1500, 2200
MAX_EXAMPLES = 3
MAX_EXAMPLE = 24
MAX_VALUES = 72
MAX_LINES = 40
"""Number of columns in the table of step 2."""
SAMPLE = 2000


@dataclass(frozen=True)
class ColumnProfile:
    """What a column was taken for.

    Attributes:
        name: name of the column.
        kind: what its values are.
        share: share of the values, other than missing ones, that are of this kind.
        read: how the values are written, such as ``numbers with a decimal comma``.
        done: what is done with the column.
        override: option or field of the study that changes the decision; empty if nothing does.
        examples: some different values as they are in the file; none of an identifier.
        missing: number of rows without a value.
        notes: what may not be intended, as sentences without the column's name.
    """

    name: str
    kind: Kind
    share: float
    read: str
    done: str
    override: str = ""
    examples: tuple[str, ...] = ()
    missing: int = 0
    notes: tuple[str, ...] = ()


def lines_of(profile: Sequence[ColumnProfile]) -> list[str]:
    """Return a table of what columns were taken for, one line for each of the first ones, with a heading."""
    rows = [("column", "taken for", "from", "missing", "values", "what is done; what changes it")]
    for column in profile[:MAX_LINES]:
        values = f"{column.read}: {', '.join(column.examples)}" if column.examples else column.read
        done = f"{column.done}; {column.override}" if column.override else column.done
        share, missing = f"{column.share:.1%}".replace(".0%", "%"), f"{column.missing:,}"
        rows.append(
            (_short(column.name, MAX_EXAMPLE), column.kind, share, missing, _short(values, MAX_VALUES), done)
        )
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    if len(profile) > MAX_LINES:
        lines.append(f"and {len(profile) - MAX_LINES} more columns, which are in run.json")
    return lines


def _short(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def words_of(name: str) -> list[str]:
    """Return the words of a column's name in lower case, also of one in camel case."""
    return [word.lower() for word in WORD_IN_CAMEL_CASE.findall(name)]


def option_for(option: str, names: Sequence[str], kind: str = "") -> str:
    """Return an option that names columns, as a shell takes it, or the field of the study that does the same.

    Args:
        option: name of an option that takes a list of columns, such as ``keep``.
        names: the columns.
        kind: kind of the columns, for the option ``types``.
    """
    if any("," in name or "\n" in name or name != name.strip() for name in names):
        return f"{option} in [data] of the study"
    return f"--{option} {shlex.quote(','.join(f'{name}={kind}' if kind else name for name in names))}"


def is_named_as_id(name: str) -> bool:
    """Return whether a name is evidence of an identifier, which it does not prove."""
    words = words_of(name)
    if not words or PLACE_WORDS & set(words):
        return False
    return words[-1] in ID_WORDS or words[0] in {"id", "uuid"} or bool(ID_ENDINGS.search("".join(words)))


def is_named_as_group(name: str) -> bool:
    """Return whether a name is evidence of groups of rows, such as households or patients."""
    return is_named_as_id(name) or bool(GROUP_WORDS & set(words_of(name)))


def is_named_as_index(name: str) -> bool:
    """Return whether a name is evidence of row numbers: that of an index which a program wrote, or none."""
    return not name.strip() or name.startswith("Unnamed: ") or bool(INDEX_NAME.match(name))


def is_named_as_time(name: str) -> bool:
    """Return whether a name is evidence of dates or times."""
    words = words_of(name)
    return bool(TIME_WORDS & set(words)) or any(word.endswith(("date", "time")) for word in words)


def are_nearly_unique(distinct: int, present: int) -> bool:
    """Return whether so few values repeat as in a column of identifiers with a few duplicated rows."""
    return present >= FEWEST_FOR_ID and distinct >= present - max(1, int(NEARLY * present))


def kind_of_numbers(  # noqa: PLR0911 - one return for each kind
    name: str, values: np.ndarray[Any, Any]
) -> tuple[Kind, str]:
    """Return the kind of a column of numbers, and how its values are described.

    Args:
        name: name of the column.
        values: its numbers in the order of the rows; NaN where there is none.
    """
    import pandas as pd  # noqa: PLC0415

    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not len(present):
        return "empty", "no values"
    least, most = present.min(), present.max()
    if least == most:
        return ("constant" if len(present) == len(values) else "number"), "one number"
    if values.dtype.kind == "f" and not bool((present == np.floor(present)).all()):
        return "number", "numbers"
    if least == 0 and most == 1:
        return "boolean", "0 and 1"
    distinct = len(pd.unique(present))
    is_unique, is_named = are_nearly_unique(distinct, len(present)), is_named_as_id(name)
    is_row_number = len(present) >= FEWEST_FOR_DENSE or is_named_as_index(name)
    are_years = least >= FIRST_YEAR and most <= LAST_YEAR
    if most >= MAX_EXACT_INTEGER and (is_unique or distinct >= REPEATED_ID * len(present)):
        return "id", "whole numbers above 2**53"
    if is_unique and not are_years and len(present) == len(values) and bool((np.diff(values) == 1).all()):
        kind: Kind = "index" if is_row_number else "number"
        return ("id" if is_named else kind), "whole numbers that count the rows"
    if is_unique and not are_years and (is_named or _is_dense(least, most, len(present))):
        return "id", "whole numbers, different in every row"
    if is_named and not are_years and _is_repeated_id(distinct, len(present)):
        return "id", f"{distinct} different whole numbers"
    return "number", "whole numbers"


def _is_dense(least: Any, most: Any, present: int) -> bool:
    """Return whether different whole numbers are nearly all from the smallest to the largest."""
    return present >= FEWEST_FOR_DENSE and float(most) - float(least) + 1 <= DENSE * present


def _is_repeated_id(distinct: int, present: int) -> bool:
    return distinct >= 2 * FEWEST_FOR_ID and distinct >= REPEATED_ID * present


def kind_of_texts(  # noqa: PLR0911 - one return for each kind
    name: str, values: pa.Array, present: int, rows: int
) -> tuple[Kind, str]:
    """Return the kind of a column of text, and how its values are described.

    Args:
        name: name of the column.
        values: its different texts.
        present: number of rows with a text.
        rows: number of rows.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    distinct = len(values)
    if distinct == 1:
        return ("constant" if present == rows else "category"), "one text"
    if pc.all(pc.match_substring_regex(values, UUID)).as_py():
        return "id", "UUIDs"
    is_unique, is_named = are_nearly_unique(distinct, present), is_named_as_id(name)
    sample = values[:: max(1, distinct // SAMPLE)]
    words = _mean_words(sample)
    described = f"{distinct} different texts"
    if is_unique and words > WORDS_OF_TEXT / 2:
        return "text", "texts of several words, different in every row"
    if distinct > MANY_CATEGORIES and words >= WORDS_OF_TEXT and distinct >= REPEATED_TEXT * present:
        return "text", f"{distinct} different texts of several words"
    are_digits = pc.all(pc.match_substring_regex(sample, r"^[0-9 -]+$")).as_py()
    is_place = bool(PLACE_WORDS & set(words_of(name)))
    is_code = is_named or (not is_place and (not are_digits or present >= FEWEST_FOR_DIGITS))
    if is_unique and is_code:
        return "id", "texts, different in every row"
    if is_named and _is_repeated_id(distinct, present):
        return "id", described
    return "category", described


def has_many_words(values: pa.Array) -> bool:
    """Return whether texts are as long as those of a column of text."""
    return _mean_words(values) >= WORDS_OF_TEXT


def _mean_words(values: pa.Array) -> float:
    import pyarrow.compute as pc  # noqa: PLC0415

    return float(pc.mean(pc.count_substring_regex(values, r"[^\s]+")).as_py() or 0.0)


def repeats_like_a_group(name: str, distinct: int, present: int, changes: int) -> bool:
    """Return whether rows with the same value seem to belong together, as those of one patient do.

    Args:
        name: name of the column.
        distinct: number of its different values.
        present: number of rows with a value.
        changes: number of rows whose value differs from that of the row before.
    """
    if distinct < FEWEST_FOR_ID or not distinct * 1.5 <= present:
        return False
    return is_named_as_group(name) or changes + 1 <= DENSE * distinct


def shortened(examples: list[str]) -> tuple[str, ...]:
    """Return a few examples, none of which is long."""
    return tuple(_short(text, MAX_EXAMPLE) for text in examples[:MAX_EXAMPLES])
