"""Defects of intervals, of effects and of horizons: real models of each kind, in a small service of this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from in_process import CONTRACT, App, running
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from threadpoolctl import threadpool_limits

import tier0
from tier0.core.errors import InvalidRowError
from tier0.core.golden import GoldenRows
from tier0.core.prediction import ask_model
from tier0.core.signature import Signature
from tier0.pipeline.examples import TRAINERS
from tier0.runs.deployment import Deployment
from tier0.serving.inference import ask_in_memory, infer_signature

pytestmark = pytest.mark.timeout(120)


@cache
def trained(name: str) -> tuple[Any, Signature, GoldenRows]:
    example = next(one for kind in ("regression", "causal") for one in TRAINERS[kind](7) if one.name == name)
    signature = infer_signature(example.model, example.examples, example.threshold)
    return example.model, signature, ask_in_memory(example.model, signature, example.examples)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As a worker has it: the models' own threads fight with those that ask."""
    for name in ("ltv_90", "training_effect"):
        trained(name)
    with threadpool_limits(limits=1):
        yield


class ModelApp(App):
    """Answers with a model's predictions and intervals."""

    serves = "ltv_90"

    async def respond(self, request: Request) -> Response:
        model, signature, _ = trained(self.serves)
        try:
            rows = signature.parse(json.loads(await request.body())["rows"])
        except (InvalidRowError, ValueError, KeyError, TypeError) as problem:
            return PlainTextResponse(str(problem), 422)
        output = ask_model(model, signature, signature.to_container(rows))
        return JSONResponse({"predictions": output.predictions, "intervals": self.bounds(output.intervals or []), "model_tag": self.tag})

    def bounds(self, intervals: list[list[float]]) -> Any:
        return intervals


class Effects(ModelApp):
    serves = "training_effect"


class SwappedBounds(ModelApp):
    def bounds(self, intervals: list[list[float]]) -> Any:
        return [[upper, lower] for lower, upper in intervals]


class Widths(ModelApp):
    def bounds(self, intervals: list[list[float]]) -> Any:
        return [(upper - lower) / 2 for lower, upper in intervals]


class AnotherLevel(ModelApp):
    def bounds(self, intervals: list[list[float]]) -> Any:
        return [[lower + (upper - lower) / 8, upper - (upper - lower) / 8] for lower, upper in intervals]


class IntervalsOfAnotherRow(Effects):
    def bounds(self, intervals: list[list[float]]) -> Any:
        return [*intervals[1:], *intervals[:1]]


class AnotherHorizon(ModelApp):
    serves = "ltv_365"


class SignOfTheEffect(Effects):
    """Treated and untreated are mistaken for each other: consistent in itself, and the opposite of what is true."""

    async def respond(self, request: Request) -> Response:
        response = await super().respond(request)
        if response.status_code != 200:
            return response
        answer = json.loads(bytes(response.body))
        answer["predictions"] = [-effect for effect in answer["predictions"]]
        answer["intervals"] = [[-upper, -lower] for lower, upper in answer["intervals"]]
        return JSONResponse(answer)


def judge(url: str, name: str, golden: GoldenRows | None = None) -> tier0.Verdict:
    contract = {**CONTRACT, "columns": None, "intervals": "intervals"}
    return tier0.check_serving(
        Deployment.from_url(url, golden=golden or trained(name)[2], contract=contract, disturb="malformed"),
        groups=("contract", "parity"),
        on_fail="return",
    )


@pytest.mark.parametrize(("app", "name"), [(ModelApp, "ltv_90"), (Effects, "training_effect")])
def test_what_the_mutants_are_made_of_is_not_accused(app: Callable[[], App], name: str, record: Callable[..., None]) -> None:
    with running(app()) as url:
        for _ in range(3):
            verdict = judge(url, name)
            assert verdict.verdict == "pass", [result.explain() for result in verdict.with_status("fail")]

    record(f"{name}, with intervals", (), verdict)


@pytest.mark.parametrize(
    ("app", "name", "caught_by"),
    [
        (SwappedBounds, "ltv_90", "contract.intervals"),
        (Widths, "ltv_90", "contract.intervals"),
        (AnotherLevel, "ltv_90", "parity.golden_rows"),
        (IntervalsOfAnotherRow, "training_effect", "parity.golden_rows"),
        (AnotherHorizon, "ltv_90", "parity.golden_rows"),
        (SignOfTheEffect, "training_effect", "parity.golden_rows"),
    ],
)
def test_a_mutant_is_caught(app: type[App], name: str, caught_by: str, record: Callable[..., None]) -> None:
    with running(app()) as url:
        verdict = judge(url, name)

    record(app.__name__, (caught_by,), verdict)
    assert caught_by in {result.id for result in verdict.with_status("fail")}
