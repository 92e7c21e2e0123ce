"""Times of the day as text, such as ``08:30`` or ``5:45:10 PM``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tier0.pipeline.profile import is_named_as_time, words_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TIME_OF_DAY = (
    r"^(?:(?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9](?:[.,][0-9]{1,9})?))?"
    r"(?: ?(?P<half>(?i:[ap])\.?(?i:m)\.?))?|24:00(?::00)?)$"
)
CLOCK_WORDS = frozenset(
    {"clock", "hour", "hours", "departure", "arrival", "opening", "closing", "opens", "closes"}
)
OTHER_WORDS = frozenset(
    {
        *(
            "duration",
            "elapsed",
            "length",
            "lap",
            "pace",
            "split",
            "delay",
            "wait",
            "runtime",
            "worked",
            "took",
        ),
        *(
            "lasted",
            "lasts",
            "ratio",
            "odds",
            "score",
            "result",
            "rate",
            "scale",
            "mix",
            "aspect",
            "interval",
        ),
    }
)
"""Words in names of columns whose values only look like times of the day."""
NO_TIME = r"^[+-]?[0-9]+:[0-9]"
"""What a duration, a ratio or a score begins with."""
AFTERNOON = r"^(?:1[2-9]|2[0-4]):|[mM]\.?$"
TWO_DIGITS = r"^[0-9]{2}:"
EARLY = r"^0"


def are_times(values: pa.Array) -> np.ndarray[Any, Any]:
    """Return whether each text could be a time of the day, shape (values,)."""
    import pyarrow.compute as pc  # noqa: PLC0415

    found: np.ndarray[Any, Any] = pc.match_substring_regex(values, TIME_OF_DAY).to_numpy(zero_copy_only=False)
    return found.astype(bool)


def is_named_as_no_time(name: str) -> bool:
    """Return whether the name of a column is evidence against times of the day."""
    return bool(OTHER_WORDS & set(words_of(name)))


def seem_times_of_day(name: str, values: pa.Array) -> bool:
    """Return whether texts, some of which could be times, are not rather ratios, scores or durations.

    Some are at noon or later, or have AM or PM, and either the name of the column tells of a time, or all
    have two digits of the hour and some have a zero first, which ratios and scores have not. A name such as
    ``ratio`` or ``duration`` decides against it, as does a value such as ``26:15`` or ``3:1``.

    Args:
        name: name of the column.
        values: different texts without spaces around them.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    is_time = pa.array(are_times(values))
    others, times = values.filter(pc.invert(is_time)), values.filter(is_time)
    if is_named_as_no_time(name) or pc.any(pc.match_substring_regex(others, NO_TIME)).as_py():
        return False
    if not pc.any(pc.match_substring_regex(times, AFTERNOON)).as_py():
        return False
    return bool(
        is_named_as_time(name)
        or CLOCK_WORDS & set(words_of(name))
        or (
            pc.all(pc.match_substring_regex(times, TWO_DIGITS)).as_py()
            and pc.any(pc.match_substring_regex(times, EARLY)).as_py()
        )
    )


def read_hours(texts: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return the hours since midnight, from 0 to 24, of texts; NaN for a text that is not a time.

    Args:
        texts: texts, which may be missing.
    """
    import pandas as pd  # noqa: PLC0415

    codes, different = pd.factorize(texts.astype(object).map(str, na_action="ignore").str.strip())
    times = pd.Series(different, dtype=object)
    fields = times.str.extract(TIME_OF_DAY)
    hour, minute, second = (
        pd.to_numeric(fields[name].str.replace(",", ".")).to_numpy(dtype=float, na_value=np.nan)
        for name in ("hour", "minute", "second")
    )
    half = fields["half"].str.lower().str[0]
    hour = np.where(half.notna(), hour % 12 + 12 * (half == "p").to_numpy(), hour)
    hours = hour + minute / 60 + np.nan_to_num(second) / 3600
    hours[times.str.startswith("24:00").to_numpy(dtype=bool)] = 24.0
    found: np.ndarray[Any, Any] = np.append(hours, np.nan)[codes]
    return found
