"""What the runner adds to the work of its eight steps, and how steps 4 to 6 grow with the rows: in one process, and on a Dask cluster.

The first is the time of a whole run less that of its steps and of stopping what it started; imports are done before. The second is the time of
selection, training and feature analysis on rows of 50 numbers, with the peak of the process' memory; then the same with two Dask workers
of one thread each, which must give the same model: its peak here, and that of the larger worker. Aim: the runner adds less than 5 % to the steps.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import starmap
from pathlib import Path
from typing import Any

RUNS = int(os.environ.get("RUNS", "3"))
ROWS = [int(rows) for rows in os.environ.get("ROWS", "2000,20000,200000").split(",")]
COLUMNS = 50
ALGORITHMS = ("linear", "xgboost", "lightgbm")
TRIALS = 3
SEED = 7
MEGABYTE = 2**20


def main() -> None:
    """Print both."""
    from distributed import Client, LocalCluster  # noqa: PLC0415

    shares = [in_a_process("overhead")["share"] * 100 for _ in range(RUNS)]
    print(
        f"the runner adds {min(shares):.2f} / {statistics.median(shares):.2f} / {max(shares):.2f} % to its steps (min / median / max)"
    )
    print(f"\nsteps 4 to 6 on {COLUMNS} columns, {', '.join(ALGORITHMS)}, {TRIALS} trials")
    heads = ("rows", "data MB", "peak MB", "seconds", "growth", "on Dask", "ratio", "peak MB", "worker MB")
    print("".join(f"{head:>10}" for head in heads), " the same model")
    first = 0.0
    two = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(**two) as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
        for rows in ROWS:
            here, there = (
                in_a_process("steps", str(rows), ""),
                in_a_process("steps", str(rows), cluster.scheduler_address),
            )
            first = first or here["seconds"]
            numbers = f"{here['data']:10.0f}{here['peak']:10.0f}{here['seconds']:10.1f}{here['seconds'] / first:10.1f}"
            same = (
                "yes"
                if here["outcome"] == there["outcome"]
                else f"NO: {here['outcome']} and {there['outcome']}"
            )
            worker = max(client.run(peak_megabytes).values())  # up to now: the sizes grow
            on_dask = f"{there['seconds']:10.1f}{there['seconds'] / here['seconds']:10.2f}{there['peak']:10.0f}{worker:10.0f}"
            print(f"{rows:10,}{numbers}{on_dask}  {same}", flush=True)


def in_a_process(*arguments: str) -> dict[str, Any]:
    """Run one measurement in a fresh process, and return what it printed last."""
    print(f"… {' '.join(arguments)}", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def overhead() -> dict[str, Any]:
    """Do all eight steps, and compare the whole with the sum of the steps."""
    import lightgbm  # noqa: F401, PLC0415 - what the steps would import is imported before
    import optuna  # noqa: F401, PLC0415
    import sklearn.inspection  # noqa: F401, PLC0415
    import xgboost  # noqa: F401, PLC0415

    from tier0.pipeline.study import Study  # noqa: PLC0415
    from tier0.runs.context import STEPS  # noqa: PLC0415
    from tier0.runs.plan import Plan  # noqa: PLC0415
    from tier0.runs.record import Record  # noqa: PLC0415
    from tier0.runs.runner import RunListener, run_steps  # noqa: PLC0415
    from tier0.runs.session import Session  # noqa: PLC0415

    stopping = []
    close = Session.close

    def timed_close(session: Session) -> None:
        start = time.perf_counter()
        close(session)
        stopping.append(time.perf_counter() - start)

    Session.close = timed_close  # type: ignore[assignment,method-assign]
    with tempfile.TemporaryDirectory() as folder:
        record = Record.create(
            Path(folder), Plan({"algorithms": "linear", "hpo_trials": "2"}, Study(), serve=True)
        )
        start = time.perf_counter()
        status = run_steps(record, STEPS, RunListener())
        whole = time.perf_counter() - start
    if status:
        sys.exit(record.problem)
    steps = sum(seconds for _, seconds in record.done.values())
    return {"share": (whole - steps - sum(stopping)) / steps, "whole": whole, "steps": steps}


def steps_4_to_6(rows: int, address: str) -> dict[str, Any]:
    """Select, train and analyse on *rows* rows; on the cluster at *address*, or here."""
    from sklearn.datasets import make_classification  # noqa: PLC0415

    from tier0.core.event_log import EventLog  # noqa: PLC0415
    from tier0.pipeline.analysis import analyse  # noqa: PLC0415
    from tier0.pipeline.candidates import candidates_for  # noqa: PLC0415
    from tier0.pipeline.cluster import dask_cluster  # noqa: PLC0415
    from tier0.pipeline.data import Dataset, split  # noqa: PLC0415
    from tier0.pipeline.selection import select  # noqa: PLC0415
    from tier0.pipeline.training import train  # noqa: PLC0415

    features, target = make_classification(rows, COLUMNS, n_informative=12, random_state=SEED)
    dataset = Dataset(
        "made", features, [f"x{number}" for number in range(COLUMNS)], target, "y", "classification"
    )
    parts = split(dataset, SEED)
    candidates = candidates_for(dataset, ALGORITHMS, SEED)
    with ExitStack() as stack:
        run = stack.enter_context(dask_cluster(address)) if address else starmap
        start = time.perf_counter()
        selection = select(dataset, parts["train"], candidates, SEED, EventLog(), run)
        training = train(dataset, parts, selection.winner, TRIALS, SEED, EventLog(), run)
        analyse(dataset, parts, training.model, SEED)
        seconds = time.perf_counter() - start
    scores = [[one.candidate.estimator, one.mean] for one in selection.scores]
    outcome = {"scores": scores, "parameters": training.parameters, "metrics": training.metrics}
    return {
        "seconds": seconds,
        "peak": peak_megabytes(),
        "data": features.nbytes / MEGABYTE,
        "outcome": outcome,
    }


def peak_megabytes() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(
            json.dumps(
                overhead() if sys.argv[1] == "overhead" else steps_4_to_6(int(sys.argv[2]), sys.argv[3])
            )
        )
