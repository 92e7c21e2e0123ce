"""Every door asks a service the same requests, and comes to the same verdict."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tier0
from tests.support.pytest_run import Run
from tests.support.scripted_service import GOLDEN, ROUTE, service, wrong
from tier0.checks.serving.harness.sender import UnansweredError
from tier0.cli import app
from tier0.contract.contract import ContractError
from tier0.core.catalogue import CATALOGUE, Check, select_checks
from tier0.core.errors import Tier0Error, UnknownCheckError
from tier0.core.verdict import EXIT_STATUS, InconclusiveError
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.pytest_recorder import MAX_NAMED
from tier0.report.terminal import MAX_LINES
from tier0.runs.deployment import Deployment
from tier0.runs.examination import Examination, close_examinations, examination_of

SUITE = ["--pyargs", "tier0.suite", "-m", "tier0_bentoml"]
OWN = """
import pytest
import tier0

@pytest.mark.tier0_bentoml
@tier0.parametrize_with_checks()
def test_serving(tier0_deployment, check):
    check(tier0_deployment)
"""


SERVICES: dict[str, tuple[Callable[[Arrival], Reply] | None, bool, str]] = {
    "healthy": (service(), True, "pass"),
    "answers 500": (service(status=500), True, "fail"),
    "wrong labels": (wrong, True, "fail"),
    "no golden rows": (service(), False, "inconclusive"),
    "nothing answers": (None, True, "inconclusive"),
    "contract unclear": (
        service(routes=tuple({**ROUTE, "name": name, "route": f"/{name}"} for name in ("one", "other"))),
        True,
        "inconclusive",
    ),
}


@dataclass
class Outcome:
    """What one door found, and what it sent."""

    verdict: str
    statuses: dict[str, tuple[str, str, str]]
    requests: Counter[tuple[str, str]]

    @classmethod
    def of(cls, document: dict[str, Any], arrivals: list[Arrival], url: str) -> Outcome:
        statuses = {
            check["id"]: (check["status"], check["code"], check["message"].replace(url, "URL"))
            for check in document["checks"]
        }
        return cls(document["verdict"], statuses, Counter((one.method, one.path) for one in arrivals))


def by_check_serving(url: str, golden: Path | None, _: Run) -> dict[str, Any]:
    try:
        return tier0.check_serving(Deployment.from_url(url, golden=golden), on_fail="return").as_dict()
    except (ContractError, UnansweredError):
        return {"verdict": "inconclusive", "checks": []}


def by_command(url: str, golden: Path | None, run: Run) -> dict[str, Any]:
    path = run.folder / "verdict.json"
    path.write_text('{"verdict": "pass", "checks": []}', encoding="utf-8")
    done = CliRunner().invoke(
        app, ["verify", url, "--json", str(path), *(["--golden", str(golden)] if golden else [])]
    )
    if not path.exists():
        assert done.exit_code == 2, done.output
        return {"verdict": "inconclusive", "checks": []}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert done.exit_code == EXIT_STATUS[document["verdict"]]
    return document


def by_pytest(tests: list[str]) -> Callable[[str, Path | None, Run], dict[str, Any]]:
    def ask(url: str, golden: Path | None, run: Run) -> dict[str, Any]:
        (run.folder / "test_own.py").write_text(OWN, encoding="utf-8")
        options = [
            "-p",
            "tier0.pytest_plugin",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-rs",
            "--tier0-report",
            "report.json",
        ]
        asked = ["--tier0-url", url, *(["--tier0-golden", str(golden)] if golden else [])]
        status = run.finish(
            *tests, *options, *asked, env={"PYTHONPATH": str(Path(tier0.__file__).parents[1])}
        )
        document: dict[str, Any] = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
        assert status == EXIT_STATUS[document["verdict"]]
        return document

    return ask


DOORS = {
    "check_serving": by_check_serving,
    "command": by_command,
    "suite": by_pytest(SUITE),
    "parametrize": by_pytest(["test_own.py"]),
}


@pytest.mark.parametrize("ci", ["", "true"], ids=["by hand", "on a CI server"])
def test_failures_of_checks_are_told_once_and_other_failures_by_pytest(ci: str, run: Run) -> None:
    GOLDEN.write(run.folder / "golden.json")
    other = "\n\ndef test_other():\n    assert 'mine' == 'yours'\n"
    (run.folder / "test_own.py").write_text(OWN + other, encoding="utf-8")
    plugins = ["-p", "tier0.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    with FaultServer(wrong) as server:
        options = ["--tier0-url", server.url, "--tier0-golden", "golden.json"]
        environment = {"PYTHONPATH": str(Path(tier0.__file__).parents[1]), "CI": ci, "BUILD_NUMBER": ""}
        status = run.finish("test_own.py", *plugins, *options, env=environment)

    assert status == 1
    failures = run.output.partition("= FAILURES =")[2].partition("= tier0 =")[0]
    assert "assert 'mine' == 'yours'" in failures
    assert "test_serving" not in failures
    assert run.output.count("Wrong predictions (critical, parity.golden_rows)") == 1
    failed = [line for line in run.output.splitlines() if line.startswith("FAILED ")]
    assert len(failed) == MAX_NAMED + 1
    counted = re.search(r"= (\d+) failed", run.output)
    assert counted is not None
    assert int(counted[1]) > len(failed), "pytest counts all of them"
    assert len(run.output.splitlines()) - len(failures.splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "wrong labels" else pytest.mark.slow) for name in SERVICES],
)
def test_every_door_comes_to_the_same_verdict_with_the_same_requests(
    name: str, run: Run, tmp_path: Path
) -> None:
    script, has_golden, verdict = SERVICES[name]
    golden = tmp_path / "golden.json" if has_golden else None
    if golden is not None:
        GOLDEN.write(golden)
    found = {}
    for door, ask in DOORS.items():
        with FaultServer(script or Reply()) as server:
            url = "http://127.0.0.1:9" if script is None else server.url
            document = ask(url, golden, run)
            found[door] = Outcome.of(document, server.arrivals, url)
        if door in {"suite", "parametrize"} and name in {"nothing answers", "contract unclear"}:
            assert "1 error" in run.output, run.output
            assert f"{len(CATALOGUE) - 1} skipped" in run.output, run.output
            assert not re.search(r"\d+ failed", run.output)
            assert run.output.count("Traceback") == run.output.count("httpcore") == 0, "the message is enough"
            found[door].statuses = {}

    first = found["check_serving"]
    assert first.verdict == verdict
    assert all(outcome == first for outcome in found.values()), found
    if verdict != "inconclusive" or name == "no golden rows":
        assert len(first.statuses) == len(CATALOGUE)
    if name == "answers 500":
        assert first.requests.total() == 6, first.requests
        muted = [status for status in first.statuses.values() if status[:2] == ("not_judged", "muted")]
        assert len(muted) > 20


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(service()) as server:
        yield server
    close_examinations()


def examined(server: FaultServer, **how: Any) -> Deployment:
    return Deployment.from_url(server.url, golden=GOLDEN, **how)


def named(name: str) -> Check:
    (check,) = select_checks(CATALOGUE, [name])
    return check


def test_the_first_check_that_gets_no_prediction_reports_it_and_a_later_prediction_lifts_that(
    server: FaultServer,
) -> None:
    server.script = service(status=500)
    with Examination(examined(server)) as examination:
        first, second = (
            examination.ask(named("parity.rows_alone")),
            examination.ask(named("health.can_predict")),
        )
        assert (first.status, second.status, second.code) == ("fail", "not_judged", "muted")
        assert second.message.endswith("see parity.rows_alone")
        server.script = service()
        again, then = (
            examination.ask(named("parity.rows_alone")),
            examination.ask(named("health.can_predict")),
        )

    assert (again.status, then.status) == ("pass", "pass")


def test_a_service_that_refuses_some_rows_is_not_muted(server: FaultServer) -> None:
    right = service()
    server.script = lambda arrival: (
        Reply(500) if arrival.method == "POST" and len(arrival.body) < 40 else right(arrival)
    )
    groups = ["health.can_predict", "parity.golden_rows", "parity.rows_alone", "parity.shuffled"]

    verdict = tier0.check_serving(examined(server), groups=groups, on_fail="return")

    assert [result.status for result in verdict.checks] == ["pass", "pass", "fail", "pass"]


def test_one_examination_for_deployments_that_are_described_alike(server: FaultServer) -> None:
    one, other = examined(server), examined(server)

    assert examination_of(one) is examination_of(other)
    assert examination_of(examined(server, disturb="load")) is not examination_of(one)


def test_the_callers_event_loop_is_left_alone(server: FaultServer) -> None:
    async def within() -> str:
        return tier0.check_serving(examined(server), groups=["parity.golden_rows"]).verdict

    policy = asyncio.get_event_loop_policy()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert tier0.check_serving(examined(server), groups=["parity.golden_rows"]).verdict == "pass"
        assert asyncio.get_event_loop() is loop
        assert asyncio.get_event_loop_policy() is policy
        assert loop.run_until_complete(within()) == "pass"
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tier0-examination"]


def test_no_response_of_a_url_is_inconclusive(server: FaultServer) -> None:
    right = service()
    server.script = lambda arrival: Reply.broken("reset") if arrival.method == "POST" else right(arrival)

    verdict = tier0.check_serving(examined(server, retries=0), groups=["health", "parity"], on_fail="return")

    by_id = {result.id: result for result in verdict.checks}
    assert (by_id["health.can_predict"].status, by_id["health.can_predict"].code) == ("error", "network")
    assert by_id["parity.golden_rows"].code == "muted"
    assert verdict.verdict == "inconclusive"
    with pytest.raises(InconclusiveError, match=r"health\.can_predict"):
        verdict.raise_for_status()


def test_what_was_sent_again_is_counted_and_reported(server: FaultServer, tmp_path: Path) -> None:
    right, predictions = service(), itertools.count()

    def sometimes(arrival: Arrival) -> Reply:
        is_refused = arrival.method == "POST" and next(predictions) % 5 == 4
        return Reply(503, headers={"Retry-After": "0"}) if is_refused else right(arrival)

    server.script = sometimes
    GOLDEN.write(tmp_path / "golden.json")
    report = tmp_path / "verdict.json"
    asked = ["verify", server.url, "--golden", str(tmp_path / "golden.json"), "--json", str(report)]

    again = CliRunner().invoke(app, asked)
    retried = json.loads(report.read_text(encoding="utf-8"))["target"]["retried"]
    once = CliRunner().invoke(app, [*asked, "--retries", "0"])

    assert again.exit_code == 0, again.output
    assert retried["503"] > 3
    assert f"requests sent again: {retried['503']} after 503" in again.output
    assert once.exit_code == 2, once.output
    assert json.loads(report.read_text(encoding="utf-8"))["target"]["retried"] == {}


def test_a_service_that_is_starting_is_waited_for(tmp_path: Path) -> None:
    GOLDEN.write(tmp_path / "golden.json")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asked = [
        "verify",
        f"http://127.0.0.1:{port}",
        "--golden",
        str(tmp_path / "golden.json"),
        "--groups",
        "health.ready",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(tier0.__file__).parents[1])}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "tier0.cli", *asked, "--wait", "60"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline().startswith(
        f"tier0: waiting for http://127.0.0.1:{port}: no response yet (2 of 60 s)"
    )
    with FaultServer(service()) as behind:
        forward = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=_forward, args=(forward, behind.port), daemon=True).start()
        output, _ = waiting.communicate(timeout=60)
        forward.shutdown(socket.SHUT_RDWR)
        forward.close()

    assert waiting.returncode == 0, output
    gives_up = CliRunner().invoke(app, [*asked, "--wait", "0.3"])
    assert gives_up.exit_code == 2
    assert "nothing responds at" in gives_up.output


def _forward(listener: socket.socket, port: int) -> None:
    def copy(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError), to:  # either side may have gone
            while data := source.recv(65536):
                to.sendall(data)

    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", port))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=copy, args=pair, daemon=True).start()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("route", ["/schema.json", "/predict"])
def test_a_service_that_requires_credentials_is_told_apart(
    server: FaultServer, status: int, route: str
) -> None:
    right = service()
    server.script = lambda arrival: Reply(status) if arrival.path == route else right(arrival)

    try:
        told = tier0.check_serving(examined(server), on_fail="return").with_status("fail")[0].explain()
    except Tier0Error as problem:
        told = str(problem)

    assert str(status) in told
    assert "--header 'Authorization: …'" in told
    assert "--contract" not in told


def test_ctrl_c_ends_at_once_and_the_report_says_so(tmp_path: Path) -> None:
    GOLDEN.write(tmp_path / "golden.json")
    report = tmp_path / "verdict.json"
    report.write_text('{"verdict": "pass"}', encoding="utf-8")
    right = service()
    with FaultServer(lambda arrival: Reply.hang() if arrival.method == "POST" else right(arrival)) as hanging:
        asked = ["verify", hanging.url, "--golden", str(tmp_path / "golden.json"), "--json", str(report)]
        environment = {**os.environ, "PYTHONPATH": str(Path(tier0.__file__).parents[1])}
        process = subprocess.Popen(
            [sys.executable, "-m", "tier0.cli", *asked],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        while not any(arrival.method == "POST" for arrival in hanging.arrivals):
            assert process.poll() is None
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert time.monotonic() - start < 10
    assert process.returncode == 130
    document = json.loads(report.read_text(encoding="utf-8"))
    assert (document["verdict"], document["cut_short"]) == ("inconclusive", "was interrupted")
    assert document["target"]["url"] == hanging.url


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["http://127.0.0.1:9", "--groups", "party"],
        ["http://127.0.0.1:9", "--golden", "nowhere.json"],
    ],
)
def test_an_older_report_is_never_taken_for_this_runs(tmp_path: Path, arguments: list[str]) -> None:
    report = tmp_path / "verdict.json"
    report.write_text('{"verdict": "pass"}', encoding="utf-8")

    done = CliRunner().invoke(app, ["verify", *arguments, "--json", str(report)])

    assert done.exit_code == 2
    assert not report.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url"])
def test_a_service_that_cannot_be_asked_has_a_report_of_this_run(tmp_path: Path, url: str) -> None:
    report = tmp_path / "verdict.json"
    report.write_text('{"verdict": "pass"}', encoding="utf-8")

    done = CliRunner().invoke(app, ["verify", url, "--json", str(report)])

    assert done.exit_code == 2
    document = json.loads(report.read_text(encoding="utf-8"))
    assert (document["verdict"], document["checks"]) == ("inconclusive", [])
    assert document["problems"][0]["message"] in done.output.replace("tier0: ", "")


IN_A_BODY = """
import pytest
import tier0
from tier0.runs.deployment import Deployment

@pytest.mark.tier0_bentoml
def test_serving(request):
    tier0.check_serving(Deployment.from_url("{url}"), groups=["health"])

def test_other():
    assert {holds}
"""


@pytest.mark.parametrize(("holds", "status"), [(True, 2), (False, 1)])
def test_no_response_is_an_error_in_the_body_of_a_test_too(run: Run, *, holds: bool, status: int) -> None:
    """The exit status stays 1 if another test failed."""
    (run.folder / "test_it.py").write_text(
        IN_A_BODY.format(url="http://127.0.0.1:9", holds=holds), encoding="utf-8"
    )

    done = run.finish(
        "test_it.py", "-p", "tier0.pytest_plugin", env={"PYTHONPATH": str(Path(tier0.__file__).parents[1])}
    )

    assert done == status, run.output
    assert "1 error" in run.output
    assert "Inconclusive" in run.output
    assert ("1 failed" in run.output) is not holds


@pytest.mark.slow
def test_a_check_without_a_response_is_an_error_of_its_test(run: Run, server: FaultServer) -> None:
    right = service()
    server.script = lambda arrival: Reply.broken("reset") if arrival.method == "POST" else right(arrival)
    GOLDEN.write(run.folder / "golden.json")
    asked = ["--tier0-url", server.url, "--tier0-golden", "golden.json", "--tier0-groups", "health"]

    done = run.finish(
        *SUITE,
        *asked,
        "--tier0-retries",
        "0",
        "-p",
        "tier0.pytest_plugin",
        env={"PYTHONPATH": str(Path(tier0.__file__).parents[1])},
    )

    assert done == EXIT_STATUS["inconclusive"], run.output
    assert "ERROR" in run.output
    assert not re.search(r"\d+ failed", run.output)


@pytest.mark.slow
def test_bad_usage_of_pytest_leaves_no_older_report(run: Run) -> None:
    report = run.folder / "report.json"
    report.write_text('{"verdict": "pass"}', encoding="utf-8")
    environment = {"PYTHONPATH": str(Path(tier0.__file__).parents[1])}

    assert (
        run.finish(
            *SUITE,
            "-p",
            "tier0.pytest_plugin",
            "--tier0-report",
            "report.json",
            "--tier0-groups",
            "party",
            env=environment,
        )
        == 4
    )
    assert "unknown group or check 'party' (did you mean 'parity'?)" in run.output
    assert not report.exists()


def test_an_unexpected_error_is_no_verdict(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Examination, "examine", lambda *_: 1 / 0)

    done = CliRunner().invoke(app, ["verify", server.url])

    assert done.exit_code == 2
    assert "internal error: ZeroDivisionError: division by zero" in done.output


@pytest.mark.parametrize("groups", [["party"], ["parity.golden_row"], ["health", "PARITY"]])
def test_an_unknown_group_or_check_is_refused_everywhere(groups: list[str]) -> None:
    for refuse in (
        lambda: tier0.parametrize_with_checks(groups),
        lambda: tier0.parametrize_with_client_checks(groups),
        lambda: tier0.check_serving(Deployment.from_url("http://127.0.0.1:9"), groups=groups),
        lambda: tier0.check_client(lambda _: None, only=groups),
    ):
        with pytest.raises(UnknownCheckError, match=r"unknown group or check"):
            refuse()


@pytest.mark.slow
def test_an_unknown_group_is_an_error_at_collection(run: Run) -> None:
    (run.folder / "test_it.py").write_text(
        OWN.replace("parametrize_with_checks()", 'parametrize_with_checks(groups=["party"])'),
        encoding="utf-8",
    )

    status = run.finish(
        "test_it.py", "-p", "tier0.pytest_plugin", env={"PYTHONPATH": str(Path(tier0.__file__).parents[1])}
    )

    assert status == pytest.ExitCode.INTERRUPTED
    assert "unknown group or check 'party' (did you mean 'parity'?)" in run.output
