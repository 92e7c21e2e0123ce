"""Bentos of registered models: each proven by its golden rows when it is started from what was built, with Dockerfile and compose file."""

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
from tier0.core.settings import Port
from tier0.core.worker_process import Helper
from tier0.runs.deployment import golden_probe
from tier0.runs.services import FIRST_PORT, KINDS, in_turn, registered_by_kind
from tier0.serving.entry import Entry, link_entry
from tier0.serving.registration import RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

SERVICE = '''"""What `bentoml serve` starts: the models that models.json beside this file names."""

import os
from pathlib import Path

os.environ.setdefault("TIER0_ANNOUNCEMENT", str(Path(__file__).with_name("models.json")))

from tier0.core.worker_process import ONE_THREAD  # noqa: E402

for name, value in ONE_THREAD.items():  # threads for each request would fight with their own callers for the cores
    os.environ.setdefault(name, value)

from tier0.serving.service import Tier0Service  # noqa: E402 - it reads where its models are named

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
"""What the service imports, beside what its models do."""
FAST_PARSER = "httptools"
"""What uvicorn takes for speed where it is installed."""
TABLES = ("pandas", "scikit-learn")
"""What reads rows with named columns, and what most pipelines are made of."""
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
COMPOSE = "compose.yaml"
DOCKERFILE = "env/docker/Dockerfile"
CONTAINER_PORT = 3000
"""The port that a container serves on."""


@dataclass(frozen=True)
class BuiltBento:
    """What was built.

    Attributes:
        name: of the service: a kind, or ``models``.
        tag: of the Bento.
        folder: that `bentoml serve` and `docker build` take.
        models: exact tags.
        port: that the compose file gives it.
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
    """Build a Bento of the models that are named, or one for each kind with the latest of each model, and prove it.

    Each is started with `bentoml serve` from what was built, with an empty store, and must give the golden rows of its models; only then
    its folder appears in *output*.

    Args:
        store: the BentoML home that has the models; it is only read.
        tags: ``name:version``, ``name:latest`` or ``name``; without any, the latest of every name.
        output: the folder for the Bentos' folders and the compose file.
        first_port: that the compose file gives classification, or the models that are named; the other kinds follow.
        startup_timeout: seconds until a started Bento must give its golden rows.
        events: where the phases are told.

    Raises:
        RegistrationError: there is no such model, or Tier0 did not register it.
        Tier0Error: it could not be built, or *output* has one already.
        PredictionMismatchError: what was built does not serve what was trained.
    """
    told = events or EventLog()
    services = registered_by_kind(store, tags)
    _refuse_existing(output, services)
    workspace = Workspace.create()
    built = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, models in services.items():
            told.emit(BentoBuilding(), f"building a Bento of {', '.join(model.tag for model in models)}")
            nonce = os.urandom(8).hex()
            made, tag = _build_one(workspace, name, models, nonce)
            _prove(workspace, made, models, nonce, startup_timeout, told)
            unfinished = output / f".{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(made, unfinished, ignore=shutil.ignore_patterns("__pycache__"))
            unfinished.replace(output / name)
            port = first_port + (KINDS.index(name) if name in KINDS else 0)
            built.append(BuiltBento(name, tag, output / name, tuple(model.tag for model in models), port))
            told.emit(
                BentoBuilt(tag=tag),
                f"{tag} serves the golden rows of all its models; it is in {output / name}",
            )
        (output / COMPOSE).write_text(as_compose(built), encoding="utf-8")
    except OSError as problem:
        raise Tier0Error(
            f"output-dir = {str(output)!r} cannot be written to: {problem}. Give another one"
        ) from problem
    finally:
        workspace.close()
    return built


def _refuse_existing(output: Path, names: Iterable[str]) -> None:
    for name in (*names, COMPOSE):
        if (output / name).exists():
            raise Tier0Error(
                f"output-dir = {str(output)!r} has {name!r} already, which is not overwritten: give another, or remove it"
            )


def _build_one(
    workspace: Workspace, name: str, models: Sequence[RegisteredModel], nonce: str
) -> tuple[Path, str]:
    """Build one service's Bento in the workspace; return its folder and its tag."""
    folder = workspace.folder("b")
    context, home, made = folder / "context", folder / "home", folder / "bento"
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
        "output": str(made),
    }
    return made, Helper("tier0.serving.build_bento", folder, BENTOML_HOME=str(home)).carry_out(order)["tag"]


def _packages(models: Sequence[RegisteredModel]) -> list[str]:
    """Return what the service and its models need, in the versions that are installed here: those that the models were proven with."""
    trained_with = {
        DISTRIBUTIONS.get(name, name) for model in models for name in Entry.read(model.path).versions
    }
    found = []
    for name in dict.fromkeys((*NEEDED, FAST_PARSER, *TABLES, *sorted(trained_with))):
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed, or no distribution: a project's own module travels in the model's pickle
    return found


def _prove(
    workspace: Workspace,
    made: Path,
    models: Sequence[RegisteredModel],
    nonce: str,
    timeout: float,
    events: EventLog,
) -> None:
    """Start what was built, with an empty store, and ask for the golden rows of all its models."""
    server = Server(workspace.folder("s"), Port(0), events, service=str(made), project=made)
    try:
        server.launch()
        server.wait_until_ready(
            in_turn([golden_probe(model, nonce, model.name) for model in models]), timeout
        )
    finally:
        server.stop()


def as_compose(built: Sequence[BuiltBento]) -> str:
    """Return a compose file that brings all of them up, each on its port of loopback."""
    lines = ["# docker compose up --build", "services:"]
    for one in built:
        lines += [
            f"  {one.name}:",
            f"    image: {one.tag}",
            "    build:",
            f"      context: ./{one.name}",
            f"      dockerfile: {DOCKERFILE}",
            "    ports:",
            f'      - "127.0.0.1:{one.port}:{CONTAINER_PORT}"',
            "    environment:",
            '      BENTOML_DO_NOT_TRACK: "True"',
            "    restart: unless-stopped",
            "    healthcheck:",
            f'      test: ["CMD", "python", "-c", "import urllib.request; urllib.request.urlopen(\'http://127.0.0.1:{CONTAINER_PORT}/health\', timeout=5)"]',
            "      interval: 10s",
            "      start_period: 60s",
        ]
    return "\n".join(lines) + "\n"
