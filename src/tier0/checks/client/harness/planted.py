"""Texts in the environment that look like secrets, and that no client has a reason to send to a service."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from tier0.core.secrets import Secrets
from tier0.faults import Arrival

BYTES = 20
PLANTED = {
    name: os.urandom(BYTES).hex()
    for name in ("TIER0_PLANTED_SECRET_TOKEN", "TIER0_PLANTED_API_KEY", "TIER0_PLANTED_PASSWORD")
}
"""Variables that exist during all checks, and before the client is imported; no library reads them."""
OF_OTHER_SYSTEMS = ("AWS_SECRET_ACCESS_KEY", "DB_PASSWORD")
"""Variables with the secrets of other systems, which their protocols never send as they are."""


def planted_for_other_systems() -> dict[str, str]:
    """Return values for the variables of `OF_OTHER_SYSTEMS` that the user has not set."""
    return {name: os.urandom(BYTES).hex() for name in OF_OTHER_SYSTEMS if name not in os.environ}


def leaks_in(arrival: Arrival, planted: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each planted variable whose value, also encoded, is in a request, and the place."""
    places = {
        "the path": arrival.path,
        **{f"the header {name}": f"{name}: {value}" for name, value in arrival.headers.items()},
        "the body": arrival.body.decode("utf-8", "replace"),
    }
    for name, value in planted.items():
        secret = Secrets({name: value})
        yield from ((name, place) for place, text in places.items() if secret.hide(text) != text)
