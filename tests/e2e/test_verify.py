"""`tier0 verify`: a healthy deployment is not accused, and one with a defect does not pass; by the check that should see it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import tier0
from tier0.core.errors import InvalidRowError
from tier0.core.verdict import DoesNotHoldError
from tier0.runs.deployment import Deployment
from tier0.serving.entry import Entry
from tier0.serving.predictor import Predictor

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120), pytest.mark.xdist_group("tier0_bentoml")]
Answer = dict[str, Any]
NOT_OF_THIS_MODEL = {"parity.boundaries", "parity.decisions", "parity.large_integers", "contract.refuses_misspelled_category"}
"""What a model may lack: a linear one has no boundaries."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tier0.__file__).parents[1])}  # a checkout need not be installed
    return subprocess.run([sys.executable, "-m", "tier0.cli", *arguments], env=environment, capture_output=True, text=True, check=False)


def test_our_own_deployment_holds_in_every_check(tier0_deployment: OwnDeployment) -> None:
    for _ in range(3):
        verdict = tier0.check_serving(tier0_deployment, disturb="load")

        assert verdict.verdict == "pass"
        unjudged = {result.id: result.message for result in verdict.with_status("not_judged")}
        kills = {"resilience.worker_is_replaced", "teardown.stops", "teardown.ends_with_its_supervisor"}
        assert kills | {"concurrency.own_context"} == unjudged.keys() - NOT_OF_THIS_MODEL, unjudged


def test_command_line_by_model_and_store(tier0_deployment: OwnDeployment, tmp_path: Path) -> None:
    model, report = tier0_deployment.model, tmp_path / "verdict.json"

    done = run("verify", tier0_deployment.url, "--model", f"{model.name}:latest", "--store", str(model.store), "--json", str(report))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "it holds" in done.stdout
    document = json.loads(report.read_text(encoding="utf-8"))
    assert (document["schema"], document["verdict"], document["target"]["model"]) == (1, "pass", model.tag)
    statuses = {check["id"]: check["status"] for check in document["checks"]}
    assert statuses["parity.golden_rows"] == statuses["identity.expected_model"] == "pass"
    assert statuses["contract.refuses_empty_body"] == "not_judged", "nothing malformed is sent unless it is allowed"


def test_command_line_without_golden_rows_judges_what_it_can(tier0_deployment: OwnDeployment) -> None:
    done = run("verify", tier0_deployment.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "parity.golden_rows" in done.stdout
    assert "there are no golden rows to compare with: give --model TAG with --store DIR, or --golden FILE" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify"], "which service? Say its URL"),
        (["verify", "localhost:3000"], "is no URL of a service"),
        (["verify", "http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9"),
        (["verify", "http://127.0.0.1:9", "--golden", "nowhere.json"], "no golden rows can be read from nowhere.json"),
        (["verify", "http://127.0.0.1:9", "--model", "m:1", "--store", "/dev/null"], "there is no model 'm:1' in /dev/null"),
        (["verify", "http://127.0.0.1:9", "--contract", "nowhere.toml"], "the contract nowhere.toml cannot be read"),
        (["verify", "http://127.0.0.1:9", "--header", "secret"], "give 'Name: value'"),
        (["verify", "http://127.0.0.1:9", "--groups", "magic"], "there is no such group"),
        (["verify", "http://127.0.0.1:9", "--disturb", "everything"], "Invalid value for '--disturb'"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_status_2(arguments: list[str], says: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stdout + done.stderr


def test_catalogue_page_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")

    assert run("verify", "--list").stdout.strip() in page


class Mutant:
    """A service of the deployment's own model, in this process, with one defect."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.asked = 0

    def answer(self, body: bytes) -> Answer:
        return self.predictor.answer(body)

    def predict_all(self, rows: list[list[Any]]) -> Answer:
        return self.predictor.answer(json.dumps({"features": rows}).encode())

    async def predict(self, request: Request) -> Response:
        self.asked += 1
        if request.headers.get("content-type") != "application/json":
            return PlainTextResponse("", 415)
        try:
            return JSONResponse(self.answer(await request.body()))
        except InvalidRowError as refusal:
            return JSONResponse(refusal.as_dict(), refusal.status)

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse(f'bentoml_service_request_total{{endpoint="/predict"}} {self.asked}.0\n')

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("")

    async def schema(self, _: Request) -> Response:
        return JSONResponse({"name": "Mutant", "routes": [], "paths": {"/predict": {"mounted": True}}})


class PreprocessingDropped(Mutant):
    def answer(self, body: bytes) -> Answer:
        pipeline = self.predictor.model
        raw = {name: step for name, step in pipeline.named_steps.items() if name == "model"}["model"]
        payload = json.loads(body)
        width = raw.n_features_in_
        rows = np.zeros((len(payload["features"]), width))
        return {**self.predictor.answer(body), "probabilities": raw.predict_proba(rows).tolist()}


class ThresholdNotShipped(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        classes = answer["classes"]
        return {**answer, "predictions": [classes[int(row[1] >= 0.9)] for row in answer["probabilities"]]}


class ConstantOnAnyException(Mutant):
    def answer(self, body: bytes) -> Answer:
        rows = json.loads(body)["features"]
        return {"predictions": [0] * len(rows), "probabilities": [[0.5, 0.5]] * len(rows), "classes": [0, 1], "model_tag": self.predictor.tag}


class NamesIgnored(Mutant):
    def answer(self, body: bytes) -> Answer:
        payload = json.loads(body)
        payload.pop("columns", None)
        return self.predictor.answer(json.dumps(payload).encode())


class RepeatedRowsDropped(Mutant):
    def answer(self, body: bytes) -> Answer:
        payload = json.loads(body)
        payload["features"] = [json.loads(text) for text in dict.fromkeys(map(json.dumps, payload["features"]))]
        return self.predictor.answer(json.dumps(payload).encode())


class OrderLost(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        return {**answer, "predictions": answer["predictions"][::-1], "probabilities": answer["probabilities"][::-1]}


class BatchStatistics(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        shift = 1e-6 * (len(answer["predictions"]) == 1)
        return {**answer, "probabilities": [[first + shift, second - shift] for first, second in answer["probabilities"]]}


class Remembers(Mutant):
    last = 0.0

    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        before, self.last = self.last, answer["probabilities"][0][0]
        return {**answer, "probabilities": [[first + before * 1e-9, second] for first, second in answer["probabilities"]]}


class Canary(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        return {**answer, "model_tag": f"{answer['model_tag']}-canary"} if self.asked % 5 == 0 else answer


class AnotherModel(Mutant):
    def answer(self, body: bytes) -> Answer:
        return {**self.predictor.answer(body), "model_tag": "orphan:1"}


class LargestProbabilityOnly(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        return {**answer, "probabilities": [[max(row)] for row in answer["probabilities"]]}


class NanBecomesNull(Mutant):
    def answer(self, body: bytes) -> Answer:
        answer = self.predictor.answer(body)
        return {**answer, "probabilities": [[None, None], *answer["probabilities"][1:]]}


class UnknownFieldsPassedOver(Mutant):
    def answer(self, body: bytes) -> Answer:
        payload = json.loads(body or b"{}")
        return self.predictor.answer(json.dumps({name: payload[name] for name in ("features", "columns") if name in payload}).encode())


class DefaultsForNothing(Mutant):
    def answer(self, body: bytes) -> Answer:
        return self.predictor.answer(
            body if body and b"features" in body else json.dumps({"features": self.predictor.entry.golden_rows().rows[:1]}).encode()
        )


class QuotedNumbersTaken(Mutant):
    def answer(self, body: bytes) -> Answer:
        payload = json.loads(body)
        payload["features"] = [
            [float(value) if isinstance(value, str) and value.replace(".", "").isdigit() else value for value in row] for row in payload["features"]
        ]
        return self.predictor.answer(json.dumps(payload).encode())


class WrongWidthReshaped(Mutant):
    def answer(self, body: bytes) -> Answer:
        payload = json.loads(body)
        width = len(self.predictor.entry.signature.names)
        flat = [value for row in payload["features"] for value in row]
        rows = [flat[start : start + width] for start in range(0, len(flat) - width + 1, width)]
        return self.predictor.answer(json.dumps({**payload, "features": rows}).encode())


class AnyContentType(Mutant):
    async def predict(self, request: Request) -> Response:
        self.asked += 1
        try:
            return JSONResponse(self.answer(await request.body()))
        except InvalidRowError as refusal:
            return JSONResponse(refusal.as_dict(), refusal.status)


class BreaksOnBadInput(Mutant):
    async def predict(self, request: Request) -> Response:
        response = await super().predict(request)
        return response if response.status_code == 200 else PlainTextResponse("Internal Server Error", 500)


class HealthyWithoutAModel(Mutant):
    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "degraded", "model_loaded": False})


class MetricsWiped(Mutant):
    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse('bentoml_service_request_total{endpoint="/predict"} 5.0\n')


CAUGHT_BY: dict[type[Mutant], str] = {
    PreprocessingDropped: "parity.golden_rows",
    ThresholdNotShipped: "parity.golden_rows",
    ConstantOnAnyException: "parity.inputs_matter",
    NamesIgnored: "parity.columns_by_name",
    RepeatedRowsDropped: "parity.repeated",
    OrderLost: "parity.shuffled",
    BatchStatistics: "parity.rows_alone",
    Remembers: "parity.no_memory",
    Canary: "identity.always_the_same",
    AnotherModel: "identity.expected_model",
    LargestProbabilityOnly: "contract.probabilities",
    NanBecomesNull: "contract.one_answer_a_row",
    UnknownFieldsPassedOver: "contract.refuses_unknown_field",
    DefaultsForNothing: "contract.refuses_empty_body",
    QuotedNumbersTaken: "contract.refuses_text_for_number",
    WrongWidthReshaped: "contract.refuses_wrong_width",
    AnyContentType: "contract.refuses_other_content",
    BreaksOnBadInput: "contract.refuses_infinity",
    HealthyWithoutAModel: "health.body_agrees",
    MetricsWiped: "observability.counts_requests",
}


@pytest.fixture(scope="module")
def predictor(tier0_model: tier0.RegisteredModel) -> Predictor:
    entry = Entry.read(tier0_model.path)
    return Predictor(tier0_model.tag, entry.load_model(), entry)


@pytest.fixture
def serve() -> Iterator[Callable[[Mutant], str]]:
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(mutant: Mutant) -> str:
        routes: dict[str, tuple[Callable[[Request], Awaitable[Response]], str]] = {
            "/predict": (mutant.predict, "POST"), "/health": (mutant.health, "GET"), "/metrics": (mutant.metrics, "GET"),
            "/readyz": (mutant.ready, "GET"), "/livez": (mutant.ready, "GET"), "/schema.json": (mutant.schema, "GET"),
        }  # fmt: skip
        app = Starlette(routes=[Route(path, handler, methods=[method]) for path, (handler, method) in routes.items()])
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


def deployment_of(url: str, model: tier0.RegisteredModel) -> Deployment:
    return Deployment(url, model.golden, model.tag)


def test_the_service_that_the_mutants_are_made_of_holds(
    predictor: Predictor, serve: Callable[[Mutant], str], tier0_model: tier0.RegisteredModel
) -> None:
    verdict = tier0.check_serving(deployment_of(serve(Mutant(predictor)), tier0_model), disturb="load")

    assert verdict.verdict == "pass"


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: mutant.__name__)
def test_a_defect_is_caught_by_the_check_that_should_see_it(
    predictor: Predictor, serve: Callable[[Mutant], str], tier0_model: tier0.RegisteredModel, mutant: type[Mutant]
) -> None:
    verdict = tier0.check_serving(deployment_of(serve(mutant(predictor)), tier0_model), disturb="malformed", on_fail="return")

    failed = {result.id: result for result in verdict.with_status("fail")}
    assert CAUGHT_BY[mutant] in failed, [result.explain() for result in verdict.checks]
    assert verdict.exit_status == 1
    assert failed[CAUGHT_BY[mutant]].message
    json.dumps(verdict.as_dict(), allow_nan=False)
    with pytest.raises(DoesNotHoldError, match=CAUGHT_BY[mutant]):
        verdict.raise_for_status()


def test_masked_evidence_shows_no_values(predictor: Predictor, serve: Callable[[Mutant], str], tier0_model: tier0.RegisteredModel) -> None:
    golden = replace(tier0_model.golden, rows=[list(row) for row in tier0_model.golden.rows])
    url = serve(PreprocessingDropped(predictor))

    verdict = tier0.check_serving(Deployment(url, golden, tier0_model.tag), groups=["parity"], mask=True, on_fail="return")

    shown = json.dumps(verdict.as_dict())
    assert json.dumps(golden.rows[0])[1:-1] not in shown
    assert '"row": "…"' in json.dumps(verdict.as_dict(), ensure_ascii=False)


def test_a_secret_header_is_sent_and_shown_nowhere(predictor: Predictor, serve: Callable[[Mutant], str], tmp_path: Path) -> None:
    seen: list[str] = []

    class Guarded(Mutant):
        async def ready(self, request: Request) -> Response:
            seen.append(request.headers.get("authorization", ""))
            return PlainTextResponse("", 503)

    (tmp_path / "token").write_text("Bearer s3cret\n", encoding="utf-8")
    report = tmp_path / "verdict.json"

    done = run("verify", serve(Guarded(predictor)), "--header", f"Authorization: @{tmp_path / 'token'}", "--json", str(report))

    assert done.returncode == 1
    assert set(seen) == {"Bearer s3cret"}
    assert "s3cret" not in done.stdout + done.stderr + report.read_text(encoding="utf-8")
