"""What tests of several kinds share."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tier0.client.tracing import CallTrace

if find_spec("hypothesis"):  # the end-to-end tests run without it
    from hypothesis import HealthCheck, settings

    # The machine may be busy: the time that an example takes does not matter.
    settings.register_profile("tier0", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tier0")


class KeptTraces:
    """A tracer of the application's own."""

    def __init__(self) -> None:
        self.traces: list[CallTrace] = []

    def record(self, trace: CallTrace) -> None:
        self.traces.append(trace)

    def flush(self, timeout: float) -> bool:
        return timeout > 0


@pytest.fixture
def kept_traces() -> KeptTraces:
    return KeptTraces()
