"""Dates as people and programs write them: the spelling of a column, and its dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

YEAR = r"(?P<year>(?:1[5-9]|20|21)[0-9]{2})"
MONTH = r"(?P<month>0?[1-9]|1[0-2])"
DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])"
SHORT = r"(?P<short>[0-9]{2})"
MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAME = (
    r"(?P<name>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?"
)
WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?"
CLOCK = (
    r"(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])(?:[.,][0-9]{1,9})?)?"
    r"(?: ?(?P<half>(?i:[ap])\.?(?i:m)\.?))?"
)
ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}|[+-][0-9]{2}))?"
TIME = rf"(?:(?:T|,? +){CLOCK}{ZONE})?"
SPELLINGS: dict[str, str] = {
    "year first": rf"{YEAR}[-/.]{MONTH}[-/.]{DAY}{TIME}",
    "day first": rf"{DAY}[-/.]{MONTH}[-/.]{YEAR}{TIME}",
    "month first": rf"{MONTH}[-/.]{DAY}[-/.]{YEAR}{TIME}",
    "day first, two digits of the year": rf"{DAY}[-/.]{MONTH}[-/.]{SHORT}{TIME}",
    "month first, two digits of the year": rf"{MONTH}[-/]{DAY}[-/]{SHORT}{TIME}",
    "year and month": rf"{YEAR}[-/]{MONTH}",
    "month and year": rf"{MONTH}[-/.]{YEAR}",
    "day and name of the month": (
        rf"{WEEKDAY}{DAY}(?:st|nd|rd|th)?[- /.]{NAME},?[- /.]?(?:{YEAR}|{SHORT}){TIME}"
    ),
    "name of the month and day": rf"{WEEKDAY}{NAME} {DAY}(?:st|nd|rd|th)?,? {YEAR}{TIME}",
    "weekday, month, day, time, year": rf"{WEEKDAY}{NAME} +{DAY} {CLOCK}{ZONE} {YEAR}",
    "name of the month and year": rf"{NAME},?[- /.]?(?:{YEAR}|{SHORT})",
    "year and name of the month": rf"{YEAR}[- /.]?{NAME}(?:[- /.]{DAY})?{TIME}",
    "year and quarter": rf"{YEAR}[- /]?Q(?P<quarter>[1-4])",
    "quarter and year": rf"Q(?P<quarter>[1-4])[- /]?{YEAR}",
    "year, month and day without separators": (
        r"(?P<year>(?:19|20)[0-9]{2})(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12][0-9]|3[01])"
        r"(?:[T ]?(?P<hour>[01][0-9]|2[0-3])(?P<minute>[0-5][0-9])"
        rf"(?:(?P<second>[0-5][0-9])(?:[.,][0-9]{{1,9}})?)?{ZONE})?"
    ),
    "year and month without separators": r"(?P<year>(?:19|20)[0-9]{2})(?P<month>0[1-9]|1[0-2])",
}
"""Spellings and their patterns; the first that all texts have is used."""
COMPACT = tuple(spelling for spelling in SPELLINGS if spelling.endswith("without separators"))
"""Spellings that are whole numbers, too."""
AMBIGUOUS = {
    "day first": "month first",
    "day first, two digits of the year": "month first, two digits of the year",
}
EPOCHS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
FIRST_EPOCH, LAST_EPOCH = 631_152_000, 2_208_988_800
"""Seconds since 1970 of the years 1990 and 2040."""
NO_DATES = ("0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00.00.0000", "0000/00/00")
"""Texts that databases write for a missing date."""


LAST_DAYS = ("29", "30", "31")
"""Days that not every month has."""


@dataclass(frozen=True)
class DateSpelling:
    """How dates are written.

    Attributes:
        name: key of `SPELLINGS`, or ``seconds since 1970`` and the like.
        is_ambiguous: whether day and month could be exchanged in all values.
    """

    name: str
    is_ambiguous: bool = False


def spelling_of(values: pa.Array, among: tuple[str, ...] = tuple(SPELLINGS)) -> DateSpelling | None:
    """Return the spelling that all texts have; None if there is none.

    Args:
        values: different texts without spaces around them.
        among: spellings to try.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    def have_all(spelling: str) -> bool:
        pattern = f"^(?:{SPELLINGS[spelling]})$"
        some = pc.all(pc.match_substring_regex(values[:100], pattern)).as_py()
        return bool(some and pc.all(pc.match_substring_regex(values, pattern)).as_py())

    found = next((spelling for spelling in among if have_all(spelling)), None)
    if found is None:
        return None
    other = AMBIGUOUS.get(found)
    has_points = pc.all(pc.match_substring(values, ".")).as_py()
    return DateSpelling(found, is_ambiguous=other is not None and not has_points and have_all(other))


def spelling_of_most(values: pa.Array, counts: np.ndarray[Any, Any]) -> DateSpelling | None:
    """Return the spelling that most rows have; None if no row has one.

    Args:
        values: different texts without spaces around them.
        counts: number of rows of each, shape (values,).
    """
    rows = {spelling: int(counts[are_spelled(values, spelling)].sum()) for spelling in SPELLINGS}
    found = max(rows, key=lambda spelling: rows[spelling])
    other = AMBIGUOUS.get(found)
    return DateSpelling(found, other is not None and rows[other] == rows[found]) if rows[found] else None


def are_spelled(values: pa.Array, spelling: str) -> np.ndarray[Any, Any]:
    """Return whether each text has a spelling of `SPELLINGS`, shape (values,)."""
    import pyarrow.compute as pc  # noqa: PLC0415

    found: np.ndarray[Any, Any] = pc.match_substring_regex(values, f"^(?:{SPELLINGS[spelling]})$").to_numpy(
        zero_copy_only=False
    )
    return found.astype(bool)


def are_not_in_the_calendar(values: pa.Array, spelling: str) -> np.ndarray[Any, Any]:
    """Return whether each text has this spelling, but the day does not exist, shape (values,)."""
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    wrong = np.zeros(len(values), dtype=bool)
    if "(?P<day>" not in SPELLINGS[spelling]:
        return wrong
    parts = pc.extract_regex(values, f"^(?:{SPELLINGS[spelling]})$")
    is_late = pc.is_in(pc.struct_field(parts, "day"), pa.array(LAST_DAYS)).to_numpy(zero_copy_only=False)
    places = np.flatnonzero(is_late)
    texts = pd.Series(values.take(places).to_pylist(), dtype=object)
    wrong[places] = np.isnat(read_dates(texts, spelling))
    return wrong


def two_spellings_of(values: pa.Array) -> tuple[str, str] | None:
    """Return two texts of different spellings, if all texts are dates, and most of them have a full year.

    Args:
        values: different texts without spaces around them.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    def are_dates(texts: pa.Array) -> bool:
        masks = [
            pc.match_substring_regex(texts, f"^(?:{pattern})$").to_numpy(zero_copy_only=False)
            for spelling, pattern in SPELLINGS.items()
            if spelling not in COMPACT
        ]
        return bool(np.logical_or.reduce(masks).all())

    if not (len(values) and are_dates(values[:100]) and are_dates(values)):
        return None
    with_year = pc.sum(pc.match_substring_regex(values, YEAR)).as_py() or 0
    first = spelling_of(values[:1])
    if first is None or 2 * with_year < len(values):
        return None
    have_it = pc.match_substring_regex(values, f"^(?:{SPELLINGS[first.name]})$")
    others = values.filter(pc.invert(have_it))
    return (values[0].as_py(), others[0].as_py()) if len(others) else None


def epoch_of(numbers: np.ndarray[Any, Any]) -> str:
    """Return the unit in which all numbers are times since 1970, from 1990 to 2040; empty if none is."""
    if not len(numbers):
        return ""
    least, most = float(numbers.min()), float(numbers.max())
    for unit, factor in EPOCHS.items():
        if least >= FIRST_EPOCH * factor and most < LAST_EPOCH * factor:
            return unit
    return ""


def read_dates(texts: pd.Series[Any], spelling: str) -> np.ndarray[Any, Any]:
    """Return the dates of texts in UTC as ``datetime64[s]``; NaT where there is none.

    Args:
        texts: texts, which may be missing.
        spelling: name of a `DateSpelling`.
    """
    import pandas as pd  # noqa: PLC0415

    unit = spelling.removesuffix(" since 1970")
    if unit in EPOCHS:
        seconds = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float, na_value=np.nan) / EPOCHS[unit]
        dates = np.full(len(texts), np.datetime64("NaT", "s"))
        dates[np.isfinite(seconds)] = seconds[np.isfinite(seconds)].astype("int64").astype("datetime64[s]")
        return dates
    codes, different = pd.factorize(texts.astype(object).str.strip())
    fields = pd.Series(different, dtype=object).str.extract(f"^(?:{SPELLINGS[spelling]})$")
    dates = np.append(_combine(fields), np.datetime64("NaT", "s"))
    found: np.ndarray[Any, Any] = dates[codes]
    return found


def _combine(fields: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the dates of fields such as year, month and hour; NaT where they are not in the calendar."""
    import pandas as pd  # noqa: PLC0415

    def number(name: str, default: float) -> np.ndarray[Any, Any]:
        if name not in fields:
            return np.full(len(fields), default)
        values: np.ndarray[Any, Any] = pd.to_numeric(fields[name]).to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isnan(values), default, values)

    year, short = number("year", np.nan), number("short", np.nan)
    year = np.where(np.isnan(year), short + np.where(short < 69, 2000, 1900), year)
    month = number("month", 1)
    if "name" in fields:
        names = fields["name"].str.lower().str[:3]
        month = names.map({name: index for index, name in enumerate(MONTH_NAMES, 1)}).to_numpy(dtype=float)
    if "quarter" in fields:
        month = number("quarter", np.nan) * 3 - 2
    hour = number("hour", 0)
    if "half" in fields:
        half = fields["half"].astype(object).str.lower().str[0]
        hour = np.where(half.notna(), hour % 12 + 12 * (half == "p").to_numpy(), hour)
    known = ~(np.isnan(year) | np.isnan(month))
    months = np.where(known, (year - 1970) * 12 + month - 1, 0).astype("int64").astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (number("day", 1) - 1).astype("int64")
    known &= days.astype("datetime64[M]") == months
    seconds = hour * 3600 + number("minute", 0) * 60 + number("second", 0)
    if "zone" in fields:
        seconds -= _offsets(fields["zone"])
    dates: np.ndarray[Any, Any] = days.astype("datetime64[s]") + seconds.astype("int64")
    dates[~known] = np.datetime64("NaT", "s")
    return dates


def _offsets(zones: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return the seconds by which zones such as ``+02:00`` are ahead of UTC; 0 for others."""
    import pandas as pd  # noqa: PLC0415

    parts = zones.astype(object).str.extract(r"^([+-])([0-9]{2}):?([0-9]{2})?$")
    hours, minutes = (pd.to_numeric(parts[column]).fillna(0).to_numpy(dtype=float) for column in (1, 2))
    sign = np.where(parts[0] == "-", -1, 1)
    seconds: np.ndarray[Any, Any] = sign * (hours * 3600 + minutes * 60)
    return seconds
