"""The reference breaker: which requests and rejections it permits after a sequence of responses."""

from __future__ import annotations

from typing import Any

import pytest

from tier0.checks.client.breaker_model import (
    KINDS,
    BreakerModel,
    Closed,
    Effect,
    HalfOpen,
    Open,
    generated,
    in_words,
)
from tier0.core.declaration import Declaration

THRESHOLD, RESET = 3, 10.0


def model_after(*effects: Effect, **declared: Any) -> BreakerModel:
    """Return the model after requests with these effects, one per millisecond from 100 s on."""
    model = BreakerModel(Declaration(**{"threshold": THRESHOLD, "reset": RESET, "probes": 1, **declared}))
    for number, effect in enumerate(effects):
        at = 100 + number / 1000
        assert model.send(at)
        model.end(effect, at, at)
    return model


def test_only_consecutive_failures_open_the_circuit() -> None:
    assert model_after("failure", "failure").states == {Closed(2)}
    assert model_after("failure", "failure", "success", "failure").states == {Closed(1)}
    assert model_after("failure", "failure", "failure").states == {Open(100.002, 100.002)}


def test_an_open_circuit_permits_nothing_until_the_reset() -> None:
    model = model_after("failure", "failure", "failure")
    assert model.opened == 100.002
    assert model.reject(105.0)
    assert not model.send(105.0)
    assert not model.states


def test_after_the_reset_a_probe_must_be_permitted() -> None:
    assert not model_after("failure", "failure", "failure").reject(112.0)
    model = model_after("failure", "failure", "failure")
    assert model.send(110.1)
    assert model.states == {HalfOpen()}


@pytest.mark.parametrize(
    ("effect", "states"),
    [
        ("failure", {Open(111.0, 111.5)}),
        ("success", {Closed()}),
        ("mistake", {Closed()}),
        ("limited", {Closed(), HalfOpen(), Open(111.0, 111.5)}),
        ("unknown", {HalfOpen(), Open(111.0, 111.5)}),
    ],
)
def test_a_probe_decides_about_the_circuit(effect: Effect, states: set[object]) -> None:
    model = model_after("failure", "failure", "failure")
    model.send(111.0)
    model.end(effect, 111.0, 111.5)

    assert model.states == states


def test_what_is_not_declared_leads_to_several_states() -> None:
    model = model_after("failure", "failure", "mistake", "failure")

    assert model.states == {Closed(1), Open(100.003, 100.003)}
    assert model.opened is None
    assert model.reject(101.0)
    assert model.opened == 100.003


def test_429_is_a_failure_only_if_that_is_declared() -> None:
    assert model_after("limited", "limited", "limited").states == {Closed()}
    assert model_after("limited", "limited", "limited", counts_429=True).opened is not None


def test_several_probes_may_be_needed_to_close() -> None:
    model = model_after("failure", "failure", "failure", probes=2)
    model.send(111.0)
    model.end("success", 111.0, 111.0)

    assert model.states == {Closed(), HalfOpen(1)}


def test_without_declared_probes_any_number_may_be_needed() -> None:
    model = model_after("failure", "failure", "failure", probes=None)
    for at in (111.0, 111.1, 111.2):
        model.send(at)
        model.end("success", at, at)

    assert model.states == {Closed(), HalfOpen(3)}


def test_a_closed_circuit_rejects_nothing() -> None:
    assert not model_after("failure", "failure").reject(101.0)


@pytest.mark.parametrize("threshold", [1, 3, 50])
def test_the_same_seed_gives_the_same_sequences(threshold: int) -> None:
    sequences = generated(threshold)

    assert sequences == generated(threshold)
    assert sequences != generated(threshold, seed=1)
    assert all(kind in KINDS for kinds in sequences for kind in kinds)
    assert all(0 < len(kinds) <= 40 for kinds in sequences)


def test_a_sequence_is_written_with_the_number_of_repetitions() -> None:
    assert in_words(["503", "503", "200", "503"]) == "2 x 503, 200, 503"
    assert in_words([]) == ""
