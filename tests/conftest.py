"""What tests of several kinds share."""

from __future__ import annotations

import signal
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest

from tier0.client.tracing import CallTrace

# Tests send signals to the runs that they start, which ignore what this process ignores: a shell starts its
# background jobs like this, and nohup.
for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        default = signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL
        signal.signal(ignored, default)

if find_spec("hypothesis"):  # the end-to-end tests run without it
    from hypothesis import HealthCheck, settings

    # The machine may be busy: the time that an example takes does not matter. `make test` draws the same
    # examples each time, so that its verdict depends on the change only; `make test-all` draws new ones.
    each = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("new-examples", each)
    settings.register_profile("same-examples", each, derandomize=True, database=None)
    settings.load_profile("same-examples")


SHARED = {"tests/e2e": ("three_services", "tier0_deployment"), "tests/report": ("reported",)}
"""Fixtures that take long to build, by folder: with xdist, one process runs the files that use one."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, keep the files together that share an expensive fixture."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    @cache
    def shared_by(file: str) -> str:
        folder = file.rpartition("/")[0]
        text = (config.rootpath / file).read_text(encoding="utf-8") if folder in SHARED else ""
        return next((f"{folder}: {name}" for name in SHARED.get(folder, ()) if name in text), file)

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return shared_by(super()._split_scope(nodeid))

    return Scheduling(config, log)


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
