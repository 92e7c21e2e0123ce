"""Long tests of the real service: load while the network misbehaves, and ten thousand invalid requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

import tier0
from tests.support import ROOT
from tests.support.hostile import attack
from tier0.client import BentoMLClient, ClientError
from tier0.faults import FaultProxy, Faults

pytest.importorskip("hypothesis", reason="where nothing may be installed it is not there")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment

SECONDS = float(os.environ.get("TIER0_TORTURE_SECONDS", "600"))
pytestmark = [
    pytest.mark.torture,
    pytest.mark.server,
    pytest.mark.timeout(1800 + SECONDS),
]
PART = 600.0
"""Seconds of one part of the soak."""
SOAK = ROOT / "reports" / "soak.json"
WARM_UP = 0.4
"""The share of a part in which a worker's memory still grows, by some 65 MB, as its connections open."""
CALLERS = 8
PAUSE = 0.01
MAX_GROWN = 30e6
"""Bytes, of either process, beyond what the warm-up took."""
BAD_REQUESTS = int(os.environ.get("TIER0_BAD_REQUESTS", "10000"))
HOSTILE_REQUESTS = int(os.environ.get("TIER0_HOSTILE_REQUESTS", "100000"))
HOSTILE_FROM = int(os.environ.get("TIER0_HOSTILE_FROM", "0"))
"""Number of the first hostile request; a failure names it."""
AT_ONCE = 1000
RESULTS = ROOT / "reports" / "hostile.json"
METRICS_WITHIN = 0.2
FAULTS: tuple[Callable[[FaultProxy], AbstractContextManager[None]], ...] = (
    lambda proxy: proxy.latency(0.2, jitter=0.1),
    lambda proxy: proxy.reset_peer(toxicity=0.5),
    lambda proxy: proxy.limit_data(300, toxicity=0.5),
    lambda proxy: proxy.timeout(),
    lambda proxy: proxy.slicer(100),
    lambda proxy: proxy.down(),
)


@pytest.mark.asyncio
async def test_steady_load_with_faults_loses_nothing_and_holds_nothing(
    tier0_deployment: OwnDeployment, tier0_faults: Faults
) -> None:
    """Its parts are in one file, so that it goes on where an earlier run was interrupted."""
    proxy, draw = tier0_faults.proxy(tier0_deployment.url), random.Random(7)
    done: list[dict[str, Any]] = json.loads(SOAK.read_text(encoding="utf-8")) if SOAK.exists() else []
    while (left := SECONDS - sum(part["seconds"] for part in done)) > 0:
        done.append(await soak(tier0_deployment, proxy, draw, min(left, PART)))
        SOAK.parent.mkdir(exist_ok=True)
        SOAK.write_text(json.dumps(done, indent=1), encoding="utf-8")

    for part in done:
        seen = part["seen"]
        assert sum(seen.values()) == part["asked"], part
        assert seen.get("wrong", 0) == 0, part
        assert seen["right"] > part["asked"] / 4, part
        assert max(part["memory_grown"]) < MAX_GROWN, part
        assert max(part["descriptors_grown"]) <= 2 * CALLERS, part


async def soak(
    deployment: OwnDeployment, proxy: FaultProxy, draw: random.Random, seconds: float
) -> dict[str, Any]:
    """Call the service under load and faults, and return the outcomes and how far both processes grew."""
    golden, seen, asked = deployment.model.golden.examples, Counter[str](), 0
    end = time.monotonic() + seconds
    processes = [psutil.Process(), *map(psutil.Process, deployment.server.worker_pids)]

    async def call_on(client: BentoMLClient) -> None:
        nonlocal asked
        while time.monotonic() < end:
            asked += 1
            try:
                answer = await client.predict(golden.body())
                seen["right" if golden.compare(answer) is None else "wrong"] += 1
            except ClientError as error:
                seen[type(error).__name__] += 1
            await asyncio.sleep(PAUSE)

    async def disturb() -> None:
        while time.monotonic() < end:
            with draw.choice(FAULTS)(proxy):
                await asyncio.sleep(draw.uniform(0.2, 2))
            await asyncio.sleep(draw.uniform(0.5, 3))
            proxy.log.forget()

    async def held(after: float) -> list[tuple[int, int]]:
        await asyncio.sleep(after)
        return [(process.memory_info().rss, process.num_fds()) for process in processes]

    async with BentoMLClient(proxy.url, timeout=1.0, reset_timeout=0.5) as client:
        measured = asyncio.gather(held(seconds * WARM_UP), held(seconds * 0.98))
        await asyncio.gather(disturb(), *(call_on(client) for _ in range(CALLERS)))
        before, after = await measured
        deadline = time.monotonic() + 5
        while client.circuit_state() != "closed" and time.monotonic() < deadline:
            await asyncio.gather(client.predict(golden.body()), return_exceptions=True)
        await tier0.verify_bentoml_predictions(client, deployment)
    return {
        "seconds": seconds,
        "asked": asked,
        "seen": dict(seen),
        "memory_grown": [late[0] - early[0] for early, late in zip(before, after, strict=True)],
        "descriptors_grown": [late[1] - early[1] for early, late in zip(before, after, strict=True)],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=10) | st.sampled_from(["features", "columns"]), inner, max_size=5)
    ),
    max_leaves=30,
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: {"json": value})
    | st.builds(
        lambda rows, more: {"json": {"features": rows, **more}},
        JSON,
        st.dictionaries(st.text(max_size=8), JSON, max_size=2),
    )
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "Content-Encoding", "Accept", "X-Request-ID", "traceparent", "Transfer-Encoding-X"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    max_size=3,
)


def test_ten_thousand_wrong_requests_crash_nothing(tier0_deployment: OwnDeployment) -> None:
    golden, statuses, workers = (
        tier0_deployment.model.golden.examples,
        Counter[int](),
        tier0_deployment.server.worker_pids,
    )
    with httpx.Client(base_url=tier0_deployment.url, trust_env=False, timeout=10) as http:

        @settings(
            max_examples=BAD_REQUESTS, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(
            body=BODIES,
            headers=HEADERS,
            route=st.sampled_from(["/predict", "/model_info", "/health", "/readyz", "/"]),
        )
        def send(body: Any, headers: dict[str, str], route: str) -> None:
            how: dict[str, Any] = (
                {"content": body}
                if isinstance(body, bytes)
                else {"content": json.dumps(body["json"]).encode()}
            )
            answer = http.post(route, headers={"Content-Type": "application/json", **headers}, **how)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (route, how, headers, answer.text)
            if statuses.total() % 100 == 0:
                right = http.post("/predict", json=golden.body())
                assert golden.compare(right.json()) is None

        send()
    assert statuses.total() >= BAD_REQUESTS
    assert tier0_deployment.server.worker_pids == workers


def test_a_hundred_thousand_hostile_requests_cause_no_5xx(tier0_deployment: OwnDeployment) -> None:
    """Its results are in one file, so that it goes on where an earlier run was interrupted."""
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    memory = []
    for first in range(HOSTILE_FROM, HOSTILE_REQUESTS, AT_ONCE):
        if str(first) not in done:
            done[str(first)] = send_hostile_ones(tier0_deployment, first)
            memory.append(done[str(first)]["memory"])
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(done, indent=1), encoding="utf-8")
    assert not memory or memory[-1] - memory[0] < MAX_GROWN, memory


def send_hostile_ones(deployment: OwnDeployment, first: int) -> dict[str, Any]:
    """Send the hostile requests from number *first* on; check the service, and return what was measured."""
    golden, server = deployment.model.golden.examples, deployment.server
    workers = server.worker_pids
    statuses, failed = attack(deployment.url, golden.body(), seed=first, number=AT_ONCE)
    log = server.log.read_text(encoding="utf-8")
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        httpx.get(f"{deployment.url}/metrics", trust_env=False)
        seconds.append(time.monotonic() - start)

    named = f"TIER0_HOSTILE_FROM={first}"
    assert failed == [], f"{named}\n{tracebacks(log)}"
    assert "Traceback" not in log, f"{named}\n{tracebacks(log)}"
    assert server.worker_pids == workers, f"{named}\n{server.log_end()}"
    assert min(seconds) < METRICS_WITHIN, named
    right = httpx.post(f"{deployment.url}/predict", json=golden.body(), trust_env=False)
    assert golden.compare(right.json()) is None, named
    return {
        "statuses": {str(status): count for status, count in statuses.items()},
        "memory": sum(psutil.Process(pid).memory_info().rss for pid in workers),
        "metrics": round(min(seconds), 4),
    }


def tracebacks(log: str) -> str:
    """Return a log from some lines before its first traceback on."""
    before, _, after = log.partition("Traceback")
    return f"{before[-2000:]}Traceback{after[:8000]}"


@pytest.mark.skipif(
    "TIER0_SCHEMATHESIS" not in os.environ,
    reason="schemathesis is where TIER0_SCHEMATHESIS says, in an environment of its own",
)
def test_schemathesis_finds_no_server_error_in_what_the_service_says_of_itself(
    tier0_deployment: OwnDeployment, tmp_path: Path
) -> None:
    golden = tier0_deployment.model.golden.examples
    command = [
        os.environ["TIER0_SCHEMATHESIS"], "run", f"{tier0_deployment.url}/docs.json",
        "--checks", "not_a_server_error", "--max-examples", "500", "--seed", "7", "--continue-on-failure",
    ]  # fmt: skip

    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )  # it leaves a cache where it runs

    assert done.returncode == 0, done.stdout
    assert (
        golden.compare(
            httpx.post(f"{tier0_deployment.url}/predict", json=golden.body(), trust_env=False).json()
        )
        is None
    )
