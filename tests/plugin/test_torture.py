"""Runs that are killed at any moment, or lack something on their machine: they leave nothing behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import ROOT
from tests.support.pytest_run import FAST, Run
from tier0.core.verdict import EXIT_STATUS

pytestmark = pytest.mark.timeout(180)
KILLS = int(os.environ.get("TIER0_KILLS", "10"))
SEED = int(os.environ.get("TIER0_KILLS_SEED", "7"))
WHOLE = 8.0
"""Seconds that a whole run takes here, about."""
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT]
RESULTS = ROOT / "reports" / "kills.json"
GOES_ON_FOR = 150.0
"""Seconds after which a run must have ended of which only other processes were killed."""
ENDS_WITHIN = 20.0
"""Seconds after a signal: xdist gives busy workers ten seconds to end, and then kills them."""
SESSIONS = 8
RUN = """
import pytest, tier0

@pytest.mark.tier0_bentoml
@pytest.mark.asyncio
async def test_it(tier0_client, tier0_deployment):
    await tier0.verify_bentoml_predictions(tier0_client, tier0_deployment)
"""


@pytest.fixture
def whole(run: Run) -> Run:
    """A run from collection to teardown."""
    (run.folder / "test_it.py").write_text(RUN, encoding="utf-8")
    return run


def ended_within(process: subprocess.Popen[str], seconds: float) -> int | None:
    """Return the exit status, or None if it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


@pytest.mark.torture
@pytest.mark.timeout(60 + (WHOLE + ENDS_WITHIN) * KILLS)
def test_killed_at_any_moment_nothing_is_left_and_the_next_run_passes(whole: Run) -> None:
    draw = random.Random(SEED)
    for number in range(KILLS):
        how = draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        moment, workers = draw.uniform(0, WHOLE), ["-n", "2"] if number % 3 == 2 else []
        said = f"kill {number}: {how.name} after {moment:.2f} s {' '.join(workers)}"
        process = whole.start(*FAST, *workers)
        if (status := ended_within(process, moment)) is None:
            process.send_signal(how)
            assert ended_within(process, ENDS_WITHIN) is not None, f"{said}: it still runs\n{whole.output}"
        else:
            assert status == 0, f"{said}: {whole.output}"
        left = whole.gone_within(2.0)
        assert left == [], f"{said}: {left}\n{whole.output}"

    assert whole.finish(*FAST) == 0, whole.output
    assert whole.left() == []


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_one_or_two_processes_killed_at_any_moment_leave_nothing(whole: Run, workers: list[str]) -> None:
    """Its results are in one file, so that it goes on where an earlier run with this seed was interrupted."""
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for number in range(KILLS):
        name = f"{SEED} {'xdist' if workers else 'alone'} {number}"
        if name not in done:
            done[name] = kill_some(whole, workers, random.Random(name))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(done, indent=1), encoding="utf-8")
        assert done[name]["left"] == [], f"{name}: {done[name]}\n{whole.output}"


def kill_some(run: Run, workers: list[str], draw: random.Random) -> dict[str, Any]:
    """Kill one or two processes of a run, and return what was killed, and what was left when it had ended."""
    process = run.start(*FAST, *workers)
    moment, how = draw.uniform(0, WHOLE), draw.choice(SIGNALS)
    ended_within(process, moment)
    at_hand = sorted(run.processes(), key=lambda found: found.pid)
    killed = []
    for victim in draw.sample(at_hand, min(len(at_hand), draw.choice([1, 2]))):
        with suppress(psutil.Error):
            killed.append(" ".join(victim.cmdline()[1:4])[-60:])
            victim.send_signal(how)
    goes_on = ended_within(process, GOES_ON_FOR) is None
    if goes_on:
        process.kill()
        process.wait()
    start = time.monotonic()
    left = run.gone_within(ENDS_WITHIN)
    return {
        "moment": round(moment, 2),
        "signal": how.name,
        "killed": killed,
        "status": process.returncode,
        "left": [*left, *(["the run itself"] if goes_on else [])],
        "seconds": round(time.monotonic() - start, 2),
    }


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_eight_sessions_at_once_do_not_meet(tmp_path: Path) -> None:
    tmp = tmp_path / "t"
    tmp.mkdir()
    runs = []
    for number in range(SESSIONS):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        (folder / "test_it.py").write_text(RUN, encoding="utf-8")
        runs.append(Run(folder, tmp))
    try:
        for run in runs:
            run.start(*FAST, "--tier0-startup-timeout", "180")
        statuses = [run.process.wait(400) for run in runs if run.process is not None]

        assert statuses == [0] * SESSIONS, [run.output for run in runs]
        assert [run.left() for run in runs] == [[]] * SESSIONS
        for what in ("model tag", "endpoint"):
            told = {line for run in runs for line in run.output.splitlines() if line.startswith(what)}
            assert len(told) == SESSIONS, told
    finally:
        for run in runs:
            for process in run.processes():
                process.kill()


@pytest.mark.torture
def test_folders_with_odd_names(tmp_path: Path) -> None:
    folder, tmp = tmp_path / "a b'ü$(x);&" / "%s{0}", tmp_path / "t \"m'p;"
    folder.mkdir(parents=True)
    tmp.mkdir()
    run = Run(folder, tmp)
    (folder / "test_it.py").write_text(RUN, encoding="utf-8")

    assert run.finish(*FAST) == 0, run.output
    assert run.left() == []


@pytest.fixture
def namespace() -> list[str]:
    """What a command is put behind, to have a file system of its own."""
    before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*before, "mount -t tmpfs tier0 /mnt"], capture_output=True, check=False).returncode
    ):
        pytest.skip(
            "no file system of one's own may be mounted here: that needs unshare, and user namespaces"
        )
    return before


def mounted(namespace: list[str], *mounts: str) -> list[str]:
    return [*namespace, " && ".join([*mounts, 'exec "$@"']), "sh"]


@pytest.mark.torture
@pytest.mark.parametrize("size", ["16k", "200k", "400k"])
def test_a_disk_that_fills_up_is_said(whole: Run, namespace: list[str], size: str) -> None:
    before = mounted(namespace, f"mount -t tmpfs -o size={size} tier0 {whole.tmp}")

    assert whole.finish(*FAST, before=before) == EXIT_STATUS["inconclusive"], whole.output
    assert "set TMPDIR" in whole.output
    assert "1 error" in whole.output, whole.output
    assert whole.processes_after(5) == []


@pytest.mark.torture
def test_a_store_that_is_read_only_is_said(whole: Run, namespace: list[str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "models").mkdir(parents=True)
    before = mounted(namespace, f"mount -t tmpfs -o ro tier0 {store}")

    assert whole.finish(*FAST, "--tier0-store", str(store), before=before) == EXIT_STATUS["inconclusive"], (
        whole.output
    )
    assert f"in {store}: " in whole.output
    assert "Read-only file system" in whole.output
    assert whole.left() == []


@pytest.mark.torture
def test_a_machine_without_shared_memory_will_do(whole: Run, namespace: list[str]) -> None:
    assert whole.finish(*FAST, before=mounted(namespace, "mount -t tmpfs -o ro tier0 /dev/shm")) == 0, (
        whole.output
    )
    assert whole.left() == []
