"""The one asynchronous fixture; the plugin registers this module where pytest-asyncio is loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.runs.deployment import Deployment


@pytest_asyncio.fixture
async def tier0_client(tier0_deployment: Deployment) -> AsyncIterator[BentoMLClient]:
    """A client of the deployment, for one test: a client belongs to one event loop."""
    from tier0.client import BentoMLClient  # noqa: PLC0415

    async with BentoMLClient(tier0_deployment.url) as client:
        yield client
