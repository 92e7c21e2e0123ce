"""Overhead of the eight-step runner, and growth of steps 4 to 6 with the rows, locally and on Dask.

The overhead is the time of a complete run without its steps and without stopping its processes; imports are
done before. The growth is the time of selection, training and analysis on rows of 50 numbers, with the peak
memory of the process; then the same with two Dask workers of one thread each, which must give the same model,
with the peak memory of this process and of the larger worker. Target: the runner adds less than 5 % to the
steps.
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
    """Print both measurements."""
    from distributed import Client, LocalCluster  # noqa: PLC0415

    shares = [in_a_process("overhead")["share"] * 100 for _ in range(RUNS)]
    print(
        f"the runner adds {min(shares):.2f} / {statistics.median(shares):.2f} / {max(shares):.2f} % to its "
        "steps (min / median / max)"
    )
    print(f"\nsteps 4 to 6 on {COLUMNS} columns, {', '.join(ALGORITHMS)}, {TRIALS} trials")
    heads = ("rows", "data MB", "peak MB", "seconds", "growth", "on Dask", "ratio", "peak MB", "worker MB")
    print("".join(f"{head:>10}" for head in heads), " same model")
    first = 0.0
    two = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(**two) as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
        for rows in ROWS:
            local = in_a_process("steps", str(rows), "")
            dask = in_a_process("steps", str(rows), cluster.scheduler_address)
            worker = max(client.run(peak_megabytes).values())  # the peak so far, since the sizes grow
            seconds, dask_seconds = local["seconds"], dask["seconds"]
            first = first or seconds
            same = "yes" if local["outcome"] == dask["outcome"] else "NO"
            print(
                f"{rows:10,}{local['data']:10.0f}{local['peak']:10.0f}{seconds:10.1f}{seconds / first:10.1f}"
                f"{dask_seconds:10.1f}{dask_seconds / seconds:10.2f}{dask['peak']:10.0f}{worker:10.0f}"
                f"  {same}",
                flush=True,
            )
            if same == "NO":
                print(f"locally: {local['outcome']}\non Dask: {dask['outcome']}", flush=True)


def in_a_process(*arguments: str) -> dict[str, Any]:
    """Run one measurement in a fresh process, and return the JSON of its last line."""
    print(f"… {' '.join(arguments)}", file=sys.stderr)
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def overhead() -> dict[str, Any]:
    """Run all eight steps, and compare the total with the sum of the steps."""
    import lightgbm  # noqa: F401, PLC0415 - imports of the steps are not part of the measurement
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
        total = time.perf_counter() - start
    if status:
        sys.exit(record.problem)
    steps = sum(seconds for _, seconds in record.done.values())
    return {"share": (total - steps - sum(stopping)) / steps, "total": total, "steps": steps}


def steps_4_to_6(rows: int, address: str) -> dict[str, Any]:
    """Select, train and analyse on a number of rows: on the cluster at *address*, or locally without one."""
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
        executor = stack.enter_context(dask_cluster(address)) if address else starmap
        start = time.perf_counter()
        selection = select(dataset, parts["train"], candidates, SEED, EventLog(), executor)
        training = train(dataset, parts, selection.winner, TRIALS, SEED, EventLog(), executor)
        analyse(dataset, parts, training.model, SEED)
        seconds = time.perf_counter() - start
    scores = [[score.candidate.estimator, score.mean] for score in selection.scores]
    outcome = {"scores": scores, "parameters": training.parameters, "metrics": training.metrics}
    return {
        "seconds": seconds,
        "peak": peak_megabytes(),
        "data": features.nbytes / MEGABYTE,
        "outcome": outcome,
    }


def peak_megabytes() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "overhead":
        print(json.dumps(overhead()))
    else:
        print(json.dumps(steps_4_to_6(int(sys.argv[2]), sys.argv[3])))
