"""Is the deployment well, and is it ours?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tier0.core.events import HealthChecked

if TYPE_CHECKING:
    from tier0 import BentoMLClient
    from tier0.core.event_log import EventLog
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.tier0_bentoml, pytest.mark.timeout(120)]


@pytest.mark.asyncio
async def test_health_check_says_which_model_of_which_run_is_served(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment, tier0_events: EventLog
) -> None:
    health = await tier0_client.health_check()

    assert health["status"] == "healthy", health
    assert health["model_tag"] == tier0_deployment.model.tag
    assert health["run"] == tier0_deployment.server.nonce
    tier0_events.emit(HealthChecked(status=health["status"]))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_health_answers_get_and_post(tier0_deployment: OwnDeployment, method: str) -> None:
    response = httpx.request(method, f"{tier0_deployment.url}/health", trust_env=False)

    assert response.status_code == 200
    assert response.headers["X-Tier0-Run"] == tier0_deployment.server.nonce


@pytest.mark.asyncio
async def test_model_info_is_the_signature_that_was_registered(
    tier0_client: BentoMLClient, tier0_deployment: OwnDeployment
) -> None:
    info = await tier0_client.model_info()

    names = [feature["name"] for feature in info["signature"]["features"]]
    assert names == tier0_deployment.model.signature.names
    assert info["model_tag"] == tier0_deployment.model.tag


def test_bentoml_itself_says_ready(tier0_deployment: OwnDeployment) -> None:
    assert httpx.get(f"{tier0_deployment.url}/readyz", trust_env=False).status_code == 200
