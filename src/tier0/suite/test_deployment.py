"""All checks of a service as tests: ``pytest --pyargs tier0.suite -m tier0_bentoml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tier0.suite import ParametrizedCheck, parametrize_with_checks

if TYPE_CHECKING:
    from tier0.runs.deployment import Deployment


@pytest.mark.tier0_bentoml
@parametrize_with_checks()
def test_serving(tier0_deployment: Deployment, check: ParametrizedCheck) -> None:
    check(tier0_deployment)
