from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tier0.runs.services import KINDS, NEEDED, Services


@pytest.fixture(scope="session")
def three_services(request: pytest.FixtureRequest) -> Iterator[Services]:
    """A service for each kind of model; without the causal one where its extra is not installed.

    A run of the main job alone does without that, too: its libraries take as long as all else.
    """
    is_main_job = all(item.get_closest_marker("tier0_bentoml") for item in request.session.items)
    kinds = [
        kind
        for kind in KINDS
        if all(find_spec(name) for name in NEEDED.get(kind, ())) and not (is_main_job and kind in NEEDED)
    ]
    with Services.from_examples(kinds, first_port=0) as services:
        yield services
