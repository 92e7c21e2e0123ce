"""Speed of serving one model, compared in the same run with other servers of that model, in turn.

The peers are the naive BentoML service, a hand-written FastAPI application on uvicorn, `mlflow models serve`,
LitServe and MLServer (the last two in environments of their own, `.venv/litserve` and `.venv/mlserver`,
created on first use), each with one and with two workers. Prediction in this process is the upper limit.
Targets: faster than each peer with 32 and 256 callers, within 15 % of FastAPI with one caller, p99 at most 3
times p50; with one core busy at least 10 times the naive service; at four times the capacity, the excess is
rejected and accepted requests keep their latency. The golden rows are compared before each measurement, one
by one under the load of 32 callers, and after the overload. The last table divides the time of a request into
stages.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import orjson
import psutil
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from xgboost import XGBClassifier

from tier0.core.child_environment import NO_TELEMETRY
from tier0.core.settings import Port
from tier0.golden.prediction import labels_follow, use_one_thread
from tier0.golden.rows import GoldenRows
from tier0.runs.services import Services
from tier0.serving.entry import Entry
from tier0.serving.predictor import Predictor
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.workspace import Workspace

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("SECONDS_EACH", "3"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
ONLY = os.environ.get("ONLY", "")
"""Names of peers, separated by commas; all by default."""
CALLERS = (1, 32, 256)
HTTP = httpx.Client(timeout=30, trust_env=False)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
QUIET = ["--log-level", "warning", "--no-access-log"]
Rows = list[list[float]]


@dataclass(frozen=True)
class Peer:
    """A server of the model, with the form of its requests and responses."""

    name: str
    url: str
    body: Callable[[Rows], Mapping[str, Any]] = lambda rows: {"features": rows}
    parts: Callable[[Any], dict[str, Any]] = lambda answer: answer

    def prove(self, golden: GoldenRows) -> None:
        """Exit if the predictions of the golden rows differ from those of the model in memory."""
        answer = self.parts(HTTP.post(self.url, json=self.body(golden.rows)).json())
        mismatch = golden.compare(
            answer, parts=[part for part in ("predictions", "probabilities") if part in answer]
        )
        if mismatch is not None:
            raise SystemExit(f"predictions of {self.name} differ: {mismatch}")

    def prove_under_load(self, golden: GoldenRows) -> None:
        """Compare each row alone, while other callers request another one."""
        done = 0
        while done < len(golden):
            with subprocess.Popen(self._load_command(golden.rows[:1], 32), stdout=subprocess.PIPE) as load:
                while load.poll() is None:
                    self.prove(golden.take([done % len(golden)]))
                    done += 1
            if load.returncode:
                raise SystemExit(
                    f"load.py against {self.name} exited with status {load.returncode}, see above"
                )

    def load(self, rows: Rows, callers: int, rate: float = 0.0) -> dict[str, Any]:
        """Run load.py against the peer, and return its measurements."""
        command = self._load_command(rows, callers, rate)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def _load_command(self, rows: Rows, callers: int, rate: float = 0.0) -> list[str]:
        body = json.dumps(self.body(rows))
        return [sys.executable, str(HERE / "load.py"), self.url, body, str(callers), str(SECONDS), str(rate)]


def main() -> None:
    X, y = make_classification(2000, 10, random_state=7)  # noqa: N806 - scikit-learn's names
    # Fitted with the default number of threads, as the naive service's.
    model = XGBClassifier(n_estimators=100, max_depth=4).fit(X, y)
    workspace = Workspace.create()
    with ExitStack() as stack:
        stack.callback(workspace.close)
        saved = bench = ModelSaver(model, "bench", {}, X[:20])(
            workspace, EntryWriter(workspace, workspace.store), prove=False
        )
        model.set_params(n_jobs=1)
        start = time.perf_counter()
        for _ in range(500):
            model.predict(X[:1]), model.predict_proba(X[:1])
        print(f"in this process: {500 / (time.perf_counter() - start):.0f} rows a second, one by one\n")
        for workers in (1, 2):
            print(f"{workers} worker{'s' * (workers - 1)}:", flush=True)
            with ExitStack() as servers:
                peers = [
                    ours(servers, workspace, workers),
                    *others(servers, saved, model, workspace, workers),
                ]
                for peer in peers:
                    peer.prove(saved.golden.examples)
                    peer.prove_under_load(saved.golden.examples)
                measure(peers, saved)
                if workers == 1:
                    print("\n1 worker, with one core busy:")
                    busy = get_context("spawn").Process(target=spin, daemon=True)
                    busy.start()
                    measure(peers, saved, sizes=(1,))
                    busy.kill()
            print()
        forest = RandomForestClassifier(300, random_state=7).fit(X, y)
        saved = ModelSaver(forest, "forest", {}, X[:20])(
            workspace, EntryWriter(workspace, workspace.store), prove=False
        )
        print("four times the capacity, 100 rows each, a forest of 300 trees:")
        overload(ours(stack, workspace, model="forest"), saved)
        print("\nstages of a request, µs of the server for each request of one row, with 32 callers:")
        print_stages(stack, ours(stack, workspace), bench)


def ours(stack: ExitStack, workspace: Workspace, workers: int = 1, model: str = "bench") -> Peer:
    services = stack.enter_context(
        Services.from_store(workspace.store, [model], port=Port(0), workers=workers)
    )
    return Peer("tier0", f"{services.urls()[model]}/predict")


def measure(peers: list[Peer], saved: RegisteredModel, sizes: tuple[int, ...] = (1, 100)) -> None:
    columns = f"{'answered/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'p99/p50':>9}{'rejected':>9}"
    print(f"{'rows':>5}{'callers':>8}  {'server':10}{columns}   tier0 / this")
    for rows in sizes:
        body = (saved.golden.examples.rows * 5)[:rows]
        for callers in CALLERS:
            found: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
            for _ in range(ROUNDS):
                for peer in peers:
                    found[peer.name].append(peer.load(body, callers))
            rates = {name: median(results, "answered") for name, results in found.items()}
            for name, results in found.items():
                p50, p99 = median(results, "p50"), median(results, "p99")
                rejected = sum(result["rejected"] for result in results)
                print(
                    f"{rows:5}{callers:8}  {name:10}{rates[name]:12.0f}{p50:10.2f}{p99:10.2f}{p99 / p50:9.1f}"
                    f"{rejected:9.0f}{rates['tier0'] / rates[name]:15.2f}",
                    flush=True,
                )


def median(results: list[dict[str, float]], name: str) -> float:
    return statistics.median(result[name] for result in results)


def overload(peer: Peer, saved: RegisteredModel) -> None:
    """Request four times the capacity, regardless of responses, between two measurements with 32 callers."""
    rows = saved.golden.examples.rows * 5
    before = peer.load(rows, 32)
    during = peer.load(rows, 0, rate=4 * before["answered"])
    peer.prove(saved.golden.examples)
    after = peer.load(rows, 32)
    print(f"{4 * before['answered']:.0f} requests per second:")
    for name, found in (("before, 32 callers", before), ("overload", during), ("after, 32 callers", after)):
        print(
            f"{name:20}{found['answered']:6.0f} answered per second, "
            f"{found['rate'] - found['answered']:6.0f} rejected, "
            f"p50 {found['p50']:6.0f} ms, p99 {found['p99']:6.0f} ms; statuses {found['statuses']}, "
            f"without Retry-After: {found['without_retry_after']}"
        )


def print_stages(stack: ExitStack, peer: Peer, saved: RegisteredModel) -> None:
    """Measure servers that do less of the work, and time in this process the stages that can run alone."""
    uvicorn = [sys.executable, "-m", "uvicorn", "bare:app", *QUIET, "--lifespan", "off", "--port", "PORT"]
    bare = Peer("bare", stack.enter_context(running(uvicorn, "/", HERE / "peers", dict(os.environ))) + "/")
    rows = saved.golden.examples.rows
    costs: dict[str, list[float]] = {"http": [], "layers": [], "all": []}
    for _ in range(ROUNDS):
        without_model = replace(peer, url=peer.url.replace("/predict", "/health"))
        for name, target in zip(costs, (bare, without_model, peer), strict=True):
            costs[name].append(1e6 / target.load(rows[:1], 32)["rate"])
    http, layers, everything = (statistics.median(found) for found in costs.values())
    entry = Entry.read(saved.path)
    model = entry.load_model()
    use_one_thread(model)
    predictor = Predictor(saved.tag, model, entry, labels_follow(model))
    body = json.dumps({"features": rows[:1]}).encode()
    batch = [row for _ in range(32) for row in predictor.parse_rows(body)]
    output = predictor.predict(batch)
    container = microseconds(lambda: entry.signature.to_container(batch)) / 32
    stages = {
        "uvicorn: sockets and HTTP": http,
        "middleware: metrics, log, trace, time limit, route": layers - http,
        "request JSON, parsed and validated": microseconds(lambda: predictor.parse_rows(body)),
        "rows to the model's container": container,
        "model, 32 rows at once": microseconds(lambda: predictor.predict(batch)) / 32 - container,
        "response JSON": microseconds(lambda: orjson.dumps(predictor.response(output.part(0, 1), 0.1))),
    }
    stages["rest: tasks, waiting for the batch, distributing its outputs"] = everything - sum(stages.values())
    for stage, cost in stages.items():
        print(f"{cost:8.0f}  {cost / everything:4.0%}  {stage}")
    print(f"{everything:8.0f}  100%")


def microseconds(work: Callable[[], object], times: int = 500) -> float:
    found = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - start) / times * 1e6)
    return min(found)


def others(
    stack: ExitStack, saved: RegisteredModel, model: object, workspace: Workspace, workers: int
) -> Iterator[Peer]:
    environment = {
        **os.environ,
        **NO_TELEMETRY,
        "MODEL": str(saved.path / "saved_model.pkl"),
        "BENTOML_HOME": str(workspace.folder("h")),
    }
    environment["WORKERS"] = str(workers)
    python, folder = sys.executable, HERE / "peers"
    if is_wanted("naive"):
        serve = [python, "-m", "bentoml", "serve", "naive:Naive", "--host", "127.0.0.1", "--port", "PORT"]
        yield Peer("naive", stack.enter_context(running(serve, "/readyz", folder, environment)) + "/predict")
    environment |= ONE_THREAD
    if is_wanted("fastapi"):
        uvicorn = [python, "-m", "uvicorn", "fastapi_app:app", *QUIET, "--port", "PORT"]
        uvicorn += ["--workers", str(workers)]
        yield Peer(
            "fastapi", stack.enter_context(running(uvicorn, "/docs", folder, environment)) + "/predict"
        )
    if is_wanted("mlflow"):
        logged = workspace.folder("l") / "model"
        mlflow.xgboost.save_model(model, str(logged), pip_requirements=[])
        path = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
        scoring = [python, "-m", "mlflow", "models", "serve", "-m", str(logged), "--env-manager", "local"]
        scoring += ["-h", "127.0.0.1", "-w", str(workers), "-p", "PORT"]
        url = stack.enter_context(running(scoring, "/ping", folder, environment | path)) + "/invocations"
        yield Peer(
            "mlflow",
            url,
            lambda rows: {"inputs": rows},
            lambda answer: {"predictions": answer["predictions"]},
        )
    if is_wanted("litserve") and (lit := python_with("litserve")):
        yield Peer(
            "litserve",
            stack.enter_context(running([lit, "lit.py", "PORT"], "/health", folder, environment))
            + "/predict",
        )
    # MLServer's workers do not start with a newer uvloop.
    if is_wanted("mlserver") and (ml := python_with("mlserver", "uvloop<0.22")):
        settings = {
            "MLSERVER_HTTP_PORT": "PORT",
            "MLSERVER_PARALLEL_WORKERS": str(workers if workers > 1 else 0),
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_METRICS_DIR": str(workspace.folder("m")),
            "PYTHONPATH": ".",
        }
        settings |= {f"MLSERVER_{name}_PORT": str(free_port()) for name in ("GRPC", "METRICS")}
        command = [str(Path(ml).with_name("mlserver")), "start", "."]
        url = stack.enter_context(
            running(command, "/v2/models/bench/ready", folder / "mlserver", environment | settings)
        )
        yield Peer("mlserver", f"{url}/v2/models/bench/infer", as_tensor, from_tensors)


def as_tensor(rows: Rows) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": list(np.shape(rows)), "datatype": "FP64", "data": rows}]}


def from_tensors(answer: Any) -> dict[str, Any]:
    tensors = {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}
    return {
        "predictions": tensors["predictions"].ravel().tolist(),
        "probabilities": tensors["probabilities"].tolist(),
    }


def is_wanted(name: str) -> bool:
    return not ONLY or name in ONLY.split(",")


def python_with(package: str, *also: str) -> str | None:
    """Return the Python of an environment with a package, created on first use; None if that fails."""
    folder = Path(sys.prefix) / package
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        pinned = [f"{name}=={version(name)}" for name in ("numpy", "xgboost", "scikit-learn")]
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", package, *also, *pinned],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            print(f"{package} cannot be installed, and is skipped")
            return None
        (folder / ".ready").touch()
    return str(python)


@contextmanager
def running(command: list[str], ready: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a server on a free port, which replaces PORT in its command and environment; wait until ready."""
    port = str(free_port())
    command = [port if word == "PORT" else word for word in command]
    environment = {name: port if value == "PORT" else value for name, value in environment.items()}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
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
                    raise SystemExit(
                        f"{' '.join(command[:6])} did not become ready:\n{log.read().decode()[-1500:]}"
                    )
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop_tree(process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]  # type: ignore[no-any-return]


def stop_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):  # it has ended by itself
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in tree:
            each.kill()
        psutil.wait_procs(tree, 5)
    process.wait()


def spin() -> None:
    while True:
        np.empty(0)


if __name__ == "__main__":
    main()
