"""Where the fits of steps 4 and 5 run: here, one after the other, or on the workers of a Dask cluster, with the same outcome."""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from tier0.core.errors import MissingDependencyError, Tier0Error

Executor = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterable[Any]]
"""Calls a function with each tuple of arguments, and gives the results in their order, as `itertools.starmap` does."""
CONNECT = 5
"""Seconds that a scheduler may take to answer."""
PINNED_PACKAGES = ("pytest-tier0", "numpy", "scikit-learn", "xgboost", "lightgbm", "cloudpickle")
"""Packages whose version decides about the outcome, or about whether a worker can read what it is sent."""


@contextmanager
def dask_cluster(address: str) -> Iterator[Executor]:
    """Connect with a Dask cluster that runs already, and see that its workers are like us; give what runs fits there.

    Args:
        address: of the scheduler, ``tcp://host:port``.

    Raises:
        MissingDependencyError: distributed is not installed.
        Tier0Error: nothing answers there, it has no workers, or they have other versions.
    """
    if not address.startswith(("tcp://", "tls://")):
        raise Tier0Error(
            f"dask = {address!r} is no address of a scheduler: give one such as tcp://127.0.0.1:8786"
        )
    try:
        import distributed  # noqa: PLC0415 - an optional extra
    except ImportError as problem:
        raise MissingDependencyError(
            "--dask needs the package distributed, which is not installed: pip install 'pytest-tier0[dask]'"
        ) from problem
    try:
        client: Any = distributed.Client(address, timeout=CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as problem:
        raise Tier0Error(
            f"dask = {address!r} does not answer as a scheduler: {problem}. Start one with: dask scheduler"
        ) from problem
    with client:
        _refuse_other_workers(client, address)
        yield _runner(client)


def _runner(client: Any) -> Executor:
    def run(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        import joblib  # noqa: PLC0415

        with joblib.parallel_config(backend="dask", client=client, n_jobs=-1):
            return list(joblib.Parallel()(joblib.delayed(_on_one_thread)(function, *call) for call in calls))

    return run


def _on_one_thread(function: Callable[..., Any], *call: Any) -> Any:
    """Call it as we would here: the order in which threads add up a sum decides its last bit."""
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*call)


def _refuse_other_workers(client: Any, address: str) -> None:
    ours = versions()
    try:
        theirs = client.run(versions)
    except Exception as problem:
        raise Tier0Error(
            f"dask = {address!r}: a worker could not import tier0 ({type(problem).__name__}: {problem}). Install pytest-tier0 where its workers run"
        ) from problem
    if not theirs:
        raise Tier0Error(f"dask = {address!r} has no workers. Start some with: dask worker {address}")
    for worker, found in theirs.items():
        for name, version in ours.items():
            if found[name] != version:
                message = (
                    f"dask = {address!r}: the worker {worker} has {name} {found[name]}, and here is {version}"
                )
                raise Tier0Error(
                    f"{message}: with another version the outcome may be another one. Install the same there"
                )


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of what decides about the outcome; None for what is not installed."""
    found: dict[str, str | None] = {"Python": platform.python_version()}
    for name in PINNED_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
