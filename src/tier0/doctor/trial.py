"""Trials: what only an attempt can show. They run in a process of their own, which may crash or hang.

Each trial yields findings. The process starts with the path and the variables of `tier0 doctor`'s own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tier0.core.errors import Tier0Error
from tier0.doctor.finding import Finding

if TYPE_CHECKING:
    from tier0.core.worker_process import Handler

REGISTRATION = "registration"
NEEDED_FOR = "registering and serving models"


def prepare() -> Handler:
    """Return the handler of the single order, which has no content."""
    return run_trials


def run_trials(_: dict[str, Any]) -> dict[str, Any]:
    """Return the findings of all trials, as JSON types."""
    return {"findings": [finding._asdict() for trial in TRIALS for finding in trial(Path.cwd())]}


def registration(folder: Path) -> Iterator[Finding]:
    """Yield whether a model can be registered, with a store in *folder*."""
    start = time.monotonic()
    try:
        _register(folder / "store")
    except Tier0Error as problem:
        yield failed_registration(str(problem))
    else:
        seconds = time.monotonic() - start
        found = f"a model was saved, and verified in a fresh interpreter, in {seconds:.1f} s"
        yield Finding("ok", REGISTRATION, found, NEEDED_FOR, main_job=True)


def failed_registration(problem: str) -> Finding:
    """Return the finding for a registration that failed."""
    remedy = "see the message; packages that do not fit together are a common cause"
    return Finding("missing", REGISTRATION, f"failed: {problem}", NEEDED_FOR, remedy, main_job=True)


def _register(store: Path) -> None:
    import asyncio  # noqa: PLC0415 - these imports are part of the trial

    import numpy as np  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    from tier0.serving.registration import register_model_for_serving  # noqa: PLC0415

    rows = np.random.default_rng(0).normal(size=(40, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 0] > 0)
    asyncio.run(register_model_for_serving(model, "tier0-doctor", examples=rows[:10], store=store))


TRIALS: tuple[Callable[[Path], Iterator[Finding]], ...] = (registration,)
