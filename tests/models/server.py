"""A strict service of any model: what has not the form of the examples gets status 422."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.models.kinds import Answer
from tests.support.in_process import serving
from tier0.golden.rows import GoldenRows


def problem_of(body: Any, golden: GoldenRows) -> str | None:
    """Return what is wrong with the body of a request; None if nothing is."""
    if not isinstance(body, dict) or body.keys() != {"rows"}:
        return "expected one field, rows"
    rows = body["rows"]
    if not isinstance(rows, list) or not rows:
        return "rows: expected a list of at least one row"
    inputs = golden.rows if golden.form == "table" else golden.inputs
    fits = FITS[golden.form]
    return next((f"rows[{i}] is invalid" for i, row in enumerate(rows) if not fits(row, inputs)), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _fits_table(row: Any, known: list[Any]) -> bool:
    if not isinstance(row, list) or len(row) != len(known[0]):
        return False
    return all(
        isinstance(value, str) if isinstance(example, str) else _is_number(value)
        for value, example in zip(row, known[0], strict=True)
    )


def _fits_array(row: Any, known: list[Any]) -> bool:
    try:
        array = np.array(row, dtype=np.float64)
    except (ValueError, TypeError):
        return False
    return array.shape == np.shape(known[0]) and bool(np.isfinite(array).all())


def _fits_json(row: Any, known: list[Any]) -> bool:
    if not isinstance(row, list) or not isinstance(known[0], list):
        return isinstance(row, type(known[0]))
    return all(map(_is_number, row))


FITS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "table": _fits_table,
    "texts": lambda row, _: isinstance(row, str),
    "arrays": _fits_array,
    "json": _fits_json,
}


@contextmanager
def served(answer: Answer, golden: GoldenRows) -> Iterator[str]:
    """Serve *answer* at ``/predict``, and yield the URL."""

    async def predict(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            return PlainTextResponse("", 415)
        try:
            body = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("the body is not JSON", 400)
        if (problem := problem_of(body, golden)) is not None:
            return PlainTextResponse(problem, 422)
        try:
            return JSONResponse(answer(body["rows"]))
        except Exception as problem:  # noqa: BLE001 - the model has no answer
            return PlainTextResponse(f"{type(problem).__name__}", 422)

    with serving([Route("/predict", predict, methods=["POST"])]) as url:
        yield url
