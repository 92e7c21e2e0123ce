"""Hostile text of a service, a client, a golden file and a server's log, in the output of the commands."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.support.command_line import run_cli
from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tests.unit.test_display import has_command, is_harmless
from tier0.contract.contract import as_toml
from tier0.serving.server_log import ServerLog

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \u202egnirts\u2066 \u200b\x9b5m\r\n"
    "::error file=a.py::planted\n  ::add-mask::x\n##[error]planted\n##vso[task.complete]\n"
    "</script>]]>| `x` [x](http://evil.example) " + "long" * 20_000
)
ORDINARY = "größe 预测 naïve 👩\u200d💻"
CREDENTIALS = "deployer:wrong horse/battery"
CODED = base64.b64encode(CREDENTIALS.encode()).decode()


class Hostile(App):
    """Refuses every prediction, with hostile text, and with the credentials of the request decoded."""

    async def respond(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Basic ")
        decoded = base64.b64decode(given).decode()
        return PlainTextResponse(f"{ORDINARY} {given} {decoded} {decoded.encode().hex()} {HOSTILE}", 500)


def require_harmless(output: str) -> None:
    assert is_harmless(output)
    assert not has_command(output)
    assert len(output) < 200_000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    GOLDEN.write(tmp_path / "golden.json")
    (tmp_path / "contract.toml").write_text(as_toml({"schema": 1, **CONTRACT}), encoding="utf-8")
    return tmp_path


def test_a_response_is_shown_as_data(files: Path) -> None:
    report = files / "report.json"
    options = ["--golden", str(files / "golden.json"), "--contract", str(files / "contract.toml")]
    options += ["--header", f"Authorization: Basic {CODED}", "--retries", "0", "--json", str(report)]
    with running(Hostile()) as url:
        done = run_cli("verify", url, *options)

    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert ORDINARY in output
    require_harmless(output)
    texts = json.dumps(json.loads(report.read_text(encoding="utf-8")), ensure_ascii=False)
    require_harmless(texts)
    for text in (output, texts):
        for secret in (CODED, CREDENTIALS, "wrong horse", "deployer", CREDENTIALS.encode().hex()):
            assert secret not in text
        assert "(Authorization hidden)" in text


CLIENT = f"""
import logging
HOSTILE = {HOSTILE!r}
print(HOSTILE)
def make_client(url, **options):
    logging.getLogger("theirs").warning(HOSTILE)
    class Client:
        def predict(self, data):
            print({ORDINARY!r}, HOSTILE)
            raise ValueError(HOSTILE)
    return Client()
"""


def test_what_a_client_logs_prints_and_raises_is_shown_as_data(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(CLIENT, encoding="utf-8")

    done = run_cli("check-client", "theirs:make_client", cwd=tmp_path)

    assert done.returncode == 2
    assert ORDINARY in done.stderr
    assert "red" in done.stderr
    require_harmless(done.stdout)
    require_harmless(done.stderr)


def test_a_golden_file_is_shown_as_data(files: Path) -> None:
    content = json.loads((files / "golden.json").read_text(encoding="utf-8"))
    (files / "golden.json").write_text(json.dumps({**content, "predictions": HOSTILE}), encoding="utf-8")

    done = run_cli("verify", "http://127.0.0.1:9", "--golden", str(files / "golden.json"))

    assert done.returncode == 2
    require_harmless(done.stdout + done.stderr)


def test_a_damaged_contract_is_shown_as_data(files: Path) -> None:
    (files / "contract.toml").write_text(f"schema = 1\n{json.dumps(HOSTILE)} = 1\n", encoding="utf-8")
    options = ["--golden", str(files / "golden.json"), "--contract", str(files / "contract.toml")]

    done = run_cli("verify", "http://127.0.0.1:9", *options)

    assert done.returncode == 2
    require_harmless(done.stdout + done.stderr)


def test_an_old_report_is_shown_as_data(tmp_path: Path) -> None:
    reports = []
    for name, status in (("old.json", "pass"), ("new.json", HOSTILE)):
        check = {"id": HOSTILE[:500] + ORDINARY, "status": status}
        content = {"schema": 2, "verdict": "pass", "target": {}, "checks": [check]}
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
        reports.append(str(tmp_path / name))

    done = run_cli("diff", *reports)

    assert done.returncode == 1
    require_harmless(done.stdout + done.stderr)


def test_the_log_of_a_server_is_shown_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "A_TOKEN", "very-secret-value")
    log = tmp_path / "server.log"
    before = "x" * 395
    log.write_text(f"{HOSTILE}\n{ORDINARY}\n{before}very-secret-value{before}\n", encoding="utf-8")

    end = ServerLog(log).end()

    require_harmless(end)
    assert all(line.startswith("  | ") for line in end.splitlines())
    assert f"  | {ORDINARY}\n" in end
    assert not re.search("very|secret", end)
    log.write_bytes(b"\xff\x1b[2J" * 1_000_000)
    assert len(ServerLog(log).end()) < 1_000
