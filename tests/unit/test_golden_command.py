"""``tier0 golden`` on samples whose types differ from the training data; messages are in a snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner, Result

from tier0.cli import app
from tier0.golden.capture import golden_rows
from tier0.golden.rows import GoldenRows

ROWS = pd.DataFrame(
    {
        "zip": ["01234", "90210", "04321", "90210"] * 10,
        "region": ["NA", "EU", None, "NA"] * 10,
        "code": ["1e5", "2e5", "2e5", "1e5"] * 10,
        "band": [1, 2, 3, 1] * 10,
        "vip": [True, False, False, True] * 10,
        "a": np.linspace(-1, 1, 40),
    }
)
TARGET = (ROWS["a"] + ROWS["vip"] > 0.5).astype(int)
NUMBERS = ["band", "a"]


def by_name() -> Any:
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, list(ROWS.columns[:-1])), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression()).fit(ROWS, TARGET)


def by_number() -> Any:
    return LogisticRegression().fit(ROWS[NUMBERS].to_numpy(), TARGET)


def text_by_name() -> Any:
    return make_pipeline(
        FunctionTransformer(lambda rows: rows["code"].str.len().to_frame()), LogisticRegression()
    ).fit(ROWS[["code"]], TARGET)


def numbers_by_name() -> Any:
    return LogisticRegression().fit(ROWS[NUMBERS], TARGET)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def golden(train: Callable[[], Any], sample: str = "rows.csv") -> Result:
    return CliRunner().invoke(app, ["golden", f"{__name__}:{train.__name__}", sample])


def test_a_sample_is_read_as_what_the_encoder_was_trained_on() -> None:
    ROWS[::-1].assign(target=TARGET).to_csv("rows.csv", index=False)

    done = golden(by_name)

    assert done.exit_code == 0, done.output
    found = GoldenRows.read(Path("golden.json"))
    assert found.rows[:40] == golden_rows(by_name(), ROWS[::-1]).rows[:40]


def test_golden_rows_are_replaced_by_those_of_another_model() -> None:
    ROWS.to_csv("rows.csv", index=False)
    assert golden(numbers_by_name).exit_code == 0

    done = golden(by_name)

    assert done.exit_code == 0, done.stderr
    assert GoldenRows.read(Path("golden.json")).columns == list(ROWS)


def test_a_file_of_something_else_is_not_replaced() -> None:
    ROWS.to_csv("rows.csv", index=False)
    Path("golden.json").write_text('{"schema": 3}', encoding="utf-8")

    done = golden(numbers_by_name)

    assert done.exit_code == 2
    assert "golden.json" in done.stderr
    assert Path("golden.json").read_text(encoding="utf-8") == '{"schema": 3}'


def test_a_parquet_sample_has_its_own_types() -> None:
    ROWS.to_parquet("rows.parquet")

    assert golden(by_name, "rows.parquet").exit_code == 0


class Ratio(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step of the user's own, which needs names of columns and records none."""

    def fit(self, _rows: pd.DataFrame, _target: Any = None) -> Ratio:
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(ratio=rows["a"] / (1 + rows["band"].abs()))


def own_first_step() -> Any:
    return make_pipeline(Ratio(), LogisticRegression()).fit(ROWS[NUMBERS], TARGET)


def own_first_step_and_text() -> Any:
    return make_pipeline(
        Ratio(),
        make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(ROWS[["code", *NUMBERS]], TARGET)


@pytest.mark.parametrize(
    ("train", "names"), [(own_first_step, NUMBERS), (own_first_step_and_text, ["code", *NUMBERS])]
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_first_step_of_the_users_own_gets_names_of_columns(
    train: Callable[[], Any], names: list[str], form: str
) -> None:
    sample = ROWS[names]
    if form == "csv":
        sample.to_csv("rows.csv", index=False)
    else:
        sample.to_parquet("rows.parquet")

    done = golden(train, f"rows.{form}")

    assert done.exit_code == 0, done.output
    assert GoldenRows.read(Path("golden.json")).columns == names


STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "text_for_numbers": (by_name, ROWS.assign(band=ROWS["band"].map("level {}".format)).to_csv(index=False)),
    "text_for_booleans": (by_name, ROWS.assign(vip="yes").to_csv(index=False)),
    "numbers_for_booleans": (by_name, ROWS.assign(vip=ROWS["vip"].astype(int)).to_csv(index=False)),
    "text_without_an_encoder": (by_name, ROWS.assign(a="1,5").to_csv(index=False)),
    "text_in_an_array": (by_number, ROWS[NUMBERS].assign(a="low").to_csv(index=False)),
    "text_for_a_number": (numbers_by_name, ROWS[NUMBERS].assign(band="low").to_csv(index=False)),
    "numbers_for_text": (text_by_name, ROWS[["code"]].assign(code=12).to_csv(index=False)),
    "other_problems": (numbers_by_name, ROWS[NUMBERS].assign(band=None).to_csv(index=False)),
    "missing_columns": (by_name, ROWS.drop(columns=["zip", "vip"]).to_csv(index=False)),
    "additional_columns": (
        by_number,
        ROWS[["band", "a", "band"]].set_axis(["b", "a", "y"], axis=1).to_csv(index=False),
    ),
    "header_only": (by_name, ROWS[:0].to_csv(index=False)),
    "empty": (by_name, ""),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_sample_of_other_types_is_one_message_and_status_2(case: str, snapshot: SnapshotAssertion) -> None:
    train, content = STRANGE[case]
    Path("rows.csv").write_text(content, encoding="utf-8")

    done = golden(train)

    assert done.exit_code == 2, done.output
    assert len(done.output.splitlines()) == 1
    assert "internal error" not in done.output
    assert re.sub(r"(The model raises \w+: ).*", r"\1…", done.output) == snapshot, "libraries word theirs"
