"""Bentos of registered models, verified with their golden rows, and a compose file for them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tier0.core.errors import Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.events import BentoBuilding, BentoBuilt
from tier0.core.named_file import require_absent
from tier0.core.settings import Port
from tier0.core.worker_process import WorkerProcess
from tier0.runs.deployment import golden_probe
from tier0.runs.services import FIRST_PORT, KINDS, registered_by_kind, sequential_probe
from tier0.serving.entry import Entry, link_entry
from tier0.serving.registration import RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

SERVICE = '''"""The service that `bentoml serve` starts, with the models that models.json names."""

import os
from pathlib import Path

os.environ.setdefault("TIER0_ANNOUNCEMENT", str(Path(__file__).with_name("models.json")))

from tier0.core.child_environment import ONE_THREAD  # noqa: E402

for name, value in ONE_THREAD.items():  # requests run in parallel already: more threads would only compete
    os.environ.setdefault(name, value)

from tier0.serving.service import Tier0Service  # noqa: E402 - reads TIER0_ANNOUNCEMENT

__all__ = ["Tier0Service"]
'''
PACKAGE = Path(__file__).parents[1]
NEEDED = (
    "bentoml",
    "numpy",
    "orjson",
    "cloudpickle",
    "threadpoolctl",
    "starlette",
    "httpx",
    "h11",
    "psutil",
    "filelock",
)
"""Distributions that the service imports, in addition to those of its models."""
FAST_PARSER = "httptools"
"""Distribution that makes uvicorn faster if it is installed."""
TABLES = ("pandas", "scikit-learn")
"""Distributions for rows with named columns, and for most pipelines."""
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Module to its distribution, if the names differ."""
COMPOSE = "compose.yaml"
DOCKERFILE = "env/docker/Dockerfile"
CONTAINER_PORT = 3000
"""The port that a container serves on."""


@dataclass(frozen=True)
class BuiltBento:
    """A Bento that was built.

    Attributes:
        name: name of the service: a kind, or ``models``.
        tag: tag of the Bento.
        folder: folder for `bentoml serve` and `docker build`.
        models: exact tags of its models.
        port: port of the service in the compose file.
    """

    name: str
    tag: str
    folder: Path
    models: tuple[str, ...]
    port: int


def build(
    store: Path,
    tags: Sequence[str] = (),
    *,
    output: Path,
    first_port: int = FIRST_PORT,
    startup_timeout: float = 60.0,
    events: EventLog | None = None,
) -> list[BuiltBento]:
    """Build a Bento of the named models, or one for each kind with the latest version of each model.

    Each Bento is started with `bentoml serve` and an empty store, and its predictions for the golden rows of
    its models are compared; only then its folder appears in *output*.

    Args:
        store: BentoML home with the models; it is only read.
        tags: ``name:version``, ``name:latest`` or ``name``; without any, the latest version of every name.
        output: folder for the folders of the Bentos and the compose file.
        first_port: port of the first service in the compose file; the ports of the other kinds follow.
        startup_timeout: seconds until a started Bento must be ready.
        events: log that receives the events.

    Raises:
        RegistrationError: a model does not exist, or was not registered by Tier0.
        Tier0Error: a Bento could not be built, or *output* has one already.
        PredictionMismatchError: the predictions of a Bento differ from the trained model's.
    """
    events = events or EventLog()
    services = registered_by_kind(store, tags)
    _require_absent(output, services)
    workspace = Workspace.create()
    built = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, models in services.items():
            model_tags = tuple(model.tag for model in models)
            events.emit(BentoBuilding(), f"building a Bento of {', '.join(model_tags)}")
            nonce = os.urandom(8).hex()
            folder, tag = _build_one(workspace, name, models, nonce)
            _verify(workspace, folder, models, nonce, startup_timeout, events)
            _publish(folder, output, name)
            port = first_port + (KINDS.index(name) if name in KINDS else 0)
            built.append(BuiltBento(name, tag, output / name, model_tags, port))
            events.emit(BentoBuilt(tag=tag), f"{tag}: all golden rows match; built in {output / name}")
        (output / COMPOSE).write_text(as_compose(built), encoding="utf-8")
    except OSError as problem:
        raise Tier0Error(
            f"cannot write to --output-dir {str(output)!r}: {problem}. Choose another --output-dir"
        ) from problem
    finally:
        workspace.close()
    return built


def _publish(folder: Path, output: Path, name: str) -> None:
    """Copy a verified Bento to *output* under *name*, atomically."""
    unfinished = output / f".{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(folder, unfinished, ignore=shutil.ignore_patterns("__pycache__"))
    unfinished.replace(output / name)


def _require_absent(output: Path, names: Iterable[str]) -> None:
    """Check that *output* has no file that would be overwritten.

    Raises:
        Tier0Error: it has.
    """
    for name in (*names, COMPOSE):
        require_absent(output / name, "--output-dir")


def _build_one(
    workspace: Workspace, name: str, models: Sequence[RegisteredModel], nonce: str
) -> tuple[Path, str]:
    """Build the Bento of one service in the workspace; return its folder and its tag."""
    folder = workspace.folder("b")
    context, home, bento = folder / "context", folder / "home", folder / "bento"
    shutil.copytree(PACKAGE, context / "tier0", ignore=shutil.ignore_patterns("__pycache__"))
    (context / "service.py").write_text(SERVICE, encoding="utf-8")
    announcement = {"models": {model.name: model.tag for model in models}, "nonce": nonce}
    (context / "models.json").write_text(json.dumps(announcement, indent=2) + "\n", encoding="utf-8")
    for model in models:
        link_entry(model.tag, model.store, home)
    order = {
        "name": f"tier0_{name}",
        "context": str(context),
        "models": [model.tag for model in models],
        "packages": _packages(models),
        "output": str(bento),
    }
    builder = WorkerProcess("tier0.serving.build_bento", folder, BENTOML_HOME=str(home))
    return bento, builder.execute(order)["tag"]


def _packages(models: Sequence[RegisteredModel]) -> list[str]:
    """Return the requirements of a service and its models, pinned to the installed versions."""
    trained_with = {
        DISTRIBUTIONS.get(name, name) for model in models for name in Entry.read(model.path).versions
    }
    pinned = []
    for name in dict.fromkeys((*NEEDED, FAST_PARSER, *TABLES, *sorted(trained_with))):
        try:
            version, _, _ = importlib.metadata.version(name).partition(
                "+"
            )  # such as +cpu, which no index has
            pinned.append(f"{name}=={version}")
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed, or a module of the project, which is part of the model's pickle
    return pinned


def _verify(
    workspace: Workspace,
    bento: Path,
    models: Sequence[RegisteredModel],
    nonce: str,
    timeout: float,
    events: EventLog,
) -> None:
    """Start a Bento with an empty store, and compare its predictions for all golden rows of its models."""
    server = Server(workspace.folder("s"), Port(0), events, service=str(bento), project=bento)
    probe = sequential_probe([golden_probe(model, nonce, model.name) for model in models])
    try:
        server.launch()
        server.wait_until_ready(probe, timeout)
    finally:
        server.stop()


def as_compose(built: Sequence[BuiltBento]) -> str:
    """Return a compose file that starts all Bentos, each on its own port of 127.0.0.1."""
    health = f"http://127.0.0.1:{CONTAINER_PORT}/health"
    probe = f"import urllib.request; urllib.request.urlopen('{health}', timeout=5)"
    lines = ["# docker compose up --build", "services:"]
    for bento in built:
        lines += [
            f"  {bento.name}:",
            f"    image: {bento.tag}",
            "    build:",
            f"      context: ./{bento.name}",
            f"      dockerfile: {DOCKERFILE}",
            "    ports:",
            f'      - "127.0.0.1:{bento.port}:{CONTAINER_PORT}"',
            "    environment:",
            '      BENTOML_DO_NOT_TRACK: "True"',
            "    restart: unless-stopped",
            "    healthcheck:",
            f'      test: ["CMD", "python", "-c", "{probe}"]',
            "      interval: 10s",
            "      start_period: 60s",
        ]
    return "\n".join(lines) + "\n"
