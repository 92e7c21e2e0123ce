"""Checks of tracing to Opik, with a fake Opik server and the client in a separate process.

Opik's SDK reads its settings once per process, so only a new process uses the address of the fake server.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tier0.checks.client.harness import traced_calls
from tier0.checks.client.harness.call import Call
from tier0.checks.client.harness.subject import Caller, Subject
from tier0.core.verdict import CheckFailedError, NotJudgedError
from tier0.faults import FaultServer, Reply

CALLS = 6
"""Calls in addition to those that open the circuit."""
MAX_OVERHEAD = 0.005
MAX_STALL = 0.05
ENDS_WITHIN = 10.0
RUN_TIMEOUT = 25.0
QUIET = {
    "OPIK_SENTRY_ENABLE": "false",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_CONSOLE_LOGGING_LEVEL": "CRITICAL",
    "OPIK_PROJECT_NAME": "tier0",
    "OPIK_TRACK_DISABLE": "false",
}


async def one_trace_a_call(subject: Subject) -> dict[str, Any]:
    """Fail unless every call, successful or not, leads to one complete trace with one span per request."""
    with FaultServer(Reply(body={})) as opik:
        caller, _ = await _traced(subject, opik, _mixed(subject))
        traces = sorted(_received(opik, "traces"), key=lambda trace: str(trace["start_time"]))
        spans = _received(opik, "spans")
    if not traces:
        raise caller.fail(
            f"Opik received no trace of {len(caller.calls)} calls",
            "an error in the tracing code is suppressed",
            "the address of Opik is not read from OPIK_URL_OVERRIDE",
            "traces are not flushed when the client is closed",
        )
    if len(traces) != len(caller.calls):
        raise caller.fail(
            f"Opik received {len(traces)} traces of {len(caller.calls)} calls",
            "pending traces are lost when the process ends",
            "only successful calls are traced",
            "traces are sent by background tasks that are not awaited",
        )
    if unended := [trace for trace in traces if not trace.get("end_time")]:
        raise caller.fail(
            f"{len(unended)} of {len(traces)} traces have no end time",
            "an exception skips the end of the trace",
        )
    for number, (call, trace) in enumerate(zip(caller.calls, traces, strict=True), 1):
        sent = len(call.requests)
        received = sum(span["trace_id"] == trace["id"] for span in spans)
        if received != sent:
            raise caller.fail(
                f"the trace of call {number} has {received} spans, expected one for each of {sent} requests",
                "calls are traced, but not their attempts",
            )
    return {"calls": len(caller.calls), "spans": len(spans)}


async def costs_nothing(subject: Subject) -> dict[str, Any]:
    """Fail if an Opik server that never responds delays calls, the event loop, or the end of the process."""
    with FaultServer(Reply(body={})) as opik:
        usual, _ = await _traced(subject, opik, subject.ok)
    with FaultServer(Reply.hang()) as opik:
        caller, times = await _traced(subject, opik, subject.ok)
    slower = _median_seconds(caller) - _median_seconds(usual)
    stall, end = times["stall"], times["end"]
    when = "when Opik does not respond"
    if slower > MAX_OVERHEAD:
        raise caller.fail(
            f"{when}, a call takes {slower * 1000:.0f} ms longer (limit: {MAX_OVERHEAD * 1000:.0f} ms)",
            "traces are sent during the call",
        )
    if stall > MAX_STALL:
        raise caller.fail(
            f"{when}, the event loop was blocked for {stall * 1000:.0f} ms (limit: {MAX_STALL * 1000:.0f} "
            "ms)",
            "traces are sent, or Opik is imported, during a call",
        )
    if end > ENDS_WITHIN:
        raise caller.fail(
            f"{when}, the process ended only {end:.1f} s after its last call (limit: {ENDS_WITHIN:g} s)",
            "the final flush has no timeout",
        )
    return {"ms_slower": slower * 1000, "ms_longest_stall": stall * 1000, "seconds_to_end": end}


def _median_seconds(caller: Caller) -> float:
    return statistics.median(call.seconds for call in caller.calls)


def _mixed(subject: Subject) -> list[Reply]:
    """Return replies of every kind, of which the last one, a failure, is repeated until the circuit opens."""
    return [subject.ok, Reply(503), subject.ok, Reply(400, {"error": "wrong"}), Reply.hang(), Reply(503)]


async def _traced(
    subject: Subject, opik: FaultServer, script: Reply | list[Reply]
) -> tuple[Caller, dict[str, float]]:
    """Run the client in a separate process.

    Returns:
        The calls with their requests; the longest ``stall`` of the event loop and the time from the last call
        to the ``end`` of the process, in seconds.
    """
    declared = subject.declared
    with subject.server(script) as server, tempfile.TemporaryDirectory(prefix="tier0-traced-") as folder:
        given = {
            "factory": subject.name,
            "url": server.url,
            "options": dict(declared.options),
            "data": declared.data,
            "calls": CALLS + (declared.threshold or 0),
            "give_up": declared.longest_attempt * 0.5,
            "path": sys.path,
            "output": str(Path(folder) / "calls.json"),
        }
        environment = {
            **os.environ,
            **QUIET,
            "OPIK_URL_OVERRIDE": f"{opik.url}/api",
            "OPIK_CONFIG_PATH": str(Path(folder) / "opik.config"),
        }
        result = await asyncio.to_thread(_run, given, environment)
        ended = time.monotonic()
        caller = Caller(None, server, declared)
        for call in result["calls"]:
            start, end = call["started"], call["ended"]
            error = None if call["error"] is None else RuntimeError(call["error"])
            requests = [arrival for arrival in server.arrivals if start <= arrival.at <= end]
            caller.calls.append(Call(start, end, error=error, requests=requests))
        return caller, {"stall": result["stall"], "end": ended - result["closed"]}


def _run(given: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Return the output of the process in which the client is called.

    Raises:
        CheckFailedError: the process does not end.
        NotJudgedError: the client cannot be created or called there.
    """
    command = [sys.executable, "-m", traced_calls.__name__]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            input=json.dumps(given),
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise CheckFailedError(
            f"the client's process did not end within {RUN_TIMEOUT:g} s",
            evidence={"timeline": []},
            causes=("the final flush has no timeout, and Opik does not respond",),
        ) from problem
    output = Path(given["output"])
    if not output.exists():
        end_of_output = " ".join((done.stderr or done.stdout).split()[-40:])
        raise NotJudgedError(
            f"the client could not be created or called in a separate process: {end_of_output}"
        )
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return result


def _received(opik: FaultServer, kind: str) -> list[dict[str, Any]]:
    """Return all traces or spans that Opik received, merged with their later updates."""
    received: dict[str, dict[str, Any]] = {}
    for arrival in opik.arrivals:
        parts = arrival.path.split("?")[0].rstrip("/").split("/")
        if kind not in parts[-2:] or arrival.method not in {"POST", "PATCH", "PUT"}:
            continue
        body = (
            gzip.decompress(arrival.body)
            if arrival.headers.get("content-encoding") == "gzip"
            else arrival.body
        )
        content = json.loads(body)
        for item in content.get(kind, [content]):
            id_ = str(item.get("id", parts[-1]))
            update = {name: value for name, value in item.items() if value is not None}
            received[id_] = {**received.get(id_, {}), **update, "id": id_}
    return [item for item in received.values() if "start_time" in item]
