"""How fast one and the same model is served, beside others that serve it; all in one run, by turns.

Peers: the naive BentoML service, a hand-written FastAPI application on uvicorn, `mlflow models serve`, LitServe (in an environment of its
own, `.venv/litserve`, made on first use), and prediction in this process as the limit. Aims: ahead of each with 32 and 256 callers,
within 15 % of FastAPI with one, p99 at most 3 times p50; with one core busy at least 10 times the naive service. The golden rows are
compared before anything is measured.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import httpx
import mlflow
import numpy as np
from sklearn.datasets import make_classification
from xgboost import XGBClassifier

from tier0.core.helper import NO_TELEMETRY
from tier0.core.settings import Port
from tier0.runs.services import Services
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.workspace import Workspace

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("SECONDS_EACH", "3"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
CALLERS = (1, 32, 256)


def main() -> None:
    X, y = make_classification(2000, 10, random_state=7)  # noqa: N806 - scikit-learn's names
    model = XGBClassifier(n_estimators=100, max_depth=4, n_jobs=1).fit(X, y)
    workspace = Workspace.create()
    with ExitStack() as stack:
        stack.callback(workspace.close)
        saved = ModelSaver(model, "bench", {}, X[:20])(workspace, EntryWriter(workspace, workspace.store), prove=False)
        start = time.perf_counter()
        for _ in range(500):
            model.predict(X[:1]), model.predict_proba(X[:1])
        print(f"in this process: {500 / (time.perf_counter() - start):.0f} rows a second, one by one\n")
        services = stack.enter_context(Services.of_store(workspace.store, ["bench"], port=Port(0)))
        addresses = {
            "tier0": f"{services.urls()['bench']}/predict",
            **{name: stack.enter_context(peer) for name, peer in peers(saved, model, workspace)},
        }
        for name, address in addresses.items():
            prove(name, address, saved)
        measure(addresses, saved)
        print("\nwith one core busy elsewhere:")
        busy = get_context("spawn").Process(target=spin, daemon=True)
        busy.start()
        measure(addresses, saved, callers=(1, 32), sizes=(1,))
        busy.kill()


def measure(addresses: dict[str, str], saved: RegisteredModel, callers: tuple[int, ...] = CALLERS, sizes: tuple[int, ...] = (1, 100)) -> None:
    print(f"{'rows':>5}{'callers':>8}  {'server':10}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'p99/p50':>9}{'refused':>9}   tier0 / this")
    for rows in sizes:
        for number in callers:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in addresses}
            for _ in range(ROUNDS):
                for name, address in addresses.items():
                    found[name].append(load(address, body_of(name, (saved.golden.plain.rows * 5)[:rows]), number))
            median = {name: statistics.median(one["rate"] for one in several) for name, several in found.items()}
            for name, several in found.items():
                p50, p99 = (statistics.median(one[part] for one in several) for part in ("p50", "p99"))
                refused = sum(one["refused"] for one in several)
                line = f"{rows:5}{number:8}  {name:10}{median[name]:12.0f}{p50:10.2f}{p99:10.2f}{p99 / p50:9.1f}{refused:9.0f}"
                print(f"{line}{median['tier0'] / median[name]:15.2f}")


def load(address: str, body: str, callers: int) -> dict[str, float]:
    command = [sys.executable, str(HERE / "load.py"), address, body, str(callers), str(SECONDS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def body_of(name: str, rows: list[list[float]]) -> str:
    return json.dumps({"inputs": rows} if name == "mlflow" else {"features": rows})


def prove(name: str, address: str, saved: RegisteredModel) -> None:
    golden = saved.golden.plain
    answer = httpx.post(address, content=body_of(name, golden.rows), headers={"Content-Type": "application/json"}, timeout=30, trust_env=False).json()
    mismatch = golden.compare(answer, parts=["predictions"])
    if mismatch is not None:
        raise SystemExit(f"{name} answers otherwise: {mismatch}")


def peers(saved: RegisteredModel, model: object, workspace: Workspace) -> Iterator[tuple[str, AbstractContextManager[str]]]:
    environment = {**os.environ, **NO_TELEMETRY, "MODEL": str(saved.path / "saved_model.pkl"), "BENTOML_HOME": str(workspace.folder("h"))}
    python, folder = sys.executable, HERE / "peers"
    serve = [python, "-m", "bentoml", "serve", "naive:Naive", "--host", "127.0.0.1", "--port"]
    yield "naive", running(serve, "/predict", "/readyz", folder, environment)
    uvicorn = [python, "-m", "uvicorn", "fastapi_app:app", "--log-level", "warning", "--no-access-log", "--port"]
    yield "fastapi", running(uvicorn, "/predict", "/docs", folder, {**environment, "OMP_NUM_THREADS": "1"})
    logged = workspace.folder("l") / "model"
    mlflow.xgboost.save_model(model, str(logged), pip_requirements=[])
    scoring = [python, "-m", "mlflow", "models", "serve", "-m", str(logged), "--env-manager", "local", "--host", "127.0.0.1", "-w", "1", "-p"]
    yield "mlflow", running(scoring, "/invocations", "/ping", folder, {**environment, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"})
    if (lit := litserve_python()) is not None:
        yield "litserve", running([str(lit), "lit.py"], "/predict", "/health", folder, {**environment, "OMP_NUM_THREADS": "1"})


def litserve_python() -> Path | None:
    """Return an environment with LitServe in it, as this one has it, made on first use; None where it cannot be installed."""
    folder = Path(sys.prefix) / "litserve"
    python = folder / "bin" / "python"
    if not python.exists():
        wanted = ["litserve", *(f"{name}=={version(name)}" for name in ("numpy", "xgboost", "scikit-learn"))]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, check=False)
        if done.returncode:
            print("LitServe cannot be installed here, and is left out")
            return None
    return python


@contextmanager
def running(command: list[str], route: str, ready: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, str(port)], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    if httpx.get(f"http://127.0.0.1:{port}{ready}", trust_env=False, timeout=5).is_success:
                        break
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline or process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command[:6])} did not become ready:\n{log.read().decode()[-1500:]}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}{route}"
        finally:
            stop_tree(process)


def stop_tree(process: subprocess.Popen[bytes]) -> None:
    import psutil  # noqa: PLC0415

    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in tree:
        one.kill()
    psutil.wait_procs(tree, 5)
    process.wait()


def spin() -> None:
    while True:
        np.empty(0)


if __name__ == "__main__":
    main()
