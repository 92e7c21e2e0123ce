"""Tier0 verifies that a served model is the trained model, and that calls to it fail safely."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tier0.client import BentoMLClient as BentoMLClient
    from tier0.client import ModelClient as ModelClient
    from tier0.core.declaration import Declaration as Declaration
    from tier0.golden.capture import golden_rows as golden_rows
    from tier0.runs.bentoml_service import start_bentoml_service as start_bentoml_service
    from tier0.runs.bentoml_service import stop_bentoml_service as stop_bentoml_service
    from tier0.runs.bentoml_service import verify_bentoml_predictions as verify_bentoml_predictions
    from tier0.runs.check_client import check_client as check_client
    from tier0.runs.compare import compare as compare
    from tier0.runs.deployment import Deployment as Deployment
    from tier0.runs.verify import check_serving as check_serving
    from tier0.serving.registration import RegisteredModel as RegisteredModel
    from tier0.serving.registration import register_model_for_serving as register_model_for_serving
    from tier0.suite import parametrize_with_checks as parametrize_with_checks
    from tier0.suite import parametrize_with_client_checks as parametrize_with_client_checks

__version__ = "0.1.0"

_HOMES = {
    "BentoMLClient": "tier0.client",
    "Declaration": "tier0.core.declaration",
    "Deployment": "tier0.runs.deployment",
    "ModelClient": "tier0.client",
    "RegisteredModel": "tier0.serving.registration",
    "check_client": "tier0.runs.check_client",
    "check_serving": "tier0.runs.verify",
    "compare": "tier0.runs.compare",
    "golden_rows": "tier0.golden.capture",
    "parametrize_with_checks": "tier0.suite",
    "parametrize_with_client_checks": "tier0.suite",
    "register_model_for_serving": "tier0.serving.registration",
    "start_bentoml_service": "tier0.runs.bentoml_service",
    "stop_bentoml_service": "tier0.runs.bentoml_service",
    "verify_bentoml_predictions": "tier0.runs.bentoml_service",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names, and no imports


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tier0' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as problem:
        from tier0.core.errors import missing_extra  # noqa: PLC0415 - imported only where a package is missing

        raise missing_extra(problem, "service") or problem from None
