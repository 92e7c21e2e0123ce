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
    """Return the environment for a process that Tier0 starts.

    It has no BENTOML_* variables of the caller (`bentoml serve` reads its port, host and timeout from them),
    turns telemetry off, limits numerical libraries to one thread, and makes tier0 importable, also from a
    checkout.

    Args:
        tmp: directory for temporary files.
        more: additional variables.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BENTOML_") and name != "PYTEST_CURRENT_TEST"
    }
    path = os.pathsep.join(_import_path())
    return {**kept, **NO_TELEMETRY, **ONE_THREAD, "TMPDIR": str(tmp), "PYTHONPATH": path, **more}


def _import_path() -> list[str]:
    """Return PYTHONPATH, after the directory of tier0 if that is a checkout.

    The directory of an installed tier0 is site-packages, which must not precede the standard library.
    """
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    own = [] if PACKAGE_PARENT in installed else [str(PACKAGE_PARENT)]
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return own + [str(Path(entry).absolute()) for entry in entries if entry]
