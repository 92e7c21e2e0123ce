"""However a run ends, nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

import tier0
from tests.support.pytest_run import FAST, Run
from tier0.serving.processes import GUARD, STOP_GRACE

pytestmark = pytest.mark.timeout(180)
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT]
WAITING = """
import pathlib, threading, pytest

@pytest.mark.tier0_bentoml
def test_it(tier0_server):
    pathlib.Path("ready").touch()
    threading.Event().wait(100)
"""
MOMENTS: dict[str, Callable[[Run], object]] = {
    "the guard of the folder runs": lambda run: run.processes()[1:],
    "bentoml serve starts": lambda run: list(run.tmp.glob("tier0-*/s*/server.log")),
    "the worker imports": lambda run: any(
        "_bentoml_impl.worker.service" in command for command in run.left()
    ),
    "the model trains": lambda run: "step 5 training" in run.output,
    "the model is registered": lambda run: list(run.tmp.glob("tier0-*/r*")),
    "the model is served": lambda run: (run.folder / "ready").exists(),
}


def start_until(run: Run, moment: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a run that waits once its model is served, and return it at *moment*."""
    (run.folder / "test_it.py").write_text(WAITING, encoding="utf-8")
    process = run.start(*FAST, *arguments)
    run.wait_for(lambda: MOMENTS[moment](run))
    return process


def is_servers_guard(process: psutil.Process) -> bool:
    command = process.cmdline()
    return (
        str(GUARD) in command and "command" in (order := json.loads(command[-1])) and "twin_of" not in order
    )


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=[] if moment == "the model is served" else pytest.mark.slow)
        for moment in MOMENTS
    ],
)
def test_a_second_after_sigkill_nothing_is_left(run: Run, moment: str) -> None:
    process = start_until(run, moment)

    process.kill()
    process.wait()

    run.assert_gone_within(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the model is registered", "the model is served"])
def test_a_second_after_sigkill_of_xdists_controller_nothing_is_left(run: Run, moment: str) -> None:
    process = start_until(run, moment, "-n", "2")

    process.kill()
    process.wait()

    run.assert_gone_within(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_nothing_is_left_after_sigkill_of_the_test_process_and_the_servers_guard(
    run: Run, workers: tuple[str, ...]
) -> None:
    process = start_until(run, "the model is served", *workers)
    guards = [found for found in run.processes() if is_servers_guard(found)]
    assert guards

    for guard in guards:
        guard.kill()
    process.kill()
    process.wait()

    run.assert_gone_within(10.0)


@pytest.mark.alone
@pytest.mark.parametrize(
    "moment", [pytest.param("the worker imports", marks=pytest.mark.slow), "the model is served"]
)
def test_ctrl_c_tears_down(run: Run, moment: str) -> None:
    process = start_until(run, moment)

    process.send_signal(signal.SIGINT)
    status = process.wait(10)  # three seconds on a machine with nothing else to do: benchmarks/stop.py

    assert status == pytest.ExitCode.INTERRUPTED, run.output
    assert run.left() == []


def test_ctrl_c_in_code_that_is_executed_from_text_ends_with_pytests_status(run: Run) -> None:
    """CPython remembers it as unhandled, whoever handles it: seen while a dataclass was made in an import."""
    (run.folder / "test_it.py").write_text(
        "def test_it(tier0_settings):\n    exec('raise KeyboardInterrupt')\n", encoding="utf-8"
    )

    assert run.finish(*FAST) == pytest.ExitCode.INTERRUPTED, run.output


@pytest.mark.slow
def test_sigterm_leaves_nothing(run: Run) -> None:
    process = start_until(run, "the model is served")

    process.terminate()
    process.wait()

    run.assert_gone_within(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_timeout_of_a_test_leaves_nothing(run: Run, method: str) -> None:
    (run.folder / "test_it.py").write_text(
        WAITING.replace(
            "def test_it", f"@pytest.mark.timeout(1, func_only=True, method={method!r})\ndef test_it"
        ),
        encoding="utf-8",
    )

    status = run.finish(*FAST)

    assert status != 0
    assert "Timeout" in run.output
    run.assert_gone_within(1.0)


@pytest.mark.slow
def test_a_failing_fixture_leaves_nothing_and_shows_the_log(run: Run) -> None:
    code = """
import pytest

@pytest.fixture
def broken(tier0_server):
    raise RuntimeError("broken on purpose")

@pytest.mark.tier0_bentoml
def test_it(broken):
    pass
"""
    (run.folder / "test_it.py").write_text(code, encoding="utf-8")

    status = run.finish(*FAST)

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "broken on purpose" in run.output
    assert "tier0: end of" in run.output
    assert run.left() == []


@pytest.mark.slow
def test_keep_keeps_the_folder_and_says_where(run: Run) -> None:
    (run.folder / "test_it.py").write_text(
        WAITING.replace("threading.Event().wait(100)", "pass"), encoding="utf-8"
    )

    assert run.finish(*FAST, "--tier0-keep") == 0, run.output

    (kept,) = run.tmp.glob("tier0-*")
    assert str(kept) in run.output
    assert list(kept.glob("m*/mlflow.db"))
    assert list(kept.glob("s*/server.log"))
    assert run.processes_after(5) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one small model."""
    rows = np.array([[float(number), -float(number)] for number in range(-10, 10)])
    store = tmp_path_factory.mktemp("store")
    model = LogisticRegression().fit(rows, rows[:, 0] > 1)
    asyncio.run(tier0.register_model_for_serving(model, "tiny", examples=rows[:6], store=store))
    return store


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(
            how, marks=[] if how in {signal.SIGKILL, signal.SIGTERM} else pytest.mark.slow, id=how.name
        )
        for how in SIGNALS
    ],
)
def test_after_any_signal_to_tier0_serve_nothing_is_left(run: Run, store: Path, how: signal.Signals) -> None:
    environment = {"TMPDIR": str(run.tmp), "TIER0_TEST_MARK": run.mark, "PYTHONUNBUFFERED": "1"}
    with (run.folder / "output.txt").open("w", encoding="utf-8") as output:
        run.process = subprocess.Popen(
            [sys.executable, "-m", "tier0.cli", "serve", "tiny", "--store", str(store), "--port", "0"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    run.wait_for(lambda: "Ctrl-C stops the service" in run.output)

    stops = how in {signal.SIGTERM, signal.SIGINT}
    run.process.send_signal(how)

    assert run.gone_within(2.0 + stops * STOP_GRACE) == [], run.output
    status = run.process.wait(10)
    assert status == (0 if stops else -how), run.output
