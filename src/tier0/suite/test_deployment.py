"""The tests that users run: ``pytest --pyargs tier0.suite -m tier0_bentoml``, with any ``--tier0-…`` setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tier0.suite import AskedCheck, parametrize_with_checks

if TYPE_CHECKING:
    from tier0.runs.deployment import Deployment


@pytest.mark.tier0_bentoml
@parametrize_with_checks()
def test_serving(tier0_deployment: Deployment, check: AskedCheck) -> None:
    check(tier0_deployment)
