"""Executors for the fits of steps 4 and 5: in this process, or on a Dask cluster, with the same results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from tier0.core.errors import MissingDependencyError, Tier0Error

Executor = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterable[Any]]
"""Calls a function with each tuple of arguments; returns the results in order, like `itertools.starmap`."""
CONNECT_TIMEOUT = 5
"""Seconds within which a scheduler must respond."""
MAX_THREADS = min(4, os.cpu_count() or 1)
"""Threads for the fits in this process: each has a copy of its rows."""
PINNED_PACKAGES = ("pytest-tier0", "numpy", "scikit-learn", "xgboost", "lightgbm", "cloudpickle")
"""Packages whose versions affect the results, or whether a worker can unpickle its tasks."""


def on_threads(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Run the calls on as many threads as there are processors, each with one thread of its libraries.

    The estimators release Python's lock while they fit. The limit is set in each thread, since OpenMP has one
    for each.
    """

    def call(arguments: tuple[Any, ...]) -> Any:
        with threadpool_limits(limits=1):
            return function(*arguments)

    with ThreadPoolExecutor(MAX_THREADS) as pool:
        return list(pool.map(call, calls))


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """Connect to a running Dask cluster, after a check of its workers' package versions.

    Args:
        address: the scheduler's address, ``tcp://host:port`` or ``tls://host:port``.

    Yields:
        An executor that runs its calls on the cluster.

    Raises:
        MissingDependencyError: distributed is not installed.
        Tier0Error: no scheduler responds, it has no workers, or their packages have other versions.
    """
    try:
        import distributed  # noqa: PLC0415 - an optional extra
    except ImportError as problem:
        raise MissingDependencyError(
            "--dask needs the package distributed, which is not installed: pip install 'pytest-tier0[dask]'"
        ) from problem
    try:
        client: Any = distributed.Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_TIMEOUT, set_as_default=False
        )
    except (OSError, ValueError) as problem:
        raise Tier0Error(
            f"no Dask scheduler responds at {address}: {problem}. Start one with: dask scheduler"
        ) from problem
    with client:
        _check_workers(client, address)
        yield _dask_executor(client)


def _dask_executor(client: Any) -> Executor:
    def execute(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        import joblib  # noqa: PLC0415

        with joblib.parallel_config(backend="dask", client=client, n_jobs=-1):
            return list(joblib.Parallel()(joblib.delayed(_on_one_thread)(function, *call) for call in calls))

    return execute


def _on_one_thread(function: Callable[..., Any], *call: Any) -> Any:
    """Call a function as this process would: the number of threads changes the last bit of a sum."""
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*call)


def _check_workers(client: Any, address: str) -> None:
    expected = versions()
    try:
        workers = client.run(versions)
    except Exception as problem:
        raise Tier0Error(
            f"a worker of the Dask cluster {address} cannot import tier0 ({type(problem).__name__}: "
            f"{problem}). Install pytest-tier0 on its workers"
        ) from problem
    if not workers:
        raise Tier0Error(
            f"the Dask cluster {address} has no workers. Start at least one with: dask worker {address}"
        )
    for worker, found in workers.items():
        for name, version in expected.items():
            if found[name] != version:
                raise Tier0Error(
                    f"the Dask worker {worker} has {name} {found[name]}, but this process has {version}. "
                    "Results can differ between versions: install the same version there"
                )


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the `PINNED_PACKAGES`; None for those that are not installed."""
    found: dict[str, str | None] = {"Python": platform.python_version()}
    for name in PINNED_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
