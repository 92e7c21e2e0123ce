"""A version of BentoML without the private names that Tier0 uses: the service runs, and one warning says so.

Each name is renamed for real, in a copy of the installed BentoML that uses it under another name.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.support import SOURCE
from tier0.core.event_log import EventLog
from tier0.core.events import ServerNamesMissing
from tier0.runs.deployment import golden_probe
from tier0.serving.bentoml_internals import (
    ATTRIBUTES,
    CONSTRUCT_CONTAINERFILE,
    FOR_MIDDLEWARE,
    TRACE,
    WARNING,
    WORKER_MODULE,
)
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
PACKAGES = ("bentoml", "bentoml_cli", "_bentoml_impl", "_bentoml_sdk")
WARNED = WARNING.partition("%")[0]
NAMES = {name.rpartition(".")[2].rpartition(":")[2]: name for name in FOR_MIDDLEWARE if "bentoml" in name}
MEMBERS = {f"{kind}.{name}": name for kind, names in ATTRIBUTES.items() if kind != TRACE for name in names}
KEPT = {"skip_paths", "logger", "timeout", "service_name", "bento_name", "bento_version"}
"""Words that are also arguments or keys of a configuration, without which BentoML itself fails."""
LIST_FINDINGS = """
import json
from pathlib import Path
from tier0.doctor.trial import private_names
print(json.dumps([finding._asdict() for finding in private_names(Path())]))
"""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    workspace = Workspace.create()
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def model(workspace: Workspace) -> RegisteredModel:
    rows = np.array([[float(number), -float(number)] for number in range(-10, 10)])
    fitted = LogisticRegression().fit(rows, rows[:, 0] > 1)
    return ModelSaver(fitted, "tiny", {}, rows[:6])(
        workspace, EntryWriter(workspace, workspace.store), prove=False
    )


def another_bentoml(folder: Path, renamed: Iterable[str]) -> Path:
    """Copy the installed BentoML, with words renamed in all of its code."""
    words = re.compile(rf"\b({'|'.join(map(re.escape, renamed))})\b")
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        source = Path(spec.submodule_search_locations[0])
        shutil.copytree(source, folder / package)
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if words.search(text):
            path.write_text(words.sub(r"\1_of_a_later_version", text), encoding="utf-8")
    return folder


def move_worker(folder: Path) -> None:
    """Move the module that a worker runs."""
    worker = folder / "_bentoml_impl" / "worker"
    (worker / "service.py").rename(worker / "moved.py")
    serving = folder / "_bentoml_impl" / "server" / "serving.py"
    text = serving.read_text(encoding="utf-8")
    serving.write_text(text.replace(WORKER_MODULE, "_bentoml_impl.worker.moved"), encoding="utf-8")


def serve_with(
    bentoml: Path, workspace: Workspace, model: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Serve *model* with another BentoML; return the missing names that were reported."""
    monkeypatch.setenv("PYTHONPATH", str(bentoml))
    events = EventLog()
    server = Server(workspace.folder("s"), events=events)
    try:
        server.launch()
        server.announce({"tiny": model.tag}, model.store)
        answer = server.wait_until_ready(golden_probe(model, server.nonce), 60)
        assert answer["model_tag"] == model.tag
        assert httpx.get(f"{server.url}/invented", trust_env=False).status_code == 404
        assert httpx.get(f"{server.url}/livez/", trust_env=False).status_code == 307
        metrics = httpx.get(f"{server.url}/metrics", trust_env=False)
        assert metrics.is_success
        assert "invented" not in metrics.text
        assert len(server.worker_pids) == 1
        assert server.log.read_text(encoding="utf-8").count(WARNED) == 1
    finally:
        server.stop()
    (warning,) = events.with_type(ServerNamesMissing)
    return list(warning.names)


def test_the_service_runs_with_no_private_name_left(
    workspace: Workspace, model: RegisteredModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    renamed = [*NAMES, *MEMBERS.values(), "server_context", "trace_context"]
    bentoml = another_bentoml(tmp_path / "later", sorted({*renamed} - KEPT))
    move_worker(bentoml)

    missing = serve_with(bentoml, workspace, model, monkeypatch)

    assert {*FOR_MIDDLEWARE, WORKER_MODULE} - {*missing} == {
        name for name in FOR_MIDDLEWARE if name.startswith("opentelemetry.")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "missing"),
    [
        *((word, name) for word, name in NAMES.items() if word not in KEPT),
        *((word, name) for name, word in MEMBERS.items() if word not in KEPT),
        ("server_context", "bentoml._internal.context:server_context.bento_name"),
        ("trace_context", "bentoml._internal.context:trace_context.service_name"),
    ],
)
def test_the_service_runs_without_one_name(
    workspace: Workspace,
    model: RegisteredModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    word: str,
    missing: str,
) -> None:
    bentoml = another_bentoml(tmp_path / "later", [word])

    assert missing in serve_with(bentoml, workspace, model, monkeypatch)


def test_doctor_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bentoml = another_bentoml(tmp_path / "later", ["construct_containerfile", "TraceRecordFilter"])
    move_worker(bentoml)
    monkeypatch.setenv("PYTHONPATH", f"{bentoml}:{SOURCE}")

    found = subprocess.run([sys.executable, "-c", LIST_FINDINGS], capture_output=True, text=True, check=True)

    (finding,) = json.loads(found.stdout)
    assert finding["status"] == "warns"
    for name in ("bentoml._internal.log:TraceRecordFilter", WORKER_MODULE, CONSTRUCT_CONTAINERFILE):
        assert name in finding["found"]
