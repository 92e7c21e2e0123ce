"""Services without a contract: what is certain passes, what is not is inconclusive, and no mutant passes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import tier0
from tier0.core.errors import Tier0Error
from tier0.core.verdict import Verdict
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment
from tier0.runs.examination import Examination

ROWS = [[float(index), math.sin(index)] for index in range(24)]
CONTRACT = {"route": "/predict", "features": "rows", "style": "rows"}


class Outputs(NamedTuple):
    """Outputs of a model for some rows."""

    predictions: list[Any]
    probabilities: list[list[float]]


Model = Callable[[list[list[float]]], Outputs]
Answer = Callable[[Outputs], Any]


def prices(rows: list[list[float]]) -> Outputs:
    return Outputs([390_455.0 + 9_876.54321 * first + 777.7 * second for first, second in rows], [])


def risks(rows: list[list[float]]) -> Outputs:
    scores = [1 / (1 + math.exp(11.3 - first - second)) for first, second in rows]
    return Outputs(["yes" if score > 0.5 else "no" for score in scores], [[1 - one, one] for one in scores])


def places(rows: list[list[float]]) -> Outputs:
    return Outputs([[48.1 + first / 7, 11.5 + second / 3] for first, second in rows], [])


def golden(model: Model) -> GoldenRows:
    outputs = model(ROWS)
    classes = ["no", "yes"] if outputs.probabilities else []
    return GoldenRows(["a", "b"], ROWS, outputs.predictions, outputs.probabilities or None, classes)


def another(model: Model) -> Model:
    """Return a model that is close to *model*."""
    return lambda rows: model([[first * 1.02 + 0.3, second] for first, second in rows])


def exchanged(model: Model) -> Model:
    """Return a model whose probabilities have the classes exchanged."""
    return lambda rows: Outputs(model(rows).predictions, [row[::-1] for row in model(rows).probabilities])


def with_other_labels(model: Model) -> Model:
    """Return a model whose labels are exchanged."""
    return lambda rows: Outputs(
        [{"no": "yes", "yes": "no"}[one] for one in model(rows).predictions], model(rows).probabilities
    )


def in_another_order(model: Model) -> Model:
    return lambda rows: Outputs(*(part[::-1] for part in model(rows)))


def records(**fields: Callable[[Any, list[float]], Any]) -> Answer:
    """Return a function that answers with an object for each row."""

    def answer(outputs: Outputs) -> list[dict[str, Any]]:
        rows = zip(outputs.predictions, outputs.probabilities or [[]] * len(outputs.predictions), strict=True)
        return [{name: field(*row) for name, field in fields.items()} for row in rows]

    return answer


def judged(model: Model, answer: Answer, rows: GoldenRows) -> tuple[Verdict, str]:
    """Return the verdict on a service, and the draft of its contract."""

    def script(arrival: Arrival) -> Reply:
        if arrival.path != "/predict":
            return Reply(404)
        return Reply(body=answer(model(json.loads(arrival.body)["rows"])))

    with FaultServer(script) as server:
        deployment = Deployment.from_url(server.url, golden=rows, contract=CONTRACT)
        verdict = tier0.check_serving(deployment, on_fail="return", groups=["contract", "parity"])
        return verdict, Examination(deployment).draft().as_text(server.url)


def label(prediction: Any, _: list[float]) -> Any:
    return prediction


def parallel_lists(outputs: Outputs) -> Any:
    """Return the classes of each row, the most likely one first, and their scores in a list beside them."""
    rows = [sorted(zip(row, ["no", "yes"], strict=True), reverse=True) for row in outputs.probabilities]
    return {
        "classes": [[name for _, name in row] for row in rows],
        "scores": [[score for score, _ in row] for row in rows],
    }


def sorted_by_class(outputs: Outputs) -> Any:
    """Return what a list of results has: the classes of each row, the most likely one first."""
    return [
        sorted(
            ({"label": name, "prob": score} for name, score in zip(["no", "yes"], row, strict=True)),
            key=lambda item: -item["prob"],
        )
        for row in outputs.probabilities
    ]


CERTAIN: dict[str, tuple[Model, Answer, list[Callable[[Model], Model]]]] = {
    "large numbers with two decimals": (prices, records(price=lambda value, _: round(value, 2)), [another]),
    "numbers with a unit": (prices, records(price=lambda value, _: f"{value:.2f} EUR"), [another]),
    "a named unit, rounded": (
        prices,
        records(price_thousands=lambda value, _: round(value / 1000, 1)),
        [another, in_another_order],
    ),
    "six decimals of a probability": (
        risks,
        records(label=label, probability=lambda _, row: round(row[1], 6)),
        [exchanged, another],
    ),
    "five decimals of a percentage": (
        risks,
        records(label=label, probability=lambda _, row: round(100 * row[1], 5)),
        [exchanged, another],
    ),
    "a probability as text": (
        risks,
        records(label=label, probability=lambda _, row: repr(row[1])),
        [exchanged, another],
    ),
    "labels with their prob": (risks, sorted_by_class, [exchanged, another]),
    "the class in the name": (
        risks,
        records(label=label, prob_no=lambda _, row: row[0]),
        [exchanged, another],
    ),
    "labels in upper case": (risks, records(decision=lambda value, _: value.upper()), [with_other_labels]),
    "each class in a name": (
        risks,
        records(p_no=lambda _, row: row[0], p_yes=lambda _, row: row[1]),
        [exchanged, another],
    ),
}
OPEN: dict[str, tuple[Model, Answer]] = {
    "whole thousands": (prices, records(price_thousands=lambda value, _: round(value / 1000))),
    "percentages as text": (risks, records(label=label, probability=lambda _, row: f"{100 * row[1]:.1f}%")),
    "the index of the class": (risks, records(class_index=lambda value, _: ["no", "yes"].index(value))),
    "the probability of something else": (
        risks,
        records(label=label, fraud_probability=lambda _, row: row[1], threshold_probability=lambda *_: 0.5),
    ),
    "one-hot labels as floats": (
        risks,
        lambda outputs: {"predictions": [[float(one == "no"), float(one == "yes")] for one in outputs[0]]},
    ),
    "scores in the order of names": (risks, parallel_lists),
    "names for several outputs": (
        places,
        records(lat=lambda value, _: value[0], lon=lambda value, _: value[1]),
    ),
}


@pytest.mark.parametrize("form", CERTAIN)
def test_what_is_certain_passes_and_no_mutant_of_it_does(form: str) -> None:
    model, answer, mutants = CERTAIN[form]
    rows = golden(model)

    healthy, _ = judged(model, answer, rows)

    assert healthy.verdict == "pass", [result.explain() for result in healthy.checks]
    for mutant in mutants:
        assert judged(mutant(model), answer, rows)[0].verdict != "pass"


@pytest.mark.parametrize("form", OPEN)
def test_what_is_open_is_not_accused_and_the_command_that_drafts_is_named(form: str) -> None:
    model, answer = OPEN[form]

    verdict, draft = judged(model, answer, golden(model))

    assert verdict.verdict == "inconclusive", [result.explain() for result in verdict.checks]
    compared = next(result for result in verdict.checks if result.id == "parity.golden_rows")
    assert (
        f"`tier0 contract {verdict.target['url']} --golden FILE --output contract.toml`" in compared.message
    )
    assert 'route = "/predict"' in draft
    try:
        mutant = judged(another(model), answer, golden(model))[0].verdict
    except Tier0Error:
        return  # inconclusive
    assert mutant != "pass"
