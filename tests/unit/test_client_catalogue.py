"""The catalogue of client checks: each declared field is judged by a check, which needs that field."""

from __future__ import annotations

from dataclasses import fields

from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY
from tier0.core.declaration import TEST_SETTINGS, Declaration
from tier0.core.verdict import CheckResult
from tier0.runs.check_client import expected_duration, unjudged_promises

PROMISES = {field.name for field in fields(Declaration)} - TEST_SETTINGS
PERMISSIONS = {"counts_429", "timeout_is"}
"""Fields that say how another one is meant; their checks run without them, too."""


def test_every_declared_field_is_judged_by_a_check() -> None:
    assert JUDGED_BY.keys() == PROMISES


def test_a_check_needs_the_fields_that_it_judges() -> None:
    for check in CLIENT_CATALOGUE:
        assert set(check.judges) <= {*check.declared, *PERMISSIONS, "health_timeout"}, check.id


def test_a_promise_that_no_check_could_judge_is_named() -> None:
    declared = Declaration(reset=30.0, threshold=5, retries_429=False)
    results = [
        CheckResult("breaker.opens", "pass"),
        CheckResult("breaker.failing_probe", "not_judged", "the declared reset is too long"),
        CheckResult("breaker.recovers", "not_judged", "the declared reset is too long"),
        CheckResult("retry.rate_limited", "not_judged", "not declared"),
    ]

    assert unjudged_promises(declared, results) == ["reset"]
    assert unjudged_promises(declared, results[:1]) == []


def test_the_expected_duration_follows_from_the_declared_timeouts() -> None:
    short = expected_duration({"timeout": 1.0, "reset": 1.0})
    long = expected_duration({"timeout": 10.0, "reset": 3.0})

    assert short.expected < 10
    assert short.if_failed < 30
    assert long.expected > 2 * short.expected
    assert expected_duration({"reset": 300.0}) == expected_duration(
        {"reset": 3.0}
    )  # longer ones are not judged
