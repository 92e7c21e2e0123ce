"""How long the three services take until all are ready, beside the processor time that starting them takes, divided by the cores.

Aim: at most that plus 10 %. `tier0 serve --all` trains, saves and proves the models, and starts the services, side by side.
"""

from __future__ import annotations

import os
import resource
import statistics
import time

import psutil

from tier0.runs.services import Services

ROUNDS = int(os.environ.get("ROUNDS", "3"))


def main() -> None:
    ratios = []
    for _ in range(ROUNDS):
        spent, start = processor_seconds(), time.perf_counter()
        with Services.from_examples(first_port=0):
            seconds = time.perf_counter() - start
            spent = processor_seconds() - spent
        ratios.append(seconds / (spent / len(os.sched_getaffinity(0))))
        print(
            f"ready after {seconds:5.2f} s; {spent:5.2f} s of processor time; {ratios[-1]:.2f} of what that takes on all cores",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}")


def processor_seconds() -> float:
    """Return what this process, its children that have ended and those that run have used so far."""
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        used += times.user + times.system + times.children_user + times.children_system
    return used


if __name__ == "__main__":
    main()
