"""Services that never become ready: reported soon, with the reason, and nothing of them stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tier0.core.errors import ServerError
from tier0.runs.deployment import Deployment

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
STARTS = Path(__file__).parent / "starts"


@pytest.mark.parametrize(
    ("defect", "service", "timeout", "in_log"),
    [
        pytest.param("STA04", "raises.py:Service", 30, "the feature store does not answer"),
        pytest.param("STA08", "slow.py:Service", 6, "6 s", marks=pytest.mark.slow),
        pytest.param("STA10", "no_worker.py:Service", 30, "workers", marks=pytest.mark.slow),
        pytest.param("PKG08", "undeclared.py:Service", 30, "undeclared", marks=pytest.mark.slow),
        pytest.param("PKG04", "shadowed/service.py:Service", 30, "'logging' has no", marks=pytest.mark.slow),
    ],
)
def test_a_service_that_cannot_start_is_reported_with_its_log(
    defect: str, service: str, timeout: float, in_log: str, record: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()

    with pytest.raises(ServerError) as failure:
        Deployment.from_service(f"{STARTS}/{service}", store=tmp_path, startup_timeout=timeout)

    record(defect, ("never ready",), str(failure.value))
    assert in_log in str(failure.value)
