"""Defects that show in some answers only: the first one, one in a large batch, one under load; seconds."""

from __future__ import annotations

import asyncio
import json
import os
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import tier0
from tests.support.in_process import CONTRACT, GOLDEN, App, running
from tier0.checks.serving import performance
from tier0.contract.service_schema import find_contract
from tier0.core.catalogue import CATALOGUE, Disturbance
from tier0.core.verdict import CheckResult, Verdict
from tier0.golden.origins import Origin
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment
from tier0.runs.examination import Examination
from tier0.serving.server import Server

pytestmark = pytest.mark.timeout(60)
MANY = 3
"""Callers at once above which a service is under load."""
WITH_EDGES = replace(
    GOLDEN,
    rows=[*GOLDEN.rows, [None, 4.0], [2.0, None]],
    predictions=[*GOLDEN.predictions, -4.0, 2.0],
    origins=[*[Origin("example")] * len(GOLDEN), Origin("missing", "a"), Origin("missing", "b")],
)
WITH_OPTIONAL = replace(
    WITH_EDGES,
    rows=[[None, 4.0], *WITH_EDGES.rows],
    predictions=[-4.0, *WITH_EDGES.predictions],
    origins=[Origin("example"), *WITH_EDGES.origins],
)
CLASSES = GoldenRows(
    ["a"],
    [[1.0], [2.0], [3.0], [4.0]],
    ["no", "yes", "yes", "no"],
    [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]],
    ["no", "yes"],
    dtypes={"predictions": "object", "probabilities": "float64"},
)
LABELS = replace(CLASSES, predictions=["degraded", "fine", "fine", "degraded"], classes=["degraded", "fine"])
MARGINS = replace(CLASSES, probabilities=None, dtypes={"predictions": "object"})


class Rows(App):
    """Hands the request to `answer_to`, and takes missing values as zeros."""

    in_flight = 0

    async def predict(self, request: Request) -> Response:
        self.in_flight += 1
        try:
            return await super().predict(request)
        finally:
            self.in_flight -= 1

    async def respond(self, request: Request) -> Response:
        text = (await request.body()).decode()
        try:
            rows = json.loads(text)["rows"]
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("no rows", 422)
        if not all(type(value) in {int, float, type(None)} for row in rows for value in row):
            return PlainTextResponse("rows of numbers", 422)
        return await self.answer_to(request, text, rows)

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        del request, text
        return JSONResponse(self.answer([[value or 0.0 for value in row] for row in rows]))


class Wrong(Rows):
    """Answers zeros to some requests."""

    def is_wrong(self, request: Request, text: str, rows: list[list[Any]]) -> bool:
        raise NotImplementedError

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        if self.is_wrong(request, text, rows):
            return JSONResponse({"predictions": [0.0] * len(rows), "model_tag": self.tag})
        return await super().answer_to(request, text, rows)


class FirstAnswer(Wrong):
    """A warm-up fallback answers the first request."""

    count_of_requests = 0

    def is_wrong(self, *_: Any) -> bool:
        self.count_of_requests += 1
        return self.count_of_requests == 1


class TwoVersions(Wrong):
    """Every second connection is with a worker of another version."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[int, int] = {}

    def is_wrong(self, request: Request, *_: Any) -> bool:
        assert request.client is not None
        return self.workers.setdefault(request.client.port, len(self.workers)) % 2 == 1


class TwoReplicas(TwoVersions):
    """Every second connection is with a replica of the same version."""

    def is_wrong(self, *_: Any) -> bool:
        return False


class ByLanguage(Wrong):
    def is_wrong(self, request: Request, *_: Any) -> bool:
        return request.headers.get("accept-language", "").startswith("tr")


class ByBrowser(Wrong):
    def is_wrong(self, request: Request, *_: Any) -> bool:
        return "Mozilla" in request.headers["user-agent"]


class RefusesBrowsers(Rows):
    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        if "Mozilla" in request.headers["user-agent"]:
            return PlainTextResponse("no browsers", 403)
        return await super().answer_to(request, text, rows)


class ByTenant(Wrong):
    def is_wrong(self, request: Request, *_: Any) -> bool:
        return request.headers.get("x-tenant") == "globex"


class ReadyAfterPrediction(Rows):
    """Loads its model with the first request, which no load balancer sends before it is ready."""

    has_predicted = False

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        self.has_predicted = True
        return await super().answer_to(request, text, rows)

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("", 200 if self.has_predicted else 503)


class ReadySoon(Rows):
    """Is still starting when it is first asked."""

    probes = 0

    async def ready(self, _: Request) -> Response:
        self.probes += 1
        return PlainTextResponse("", 200 if self.probes > 2 else 503)


class WrongUnderLoad(Wrong):
    def is_wrong(self, *_: Any) -> bool:
        return self.in_flight > MANY

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        await asyncio.sleep(0.02)
        return await super().answer_to(request, text, rows)


class BusyUnderLoad(Rows):
    """Refuses what is too many."""

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        await asyncio.sleep(0.02)
        if self.in_flight > MANY:
            return PlainTextResponse("", 429)
        return await super().answer_to(request, text, rows)


class RefusesNearlyAll(Rows):
    """Takes one request at a time, and refuses the others at once."""

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        if self.in_flight > 1:
            return PlainTextResponse("", 429)
        await asyncio.sleep(0.1)
        return await super().answer_to(request, text, rows)


class Chunks(Rows):
    """Predicts chunks of 256 rows, and joins them as they complete."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        chunks = [rows[start : start + 256] for start in range(0, len(rows), 256)]
        return super().answer([row for chunk in reversed(chunks) for row in chunk])


class Transposes(Rows):
    """Takes a matrix with as many rows as columns for one that is stored by column."""

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        is_square = len(rows) == len(rows[0])
        return super().answer([list(row) for row in zip(*rows, strict=True)] if is_square else rows)


class RequiresOne(Rows):
    """Requires its second column, and takes 0 for a missing value of the first."""

    default = 9.0

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        del request, text
        if any(row[1] is None for row in rows):
            return PlainTextResponse("b is required", 422)
        filled = [[self.default if row[0] is None else row[0], row[1]] for row in rows]
        return JSONResponse(self.answer(filled))


class RequiresOneRightly(RequiresOne):
    default = 0.0


class FewRows(Rows):
    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        if len(rows) > 300:
            return PlainTextResponse("", 413)
        return await super().answer_to(request, text, rows)


class HealthUnderLoad(Rows):
    """Its health route reports load as a failure."""

    def status(self) -> int:
        return 503 if self.in_flight else 200

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        await asyncio.sleep(0.3)
        return await super().answer_to(request, text, rows)

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "healthy"}, self.status())


class HealthyUnderLoad(HealthUnderLoad):
    def status(self) -> int:
        return 200


class ReadsText(Wrong):
    """Reads numbers with a pattern of its own."""

    def is_wrong(self, _: Request, text: str, __: Any) -> bool:
        return "e" in text.partition(":")[2]


class InfersTypes(Wrong):
    """Divides as integers what has no fraction."""

    def is_wrong(self, _: Request, __: str, rows: list[list[Any]]) -> bool:
        return all(isinstance(value, int) for row in rows for value in row)


class InfersMissing(Wrong):
    """Drops a column if one of its values is missing in a longer request."""

    def is_wrong(self, _: Request, __: str, rows: list[list[Any]]) -> bool:
        return len(rows) > 2 and any(None in row for row in rows)


class NoMissing(Rows):
    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        if any(None in row for row in rows):
            return PlainTextResponse("", 422)
        return await super().answer_to(request, text, rows)


class OwnBatches(Rows):
    """Predicts the rows of all callers of a tenth of a second together."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[list[list[Any]], asyncio.Future[list[float]]]] = []

    async def answer_to(self, request: Request, text: str, rows: list[list[Any]]) -> Response:
        del request, text
        outcome: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self.waiting.append((rows, outcome))
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_later(0.1, self.flush)
        try:
            return JSONResponse({"predictions": await outcome, "model_tag": self.tag})
        except ValueError:
            return PlainTextResponse("Internal Server Error", 500)

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        try:
            results = [self.handle(rows) for rows, _ in waiting]
        except ValueError as problem:
            for _, outcome in waiting:
                outcome.set_exception(problem)
            return
        for (_, outcome), result in zip(waiting, results, strict=True):
            outcome.set_result(result)

    def handle(self, rows: list[list[Any]]) -> list[float]:
        if any(value is None or value < 0 for row in rows for value in row):
            raise ValueError("negative")
        return [first - second for first, second in rows]


class OwnBatchesApart(OwnBatches):
    """The same, but a bad row is the problem of its caller only."""

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for rows, outcome in waiting:
            try:
                outcome.set_result(self.handle(rows))
            except ValueError as problem:
                outcome.set_exception(problem)


@dataclass(frozen=True)
class Case:
    """A service, the check that must fail for the mutant, and the mutant's healthy twin."""

    mutant: type[App]
    twin: type[App]
    check: str
    disturb: Disturbance = "none"
    golden: GoldenRows = GOLDEN
    contract: dict[str, Any] = field(default_factory=dict)


TENANTS = {"vary": {"X-Tenant": ["acme", "globex"]}}
CASES = [
    Case(FirstAnswer, Rows, "identity.always_the_same"),
    Case(TwoVersions, TwoReplicas, "identity.always_the_same"),
    Case(ByLanguage, Rows, "identity.always_the_same"),
    Case(ByBrowser, RefusesBrowsers, "identity.always_the_same"),
    Case(ByTenant, Rows, "identity.always_the_same", contract=TENANTS),
    Case(ReadyAfterPrediction, ReadySoon, "health.ready"),
    Case(WrongUnderLoad, BusyUnderLoad, "performance.many_callers", "load"),
    Case(Transposes, Rows, "parity.small_batches"),
    Case(Chunks, FewRows, "parity.large_batches", "load"),
    Case(HealthUnderLoad, HealthyUnderLoad, "concurrency.alive_under_load", "load"),
    Case(ReadsText, Rows, "parity.other_spelling"),
    Case(InfersTypes, Rows, "parity.other_spelling"),
    Case(InfersMissing, Rows, "parity.mixed_rows", golden=WITH_EDGES),
    Case(RequiresOne, RequiresOneRightly, "parity.missing_values", golden=WITH_OPTIONAL),
    Case(OwnBatches, OwnBatchesApart, "concurrency.strangers_mistakes", "malformed"),
]


def judge(app: App, case: Case) -> CheckResult:
    with running(app) as url:
        deployment = Deployment.from_url(
            url,
            golden=case.golden,
            contract={**CONTRACT, "style": "rows", **case.contract},
            disturb=case.disturb,
        )
        verdict = tier0.check_serving(deployment, groups=[case.check], on_fail="return")
    (result,) = verdict.checks
    return result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutant.__name__)
def test_an_answer_that_differs_is_found(case: Case, record: Callable[..., None]) -> None:
    result = judge(case.mutant(), case)

    record(case.mutant.__name__, (case.check,), Verdict({}, [result]))
    assert result.status == "fail", result
    assert result.causes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutant.__name__)
def test_its_healthy_twin_passes(case: Case, record: Callable[..., None]) -> None:
    result = judge(case.twin(), case)

    record(f"twin of {case.mutant.__name__}", (), Verdict({}, [result]))
    assert result.status == "pass", result


def test_what_is_refused_is_not_checked() -> None:
    case = Case(NoMissing, NoMissing, "parity.mixed_rows", golden=WITH_EDGES)

    result = judge(NoMissing(), case)

    assert (result.status, result.code) == ("not_judged", "not_offered")


def test_a_service_that_refuses_nearly_all_of_many_requests_is_not_slow() -> None:
    case = Case(WrongUnderLoad, RefusesNearlyAll, "performance.many_callers", "load")

    assert judge(RefusesNearlyAll(), case).status == "pass"


def test_a_tenant_that_the_contract_does_not_name_is_not_sent() -> None:
    assert judge(ByTenant(), Case(ByTenant, ByTenant, "identity.always_the_same")).status == "pass"


# -- side effects --------------------------------------------------------------------------------------------

TEXTS = GoldenRows(["note"], [["short"], ["a longer one"]], [5, 12], None, [])
PLANTED = "planted-0123456789abcdef"


class OwnProcess:
    pids = (os.getpid(),)
    model_folder: Path | None = None
    certificate = ""
    planted = PLANTED


class Lengths(App):
    """Answers the lengths of texts."""

    async def respond(self, request: Request) -> Response:
        try:
            texts = [str(row[0]) for row in json.loads(await request.body())["rows"]]
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("no rows", 422)
        for text in texts:
            await self.see(text)
        return JSONResponse({"predictions": list(map(len, texts))})

    async def see(self, text: str) -> None:
        pass


class Fetches(Lengths):
    """Reads what a text names."""

    async def see(self, text: str) -> None:
        if "://" in text:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
                with suppress(httpx.HTTPError):
                    await http.get(text)


class EnvironmentInHeaders(Lengths):
    async def respond(self, request: Request) -> Response:
        response = await super().respond(request)
        response.headers["X-Debug"] = f"TOKEN={PLANTED}"
        return response


class EnvironmentInMetrics(Lengths):
    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse(f'build_info{{token="{PLANTED}"}} 1\n')


def side_effect(app: App, check: str, golden: GoldenRows = TEXTS) -> CheckResult:
    with running(app) as url:
        deployment = Deployment(
            url,
            golden,
            contract=find_contract({}, {"features": "rows", "style": "rows", "predictions": "predictions"}),
            disturb="malformed",
            server=cast("Server", OwnProcess()),
        )
        groups = ["contract.one_answer_a_row", check]
        return tier0.check_serving(deployment, groups=groups, on_fail="return").checks[-1]


UNUSUAL = GoldenRows(
    ["note"],
    [["short"], ["a longer one"], ["cafe\u0301"], ["never seen"]],
    [5, 12, 5, 10],
    None,
    [],
    origins=[Origin("example"), Origin("example"), Origin("text", "note"), Origin("unseen", "note")],
)


class OfTexts(Lengths):
    """Answers the lengths that `lengths` gives."""

    def lengths(self, texts: list[str]) -> list[int]:
        return list(map(len, texts))

    async def respond(self, request: Request) -> Response:
        rows = json.loads(await request.body())["rows"]
        return JSONResponse({"predictions": self.lengths([row[0] for row in rows])})


class NormalizesTexts(OfTexts):
    """Composes accents before it predicts, which the model does not."""

    def lengths(self, texts: list[str]) -> list[int]:
        return super().lengths([unicodedata.normalize("NFC", text) for text in texts])


class FillsUnseen(OfTexts):
    """Takes a category that it does not know for the first one."""

    def lengths(self, texts: list[str]) -> list[int]:
        return super().lengths(["short" if text == "never seen" else text for text in texts])


class AsLongAsTheFirst(OfTexts):
    """Cuts texts to the length of the first one, as an array of texts with a fixed size does."""

    def lengths(self, texts: list[str]) -> list[int]:
        return super().lengths([text[: len(texts[0])] for text in texts])


class DropsDuplicates(OfTexts):
    def lengths(self, texts: list[str]) -> list[int]:
        return super().lengths(list(dict.fromkeys(texts)))


class AnswersNothing(OfTexts):
    """Predicts for no rows."""

    def lengths(self, texts: list[str]) -> list[int]:
        return super().lengths(texts or ["short"])


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (NormalizesTexts, "parity.unusual_texts"),
        (FillsUnseen, "parity.unseen_categories"),
        (AsLongAsTheFirst, "parity.mixed_rows"),
        (DropsDuplicates, "parity.repeated"),
        (AnswersNothing, "contract.empty_rows"),
    ],
)
def test_texts_and_numbers_of_rows_change_no_answer(
    mutant: type[App], check: str, record: Callable[..., None]
) -> None:
    wrong, right = (side_effect(app, check, UNUSUAL) for app in (mutant(), OfTexts()))

    record(mutant.__name__, (check,), Verdict({}, [wrong]))
    assert (wrong.status, right.status) == ("fail", "pass"), (wrong, right)


SIDE_EFFECTS: list[tuple[type[App], str]] = [
    (Fetches, "security.fetches_nothing"),
    (EnvironmentInHeaders, "security.keeps_secrets"),
    (EnvironmentInMetrics, "security.keeps_secrets"),
]


@pytest.mark.parametrize(("mutant", "check"), SIDE_EFFECTS)
def test_a_side_effect_fails(mutant: type[App], check: str, record: Callable[..., None]) -> None:
    result = side_effect(mutant(), check)

    record(mutant.__name__, (check,), Verdict({}, [result]))
    assert result.status == "fail", result
    assert PLANTED not in str(result)


@pytest.mark.parametrize("check", ["security.fetches_nothing", "security.keeps_secrets"])
def test_a_service_without_side_effects_passes(check: str) -> None:
    assert side_effect(Lengths(), check).status == "pass"


class LabelsByCaller(Lengths):
    """Counts requests by caller and by route, and reads its model for each request."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        self.model = model
        self.seen: set[str] = set()

    async def respond(self, request: Request) -> Response:
        self.seen.add(f'agent="{request.headers["user-agent"]}"')
        self.model.read_bytes()
        return await super().respond(request)

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse("".join(f"small_total{{{labels}}} 1\n" for labels in sorted(self.seen)))


class LabelsByRequest(Lengths):
    """Has the id of each request as a label."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def respond(self, request: Request) -> Response:
        self.seen.append(request.headers["x-request-id"])
        return await super().respond(request)

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse("".join(f'small_total{{id="{id_}"}} 1\n' for id_ in self.seen))


def own_processes(app: App, monkeypatch: pytest.MonkeyPatch, model_folder: Path | None = None) -> CheckResult:
    for name, number in {"WARM_UP": 8, "MEASURED": 16, "FACTS": 8}.items():
        monkeypatch.setattr(performance, name, number)
    process = OwnProcess()
    process.model_folder = model_folder
    with running(app) as url:
        deployment = Deployment(
            url,
            TEXTS,
            contract=find_contract({}, {"features": "rows", "style": "rows", "predictions": "predictions"}),
            disturb="load",
            server=cast("Server", process),
        )
        target = Examination(deployment)
        result = target.ask(next(check for check in CATALOGUE if check.id == "performance.memory"))
        target.close()
    assert result.status in {"pass", "fail"}, result  # so few requests say nothing about memory
    return result


NONE_GROWS: dict[str, Any] = {"with requests": {}, "with callers": {}, "with paths": {}}


def test_own_processes_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")

    evidence = own_processes(Lengths(), monkeypatch, tmp_path).evidence

    assert evidence["threads"] >= 1
    assert evidence["cpu_ms_a_request"] is not None  # so few requests can take less than a tick of the clock
    assert evidence.keys() >= {"bytes_read_a_request", "bytes_a_path", "bytes_a_label"}
    assert evidence["labels_that_grow"] == NONE_GROWS
    assert evidence["model_files_opened_a_request"] == 0


def test_labels_of_callers_and_opened_model_files_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "small" / "1" / "model.bin"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"model")

    evidence = own_processes(LabelsByCaller(model), monkeypatch, tmp_path).evidence

    assert evidence["labels_that_grow"] == NONE_GROWS | {"with callers": {"agent": 8}}
    assert evidence["model_files_opened_a_request"] == 1


def test_labels_of_requests_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = own_processes(LabelsByRequest(), monkeypatch).evidence

    assert evidence["labels_that_grow"]["with requests"] == {"id": 8}
    assert evidence["model_files_opened_a_request"] is None


# -- the other fields of a response --------------------------------------------------------------------------

FIELDS: dict[str, tuple[GoldenRows, dict[str, Any]]] = {
    "is_mock": (CLASSES, {"is_mock": True}),
    "fallback_in_a_table": (CLASSES, {"meta": {"usedFallback": True}}),
    "no_model_in_the_status": (CLASSES, {"status": "No model loaded."}),
    "model_not_loaded": (CLASSES, {"model_loaded": False}),
    "fallback_source": (CLASSES, {"source": "fallback"}),
    "invented_probabilities": (MARGINS, {"probabilities": [[0.5, 0.5]] * 4}),
    "classes_in_another_order": (CLASSES, {"classes": ["yes", "no"]}),
    "classes_of_another_model": (CLASSES, {"classes": ["ham", "spam"]}),
    "constant_confidence": (CLASSES, {"confidence": [0.99] * 4}),
    "confidence_of_the_other_class": (CLASSES, {"confidence": [0.1, 0.2, 0.4, 0.3]}),
    "latency_in_another_unit": (CLASSES, {"latency_ms": 4000.0}),
    "latency_in_no_unit": (CLASSES, {"took": 1.7e9}),
    "negative_latency_without_a_unit": (CLASSES, {"meta": {"elapsed": -0.5}}),
    "latency_as_text": (CLASSES, {"duration": "4000 ms"}),
    "negative_latency": (CLASSES, {"timing": {"inference_seconds": -0.5}}),
}
HARMLESS: dict[str, tuple[GoldenRows, dict[str, Any]]] = {
    "flags_that_are_false": (CLASSES, {"is_mock": False, "fallback": False, "degraded": None}),
    "fallback_that_is_a_value": (CLASSES, {"fallback": 0.5, "mock_rate": 1, "default": True}),
    "status_ok": (CLASSES, {"status": "ok", "message": "no model drift"}),
    "own_names": (CLASSES, {"classes": ["no", "yes"], "model_loaded": True, "version": "3"}),
    "margins": (MARGINS, {"margins": [0.5, -1.5, 2.5, 0.1], "confidence": [0.6, 0.7, 0.8, 0.9]}),
    "confidence": (CLASSES, {"confidence": [0.9, 0.8, 0.6, 0.7]}),
    "a_confidence_of_its_own": (CLASSES, {"confidence": [0.8, 0.6, 0.2, 0.4]}),
    "latency": (CLASSES, {"latency_ms": 0.4, "took": 3, "duration": 5e6, "timestamp": 1.7e9}),
    "latency_with_a_unit": (CLASSES, {"latency": "0.4 ms", "elapsed": "2.5µs", "took": "PT0.01S"}),
    "latency_that_was_not_measured": (CLASSES, {"latency_ms": -1, "took": -1}),
    "no_latency": (CLASSES, {"latency_budget_ms": 5000, "inference_id": 10**12, "timeout_s": 60}),
    "degraded_as_a_label": (LABELS, {"state": "degraded"}),
    "other_fields": (CLASSES, {"region": "eu", "top": [[1, 2], [3], [], [4]], "id": "r-1"}),
}


class WithFields(App):
    """Answers with the trained model's outputs, and with other fields."""

    def __init__(self, golden: GoldenRows, beside: dict[str, Any]) -> None:
        super().__init__()
        self.golden = golden
        self.beside = beside

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        chosen = self.golden.take([self.golden.rows.index(row) for row in rows])
        both = {"predictions": chosen.predictions, "probabilities": chosen.probabilities}
        return {**{name: values for name, values in both.items() if values}, **self.beside}

    async def respond(self, request: Request) -> Response:
        return JSONResponse(self.answer(json.loads(await request.body())["rows"]))


def fields_of(golden: GoldenRows, beside: dict[str, Any]) -> CheckResult:
    with running(WithFields(golden, beside)) as url:
        deployment = Deployment.from_url(
            url, golden=golden, contract={"route": "/predict", "features": "rows", "style": "rows"}
        )
        verdict = tier0.check_serving(deployment, groups=["contract.other_fields"], on_fail="return")
    return verdict.checks[0]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_contradicts_the_model_fails(name: str, record: Callable[..., None]) -> None:
    result = fields_of(*FIELDS[name])

    record(name, ("contract.other_fields",), Verdict({}, [result]))
    assert result.status == "fail", result
    assert result.evidence["field"]


@pytest.mark.parametrize("name", HARMLESS)
def test_other_fields_pass_and_are_reported(name: str, record: Callable[..., None]) -> None:
    golden, beside = HARMLESS[name]
    result = fields_of(golden, beside)

    record(name, (), Verdict({}, [result]))
    assert result.status == "pass", result
    named = {path for paths in result.evidence.values() for path in paths}
    assert named >= beside.keys()


def test_a_latency_without_a_unit_is_reported_as_not_compared() -> None:
    evidence = fields_of(CLASSES, {"took": 3, "latency": "3 ms", "duration_ms": 3}).evidence

    assert evidence["not_compared"] == ["took"]
    assert set(evidence["known"]) == {"latency", "duration_ms"}
