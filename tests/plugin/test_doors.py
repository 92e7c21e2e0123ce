"""A service of one's own under pytest: started here, or running already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.pytest_run import Run
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

TINY = Path(__file__).parents[1] / "defects" / "starts" / "tiny.py"
ROWS = [[1.0, 2.0], [3.5, 1.0], [5.0, 9.0]]
SUITE = [
    "--pyargs",
    "tier0.suite",
    "-m",
    "tier0_bentoml",
    "-p",
    "tier0.pytest_plugin",
    "-p",
    "no:cacheprovider",
    "-rs",
]
CONTRACT = 'schema = 1\nroute = "/predict"\npredictions = "predictions"\n'


@pytest.fixture
def project(tmp_path: Path) -> Run:
    folder, tmp = tmp_path / "project", tmp_path / "t"
    (folder / "services").mkdir(parents=True)
    tmp.mkdir()
    shutil.copyfile(TINY, folder / "services" / "tiny.py")
    GoldenRows(["a", "b"], ROWS, [a - b for a, b in ROWS], None, []).write(folder / "golden.json")
    (folder / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    (folder / "token").write_text("Bearer s3cret", encoding="utf-8")
    (folder / "home" / "models").mkdir(parents=True)
    return Run(folder, tmp)


def options(*more: str) -> list[str]:
    return [
        *SUITE,
        "--tier0-golden",
        "golden.json",
        "--tier0-contract",
        "contract.toml",
        "--tier0-store",
        "home",
        *more,
    ]


def test_a_service_of_ones_own_is_started_judged_and_stopped(project: Run) -> None:
    status = project.finish(
        *options("--tier0-service", "services/tiny.py:Tiny"), env={"PYTHONPATH": str(TINY.parents[3] / "src")}
    )

    assert status == 0, project.output
    assert "tier0: starting bentoml serve" in project.output
    assert "no client given: pass --client module:factory" in project.output
    assert "to allow that, pass --disturb faults" in project.output
    assert not project.left()


@pytest.mark.slow
def test_a_service_that_runs_is_judged_and_left_running(project: Run) -> None:
    with Deployment.from_service(
        f"{project.folder}/services/tiny.py:Tiny", store=project.folder / "home"
    ) as running:
        environment = {"PYTHONPATH": str(TINY.parents[3] / "src"), "TIER0_HEADER": "Authorization: @token"}
        asked = options(
            "--tier0-url",
            running.url,
            "--tier0-groups",
            "health,parity.golden_rows",
            "--tier0-disturb",
            "malformed",
        )
        status = project.finish(*asked, env=environment)
        assert running.server is not None
        assert running.server.left(), "it goes on"

    assert status == 0, project.output
    assert "6 deselected" not in project.output
    assert "header=Authorization (environment variable TIER0_HEADER)" in project.output
    assert "s3cret" not in project.output
    assert "parity.shuffled" not in project.output
    assert "3 passed" in project.output


@pytest.mark.slow
def test_a_service_that_answers_otherwise_fails_by_name(project: Run) -> None:
    GoldenRows(["a", "b"], ROWS, [a + b for a, b in ROWS], None, []).write(project.folder / "golden.json")
    asked = options(
        "--tier0-service", "services/tiny.py:Tiny", "--tier0-groups", "parity.golden_rows", "--tier0-keep"
    )

    status = project.finish(*asked, env={"PYTHONPATH": str(TINY.parents[3] / "src")})

    assert status == 1
    assert "1. Wrong predictions (critical, parity.golden_rows)" in project.output
    assert "served predictions: 3 of 3 rows differ by at most" in project.output
    assert "row 0: prediction: expected 3, got -1" in project.output
    assert "start the service: cd " in project.output
    assert "reproduce with: curl -sS http://127.0.0.1:" in project.output
    assert "= FAILURES =" not in project.output, "the cause tells it"
    kept = next(path for path in project.tmp.glob("tier0-*"))
    assert str(kept) in project.output
    assert list(kept.rglob("*.log"))
    assert not project.processes()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--tier0-url", "http://127.0.0.1:1", "--tier0-service", "a.py:A"], "only one service is checked"),
        pytest.param([], "--tier0-golden) has no effect without a service", marks=pytest.mark.slow),
        pytest.param(
            ["--tier0-service", "a.py:A", "--tier0-ca", "token"],
            "--tier0-ca) has no effect without the URL",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--tier0-groups", "magic"],
            "for --tier0-groups: unknown group or check 'magic'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--tier0-disturb", "all"],
            "for --tier0-disturb: choose",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--tier0-header", "Authorization"],
            "(hidden) for --tier0-header: header 1 has no name",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_done(
    project: Run, more: list[str], says: str
) -> None:
    assert project.finish(*options(*more), env={"PYTHONPATH": str(TINY.parents[3] / "src")}) == 4
    assert says in project.output
