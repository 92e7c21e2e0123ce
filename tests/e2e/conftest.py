from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tier0.runs.services import KINDS, NEEDED, Services


@pytest.fixture(scope="session")
def three_services() -> Iterator[Services]:
    """A service for each kind of model; without the causal one where its extra is not installed."""
    kinds = [kind for kind in KINDS if all(find_spec(name) for name in NEEDED.get(kind, ()))]
    with Services.from_examples(kinds, first_port=0) as services:
        yield services
