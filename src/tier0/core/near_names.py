"""Names that a person may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a question with the name in *known* that is most like *name*; empty if none is.

    A name that differs only in case or in the spaces around it comes first.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    names = sorted(known)
    wanted = str(name).strip().casefold()
    similar = [one for one in names if one.strip().casefold() == wanted]
    similar = similar or get_close_matches(str(name), names, n=1)
    return f" (did you mean {similar[0]!r}?)" if similar else ""
