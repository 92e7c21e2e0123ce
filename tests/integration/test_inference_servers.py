"""Servers of version 2 of the Open Inference Protocol, with models as MLServer, Triton, KServe have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.in_process import serving
from tests.support.model_servers import DEFECTS, GOLDEN, healthy
from tests.support.wrong_models import COLUMNS, UNDECLARED, Answers, answers
from tier0 import Deployment, check_serving
from tier0.core.verdict import Verdict
from tier0.golden.capture import golden_rows
from tier0.runs.examination import Examination

Predict = Callable[[pd.DataFrame], Answers]
BY_COLUMN = [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in COLUMNS]
READY = [{"name": "churn", "version": "3", "state": "READY"}]
SAMPLE = ("columns permuted", "labels swapped")
"""The defects of `make test`; the others are for `make test-all`."""
FEW = (*SAMPLE, "a constant", UNDECLARED)


@dataclass
class InferenceServer:
    """A strict server with one model.

    Attributes:
        inputs: metadata of the model's inputs.
        index: its models, as ``POST /v2/repository/index`` lists them; None for a server without that route.
        models: its models, as ``GET /v2/models`` lists them; None for a server without that route.
        place: route of the model.
        outputs: names of the outputs with labels and probabilities.
        has_metadata: whether the server describes itself.
    """

    inputs: Sequence[Mapping[str, Any]] = field(default_factory=lambda: BY_COLUMN)
    index: list[Any] | None = field(default_factory=lambda: READY)
    models: list[str] | None = None
    place: str = "/v2/models/churn"
    outputs: tuple[str, str] = ("label", "probabilities")
    has_metadata: bool = True

    def routes(self, predict: Predict) -> list[Route]:
        names = {"labels": self.outputs[0], "probabilities": self.outputs[1]}
        outputs = [
            {"name": names["labels"], "datatype": "INT64", "shape": [-1]},
            {"name": names["probabilities"], "datatype": "FP64", "shape": [-1, 3]},
        ]

        async def infer(request: Request) -> Response:
            try:
                frame = self.frame_of((await request.json())["inputs"])
            except (ValueError, TypeError, KeyError) as problem:
                return JSONResponse({"error": str(problem)}, 400)
            labels, probabilities = predict(frame)
            tensors = [
                {**outputs[0], "shape": [len(labels)], "data": labels},
                {**outputs[1], "shape": [len(labels), 3], "data": [*chain(*probabilities)]},
            ]
            return JSONResponse({"model_name": "churn", "model_version": "3", "outputs": tensors})

        metadata = {
            "name": "churn",
            "versions": ["3"],
            "platform": "",
            "inputs": self.inputs,
            "outputs": outputs,
        }
        found: list[tuple[str, Any]] = [(self.place, metadata), (f"{self.place}/ready", {})]
        if self.has_metadata:
            server = {"name": "triton", "version": "2.50.0", "extensions": []}
            found += [("/v2", server), ("/v2/health/ready", {}), ("/v2/health/live", {})]
        if self.models is not None:
            found.append(("/v2/models", {"models": self.models}))
        routes = [_page(path, content) for path, content in found]
        if self.index is not None:
            routes.append(_page("/v2/repository/index", self.index, "POST"))
        return [*routes, Route(f"{self.place}/infer", infer, methods=["POST"])]

    def frame_of(self, tensors: list[Any]) -> pd.DataFrame:
        """Return the rows in a request.

        Raises:
            ValueError: names, datatypes or shapes differ from the metadata.
        """
        described = {part["name"]: part for part in self.inputs}
        if {tensor["name"] for tensor in tensors} != set(described):
            raise ValueError(f"expected the inputs {list(described)}")
        columns: dict[str, list[float]] = {}
        for tensor in tensors:
            part = described[tensor["name"]]
            count = math.prod(tensor["shape"])
            if tensor["datatype"] != part["datatype"] or len(tensor["shape"]) != len(part["shape"]):
                raise ValueError(f"expected {part}")
            if len(tensor["data"]) != count:
                raise ValueError("shape and data differ")
            values = [math.nan if value is None else float(value) for value in tensor["data"]]
            width = tensor["shape"][1] if len(tensor["shape"]) > 1 else 1
            names = COLUMNS if len(self.inputs) == 1 else [tensor["name"]]
            columns |= {name: values[position::width] for position, name in enumerate(names)}
        frame = pd.DataFrame(columns)
        if frame.empty or not frame.map(lambda value: not math.isinf(value)).all(axis=None):
            raise ValueError("expected finite numbers")
        return frame.set_axis(COLUMNS, axis=1) if set(frame) != set(COLUMNS) else frame[COLUMNS]


def _page(path: str, content: Any, method: str = "GET") -> Route:
    return Route(path, lambda _: JSONResponse(content), methods=[method])


MATRIX = [{"name": "input__0", "datatype": "FP64", "shape": [-1, 3]}]
IN_VERSION = "/v2/models/churn/versions/3"
FOUND: dict[str, tuple[InferenceServer, str]] = {
    "kserve lists models elsewhere": (InferenceServer(index=None, models=["churn"]), ""),
    "a version has to be named": (InferenceServer(place=IN_VERSION), ""),
    "odd names": (InferenceServer(MATRIX, outputs=("argmax", "dense_2")), ""),
    "unloaded models": (InferenceServer(index=[{"name": "old", "state": "UNAVAILABLE"}, *READY]), ""),
    "url of the protocol": (InferenceServer(), "/v2"),
    "url of the model": (InferenceServer(index=None), "/v2/models/churn"),
    "url of the version": (InferenceServer(index=None, place=IN_VERSION), IN_VERSION),
    "url of the route": (InferenceServer(index=None), "/v2/models/churn/infer"),
    "nothing but the model": (InferenceServer(index=None, has_metadata=False), "/v2/models/churn/infer"),
}
"""Servers that are found without a contract, each with the path of the URL that the user passes."""


def verdict_of(url: str, contract: dict[str, Any] | None = None) -> Verdict:
    deployment = Deployment.from_url(url, golden=GOLDEN, contract=contract, retries=0)
    return check_serving(deployment, groups=("parity.golden_rows", "health"), on_fail="return")


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_without_a_contract(name: str) -> None:
    server, path = FOUND[name]
    with serving(server.routes(healthy)) as url:
        verdict = verdict_of(url + path)

    assert not verdict.with_status("fail")
    assert "parity.golden_rows" in {result.id for result in verdict.with_status("pass")}


@pytest.mark.parametrize(
    "defect", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.slow) for name in FEW]
)
@pytest.mark.parametrize("name", ["a version has to be named", "odd names", "url of the model"])
def test_a_defect_behind_it_does_not_pass(name: str, defect: str) -> None:
    server, path = FOUND[name]
    with serving(server.routes(DEFECTS[defect]())) as url:
        verdict = verdict_of(url + path)

    assert verdict.exit_status in ({1, 2} if defect == UNDECLARED else {1})


def test_a_drafted_contract_fits_the_same_url() -> None:
    server, path = FOUND["url of the model"]
    with serving(server.routes(healthy)) as url:
        draft = Examination(Deployment.from_url(url + path, golden=GOLDEN)).draft()
        verdict = verdict_of(url + path, draft.declared)

    assert draft.matches
    assert not verdict.with_status("fail")
    assert verdict.with_status("pass")


def test_inputs_with_other_names_are_drafted_and_not_guessed() -> None:
    server = InferenceServer([{**part, "name": f"x{place}"} for place, part in enumerate(BY_COLUMN)])
    with serving(server.routes(healthy)) as url:
        unasked = verdict_of(url)
        draft = Examination(Deployment.from_url(url, golden=GOLDEN)).draft()
        declared = verdict_of(url, draft.declared)

    assert unasked.exit_status == 2
    assert "has the fields x0, x1, x2" in unasked.with_status("not_judged")[0].message
    assert draft.assumed["names"][0] == dict(zip(COLUMNS, ["x0", "x1", "x2"], strict=True))
    assert declared.exit_status == 0


def test_inputs_that_are_not_the_columns_are_not_a_failure() -> None:
    inputs = [{**MATRIX[0], "name": "numbers"}, {"name": "texts", "datatype": "BYTES", "shape": [-1, 1]}]
    with serving(InferenceServer(inputs).routes(healthy)) as url:
        verdict = verdict_of(url)

    assert verdict.exit_status == 2


SMALL = pd.DataFrame(np.random.default_rng(7).normal(size=(200, 3)), columns=COLUMNS)
SMALL_MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(
    SMALL, np.digitize(SMALL["age"] + SMALL["income"] - SMALL["seen"], [-0.5, 0.7])
)
SMALL_GOLDEN = golden_rows(SMALL_MODEL, SMALL.head(40))
SINGLE = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]


def small(frame: pd.DataFrame) -> Answers:
    """Predict as a server with tensors of 32 bits does."""
    return answers(SMALL_MODEL, frame.astype(np.float32).astype(float))


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        (None, 0),
        (lambda frame: small(frame.set_axis([COLUMNS[1], COLUMNS[0], COLUMNS[2]], axis=1)[COLUMNS]), 1),
        (lambda frame: ([2 - label for label in small(frame)[0]], small(frame)[1]), 1),
        (lambda frame: (small(frame)[0], [row[::-1] for row in small(frame)[1]]), 1),
        (lambda frame: small(frame.round(2)), 1),
    ],
    ids=["healthy", "columns permuted", "labels swapped", "classes exchanged", "rounded"],
)
def test_tensors_of_32_bits_are_compared_with_their_precision(defect: Predict | None, expected: int) -> None:
    with serving(InferenceServer(SINGLE).routes(defect or small)) as url:
        deployment = Deployment.from_url(url, golden=SMALL_GOLDEN, retries=0)
        verdict = check_serving(deployment, groups=("parity",), on_fail="return")

    assert verdict.exit_status == expected


def test_tensors_of_32_bits_that_cannot_hold_the_rows_are_a_failure() -> None:
    def cast(frame: pd.DataFrame) -> Answers:
        return healthy(frame.astype(np.float32).astype(float))

    with serving(InferenceServer(SINGLE).routes(cast)) as url:
        assert verdict_of(url).exit_status == 1
