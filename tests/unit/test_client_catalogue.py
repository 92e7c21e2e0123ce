"""The catalogue of client checks: each declared field is judged by a check, which needs that field."""

from __future__ import annotations

from dataclasses import fields

from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY
from tier0.core.declaration import TEST_SETTINGS, Declaration

PROMISES = {field.name for field in fields(Declaration)} - TEST_SETTINGS
PERMISSIONS = {"counts_429", "timeout_is"}
"""Fields that say how another one is meant; their checks run without them, too."""


def test_every_declared_field_is_judged_by_a_check() -> None:
    assert JUDGED_BY.keys() == PROMISES


def test_a_check_needs_the_fields_that_it_judges() -> None:
    for check in CLIENT_CATALOGUE:
        assert set(check.judges) <= {*check.declared, *PERMISSIONS, "health_timeout"}, check.id
