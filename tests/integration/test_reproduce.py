"""The command that a report gives for a failure shows the failure again, run by a shell as it stands."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from typer.testing import CliRunner

from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tier0.cli import app
from tier0.contract.contract import as_toml

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the commands are for curl")
TOKEN = "Bearer planted-token"


class Negative(App):
    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": [second - first for first, second in rows], "model_tag": self.tag}


class Replicas(App):
    """Two models respond in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = itertools.count()

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        step = 1.0 if next(self.turns) % 2 else 0.0
        return {"predictions": [first - second + step for first, second in rows], "model_tag": self.tag}


class Uncounted(App):
    """Its counters stand still."""

    def counters(self) -> list[str]:
        return ['small_request_total{http_response_code="200"} 7.0']

    def buckets(self) -> list[str]:
        return []


class Unpickles(App):
    async def respond(self, request: Request) -> Response:
        if "pickle" in request.headers.get("content-type", ""):
            is_pickle = (await request.body()).endswith(b"N.")
            return JSONResponse({"predictions": []}) if is_pickle else JSONResponse({"error": "x"}, 500)
        return await super().respond(request)


class Crashes(App):
    async def respond(self, request: Request) -> Response:
        response = await super().respond(request)
        return PlainTextResponse("an error", 500) if response.status_code == 200 else response


class NotReady(App):
    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("warming up", 500)


class Guarded(Negative):
    """Wants a token."""

    async def respond(self, request: Request) -> Response:
        if request.headers.get("authorization") != TOKEN:
            return PlainTextResponse("who are you?", 401)
        return await super().respond(request)


CASES: dict[str, tuple[type[App], str, list[str]]] = {
    "wrong predictions": (Negative, "parity.golden_rows", []),
    "replicas": (Replicas, "identity.always_the_same", []),
    "counters": (Uncounted, "observability.counts_requests", []),
    "pickles": (Unpickles, "security.refuses_pickle", ["--disturb", "malformed"]),
    "no predictions": (Crashes, "health.can_predict", []),
    "not ready": (NotReady, "health.ready", []),
    "a token": (Guarded, "parity.golden_rows", ["--header", f"Authorization: {TOKEN}"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_command_shows_the_failure_again(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, check, options = CASES[case]
    monkeypatch.chdir(tmp_path)
    GOLDEN.write("golden.json")
    Path("contract.toml").write_text(as_toml({"schema": 1, **CONTRACT}), encoding="utf-8")
    with running(kind()) as url:
        given = ["verify", url, "--golden", "golden.json", "--contract", "contract.toml", *options]
        done = CliRunner().invoke(app, [*given, "--json", "report.json"])
        report = json.loads(Path("report.json").read_text(encoding="utf-8"))
        (cause,) = [one for one in report["causes"] if one["check"] == check]
        shown = _run(cause["reproduce"])

    assert done.exit_code == 1, done.output
    assert TOKEN not in cause["reproduce"]
    assert cause["variables"] == (["$AUTHORIZATION"] if options[:1] == ["--header"] else [])
    assert cause["expected"]
    assert cause["got"]
    if check == "identity.always_the_same":
        assert len(set(shown.split())) == 2
    elif check == "observability.counts_requests":
        before, after = shown.strip().splitlines()
        assert before == after, "the counters have not grown"
    elif cause["got"].startswith("status "):
        assert cause["got"].removeprefix("status ") in shown.splitlines()[0]
    else:
        assert f"[{float(cause['got'])}]" in shown


def _run(command: str) -> str:
    """Run a command as a reader pastes it, with the variables that the report asks for."""
    environment = {"PATH": "/usr/bin:/bin", "AUTHORIZATION": TOKEN, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
