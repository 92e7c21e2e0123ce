"""How fast one and the same model is served, beside others that serve it; all in one run, by turns.

Peers: the naive BentoML service, a hand-written FastAPI application on uvicorn, `mlflow models serve`, LitServe and MLServer (each of
these in an environment of its own, `.venv/litserve` and `.venv/mlserver`, made on first use), and prediction in this process as the
limit; each with one and with two workers. Aims: ahead of each with 32 and 256 callers, within 15 % of FastAPI with one, p99 at most 3
times p50; with one core busy at least 10 times the naive service; four times what a service can answer is shed, and the accepted keep
their latency. The golden rows are compared before anything is measured, one by one while 32 others ask, and after the overload again. At
the end: where the time of one request goes, from body to bytes.
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

from tier0.core.settings import Port
from tier0.core.worker_process import NO_TELEMETRY
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
Rows = list[list[float]]


@dataclass(frozen=True)
class Peer:
    """Something that serves the model: how it is asked, and where the parts of an answer stand."""

    name: str
    url: str
    body: Callable[[Rows], Mapping[str, Any]] = lambda rows: {"features": rows}
    parts: Callable[[Any], dict[str, Any]] = lambda answer: answer

    def prove(self, golden: GoldenRows) -> None:
        """Stop here if it does not answer as the model in memory did."""
        answer = self.parts(HTTP.post(self.url, json=self.body(golden.rows)).json())
        mismatch = golden.compare(
            answer, parts=[part for part in ("predictions", "probabilities") if part in answer]
        )
        if mismatch is not None:
            raise SystemExit(f"{self.name} answers otherwise: {mismatch}")

    def prove_in_company(self, golden: GoldenRows) -> None:
        """Prove each row alone, while others ask about another one."""
        asked = 0
        while asked < len(golden):
            with subprocess.Popen(self._loading(golden.rows[:1], 32), stdout=subprocess.PIPE) as company:
                while company.poll() is None:
                    self.prove(golden.take([asked % len(golden)]))
                    asked += 1
            if company.returncode:
                raise SystemExit(
                    f"load.py, beside which {self.name} is asked, ended with status {company.returncode}; it said why above"
                )

    def load(self, rows: Rows, callers: int, rate: float = 0.0) -> dict[str, Any]:
        """Ask it for a while from a process of its own, see load.py."""
        command = self._loading(rows, callers, rate)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def _loading(self, rows: Rows, callers: int, rate: float = 0.0) -> list[str]:
        return [
            sys.executable,
            str(HERE / "load.py"),
            self.url,
            json.dumps(self.body(rows)),
            str(callers),
            str(SECONDS),
            str(rate),
        ]


def main() -> None:
    X, y = make_classification(2000, 10, random_state=7)  # noqa: N806 - scikit-learn's names
    model = XGBClassifier(n_estimators=100, max_depth=4).fit(
        X, y
    )  # with the threads that it takes by itself, as the naive service's
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
            with ExitStack() as running_ones:
                peers = [
                    ours(running_ones, workspace, workers),
                    *others(running_ones, saved, model, workspace, workers),
                ]
                for peer in peers:
                    peer.prove(saved.golden.plain)
                    peer.prove_in_company(saved.golden.plain)
                measure(peers, saved)
                if workers == 1:
                    print("\n1 worker, and one core busy elsewhere:")
                    busy = get_context("spawn").Process(target=spin, daemon=True)
                    busy.start()
                    measure(peers, saved, sizes=(1,))
                    busy.kill()
            print()
        forest = RandomForestClassifier(300, random_state=7).fit(X, y)
        saved = ModelSaver(forest, "forest", {}, X[:20])(
            workspace, EntryWriter(workspace, workspace.store), prove=False
        )
        print("four times what it can do, 100 rows each, a forest of 300 trees:")
        overload(ours(stack, workspace, model="forest"), saved)
        print("\nfrom body to bytes, µs of the server for each request of one row, with 32 callers:")
        tell_stages(stack, ours(stack, workspace), bench)


def ours(stack: ExitStack, workspace: Workspace, workers: int = 1, model: str = "bench") -> Peer:
    services = stack.enter_context(
        Services.from_store(workspace.store, [model], port=Port(0), workers=workers)
    )
    return Peer("tier0", f"{services.urls()[model]}/predict")


def measure(peers: list[Peer], saved: RegisteredModel, sizes: tuple[int, ...] = (1, 100)) -> None:
    print(
        f"{'rows':>5}{'callers':>8}  {'server':10}{'answered/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'p99/p50':>9}{'refused':>9}   tier0 / this"
    )
    for rows in sizes:
        asked = (saved.golden.plain.rows * 5)[:rows]
        for number in CALLERS:
            found: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
            for _ in range(ROUNDS):
                for peer in peers:
                    found[peer.name].append(peer.load(asked, number))
            rates = {
                name: statistics.median(one["answered"] for one in several) for name, several in found.items()
            }
            for name, several in found.items():
                p50, p99 = (statistics.median(one[part] for one in several) for part in ("p50", "p99"))
                refused = sum(one["refused"] for one in several)
                line = f"{rows:5}{number:8}  {name:10}{rates[name]:12.0f}{p50:10.2f}{p99:10.2f}{p99 / p50:9.1f}{refused:9.0f}"
                print(f"{line}{rates['tier0'] / rates[name]:15.2f}", flush=True)


def overload(peer: Peer, saved: RegisteredModel) -> None:
    """Ask four times as often as it can answer, on a clock and not when an answer has come; then ask as before."""
    rows = saved.golden.plain.rows * 5
    before = peer.load(rows, 32)
    during = peer.load(rows, 0, rate=4 * before["answered"])
    peer.prove(saved.golden.plain)
    after = peer.load(rows, 32)
    print(f"asked {4 * before['answered']:.0f} times a second:")
    for name, found in (("before, 32 callers", before), ("overload", during), ("after, 32 callers", after)):
        print(
            f"{name:20}{found['answered']:6.0f} answered a second, {found['rate'] - found['answered']:6.0f} refused, "
            f"p50 {found['p50']:6.0f} ms, p99 {found['p99']:6.0f} ms; statuses {found['statuses']}, without Retry-After: {found['impolite']}"
        )


def tell_stages(stack: ExitStack, peer: Peer, saved: RegisteredModel) -> None:
    """Ask the same server for less and less, and time in this process what can be timed alone."""
    uvicorn = [
        sys.executable,
        "-m",
        "uvicorn",
        "bare:app",
        "--log-level",
        "warning",
        "--no-access-log",
        "--lifespan",
        "off",
        "--port",
        "PORT",
    ]
    bare = Peer("bare", stack.enter_context(running(uvicorn, "/", HERE / "peers", dict(os.environ))) + "/")
    rows = saved.golden.plain.rows
    costs: dict[str, list[float]] = {"http": [], "layers": [], "all": []}
    for _ in range(ROUNDS):
        for name, asked in zip(
            costs, (bare, replace(peer, url=peer.url.replace("/predict", "/health")), peer), strict=True
        ):
            costs[name].append(1e6 / asked.load(rows[:1], 32)["rate"])
    http, layers, everything = (statistics.median(found) for found in costs.values())
    entry = Entry.read(saved.path)
    model = entry.load_model()
    use_one_thread(model)
    predictor = Predictor(saved.tag, model, entry, labels_follow(model))
    body = json.dumps({"features": rows[:1]}).encode()
    batch = [row for _ in range(32) for row in predictor.rows_of(body)]
    output = predictor.ask(batch)
    container = microseconds(lambda: entry.signature.to_container(batch)) / 32
    stages = {
        "uvicorn: sockets and HTTP": http,
        "BentoML's layers and ours: metrics, log, trace, time limit, route": layers - http,
        "the body's JSON, checked": microseconds(lambda: predictor.rows_of(body)),
        "rows to the model's container": container,
        "the model, 32 rows at once": microseconds(lambda: predictor.ask(batch)) / 32 - container,
        "the answer's JSON": microseconds(lambda: orjson.dumps(predictor.answer(output.part(0, 1), 0.1))),
    }
    stages["the rest: tasks, waiting for the batch, sharing the answer out"] = everything - sum(
        stages.values()
    )
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
        uvicorn = [
            python,
            "-m",
            "uvicorn",
            "fastapi_app:app",
            "--log-level",
            "warning",
            "--no-access-log",
            "--port",
            "PORT",
        ]
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
    if is_wanted("mlserver") and (
        ml := python_with("mlserver", "uvloop<0.22")
    ):  # its workers do not start on a newer one
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
    """Return the Python of an environment with the package in it, made on first use; None where it cannot be installed."""
    folder = Path(sys.prefix) / package
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        wanted = [
            package,
            *also,
            *(f"{name}=={version(name)}" for name in ("numpy", "xgboost", "scikit-learn")),
        ]
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, check=False
        )
        if done.returncode:
            print(f"{package} cannot be installed here, and is left out")
            return None
        (folder / ".ready").touch()
    return str(python)


@contextmanager
def running(command: list[str], ready: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a server on a free port, which stands for PORT in its command and environment, and wait until it says that it is ready."""
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
        for one in tree:
            one.kill()
        psutil.wait_procs(tree, 5)
    process.wait()


def spin() -> None:
    while True:
        np.empty(0)


if __name__ == "__main__":
    main()
