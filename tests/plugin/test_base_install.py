"""What works with the base install alone: checking a running service by its URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tier0
from tier0.faults import FaultServer, Reply
from tier0.faults.log import Arrival
from tier0.golden.rows import GoldenRows

ROOT = Path(__file__).parents[2]
EXTRAS = (  # but pydantic, which typer needs, too
    "bentoml", "cloudpickle", "threadpoolctl", "orjson", "starlette", "sklearn", "pandas", "pyarrow",
    "xgboost", "lightgbm", "optuna", "mlflow", "httptools", "fastapi", "opik", "econml", "pytest_html",
    "jinja2", "markupsafe", "distributed", "pytest_asyncio", "xdist",
)  # fmt: skip
BLOCKS = f"""
import sys

class Blocks:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocks())
"""
TRAINS = """
import pytest

@pytest.mark.tier0_bentoml
@pytest.mark.parametrize("number", range(3))
def test_it(tier0_deployment, number):
    pass
"""
PYTEST = ["-m", "pytest", "-p", "tier0.pytest_plugin", "-p", "no:cacheprovider", "-rs"]


def answer(arrival: Arrival) -> Reply:
    if arrival.path == "/schema.json":
        numbers = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
        given = {"type": "object", "properties": {"features": numbers}}
        predict = {"name": "predict", "route": "/predict", "batchable": False, "input": given}
        return Reply(
            body={
                "name": "x",
                "type": "service",
                "routes": [{**predict, "output": {"type": "array", "items": {"type": "number"}}}],
            }
        )
    if arrival.method == "POST":
        return Reply(body=[row[0] * 2 for row in json.loads(arrival.body)["features"]])
    return Reply(body={"status": "ok"}) if arrival.path in {"/readyz", "/livez"} else Reply(404)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    GoldenRows(["a"], [[1.0], [2.5], [4.0]], [2.0, 5.0, 8.0], None, []).write(tmp_path / "golden.json")
    (tmp_path / "sitecustomize.py").write_text(BLOCKS, encoding="utf-8")
    (tmp_path / "test_training.py").write_text(TRAINS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def url() -> Iterator[str]:
    with FaultServer(answer) as server:
        yield server.url


def blocked(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIER0_", "PYTEST_"))
    }
    environment |= {
        "PYTHONPATH": f"{project}:{Path(tier0.__file__).parents[1]}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_verifies_by_url(project: Path, url: str) -> None:
    done = blocked(
        project, "-m", "tier0.cli", "verify", url, "--golden", "golden.json", "--json", "verdict.json"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((project / "verdict.json").read_text(encoding="utf-8"))["verdict"] == "pass"


def test_pytest_verifies_by_url(project: Path, url: str) -> None:
    asked = [
        "--pyargs",
        "tier0.suite",
        "-m",
        "tier0_bentoml",
        "--tier0-url",
        url,
        "--tier0-golden",
        "golden.json",
        "--tier0-report",
        "report.json",
    ]

    done = blocked(project, *PYTEST, *asked)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((project / "report.json").read_text(encoding="utf-8"))["verdict"] == "pass"


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("service", ["golden", "json:loads", "rows.csv"]),
        ("pipeline", ["run", "--step", "1"]),
        ("service", ["serve", "m:1"]),
        ("pipeline", ["serve", "--all"]),
        ("service", ["build", "m:1"]),
    ],
)
def test_a_command_that_needs_an_extra_names_it(project: Path, extra: str, arguments: list[str]) -> None:
    (project / "rows.csv").write_text("a\n1\n", encoding="utf-8")

    done = blocked(project, "-m", "tier0.cli", *arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert f"which is not installed: pip install 'pytest-tier0[{extra}]'\n" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_training_names_the_extra_once(project: Path) -> None:
    done = blocked(project, *PYTEST, "test_training.py")

    assert done.returncode == 2
    assert "2 skipped, 1 error" in done.stdout, done.stdout
    assert "which is not installed: pip install 'pytest-tier0[pipeline]'" in done.stdout
    assert "Traceback" not in done.stdout
    assert "errors.py" not in done.stdout


def test_a_public_name_that_needs_an_extra_names_it(project: Path) -> None:
    done = blocked(project, "-c", "import tier0; tier0.golden_rows")

    assert done.stderr.rstrip().endswith("not installed: pip install 'pytest-tier0[service]'")


def test_starting_a_service_names_the_extra_before_any_process(project: Path) -> None:
    (project / "service.py").write_text("", encoding="utf-8")
    service = ["--tier0-service", "service.py:Service", "--tier0-golden", "golden.json"]

    done = blocked(project, *PYTEST, "--pyargs", "tier0.suite", "-m", "tier0_bentoml", *service)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "which is not installed: pip install 'pytest-tier0[service]'" in done.stdout
    assert "tier0: starting " not in done.stdout


@pytest.mark.slow
def test_a_bare_environment_verifies_by_url(
    project: Path, url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("bare")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(place), str(ROOT)],
        check=True,
    )
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    python = str(place / "venv" / "bin" / "python")
    (wheel,) = place.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    megabytes = sum(path.lstat().st_size for path in (place / "venv").rglob("*")) / 1e6
    assert megabytes <= 160
    (project / "sitecustomize.py").unlink()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TIER0_", "PYTEST_", "PYTHON"))
    }

    for arguments in (
        ["-m", "tier0.cli", "verify", url, "--golden", "golden.json"],
        [
            "-m",
            "pytest",
            "--pyargs",
            "tier0.suite",
            "-m",
            "tier0_bentoml",
            "--tier0-url",
            url,
            "--tier0-golden",
            "golden.json",
        ],
    ):
        done = subprocess.run(
            [python, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "at_most"), [("", 32), ("[service]", 100)])
def test_a_lean_install_is_of_few_packages(tmp_path: Path, extra: str, at_most: int) -> None:
    report = tmp_path / "report.json"
    install = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]

    subprocess.run([sys.executable, "-m", "pip", *install, f"{ROOT}{extra}"], check=True)

    packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    assert len(packages) <= at_most, sorted(package["metadata"]["name"] for package in packages)
