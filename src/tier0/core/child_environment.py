"""The environment of the processes that Tier0 starts."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

PACKAGE_PARENT = Path(__file__).parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_TELEMETRY = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_SENTRY_ENABLE": "false",
    "DO_NOT_TRACK": "true",
}


def child_environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment for a process of ours.

    BENTOML_* of the caller is left out (`bentoml serve` reads its port, host and timeout there), telemetry is off, numerical
    libraries use one thread, and tier0 can be imported even from a checkout.

    Args:
        tmp: the folder for temporary files.
        more: variables on top.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BENTOML_") and name != "PYTEST_CURRENT_TEST"
    }
    path = os.pathsep.join(_import_path())
    return {**kept, **NO_TELEMETRY, **ONE_THREAD, "TMPDIR": str(tmp), "PYTHONPATH": path, **more}


def _import_path() -> list[str]:
    """Return PYTHONPATH, after the folder of tier0 unless it is installed: site-packages in front could shadow the standard library."""
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    own = [] if PACKAGE_PARENT in installed else [str(PACKAGE_PARENT)]
    return own + [
        str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry
    ]
