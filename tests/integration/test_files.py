"""Models trained on files and served: a row in JSON gets the prediction of the same row in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from tier0.core.settings import merge_settings
from tier0.pipeline.candidates import candidates_for
from tier0.pipeline.data import Dataset, load_dataset
from tier0.pipeline.study import DataRules
from tier0.runs.deployment import golden_probe, with_client
from tier0.serving.registration import EntryWriter, ModelSaver
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.client import BentoMLClient

pytestmark = pytest.mark.server
ROWS = 200
DRAW = np.random.default_rng(0)
COLUMNS: dict[str, Any] = {
    "region": DRAW.choice(["NA", "EU", "APAC", ""], ROWS),
    "zip": DRAW.choice(["01234", "90210", "007"], ROWS),
    "spend": DRAW.choice(["12.5", "3e2", "NA", ""], ROWS),
    "vip": DRAW.choice(["True", "False", ""], ROWS),
    "channel": DRAW.choice(["web", "shop", "unknown", ""], ROWS),
}
NUMBERS, BOOLEANS = {"spend"}, {"vip"}
NULLABLE = {"region": "string", "zip": "string[pyarrow]", "spend": "double[pyarrow]", "vip": "boolean"}
RULES = DataRules(missing_texts=("unknown",))


def value_in_json(column: str, cell: str) -> Any:
    """Return what docs/run.md says that a request contains for a cell."""
    if cell == "" or (cell == "NA" and column in NUMBERS):
        return None
    if column in NUMBERS | BOOLEANS:
        return json.loads(cell.lower())
    return cell


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("files")
    strength = np.array([{"NA": 2, "": -2}.get(cell, 0) for cell in COLUMNS["region"]])
    target = (strength + (COLUMNS["channel"] == "unknown") + DRAW.normal(0, 0.5, ROWS) > 0).astype(int)
    pd.DataFrame({**COLUMNS, "y": target}).to_csv(folder / "text.csv", index=False)
    nullable = pd.DataFrame(
        {
            name: pd.array([value_in_json(name, cell) for cell in cells], dtype=NULLABLE.get(name, "string"))
            for name, cells in COLUMNS.items()
        }
    )
    nullable["count"] = pd.array([None, 1, 2, 3] * (ROWS // 4), dtype="Int64")
    nullable["plan"] = pd.Categorical(
        ["basic", "plus", None, "plus"] * (ROWS // 4), ["plus", "basic"], ordered=True
    )
    nullable.assign(y=pd.array(target, dtype="Int64")).to_parquet(folder / "nullable.parquet")
    files = {path.stem: path for path in (folder / "text.csv", folder / "nullable.parquet")}
    return {
        name: load_dataset(merge_settings({"dataset": str(path), "target": "y"}, {}), RULES)
        for name, path in files.items()
    }


@pytest.fixture(scope="module")
def models(datasets: dict[str, Dataset]) -> dict[str, Any]:
    return {
        name: candidates_for(dataset, ("hist_gradient_boosting",), 7)[0]
        .build(max_iter=10)
        .fit(dataset.features, dataset.target)
        for name, dataset in datasets.items()
    }


@pytest.fixture(scope="module")
def url(datasets: dict[str, Dataset], models: dict[str, Any]) -> Iterator[str]:
    workspace = Workspace.create()
    server = Server(workspace.folder("s"))
    try:
        server.launch()
        saved = {
            name: ModelSaver(models[name], name, {}, dataset.features[:50])(
                workspace, EntryWriter(workspace, workspace.store), prove=False
            )
            for name, dataset in datasets.items()
        }
        server.announce({name: model.tag for name, model in saved.items()}, workspace.store)
        server.wait_until_ready(golden_probe(saved["text"], server.nonce), 60)
        yield server.url
    finally:
        server.stop()
        workspace.close()


def served(url: str, model: str, rows: list[dict[str, Any]]) -> list[list[float]]:
    found: list[list[float]] = []

    async def ask(client: BentoMLClient) -> None:
        found.extend((await client.predict({"features": rows}, model=model))["probabilities"] or [])

    with_client(url, ask)
    return found


def rows_in_json() -> list[dict[str, Any]]:
    return [{name: value_in_json(name, str(COLUMNS[name][row])) for name in COLUMNS} for row in range(ROWS)]


def test_a_row_in_json_gets_the_prediction_of_its_row_in_csv(
    url: str, datasets: dict[str, Dataset], models: dict[str, Any]
) -> None:
    expected = models["text"].predict_proba(datasets["text"].features)
    is_na, is_missing = COLUMNS["region"] == "NA", COLUMNS["region"] == ""

    found = np.array(served(url, "text", rows_in_json()))

    np.testing.assert_array_equal(found, expected)
    assert found[is_na, 1].mean() > found[is_missing, 1].mean() + 0.5, "NA is a region"


def test_an_empty_text_is_missing_as_the_empty_cell_was(url: str) -> None:
    rows = [row for row in rows_in_json() if row["region"] is None]

    found = served(url, "text", [{**row, "region": ""} for row in rows])

    assert found == served(url, "text", rows)


def test_a_text_that_was_declared_missing_is_missing_in_requests(url: str) -> None:
    rows = [row for row in rows_in_json() if row["channel"] == "unknown"]

    assert served(url, "text", [{**row, "channel": None} for row in rows]) == served(url, "text", rows)


def test_a_row_in_json_gets_the_prediction_of_its_row_in_parquet(
    url: str, datasets: dict[str, Dataset], models: dict[str, Any]
) -> None:
    rows = [
        {**row, "count": (None, 1, 2, 3)[number % 4], "plan": ("basic", "plus", None, "plus")[number % 4]}
        for number, row in enumerate(rows_in_json())
    ]
    expected = models["nullable"].predict_proba(datasets["nullable"].features)

    np.testing.assert_array_equal(served(url, "nullable", rows), expected)
