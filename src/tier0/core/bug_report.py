"""Addresses of the project, and the message for an unexpected error with the one at which to report it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

DISTRIBUTION = "pytest-tier0"
TRACKER_LABELS = ("issues", "issue tracker", "bug tracker", "tracker", "bugs", "repository", "source")
"""Labels of a project's URLs that lead to where errors are reported, best first."""
DOCUMENTATION_LABELS = ("documentation", "docs")
RESERVED_NAMES = ("example", "example.com", "example.org", "example.net", "invalid")
"""Names of hosts that stand for an address that has not been filled in (RFC 2606)."""


def internal_error(problem: BaseException, hint: str = "") -> str:
    """Return the message for an error that Tier0 did not expect.

    Args:
        problem: the error.
        hint: how to get the traceback, if it is not shown.
    """
    address = tracker_address()
    report = f"please report it at {address}" if address else "please report it"
    remedy = "; ".join(filter(None, [hint, report]))
    return f"internal error: {type(problem).__name__}: {problem} ({remedy})"


def tracker_address() -> str | None:
    """Return the address of the issue tracker, as the installed package gives it; None if it gives none."""
    return address_in(_project_urls())


def documentation_address() -> str | None:
    """Return the address of the documentation, without a slash at its end; see `tracker_address`."""
    address = address_in(_project_urls(), DOCUMENTATION_LABELS)
    return None if address is None else address.rstrip("/")


def _project_urls() -> list[str]:
    from importlib import metadata  # noqa: PLC0415 - only errors and pages need it

    try:
        return metadata.metadata(DISTRIBUTION).get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return []


def address_in(project_urls: list[str], labels: Sequence[str] = TRACKER_LABELS) -> str | None:
    """Return the first address with one of *labels* among ``Label, URL`` lines; None if there is none."""
    by_label = {}
    for line in project_urls:
        label, _, url = line.partition(",")
        by_label[label.strip().lower()] = url.strip()
    addresses = (by_label.get(label, "") for label in labels)
    return next(filter(_is_filled_in, addresses), None)


def _is_filled_in(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_reserved = any(host == name or host.endswith(f".{name}") for name in RESERVED_NAMES)
    return parts.scheme in {"http", "https"} and bool(host) and not is_reserved
