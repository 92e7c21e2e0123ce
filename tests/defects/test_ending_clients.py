"""However a client is created or closed: a clear message, the right status, and an end within seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]
ONLY = "wire.one_request,hygiene.one_slash,hygiene.closed"
FEW_SECONDS = 15.0
SOME_SECONDS = 40.0


def check(client: str, *options: str, only: str = ONLY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tier0.cli", "check-client", client, "--only", only, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def ending(name: str) -> str:
    return f"tests.defects.ending_clients:{name}"


@pytest.mark.parametrize(
    "factory",
    [
        "async_manager",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("manager", "async_generator", "generator")),
    ],
)
def test_a_context_manager_or_a_generator_is_entered_and_left(factory: str) -> None:
    done = check(ending(factory))

    assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("client", "status", "message"),
    [
        ("CloseRaises", 1, "OSError: already gone"),
        ("ExitsOnClose", 1, "os._exit(0)"),
        ("exits", 2, "os._exit(0)"),
        ("ExitsInThread", 2, "os._exit(0)"),
        ("Generates", 2, "generator"),
        ("SendsNothing", 2, "sent no request"),
        ("OwnThread", 0, "flusher"),
    ],
)
def test_an_unusual_end_has_a_message_and_the_right_status(client: str, status: int, message: str) -> None:
    started = time.monotonic()
    done = check(ending(client))

    assert done.returncode == status, done
    assert message in done.stdout + done.stderr
    assert time.monotonic() - started < FEW_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "status", "message"),
    [
        ("CloseHangs", 1, "close did not end"),
        ("waits", 2, "ending_clients.py:"),
        ("Waits", 2, "ending_clients.py:"),
    ],
)
def test_what_hangs_is_abandoned_and_named(client: str, status: int, message: str) -> None:
    started = time.monotonic()
    done = check(ending(client))

    assert done.returncode == status, done
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < SOME_SECONDS


def test_what_a_client_prints_is_shown_beside_its_check_and_not_among_the_results(tmp_path: Path) -> None:
    report = tmp_path / "verdict.json"
    done = check(ending("Chatty"), "--json", str(report), "--verbose", only="wire.one_request")

    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["passed", "wire.one_request"]
    assert {line.strip() for line in lines[1:3]} == {
        "the client printed: logged by the client",
        "the client printed: client:Chatty: passed: 45 passed",
    }
    assert all(line.startswith(("checking ", "client: ")) for line in done.stderr.splitlines())
    (result,) = json.loads(report.read_text(encoding="utf-8"))["checks"]
    assert sorted(result["evidence"]["printed"]) == [
        "client:Chatty: passed: 45 passed",
        "logged by the client",
    ]


def test_checks_are_left_out_and_shown_as_such() -> None:
    done = check(ending("manager"), "--skip", "hygiene.closed,hygiene.one_slash")

    assert done.returncode == 0, done
    assert "2 checks: left out" in done.stdout


def test_an_unknown_check_cannot_be_left_out() -> None:
    done = check(ending("manager"), "--skip", "hygene")

    assert done.returncode == 2
    assert "'hygene'" in done.stderr
