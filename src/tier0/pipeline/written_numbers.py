"""Numbers as people and programs write them: separators, currencies, percent signs, units, accounting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

CURRENCIES = (
    r"(?:US|R|A|C|HK|NZ|S)?\$|[€£¥₹₽₩₺₫฿₪₦₱₴]|USD|EUR|GBP|JPY|CNY|INR|CHF|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON"
    r"|BRL|MXN|ZAR|KRW|TRY|RUB|SGD|HKD|THB|ILS|AED|SAR|IDR|MYR|PHP|VND|Rs\.?|kr\.?|zł|Kč|Ft|Fr\."
)
UNITS = (
    r"%|‰|°C|°F|kg|mg|cm|mm|km|km/h|mph|mi|ft|lbs?|oz|kWh|kW|hp|bhp|PS|cc|CC|ml|kmpl|mpg|ms|min|mins|minutes|sec"
    r"|secs|seconds|hours?|hrs?|days?|weeks?|months?|years?|yrs?"
)
PARTS = (
    rf"^(?P<open>\()?(?P<sign>[+-])? ?(?P<before>{CURRENCIES})? ?(?P<inner>-)?"
    r"(?P<body>[0-9](?:[0-9.,' ]*[0-9])?[.,]?|[.,][0-9]+)(?P<exponent>[eE][+-]?[0-9]+)?"
    rf" ?(?P<after>{CURRENCIES}|{UNITS})?(?P<behind>-)?(?P<close>\))?$"
)
SPACES = r"[\x{00a0}\x{2007}\x{2009}\x{202f}]"
STYLES = ((".", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""Decimal separator and separator of thousands, the most frequent first."""
SPOKEN = {",": "commas", ".": "points", " ": "spaces", "'": "apostrophes"}
SAME_LENGTH_FROM = 5
"""Number of different values from which groups of digits of one length are codes, such as phone numbers."""


@dataclass(frozen=True)
class WrittenNumbers:
    """Different texts, read as numbers.

    Attributes:
        texts: each as a number in JSON; null where it is not a number of this style.
        style: how they are written, such as ``numbers with a decimal comma``.
        is_ambiguous: whether ``1,234`` might as well be written with the other decimal separator.
        problem: why texts that look like numbers were not read, such as several currencies; empty if there is
            no such reason.
    """

    texts: pa.Array
    style: str
    is_ambiguous: bool = False
    problem: str = ""


def read_numbers(values: pa.Array, decimal: str = ".", *, may_be_codes: bool = True) -> WrittenNumbers:
    """Read texts without spaces around them as numbers of one style.

    Args:
        values: different texts.
        decimal: decimal separator of the file, which decides where both are possible.
        may_be_codes: whether groups of digits of one length are codes; not if the user wants numbers.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    plain = pc.replace_substring_regex(values, SPACES, " ")
    plain = pc.replace_substring(pc.replace_substring(plain, "\u2212", "-"), "\u2019", "'")
    parts = pc.extract_regex(plain, PARTS)
    body, before, after = (pc.struct_field(parts, name) for name in ("body", "before", "after"))
    fits = {style: pc.match_substring_regex(body, _pattern(*style)) for style in STYLES}
    counts = {style: pc.sum(fit).as_py() or 0 for style, fit in fits.items()}
    order = sorted(STYLES, key=lambda style: (-counts[style], style[0] != decimal))
    chosen = order[0]
    is_number = pc.fill_null(pc.and_(fits[chosen], _has_one_sign(parts)), fill_value=False)
    found = before.filter(is_number), after.filter(is_number), body.filter(is_number)
    problem = _problem(*found, chosen, may_be_codes=may_be_codes)
    if problem:
        return WrittenNumbers(pa.nulls(len(values), pa.string()), "", problem=problem)
    texts = pc.if_else(is_number, _in_json(parts, *chosen), pa.scalar(None, pa.string()))
    other = {(".", ","): (",", "."), (",", "."): (".", ",")}.get(chosen)
    are_ambiguous = other is not None and counts[other] == counts[chosen] and chosen[0] == decimal
    style = _spoken(chosen, body.filter(is_number), before.filter(is_number), after.filter(is_number))
    return WrittenNumbers(texts, style, is_ambiguous=are_ambiguous)


def _pattern(decimal: str, thousands: str) -> str:
    """Return the pattern of numbers without sign, unit and exponent."""
    point = rf"\{decimal}" if decimal == "." else decimal
    group = rf"\{thousands}" if thousands == "." else thousands
    grouped = rf"|[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+" if thousands else ""
    lakhs = r"|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}" if thousands == "," else ""
    return rf"^(?:(?:0|[1-9][0-9]*{grouped}{lakhs})(?:{point}[0-9]*)?|{point}[0-9]+)$"


def _has_one_sign(parts: pa.Array) -> pa.Array:
    """Return whether parentheses are closed, and at most one sign is given."""
    import pyarrow.compute as pc  # noqa: PLC0415

    opened, closed = (pc.not_equal(pc.struct_field(parts, name), "") for name in ("open", "close"))
    signs = [pc.not_equal(pc.struct_field(parts, name), "") for name in ("sign", "inner", "behind")]
    number = opened.cast("int8")
    for sign in signs:
        number = pc.add(number, sign.cast("int8"))
    return pc.and_(pc.equal(opened, closed), pc.less_equal(number, 1))


def _problem(
    before: pa.Array, after: pa.Array, body: pa.Array, style: tuple[str, str], *, may_be_codes: bool
) -> str:
    """Return why the values are not numbers that can be compared with each other."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    found = [unit for unit in pc.unique(pc.binary_join_element_wise(before, after, "")).to_pylist() if unit]
    if len(found) > 1:
        return f"the units differ: {', '.join(sorted(found))}"
    if found == ["%"] and (bare := body.filter(pc.equal(after, ""))) and set(bare.to_pylist()) - {"0"}:
        return "only some values have a percent sign"
    is_code = may_be_codes and style[1] in {" ", "."} and len(body) >= SAME_LENGTH_FROM and not found
    lengths = pc.unique(pc.utf8_length(body)) if is_code else pa.array([0, 1])
    groups = rf"^[0-9]{{1,3}}(?:[{style[1]}][0-9]{{3}})+$"
    if is_code and len(lengths) == 1 and pc.all(pc.match_substring_regex(body, groups)).as_py():
        return "groups of digits of one length are taken for codes"
    return ""


def _in_json(parts: pa.Array, decimal: str, thousands: str) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    body = pc.struct_field(parts, "body")
    if thousands:
        body = pc.replace_substring(body, thousands, "")
    if decimal != ".":
        body = pc.replace_substring(body, decimal, ".")
    minus = pc.equal(pc.struct_field(parts, "sign"), "-")
    for name in ("open", "inner", "behind"):
        minus = pc.or_(minus, pc.not_equal(pc.struct_field(parts, name), ""))
    sign = pc.if_else(minus, pa.scalar("-"), pa.scalar(""))
    return pc.binary_join_element_wise(sign, body, pc.struct_field(parts, "exponent"), "")


def _spoken(style: tuple[str, str], body: pa.Array, before: pa.Array, after: pa.Array) -> str:
    import pyarrow.compute as pc  # noqa: PLC0415

    decimal, thousands = style
    has = {mark: bool(mark and pc.any(pc.match_substring(body, mark)).as_py()) for mark in style}
    features = []
    if decimal == "," and has[","]:
        features.append("a decimal comma")
    if thousands and has[thousands]:
        features.append(f"{SPOKEN[thousands]} between thousands")
    units = [unit for unit in pc.unique(pc.binary_join_element_wise(before, after, "")).to_pylist() if unit]
    features += [f"the unit {unit}" if unit != "%" else "a percent sign (45 % is 45)" for unit in units]
    return f"numbers with {' and '.join(features)}" if features else "numbers"
