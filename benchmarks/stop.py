"""Time to stop a server until no process and no open port is left, compared with SIGTERM to the supervisor.

Target: usually under 1 s. The peer waits for the supervisor only, and verifies nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from tier0.core.child_environment import child_environment
from tier0.runs.deployment import golden_probe
from tier0.serving.processes import accepts_connections
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.server import SERVICE, Server
from tier0.serving.workspace import Workspace

RUNS = int(os.environ.get("RUNS", "7"))


def main() -> None:
    workspace = Workspace.create()
    try:
        rows = np.arange(40.0).reshape(20, 2)
        model = ModelSaver(LogisticRegression().fit(rows, np.arange(20) > 9), "tiny", {}, rows[:4])(
            workspace, EntryWriter(workspace, workspace.store), prove=False
        )
        pairs = [(ours(workspace, model), bare(workspace, model)) for _ in range(RUNS)]
    finally:
        workspace.close()
    print(f"{'stop, seconds':28}{'min':>8}{'median':>8}{'max':>8}")
    for name, values in (
        ("tier0: all ended, verified", [pair[0] for pair in pairs]),
        ("SIGTERM, supervisor only", [pair[1] for pair in pairs]),
        ("ratio", [pair[0] / pair[1] for pair in pairs]),
    ):
        print(f"{name:28}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


def ours(workspace: Workspace, model: RegisteredModel) -> float:
    server = Server(workspace.folder("s"))
    server.launch()
    server.announce({model.name: model.tag}, model.store)
    server.wait_until_ready(golden_probe(model, server.nonce), 60)
    return server.stop()


def bare(workspace: Workspace, model: RegisteredModel) -> float:
    template = Server(workspace.folder("s"))
    with tempfile.TemporaryDirectory() as name:
        template.announce({model.name: model.tag}, model.store)
        environment = child_environment(
            Path(name), BENTOML_HOME=str(template.home), TIER0_ANNOUNCEMENT=str(template.announcement)
        )
        options = ["--host", "127.0.0.1", "--port", "39517"]
        command = [sys.executable, "-m", "bentoml", "serve", SERVICE, *options]
        with subprocess.Popen(
            command, cwd=name, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            probe = golden_probe(model, template.nonce)
            while not accepts_connections(39517):
                time.sleep(0.02)
            probe("http://127.0.0.1:39517", 60)
            start = time.perf_counter()
            process.terminate()
            process.wait()
            return time.perf_counter() - start


if __name__ == "__main__":
    main()
