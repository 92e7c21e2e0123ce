"""Fuzzes all parts for ``FUZZ_SECONDS``, each in a process of its own: `make fuzz`.

``reports/fuzz/PART.json`` has the next seed, so that a later run continues, and the failures of all runs: one
per place in the code, with its first input.
Exit status: 0 nothing failed, 1 an input failed or did not end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisWarning

from tests.fuzz.parts import AT_START, PARTS, Part, peak_memory

REPORTS = Path("reports/fuzz")
SHARES = {"readers": 0.2, "requests": 0.1, "client": 0.3, "verify": 0.4}
"""Part to its share of the time."""
GRACE = 120.0
"""Seconds after its time in which a part ends by itself."""


def main() -> int:
    """Fuzz one part, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "240")))
    options = parser.parse_args()
    REPORTS.mkdir(parents=True, exist_ok=True)
    if options.part is not None:
        return fuzz(options.part, options.seconds)
    return max([_in_own_process(part, share * options.seconds) for part, share in SHARES.items()])


def _in_own_process(part: str, seconds: float) -> int:
    command = [sys.executable, "-m", "tests.fuzz", "--part", part, "--seconds", str(seconds)]
    try:
        return subprocess.run(command, check=False, timeout=seconds + GRACE).returncode
    except subprocess.TimeoutExpired:
        print(f"{part}: an input did not end; its seed is the last one in {REPORTS / part}.json")
        return 1


def fuzz(name: str, seconds: float) -> int:
    """Fuzz one part from its next seed on, and return the exit status."""
    path, part = REPORTS / f"{name}.json", PARTS[name]
    state = new_state()
    if path.exists():
        state.update(json.loads(path.read_text(encoding="utf-8")))
    counts, start = {place: found["count"] for place, found in state["failures"].items()}, time.monotonic()
    while time.monotonic() - start < seconds:
        number, state["next_seed"] = state["next_seed"], state["next_seed"] + 1
        _write(path, state)
        began = time.monotonic()
        run_seed(part, number, state)
        state["seconds"] += time.monotonic() - began
        state["memory_growth"] = max(state["memory_growth"], peak_memory() - AT_START)
        _write(path, state)
    failed = {
        place: found for place, found in state["failures"].items() if found["count"] > counts.get(place, 0)
    }
    print(
        f"{name}: {state['inputs']} inputs in {state['next_seed']} seeds so far, "
        f"slowest {state['slowest']:.1f} s, memory +{state['memory_growth'] / 2**20:.0f} MiB, "
        f"{len(failed)} places failed"
    )
    for place, failure in failed.items():
        print(f"  {failure['count']} times, first with seed {failure['seed']}: {place}: {failure['error']}")
    return 1 if failed else 0


def new_state() -> dict[str, Any]:
    """Return the state of a part that was never fuzzed."""
    return {
        "next_seed": 0,
        "inputs": 0,
        "seconds": 0.0,
        "slowest": 0.0,
        "memory_growth": 0,
        "failures": {},
    }


def run_seed(part: Part, number: int, state: dict[str, Any]) -> None:
    """Run the inputs of one seed; every failure is noted, and the others go on."""

    @seed(number)
    @settings(
        max_examples=part.batch,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(part.inputs)
    def run(value: Any) -> None:
        state["inputs"] += 1
        began = time.monotonic()
        try:
            part.examine(value)
        except Exception as problem:  # noqa: BLE001 - any error is a finding
            lines = traceback.format_exc().splitlines()[-40:]
            first = {
                "seed": number,
                "error": str(problem)[:300],
                "traceback": lines,
                "input": value,
                "count": 0,
            }
            state["failures"].setdefault(_place_of(problem), {**first, "count": 0})["count"] += 1
        state["slowest"] = max(state["slowest"], time.monotonic() - began)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # long inputs
        run()


def _place_of(problem: Exception) -> str:
    """Return the kind of an error and the line of Tier0, or else of the fuzzing, that it came from."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if "/tier0/" in frame.filename] or frames
    return f"{type(problem).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


def _write(path: Path, state: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(state, indent=1), encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())
