"""Defects around the prediction, in a small service of this process; seconds."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import tier0
from tests.support.command_line import run_cli
from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tier0.contract.service_schema import find_contract
from tier0.core.verdict import HOW_TO_GET_GOLDEN_ROWS, DoesNotHoldError, Verdict
from tier0.golden.rows import Origin
from tier0.runs import examination
from tier0.runs.deployment import Deployment
from tier0.serving.server import Server

pytestmark = pytest.mark.timeout(60)


class ErrorsNotCounted(App):
    def count(self, status: int) -> None:
        if status == 200:
            super().count(status)


class BucketsOutOfOrder(App):
    def buckets(self) -> list[str]:
        return super().buckets()[::-1]


class BucketsShrink(App):
    def buckets(self) -> list[str]:
        first, *rest = super().buckets()
        return [first.rpartition(" ")[0] + " 1000000.0", *rest]


class MetricsWiped(App):
    def counters(self) -> list[str]:
        return ['small_request_total{http_response_code="200"} 5.0']


class NoMetricsSyntax(App):
    def counters(self) -> list[str]:
        return ["small_request_total{http_response_code=200 five"]


class TakesPickle(App):
    async def respond(self, request: Request) -> Response:
        if "pickle" in request.headers.get("content-type", ""):
            try:
                return JSONResponse(pickle.loads(await request.body()))
            except pickle.UnpicklingError:
                return PlainTextResponse("Internal Server Error", 500)
        return await super().respond(request)


class Breaks(App):
    async def respond(self, request: Request) -> Response:
        response = await super().respond(request)
        return response if response.status_code == 200 else PlainTextResponse("Internal Server Error", 500)


class Unready(App):
    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("", 503)


class Orphan(App):
    tag = "small:of_the_last_run"


class Integers(App):
    """Rounds what no float holds."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return super().answer([[float(first), float(second)] for first, second in rows])


class CacheOfOneColumn(App):
    """Keeps the answer for each value of the second column."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[float, float] = {}

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {
            **super().answer(rows),
            "predictions": [self.kept.setdefault(second, first - second) for first, second in rows],
        }


class Limited(App):
    """Limits values to the range of the examples."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return super().answer([[first if first > 100 else min(first, 5.0), second] for first, second in rows])


MUTANTS: dict[str, tuple[type[App], str]] = {
    "OBS07": (ErrorsNotCounted, "observability.counts_refusals"),
    "OBS09": (BucketsOutOfOrder, "observability.metrics_can_be_read"),
    "decreasing_buckets": (BucketsShrink, "observability.metrics_can_be_read"),
    "malformed_metrics": (NoMetricsSyntax, "observability.metrics_can_be_read"),
    "metrics_deleted": (MetricsWiped, "observability.counts_requests"),
    "SEC01": (TakesPickle, "security.refuses_pickle"),
    "server_error_on_bad_input": (Breaks, "contract.refuses_infinity"),
    "never_ready": (Unready, "health.ready"),
    "orphaned_worker": (Orphan, "identity.expected_model"),
    "integers_through_floats": (Integers, "parity.large_integers"),
    "cache_ignores_a_column": (CacheOfOneColumn, "parity.other_values"),
    "limited_to_the_examples": (Limited, "parity.other_values"),
}


def judge(url: str, **more: Any) -> Verdict:
    large = replace(
        GOLDEN,
        rows=[*GOLDEN.rows, [2**53 + 1, 0], [2.5, 2.0], [9.5, 2.0]],
        predictions=[*GOLDEN.predictions, 2**53 + 1, 0.5, 7.5],
        origins=[
            *[Origin("example")] * len(GOLDEN),
            Origin("large_integer", "a"),
            Origin("inside", "a"),
            Origin("outside", "a", "above"),
        ],
    )
    contract = find_contract({}, {**CONTRACT, "style": "rows"})
    deployment = Deployment(url, large, "small:1", contract, **{"disturb": "malformed", **more})
    return tier0.check_serving(deployment, on_fail="return")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_detected(mutant: str, record: Callable[..., None]) -> None:
    app, check = MUTANTS[mutant]
    with running(app()) as url:
        verdict = judge(url)

    record(mutant, (check,), verdict)
    assert check in {result.id for result in verdict.with_status("fail")}
    assert verdict.exit_status == 1
    with pytest.raises(DoesNotHoldError, match=check):
        verdict.raise_for_status()


class Strict(App):
    """Refuses values outside the range that it was tested for."""

    async def respond(self, request: Request) -> Response:
        body = await request.body()
        try:
            rows = json.loads(body)["rows"]
            if any(5 < first < 100 for first, _ in rows):
                return PlainTextResponse("a: at most 5", 422)
        except (ValueError, TypeError, KeyError):
            pass
        return await super().respond(request)


def test_a_service_that_refuses_values_outside_its_range_is_not_accused() -> None:
    with running(Strict()) as url:
        verdict = judge(url)

    assert verdict.verdict == "pass", [result.explain() for result in verdict.with_status("fail")]
    others = next(result for result in verdict.with_status("pass") if result.id == "parity.other_values")
    assert (others.evidence["rows"], others.evidence["refused"]) == (2, 1)


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_healthy_service_passes(record: Callable[..., None], times: int) -> None:
    with running(App()) as url:
        for _ in range(times):
            verdict = judge(url, disturb="load")
            assert verdict.verdict == "pass", [result.explain() for result in verdict.with_status("fail")]

    record("service in this process", (), verdict)


class OneAtATime(http.server.BaseHTTPRequestHandler):
    """Handles one request at a time, and waits for its body."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if len(content) < int(self.headers["Content-Length"]):
            return
        rows = json.loads(content)["rows"]
        content = json.dumps({"predictions": [first - second for first, second in rows]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def one_at_a_time() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), OneAtATime)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_half_sent_requests_that_block_other_callers_fail(
    one_at_a_time: str, record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "REQUEST_TIMEOUT", 1.0)
    contract = find_contract({}, {"features": "rows", "predictions": "predictions"})
    deployment = Deployment(one_at_a_time, GOLDEN, contract=contract, disturb="load")

    verdict = tier0.check_serving(deployment, groups=["resilience"], on_fail="return")

    record("half_sent_requests_block_all", ("resilience.half_sent_requests",), verdict)
    assert [result.id for result in verdict.with_status("fail")] == ["resilience.half_sent_requests"]


class ThisProcess:
    pids = (os.getpid(),)
    model_folder = None
    certificate = ""
    planted = ""


def test_an_address_that_other_machines_can_reach_fails(record: Callable[..., None]) -> None:
    with running(App()) as url, socket.create_server(("0.0.0.0", 0)):
        deployment = Deployment(
            url, contract=find_contract({}, CONTRACT), server=cast("Server", ThisProcess())
        )
        verdict = tier0.check_serving(deployment, groups=["security"], on_fail="return")

    record("SEC07", ("security.loopback_only",), verdict)
    assert verdict.with_status("fail")[0].evidence["addresses"][0].startswith("0.0.0.0:")


def waivers(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "waivers.toml"
    path.write_text(f"schema = 1\n{text}", encoding="utf-8")
    return path


def test_a_port_of_another_process_fails(record: Callable[..., None]) -> None:
    class Another(ThisProcess):
        pids = (os.getppid(),)

    with running(App()) as url:
        contract = find_contract({}, CONTRACT)
        ours, not_ours = (
            tier0.check_serving(
                Deployment(url, contract=contract, server=cast("Server", of)),
                groups=["identity.this_run"],
                on_fail="return",
            )
            for of in (ThisProcess(), Another())
        )

    record("port_of_another_process", ("identity.this_run",), not_ours)
    assert ours.verdict == "pass"
    assert not_ours.with_status("fail")[0].evidence["pids"] == [os.getppid()]


WAIVED = '[[waive]]\ncheck = "security.refuses_pickle"\nreason = "the gateway refuses it"\nuntil = {day}\n'


def test_a_waiver_is_reported_and_expires(tmp_path: Path) -> None:
    today = dt.datetime.now(tz=dt.UTC).date()
    with running(TakesPickle()) as url:
        counting = Deployment.from_url(
            url,
            golden=GOLDEN,
            contract={**CONTRACT},
            waivers=waivers(tmp_path, WAIVED.format(day=today)),
            disturb="malformed",
        )
        ended = replace(
            counting,
            waivers=tuple(replace(waiver, until=today - dt.timedelta(days=1)) for waiver in counting.waivers),
        )
        waived = tier0.check_serving(counting)
        failed = tier0.check_serving(ended, on_fail="return")

    (result,) = [result for result in waived.checks if result.id == "security.refuses_pickle"]
    assert result.status == "not_judged"
    assert result.code == "waived"
    assert result.message.startswith(f"waived until {today}: the gateway refuses it")
    assert waived.target["waivers"] == [f"waived until {today}: the gateway refuses it"]
    assert "the waiver has expired" in failed.with_status("fail")[0].message


class SlightlyOff(App):
    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {
            "predictions": [(first - second) * (1 + 1e-8) for first, second in rows],
            "model_tag": self.tag,
        }


def test_a_tolerance_widens_the_comparison_of_one_check(tmp_path: Path) -> None:
    text = "".join(
        f'[[tolerate]]\ncheck = "{check}"\nrelative = 1e-6\nreason = "other processor"\nuntil = 2999-01-01\n'
        for check in ("parity.golden_rows", "parity.rows_alone")
    )
    with running(SlightlyOff()) as url:
        deployment = Deployment.from_url(
            url, golden=GOLDEN, contract=CONTRACT, waivers=waivers(tmp_path, text)
        )
        verdict = tier0.check_serving(deployment, groups=["parity"], on_fail="return")

    statuses = {result.id: result for result in verdict.checks}
    assert statuses["parity.golden_rows"].status == "pass"
    assert "1e-06 until 2999-01-01: other processor" in statuses["parity.golden_rows"].message
    assert statuses["parity.shuffled"].status == "fail", "other checks keep their own tolerance"


def test_a_secret_header_is_sent_and_never_shown(tmp_path: Path) -> None:
    seen: list[str] = []

    class Guarded(Unready):
        async def ready(self, request: Request) -> Response:
            seen.append(request.headers.get("authorization", ""))
            return await super().ready(request)

    (tmp_path / "token").write_text("Bearer s3cret\n", encoding="utf-8")
    report = tmp_path / "verdict.json"
    with running(Guarded()) as url:
        arguments = [
            "verify",
            url,
            "--header",
            f"Authorization: @{tmp_path / 'token'}",
            "--json",
            str(report),
            "--disturb",
            "malformed",
        ]
        done = run_cli(*arguments)

    assert done.returncode == 1
    assert set(seen) == {"Bearer s3cret"}
    assert "s3cret" not in done.stdout + done.stderr + report.read_text(encoding="utf-8")


def test_golden_rows_from_the_command_are_compared_with_a_service(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(
        "import pandas as pd\n"
        "class Difference:\n"
        "    def predict(self, X):\n"
        "        return X[:, 0] - X[:, 1]\n"
        "def train():\n"
        "    return Difference()\n",
        encoding="utf-8",
    )
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3.5,1\n-2,0.25\n", encoding="utf-8")
    (tmp_path / "service.toml").write_text(
        'schema = 1\nfeatures = "rows"\nstyle = "rows"\npredictions = "predictions"\n', encoding="utf-8"
    )

    made = run_cli(
        "golden", "training:train", "rows.csv", "--synthetic", "9", "--tag", "small:1", cwd=tmp_path
    )
    with running(App()) as url, running(Integers()) as right, running(SlightlyOff()) as off:
        options = ["--golden", str(tmp_path / "golden.json"), "--contract", str(tmp_path / "service.toml")]
        holds = run_cli("verify", url, *options, "--disturb", "malformed")
        fails = run_cli("verify", off, *options)
        unused = run_cli("verify", right, *options, "--groups", "parity")

    assert made.returncode == 0, made.stderr
    assert "golden rows of 2 columns" in made.stdout
    assert json.loads((tmp_path / "golden.json").read_text(encoding="utf-8"))["tag"] == "small:1"
    assert holds.returncode == 0, holds.stdout + holds.stderr
    assert fails.returncode == 1, fails.stdout
    assert "synthetic" in fails.stdout
    assert unused.returncode == 0, unused.stdout


@pytest.mark.slow
def test_without_golden_rows_and_contract_the_other_checks_run() -> None:
    with running(App()) as url:
        done = run_cli("verify", url, "--disturb", "malformed", "--without-golden", "--verbose")
        unasked = run_cli("verify", url)
        health = run_cli("verify", url, "--groups", "health.ready")

    assert done.returncode == health.returncode == 0, done.stdout + done.stderr
    assert unasked.returncode == 2
    assert HOW_TO_GET_GOLDEN_ROWS in unasked.stdout
    assert "health.ready" in done.stdout
    assert "schema.json returned 404: the schema is hidden, or this is not a BentoML service" in done.stdout
