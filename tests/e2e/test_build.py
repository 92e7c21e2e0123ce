"""`tier0 build`: Bentos that serve their golden rows from an empty store, and a compose file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import tier0
from tier0.core.errors import Tier0Error
from tier0.runs import build as module
from tier0.runs.build import build
from tier0.runs.services import Services
from tier0.serving.entry import Entry

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
SWAP = """
_told = json.loads(Path(__file__).with_name("models.json").read_text())
_told["models"] = dict(zip(_told["models"], reversed(_told["models"].values())))
_other = Path(__file__).with_name("swapped.json")
_other.write_text(json.dumps(_told))
os.environ["TIER0_ANNOUNCEMENT"] = str(_other)
"""
PORTS = {"classification": 3001, "regression": 3002, "causal": 3003}


def finish(folder: Path, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tier0.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "tier0.cli", "build", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_three_services_are_built_proven_and_composed(three_services: Services, tmp_path: Path) -> None:
    store = next(iter(three_services.models.values()))[0].store
    before = sorted(str(path) for path in store.rglob("*"))

    status, said = finish(tmp_path, "--all", "--store", str(store))

    assert status == 0, said
    made = tmp_path / "tier0-build"
    composed = yaml.safe_load((made / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert composed.keys() == three_services.models.keys()
    for kind, models in three_services.models.items():
        assert composed[kind]["ports"] == [f"127.0.0.1:{PORTS[kind]}:3000"]
        dockerfile = made / composed[kind]["build"]["context"] / composed[kind]["build"]["dockerfile"]
        assert f"FROM python:{sys.version_info.major}.{sys.version_info.minor}" in dockerfile.read_text(
            encoding="utf-8"
        )
        assert re.search(rf"tier0_{kind}:\S+: all golden rows match", said), said
        announced = json.loads((made / kind / "src" / "models.json").read_text(encoding="utf-8"))["models"]
        assert announced == {model.name: model.tag for model in models}
        required = (made / kind / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
        for name, version in Entry.read(models[0].path).versions.items():
            assert f"{module.DISTRIBUTIONS.get(name, name)}=={version}" in required, required
    assert sorted(str(path) for path in store.rglob("*")) == before
    assert not list(made.rglob("__pycache__"))

    again, told = finish(tmp_path, "--all", "--store", str(store))
    assert again == 2, told
    assert "not overwritten" in told


@pytest.mark.slow
def test_what_was_built_serves_its_models_from_an_empty_store(
    three_services: Services, tmp_path: Path
) -> None:
    models = three_services.models["regression"]
    (built,) = build(models[0].store, [models[1].tag, models[0].tag], output=tmp_path / "built")

    assert built.models == (models[1].tag, models[0].tag)
    service = f"{built.folder / 'src' / 'service.py'}:Tier0Service"
    (tmp_path / "empty" / "models").mkdir(parents=True)
    assert asyncio.run(_golden_rows_of(built.folder, three_services, [model.name for model in models])) == [
        None,
        None,
    ], service


async def _golden_rows_of(folder: Path, services: Services, names: list[str]) -> list[object]:
    from tier0.core.settings import Port
    from tier0.runs.deployment import ready_probe
    from tier0.serving.server import Server
    from tier0.serving.workspace import Workspace

    workspace = Workspace.create()
    server = Server(workspace.folder("s"), Port(0), workspace=workspace, service=str(folder), project=folder)
    try:
        server.launch()
        await asyncio.to_thread(server.wait_until_ready, ready_probe, 60)
        async with tier0.BentoMLClient(server.url) as client:
            rows = [services.deployment(name).model.golden.examples for name in names]
            return [
                golden.compare(await client.predict(golden.body(), model=name))
                for name, golden in zip(names, rows, strict=True)
            ]
    finally:
        server.stop()


@pytest.mark.slow
def test_a_bento_that_serves_something_else_is_not_left_behind(
    three_services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its service announces each of two models under the other's name."""
    models = three_services.models["regression"]
    swapped = module.SERVICE.replace("import os\n", "import json\nimport os\n").replace(
        "from tier0.serving", SWAP + "from tier0.serving"
    )
    monkeypatch.setattr(module, "SERVICE", swapped)

    with pytest.raises(Tier0Error, match="another server"):
        build(models[0].store, [models[0].tag, models[1].tag], output=tmp_path / "built")
    assert list((tmp_path / "built").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected either tags of models or --all"),
        (["churn", "--all"], "expected either tags of models or --all"),
        (["churn", "--store", "nowhere"], "no model 'churn' in "),
        (["--all", "--store", "nowhere"], "no model registered by Tier0"),
    ],
)
def test_what_cannot_be_built_is_said(tmp_path: Path, arguments: list[str], told: str) -> None:
    status, said = finish(tmp_path, *arguments)

    assert status == 2, said
    assert told in said
    assert list(tmp_path.iterdir()) == []
