"""Fuzzes all parts for ``FUZZ_SECONDS``, each in a process of its own: `make fuzz`.

``reports/fuzz.json`` has the numbers and the failures of all runs, one for each place in the code, and the
next seed of each part, from which a later run continues. The smallest input of each failure is in
``reports/fuzz/``.
Exit status: 0 nothing failed in this run, 1 an input failed or did not end.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisWarning

from tests.fuzz.parts import MIB, PARTS, FindingError, Part, answers, memory

RESULT = Path("reports/fuzz.json")
INPUTS = Path("reports/fuzz")
CORPUS = Path(__file__).with_name("corpus")
SHARES = {"files": 0.2, "requests": 0.05, "client": 0.3, "verify": 0.25, "service": 0.1, "check-client": 0.1}
"""Part to its share of the time."""
HUNG = 4
"""Time limits of an input after which its process is ended."""
NEW: dict[str, Any] = {
    "next_seed": 0,
    "cases": 0,
    "accepted": 0,
    "answers": 0,
    "seconds": 0.0,
    "slowest_seconds": 0.0,
    "memory_growth_mib": 0,
    "failures": {},
}
"""The state of a part that was never fuzzed."""


def main() -> int:
    """Fuzz one part, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="only this part, in this process")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "240")))
    options = parser.parse_args()
    INPUTS.mkdir(parents=True, exist_ok=True)
    if options.part is not None:
        return fuzz(options.part, options.seconds)
    before = number_of_failures()
    for name, share in SHARES.items():
        end = time.monotonic() + share * options.seconds
        while (left := end - time.monotonic()) > 0:
            run_in_own_process(name, left)
        print(summary(name))
    return 1 if number_of_failures() > before else 0


def run_in_own_process(name: str, seconds: float) -> None:
    """Fuzz one part; if its process does not end by itself, its last input has failed."""
    running = running_input(name)
    running.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--part", name, "--seconds", str(seconds)]
    ended = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        if not running.exists():
            sys.exit(f"{name} cannot be fuzzed:\n{ended.stderr}")
        what = "did not end" if "Timeout" in ended.stderr else f"ended the process ({ended.returncode})"
        own = re.findall(r'/tier0/([^"]+)", line (\d+)', ended.stderr) or [("?", "?")]
        state = read_state(name)
        note(
            name,
            state,
            f"{what} at {':'.join(own[0])}",
            ended.stderr,
            json.loads(running.read_text(encoding="utf-8")),
        )
        state["next_seed"] += 1
        write_state(name, state)


def fuzz(name: str, seconds: float) -> int:
    """Replay the corpus of a part, fuzz it from its next seed on, and return the exit status."""
    part, state = ending(name, PARTS[name]), read_state(name)
    for healthy in part.healthy:
        part.check(healthy)
    for path in kept(name):
        run_input(name, part, json.loads(path.read_text(encoding="utf-8")), state)
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        began = time.monotonic()
        run_seed(name, part, state)
        state["next_seed"] += 1
        state["seconds"] = round(state["seconds"] + time.monotonic() - began, 1)
        write_state(name, state)
    return 0


def ending(name: str, part: Part) -> Part:
    """Return a part that ends this process if an input takes far too long, and keeps the input."""

    def check(value: Any) -> bool:
        running_input(name).write_text(json.dumps(value), encoding="utf-8")
        faulthandler.dump_traceback_later(HUNG * part.seconds, exit=True)
        try:
            return part.check(value)
        finally:
            faulthandler.cancel_dump_traceback_later()

    return replace(part, check=check)


def running_input(name: str) -> Path:
    """Return the file of the input that a part examines."""
    return INPUTS / f"{name}.running.json"


def run_seed(name: str, part: Part, state: dict[str, Any]) -> None:
    """Run the inputs of the next seed. The input of a new failure is shrunk if the part has time for that."""
    known = frozenset(state["failures"])
    phases = [Phase.generate, Phase.shrink] if part.shrinks else [Phase.generate]

    @seed(state["next_seed"])
    @settings(
        max_examples=part.batch,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(part.inputs)
    def run(value: Any) -> None:
        problem = run_input(name, part, value, state)
        if part.shrinks and problem is not None and place_of(problem) not in known:
            raise problem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # long inputs
        try:
            run()
        except Exception as problem:  # noqa: BLE001 - noted already, the smallest input last
            print(f"{name}: {place_of(problem)}")


def run_input(name: str, part: Part, value: Any, state: dict[str, Any]) -> Exception | None:
    """Examine one input, and note and return its failure."""
    state["cases"] += 1
    answered, start = answers["count"], time.monotonic()
    problem = None
    try:
        state["accepted"] += part.examine(value)
    except Exception as error:  # noqa: BLE001 - any error is a finding
        problem = error
        note(name, state, place_of(problem), "".join(traceback.format_exception(problem)[-30:]), value)
    state["answers"] += answers["count"] - answered
    state["slowest_seconds"] = round(max(state["slowest_seconds"], time.monotonic() - start), 2)
    state["memory_growth_mib"] = max(state["memory_growth_mib"], memory.grown // MIB)
    return problem


def place_of(problem: BaseException) -> str:
    """Return the kind of an error and the line of Tier0, or else of the fuzzing, that it came from."""
    if isinstance(problem, FindingError):
        return problem.kind
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if "/tier0/" in frame.filename] or frames
    return f"{type(problem).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


def note(name: str, state: dict[str, Any], place: str, text: str, value: Any) -> None:
    """Note a failure; of each place, the smallest input is kept."""
    content = json.dumps(value)
    path = INPUTS / f"{name}-{re.sub('[^a-zA-Z0-9.]+', '-', place)[:80]}.json"
    failure = state["failures"].setdefault(
        place, {"count": 0, "seed": state["next_seed"], "input": str(path)}
    )
    failure["count"] += 1
    if failure["count"] == 1 or len(content) < path.stat().st_size:
        failure["error"] = text[-4000:]
        path.write_text(content, encoding="utf-8")


def kept(name: str) -> Iterator[Path]:
    """Yield the inputs of a part that failed once."""
    yield from sorted((CORPUS / name).glob("*.json"))


def read_result() -> dict[str, Any]:
    """Return the result of all runs so far."""
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}


def read_state(name: str) -> dict[str, Any]:
    """Return the state of a part."""
    return {**NEW, "failures": {}, **read_result().get(name, {})}


def write_state(name: str, state: dict[str, Any]) -> None:
    """Replace the state of a part in the result."""
    unfinished = RESULT.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({**read_result(), name: state}, indent=1), encoding="utf-8")
    unfinished.replace(RESULT)


def number_of_failures() -> int:
    """Return the number of inputs that failed in all runs."""
    return sum(found["count"] for part in read_result().values() for found in part["failures"].values())


def summary(name: str) -> str:
    """Return the numbers and the failures of a part."""
    state = read_state(name)
    numbers = (
        f"{name}: {state['cases']} cases, {state['accepted']} accepted, {state['answers']} answers",
        f"slowest {state['slowest_seconds']} s, memory +{state['memory_growth_mib']} MiB",
        f"{len(state['failures'])} places failed",
    )
    return "\n".join(
        [
            ", ".join(numbers),
            *(f"  {found['count']} times: {place}" for place, found in state["failures"].items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
