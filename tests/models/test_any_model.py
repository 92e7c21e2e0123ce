"""Golden rows of any kind of model: its healthy service is not accused, and mutants of its kind are caught.

``make test`` asks a sample, and ``make models`` all of them, in an environment that has their packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import tier0
from tests.models.files import GOLDEN, IN_WORDS, save, way_of
from tests.models.kinds import KINDS, Trained
from tests.models.server import served
from tier0 import Deployment, check_serving
from tier0.core.verdict import Verdict
from tier0.golden.rows import GoldenRows

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore")]
GROUPS = ["identity", "contract", "parity"]
CONTRACT = {"route": "/predict", "features": "rows"}
SERVED = "text_pipeline"
IN_PROCESS = {"function_of_images", "nested_answers", "forecaster_with_dates"}
"""Kinds that take little time, one for each form of rows."""
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
OUTCOMES = Path(__file__).parents[2] / "reports" / "models.json"
COLUMNS = 6


def kinds(sample: set[str], only: Iterable[str] = KINDS) -> list[Any]:
    """Return the kinds in *only*; those outside of *sample* are slow."""
    return [
        pytest.param(
            name,
            marks=[
                *([] if name in sample else [pytest.mark.slow]),
                pytest.mark.skipif(
                    any(find_spec(package) is None for package in packages),
                    reason=f"needs {', '.join(packages)}: make models",
                ),
            ],
        )
        for name, (packages, _) in KINDS.items()
        if name in only
    ]


def in_words(name: str) -> str:
    return name.replace("_", " ")


@pytest.fixture
def outcomes() -> Iterator[dict[str, Any]]:
    """Yield what is known of each kind; with ``TIER0_MODELS_PAGE``, keep it, and write the page."""
    page = os.environ.get("TIER0_MODELS_PAGE")
    known = json.loads(OUTCOMES.read_text(encoding="utf-8")) if page and OUTCOMES.exists() else {}
    yield known
    if page:
        OUTCOMES.parent.mkdir(exist_ok=True)
        OUTCOMES.write_text(json.dumps(known, indent=1), encoding="utf-8")
        Path(page).write_text(
            page_of({name: known[name] for name in KINDS if name in known}), encoding="utf-8"
        )


def page_of(known: dict[str, Any]) -> str:
    mutants = sum(len(one["mutants"]) for one in known.values())
    caught = mutants - sum(len(one["passing"]) for one in known.values())
    accused = sum(one["accused"] > 0 for one in known.values())
    lines = [
        f"| {in_words(name)} | {one['rows']} | {one['saved']} | {one['accused']} "
        f"| {len(one['mutants']) - len(one['passing'])} of {len(one['mutants'])} "
        f"| {', '.join(map(in_words, one['mutants']))} |"
        for name, one in known.items()
    ]
    return INTRODUCTION.format(kinds=len(known), mutants=mutants, caught=caught, accused=accused) + "\n".join(
        [*TABLE, *lines, ""]
    )


@cache
def trained(name: str) -> tuple[Trained, GoldenRows]:
    made = KINDS[name][1]()
    return made, tier0.golden_rows(made.model, made.rows, call=made.call)


INTRODUCTION = """# Kinds of models, and mutants of them

Written by `make models`. Each model is trained, and saved as the makers of its library say; a service of
BentoML loads it from the file, and all checks are asked with the golden rows of the model in memory. Mutants
of its kind then answer in its place.

Of {kinds} kinds, {kinds} are taken, and healthy services of {accused} are accused. Of {mutants} mutants,
{caught} are caught.

"""
TABLE = [
    "| kind | rows | saved as | failed checks of the healthy service | mutants caught | mutants |",
    "|---|---|---|---|---|---|",
]


def accusations(verdict: Verdict) -> list[str]:
    return [result.explain() for result in verdict.checks if result.status in {"fail", "error"}]


def is_caught(verdict: Verdict) -> bool:
    return any(result.id.startswith("parity.") for result in verdict.with_status("fail"))


def judged(url: str, golden: GoldenRows) -> Verdict:
    deployment = Deployment.from_url(url, golden=golden, contract=CONTRACT)
    return check_serving(deployment, on_fail="return", groups=GROUPS, disturb="malformed")


@pytest.mark.parametrize("name", kinds(IN_PROCESS, IN_PROCESS))
def test_a_healthy_service_of_any_model_passes_and_mutants_do_not(name: str) -> None:
    made, golden = trained(name)

    with served(made.answer, golden) as url:
        healthy = judged(url, golden)
    passing = []
    for mutant, answer in made.mutants.items():
        with served(answer, golden) as url:
            if not is_caught(judged(url, golden)):
                passing.append(mutant)

    assert accusations(healthy) == []
    assert "parity.golden_rows" in {result.id for result in healthy.with_status("pass")}
    assert passing == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", kinds({SERVED}))
def test_bentoml_serves_any_model_as_it_was_saved(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcomes: dict[str, Any]
) -> None:
    made, golden = trained(name)
    golden.write(tmp_path / GOLDEN)
    to_save = made.model if made.served is None else made.served
    if made.serve is not None:
        save(to_save, tmp_path)
    monkeypatch.setenv("TIER0_TEST_KIND", name)
    monkeypatch.setenv("TIER0_TEST_FOLDER", str(tmp_path))
    service = f"{Path(__file__).with_name('service.py')}:Scoring"

    with Deployment.from_service(
        service, golden=golden, startup_timeout=400, disturb="malformed"
    ) as deployment:
        healthy = check_serving(deployment, on_fail="return")
        passing = [
            mutant
            for mutant in made.mutants
            if not is_caught(
                check_serving(
                    replace(deployment, headers={"X-Mutant": mutant}), on_fail="return", groups=GROUPS
                )
            )
        ]
    outcomes[name] = {
        "rows": golden.form,
        "saved": "its code" if made.serve is None else IN_WORDS[way_of(to_save)],
        "accused": len(accusations(healthy)),
        "mutants": [*made.mutants],
        "passing": passing,
    }

    assert accusations(healthy) == []
    assert "parity.golden_rows" in {result.id for result in healthy.with_status("pass")}
    assert passing == []


def test_the_page_accuses_no_kind_and_has_at_least_four_mutants_of_each() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    found = {row[0].removeprefix("| "): row for row in rows if len(row) == COLUMNS}

    assert found.keys() - {"kind"} <= {in_words(name) for name in KINDS}
    for kind, (_, _, _, accused, caught, mutants) in found.items():
        if kind != "kind":
            assert accused == "0"
            assert caught == f"{len(mutants.split(', '))} of {len(mutants.split(', '))}"
            assert len(mutants.split(", ")) >= 4


ALONE = """
import sys
import numpy as np
import tier0

tier0.golden_rows(lambda rows: rows.sum(axis=1), np.arange(12.0).reshape(4, 3))
tier0.golden_rows(lambda texts: [{"length": len(text)} for text in texts], ["a", "bb"])
tier0.golden_rows(lambda images: images.mean(axis=(1, 2)), np.ones((4, 2, 2), dtype="float32"))
heavy = {"bentoml", "catboost", "lightgbm", "mlflow", "onnxruntime", "pandas", "sklearn", "torch", "xgboost"}
print(sorted(heavy & set(sys.modules)))
"""


def test_no_framework_is_imported_for_a_model_of_another() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
