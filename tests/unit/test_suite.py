"""Checks as parameters of tests."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import tier0


@pytest.mark.parametrize(
    "parametrize",
    [tier0.parametrize_with_checks, tier0.parametrize_with_client_checks],
    ids=["serving", "client"],
)
def test_a_parameter_is_shown_as_its_check(parametrize: Callable[[], pytest.MarkDecorator]) -> None:
    for parameter in parametrize().args[1]:
        assert repr(parameter.values[0]) == str(parameter.values[0]) == parameter.id
        assert not re.search(r"0x|\d{4,}|/", parameter.id)
