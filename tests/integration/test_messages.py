"""What messages name: the values of this run, what is missing, what differs, and what to correct."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tier0
from tests.support.in_process import App, running
from tests.support.scripted_service import GOLDEN, LABELS, ROUTE, healthy, service, wrong
from tier0.checks.serving.harness.sender import UnansweredError
from tier0.checks.serving.harness.target import NO_SUCH_ROWS
from tier0.cli import app
from tier0.contract.contract import ContractError
from tier0.core.causes import causes_of
from tier0.core.verdict import CheckResult
from tier0.faults import Arrival, FaultServer, Reply
from tier0.golden.rows import GoldenRows
from tier0.report.reproduction import expectation_of
from tier0.runs.deployment import Deployment

Script = Callable[[Arrival], Reply]
NAMES = {0: "good", 1: "poor"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with golden rows in a file."""
    GOLDEN.write(tmp_path / "my rows.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def renamed(first: float) -> Any:
    return NAMES[LABELS[first]]


def judged(script: Script, check: str, rows: GoldenRows = GOLDEN, **contract: Any) -> CheckResult:
    with FaultServer(script) as server:
        deployment = Deployment.from_url(server.url, golden=rows, contract=contract or None)
        verdict = tier0.check_serving(deployment, on_fail="return", groups=[check])
    return next(result for result in verdict.checks if result.id == check)


@pytest.mark.parametrize(("script", "status"), [(healthy, 0), (wrong, 1)])
def test_a_draft_names_what_differs_line_by_line_and_the_next_command(
    script: Script, status: int, folder: Path
) -> None:
    with FaultServer(script) as server:
        done = invoke("contract", server.url, "--golden", "my rows.json", "--output", "c.toml")
        command = f"tier0 verify {server.url} --golden 'my rows.json' --contract c.toml"

    lines = done.stdout.splitlines()
    comments = [line for line in (folder / "c.toml").read_text().splitlines() if line.startswith("#")]
    assert done.exit_code == status
    assert lines[0].startswith("c.toml was written. ")
    assert lines[-1].endswith(command)
    assert lines[0].removeprefix("c.toml was written. ") in "\n".join(comments)
    assert all(f"# {line}" in comments for line in lines[1:-1])
    if status:
        assert any(line.startswith("  likely cause: ") for line in lines)
        assert any(line.startswith("  row 0: ") for line in lines)
        assert "Likely cause" not in lines[1]


def test_the_command_that_drafts_has_the_values_of_the_run(folder: Path) -> None:
    with FaultServer(service(labels=renamed)) as server:
        done = invoke("verify", server.url, "--golden", "my rows.json")

    (command,) = set(re.findall("`(tier0 contract [^`]*)`", done.stdout))
    assert done.exit_code == 2
    assert command == f"tier0 contract {server.url} --golden 'my rows.json' --output contract.toml"


def test_fields_that_the_service_requires_are_drafted_with_the_values_of_the_run(folder: Path) -> None:
    needs = {"features": ROUTE["input"]["properties"]["features"], "channel": {"type": "string"}}
    input_ = {"type": "object", "properties": needs, "required": ["channel"]}
    with FaultServer(service(routes=({**ROUTE, "input": input_},))) as server:
        done = invoke("verify", server.url, "--golden", "my rows.json")

    assert f"tier0 contract {server.url} --golden 'my rows.json'" in done.stdout
    assert "contract URL" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("http://x",), "no golden rows given"),
        (("--golden", "my rows.json"), "no URL given"),
        ((), "no URL and no golden rows given"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_only_what_is_missing_is_named(arguments: tuple[str, ...], missing: str) -> None:
    done = invoke("contract", *arguments)

    assert done.exit_code == 2
    assert missing in done.stderr


def test_outputs_whose_meaning_is_undeclared_are_not_called_the_same() -> None:
    undeclared = judged(service(labels=renamed), "parity.inputs_matter")
    same = judged(healthy, "parity.inputs_matter", replace(GOLDEN, predictions=[0, 0, 0]))

    assert (undeclared.status, undeclared.code) == ("not_judged", "undeclared")
    assert (same.status, same.code) == ("not_judged", "")


@pytest.mark.parametrize("check", ["parity.missing_values", "parity.unusual_texts"])
def test_rows_that_the_golden_rows_do_not_have_are_no_fault(check: str) -> None:
    result = judged(healthy, check)

    assert (result.status, result.message) == ("not_judged", NO_SUCH_ROWS)


def test_a_declared_route_that_does_not_exist_is_called_that() -> None:
    with pytest.raises(ContractError, match=r"/nope returned 404.*declares.*describes /predict"):
        judged(healthy, "parity.golden_rows", route="/nope", features="features")


def in_openapi(*paths: str) -> Script:
    """A service that is described in OpenAPI, at these paths in place of /predict."""
    body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    operations = {"post": {"requestBody": body}, "get": {}}
    document = {"openapi": "3.1.0", "paths": dict.fromkeys(paths, operations) | {"/metrics": {"get": {}}}}

    def answer(arrival: Arrival) -> Reply:
        if arrival.path == "/schema.json":
            return Reply(404)
        return Reply(body=document) if arrival.path == "/openapi.json" else healthy(arrival)

    return answer


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param({"features": "features", "predictions": "predictions"}, id="complete"),
        pytest.param({}, id="only the route"),
        pytest.param({"protocol": "openapi"}, id="with the protocol"),
    ],
)
def test_the_routes_of_openapi_are_listed_for_a_declared_route_that_does_not_exist(declared: Any) -> None:
    many = [f"/score/{number}\x1b[1m" for number in range(40)]

    with pytest.raises(ContractError, match="/nope") as problem:
        judged(in_openapi(*many), "parity.golden_rows", route="/nope", **declared)

    message = str(problem.value)
    assert "/score/0" in message
    assert "/score/39" not in message
    assert "and 20 more" in message
    assert "/metrics" not in message
    assert "\x1b" not in message


def test_a_declared_route_that_exists_need_not_be_described() -> None:
    declared: Any = {"route": "/predict", "features": "features", "predictions": "predictions"}

    assert judged(in_openapi("/score"), "parity.golden_rows", **declared).status == "pass"


def test_a_contract_and_golden_rows_are_not_overwritten(folder: Path) -> None:
    for name in ("c.toml", "g.json"):
        (folder / name).write_text("corrected", encoding="utf-8")
    (folder / "empty.toml").touch()
    (folder / "rows.csv").write_text("a,b\n1,2\n", encoding="utf-8")

    with FaultServer(healthy) as server:
        asked = ("contract", server.url, "--golden", "my rows.json", "--output")
        refused, written = invoke(*asked, "c.toml"), invoke(*asked, "empty.toml")
    golden = invoke("golden", "training:model", "rows.csv", "--output", "g.json")

    for done, name in ((refused, "c.toml"), (golden, "g.json")):
        assert done.exit_code == 2
        assert name in done.stderr
        assert "--output" in done.stderr
        assert (folder / name).read_text(encoding="utf-8") == "corrected"
    assert written.exit_code == 0
    assert (folder / "empty.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "times"), [("", 0), ("/predict", 1)])
def test_a_route_in_the_url_is_named_where_nothing_is_described(path: str, times: int) -> None:
    with FaultServer(lambda _: Reply(404)) as server:
        deployment = Deployment.from_url(f"{server.url}{path}", golden=GOLDEN)
        with pytest.raises(ContractError) as problem:
            tier0.check_serving(deployment, groups=["parity.golden_rows"])

    assert str(problem.value).count("leave it out of the URL") == times


def test_a_model_whose_entry_has_no_golden_rows_is_named(folder: Path) -> None:
    entry = folder / "store" / "models" / "churn" / "1"
    entry.mkdir(parents=True)
    (entry / "model.yaml").write_text("name: churn\nversion: '1'\n", encoding="utf-8")
    with FaultServer(healthy) as server:
        arguments = ("verify", server.url, "--model", "churn:1", "--store", "store")
        without, given = invoke(*arguments), invoke(*arguments, "--golden", "my rows.json")

    assert "store entry of churn:1" in without.stderr
    assert without.exit_code == 2
    assert "store entry" not in given.stderr
    assert "identity.expected_model" in given.stdout  # this service does not name its model


def test_a_function_that_fails_is_named_with_its_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "failing_training.py").write_text("def fit():\n    return 1 / 0\n", encoding="utf-8")
    (folder / "rows.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)

    done = invoke("golden", "failing_training:fit", "rows.csv")

    assert done.exit_code == 2
    assert "failing_training.py, line 2" in done.stderr


def page(arrival: Arrival) -> Reply:
    """Respond to requests for predictions with a page."""
    if arrival.path != "/predict":
        return healthy(arrival)
    return Reply(body=b"<html>\n<p>Hello</p>", headers={"Content-Type": "text/html"})


def test_a_page_in_place_of_json_has_two_likely_causes() -> None:
    result = judged(page, "parity.golden_rows")

    assert result.status == "fail"
    assert (result.evidence["status"], result.evidence["content_type"]) == (200, "text/html")
    assert len(result.causes) == 2
    assert " -i " in result.reproduce, "the command shows the content type"


class Limited:
    """Responds to *attempts* requests for predictions, and with status 503 after them."""

    def __init__(self, attempts: int = 0) -> None:
        self.left = attempts

    def __call__(self, arrival: Arrival) -> Reply:
        if arrival.path != "/predict":
            return healthy(arrival)
        self.left -= 1
        return healthy(arrival) if self.left >= 0 else Reply(503, {"error": "busy"})


def test_a_service_that_is_overloaded_has_responded() -> None:
    with FaultServer(Limited(1)) as server:
        deployment = Deployment.from_url(server.url, golden=GOLDEN, retries=2)
        verdict = tier0.check_serving(deployment, on_fail="return", groups=["parity.golden_rows"])

    (cause,) = [one for one in causes_of(verdict.checks) if one.leading.id == "parity.golden_rows"]
    result = cause.leading
    assert (result.status, result.code, verdict.exit_status) == ("error", "network", 2)
    assert (result.evidence["status"], result.evidence["attempts"]) == (503, 3)
    assert expectation_of(result, result.reproduce) == ("status 200", "status 503")
    assert "overloaded" in cause.next_step
    assert "reachable" not in cause.next_step
    assert cause.title != "No response"


def test_a_port_without_tls_is_called_that() -> None:
    with running(App()) as url:
        deployment = Deployment.from_url(url.replace("http:", "https:"), golden=GOLDEN, retries=0)
        with pytest.raises(UnansweredError, match=f"does not speak TLS: try {re.escape(url)}"):
            tier0.check_serving(deployment, on_fail="return", groups=["parity.golden_rows"])
