"""``tier0 golden``: create golden rows from a model in memory."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tier0.cli.application import app, examples, refuse, say
from tier0.cli.parameters import import_from_here, require_new, require_writable
from tier0.core.errors import RegistrationError, Tier0Error, first_line
from tier0.core.interruption import raise_on_interrupt

if TYPE_CHECKING:
    import pandas as pd

    from tier0.golden.rows import GoldenRows
    from tier0.pipeline.tables import Table

MAX_SAMPLED = 200
MAX_SHOWN_DEFECTS = 5


EXAMPLES = examples(
    "tier0 golden training:model rows.csv", "tier0 golden training:fit rows.parquet --output churn.json"
)


@app.command(epilog=EXAMPLES)
def golden(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME", help="Fitted model, or function that trains a model and returns it."
        ),
    ],
    sample: Annotated[
        Path,
        typer.Argument(
            metavar="SAMPLE",
            help="CSV or Parquet file of rows as the model takes them; a JSON list of texts or other values; "
            f"or arrays in a .npy file. The first {MAX_SAMPLED} are used.",
        ),
    ],
    call: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Method to call in place of predict, such as predict_proba, transform or encode.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="JSON file for the golden rows; of existing files, only golden rows are replaced.",
        ),
    ] = Path("golden.json"),
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Probability from which the second of two classes is predicted; the model's own by default.",
            show_default=False,
        ),
    ] = None,
    synthetic: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Number of synthetic rows, drawn within the sample's ranges, to use instead of its own rows "
            "(which may be personal data).",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed for --synthetic.")] = 7,
    tag: Annotated[
        str | None,
        typer.Option(
            metavar="TAG",
            help="Tag of the model in its store, which responses are expected to name.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Create golden rows for a model of your own, from the model in memory, before it is saved.

    tier0 verify --golden FILE compares a service with them. Golden rows are rows of the sample (or synthetic
    ones), and edge cases that services often get wrong (missing values, unseen categories, values at the
    model's boundaries), each with the output of the model in memory.

    A column of a CSV file is read as what the model's encoder for it was trained on: with an encoder of text,
    007 and NA are text. Without an encoder, it is read as by tier0 run. A Parquet file has its own types.

    Exit status: 0 the file was written, 2 it could not be created.
    """
    from dataclasses import replace

    from tier0.golden.capture import golden_rows
    from tier0.golden.file import is_golden

    raise_on_interrupt()
    if is_golden(output):  # each model has its own; other files are not ours
        require_writable("--output", output)
    else:
        require_new("--output", output)
    import_from_here()
    fitted = _load_model(model, call)
    given, names = _examples_for(fitted, sample, call)
    rows = golden_rows(
        fitted, given, call=call, threshold=threshold, feature_names=names, synthetic=synthetic, seed=seed
    )
    try:
        replace(rows, tag=tag).write(output)
    except OSError as problem:
        refuse(f"cannot write the golden rows {output}: {problem.strerror}")
    verify = f"tier0 verify URL --golden {output}"
    what = f"golden rows of {len(rows.columns)} columns" if rows.form == "table" else f"golden {rows.form}"
    say(f"{output}: {len(rows)} {what}{rows.kinds_in_words}; check a service with: {verify}")
    if rows.power is not None:
        say(_power_of(rows))


def _power_of(rows: GoldenRows) -> str:
    """Return how many simulated defects the rows distinguish, and the first ones that they do not."""
    left = [f"as if {sentence}" for sentence in rows.not_distinguished]
    if not left:
        return f"{rows.power}"
    more = f"; and {len(left) - MAX_SHOWN_DEFECTS} more" if len(left) > MAX_SHOWN_DEFECTS else ""
    named = "; ".join(left[:MAX_SHOWN_DEFECTS])
    return f"{rows.power}; no row that was tried shows a difference for these: {named}{more}"


def _examples_for(model: Any, path: Path, call: str | None) -> tuple[Any, list[str] | None]:
    """Return the rows of a file as the model takes them, and the names of the columns of an array.

    Raises:
        Tier0Error: the file cannot be read, or the model has no output for its rows.
    """
    if path.suffix in {".json", ".npy"}:
        return _read_values(path)[:MAX_SAMPLED], None
    frame = _read_sample(path, model)
    if call is not None or not hasattr(model, "predict"):
        return frame, None
    _require_prediction(model, frame, path)
    given = _as_model_takes(model, frame)
    return given, None if given is frame else [str(name) for name in frame.columns]


def _read_values(path: Path) -> Any:
    """Return a list of JSON values, or an array of numpy.

    Raises:
        Tier0Error: the file cannot be read, or has something else.
    """
    import numpy as np

    from tier0.core.named_file import read_json

    try:
        values = read_json(path) if path.suffix == ".json" else np.load(path, allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise Tier0Error(f"cannot read the sample {str(path)!r}: {first_line(problem)}") from problem
    if not isinstance(values, (list, np.ndarray)):
        raise Tier0Error(
            f"the sample {str(path)!r} is not a list of rows: write one, such as a list of texts"
        )
    return values


def _load_model(name: str, call: str | None) -> Any:
    """Return what predicts: the object of that name, or what it returns if it is a function that trains it.

    Raises:
        Tier0Error: there is no such model.
    """
    from tier0.core.import_object import import_named
    from tier0.golden.predictors import as_predictor

    found = import_named(
        "model", name, "a fitted model or a function that returns one, such as training:model"
    )
    remedy = "Name a fitted model, or a function that returns one"
    try:
        fitted = found() if _trains(found, call) else found
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        raise Tier0Error(
            f"model {name!r} raised {type(problem).__name__}: {problem} ({where.filename}, "
            f"line {where.lineno}). {remedy}"
        ) from problem
    try:
        as_predictor(fitted, call)
    except RegistrationError as problem:
        raise Tier0Error(f"model {name!r}: {problem}") from problem
    return fitted


def _trains(found: Any, call: str | None) -> bool:
    """Return whether an object is a function that returns a model, in place of a model."""
    if hasattr(found, call or "predict") or not callable(found):
        return False
    if not isinstance(found, FunctionType):
        return isinstance(found, type) or not hasattr(found, "forward")
    required = [
        parameter
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    return not required


def _read_sample(path: Path, model: Any) -> pd.DataFrame:
    """Return the first rows of a file, with the columns that the model takes, in its order.

    Raises:
        Tier0Error: the file cannot be read, lacks a column, or has values of other types than the model.
    """
    import pandas as pd

    from tier0.golden.capture import vocabularies
    from tier0.pipeline.tables import Table

    table = Table.read(path)
    columns_of_file = [name for name in table.columns if name not in table.index]
    names = [str(name) for name in getattr(model, "feature_names_in_", columns_of_file)]
    available = ", ".join(columns_of_file)
    if missing := [name for name in names if name not in columns_of_file]:
        raise Tier0Error(
            f"columns of the model not found in {path}: {', '.join(map(repr, missing))}. Available columns: "
            f"{available}"
        )
    width = getattr(model, "n_features_in_", len(names))
    if width != len(names):
        raise Tier0Error(
            f"{path} has {len(names)} columns, but the model takes {width}: remove columns that are not "
            f"features, such as the target. Available columns: {available}"
        )
    if not table.is_text:
        return _with_types(table)[names][:MAX_SAMPLED]
    known = vocabularies(model, names)
    columns = {name: _read_column(table, name, known.get(name, ())) for name in names}
    return pd.DataFrame(columns)[:MAX_SAMPLED]


def _with_types(table: Table) -> pd.DataFrame:
    """Return a file that has types with the dtypes that its writer had, which the model may need."""
    import pandas as pd
    import pyarrow as pa

    try:
        if table.kind == "parquet":
            return pd.read_parquet(table.path)
        return pa.table(dict(table.columns)).to_pandas()
    except (ValueError, TypeError, NotImplementedError) as problem:
        raise Tier0Error(f"cannot read the sample {str(table.path)!r}: {first_line(problem)}") from problem


def _read_column(table: Table, name: str, known: Sequence[Any]) -> pd.Series[Any]:
    """Return a column of a CSV file, whose cells have no types.

    Args:
        table: the file.
        name: name of the column.
        known: values that an encoder of the model knows, from which the type follows; without them, it is
            inferred as by ``tier0 run``.

    Raises:
        Tier0Error: the cells are of another type.
    """
    from tier0.pipeline.columns import NUMBER

    expected = {_type_in_words(value) for value in known if not _is_missing(value)}
    if expected == {"text"}:
        return _as_known_text(table.unconverted(name), known)
    column = table.column(name).series
    present = column.dropna().tolist()
    if len(expected) == 1 and present and (found := _type_in_words(present[0])) not in expected:
        strange = next((value for value in present if not re.match(NUMBER, str(value))), present[0])
        raise Tier0Error(
            f"column {name!r} of {table.path} contains {found}, such as {strange!r}, but the model's encoder "
            f"was trained on {expected.pop()}, such as {known[0]!r}: write the values as in the training data"
        )
    return column


def _as_known_text(column: pd.Series[Any], known: Sequence[Any]) -> pd.Series[Any]:
    """Return text with missing values where the training data had them, as far as the encoder tells."""
    from tier0.pipeline.columns import MISSING_MARKERS

    texts = {value for value in known if isinstance(value, str)}
    if "" in texts:
        column = column.fillna("")
    if len(texts) < len(known):
        folded = column.str.strip().str.lower()
        column = column.mask(folded.isin(MISSING_MARKERS) & ~column.isin(texts))
    if None in known:
        column = column.astype(object).where(column.notna(), None)
    return column


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _type_in_words(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "true or false" if type(value).__name__.startswith("bool") else "numbers"


def _require_prediction(model: Any, rows: pd.DataFrame, path: Path) -> None:
    """Raise a `Tier0Error` if the model has no output for the sample, whose types may not be its own."""
    problem = _problem_of(model, rows)
    if problem is None:
        return
    raised = f"{type(problem).__name__}: {first_line(problem)}"
    texts = {name: text for name in rows.columns if (text := _some_text(rows[name])) is not None}
    numbers = {name: rows[name].tolist()[0] for name in rows.columns if name not in texts}
    for expected, found, examples_, other in (
        ("numbers", "text", texts, 0.0),
        ("text", "numbers", numbers, ""),
    ):
        if wrong := _columns_to_replace(model, rows, list(examples_), other):
            columns = ", ".join(f"{name!r} (such as {examples_[name]!r})" for name in wrong)
            raise Tier0Error(
                f"expected {expected}, but {path} contains {found} in {columns}: write the values as in the "
                f"training data, or pass a Parquet file, which has types. The model raises {raised}"
            ) from problem
    raise Tier0Error(
        f"the model cannot predict the rows of {path}: write values and types as in the training data. The "
        f"model raises {raised}"
    ) from problem


def _columns_to_replace(model: Any, rows: pd.DataFrame, names: list[str], value: Any) -> list[str]:
    """Return the columns, one if possible, with which the model predicts if they contain *value*."""
    choices = [*([name] for name in names), names]
    return next(
        (some for some in choices if _problem_of(model, rows.assign(**dict.fromkeys(some, value))) is None),
        [],
    )


def _problem_of(model: Any, rows: pd.DataFrame) -> Exception | None:
    """Return the exception that the model raises for *rows*, if it raises one."""
    return _raised_for(model, _as_model_takes(model, rows))


def _as_model_takes(model: Any, rows: pd.DataFrame) -> Any:
    """Return the rows as an array if the model was trained on one.

    A pipeline whose first step is the user's own knows no names of columns, although it may need them.
    """
    if hasattr(model, "feature_names_in_"):
        return rows
    array = rows.to_numpy()
    needs_names = _raised_for(model, array) is not None and _raised_for(model, rows) is None
    return rows if needs_names else array


def _raised_for(model: Any, rows: Any) -> Exception | None:
    try:
        model.predict(rows)
    except Exception as problem:  # noqa: BLE001 - a model may raise any
        return problem
    return None


def _some_text(column: pd.Series[Any]) -> str | None:
    """Return a text of the column that is not a number, or another if all are; None if it has no text."""
    from tier0.pipeline.columns import NUMBER

    texts = [value for value in column.dropna() if isinstance(value, str)]
    return next((text for text in texts if not re.match(NUMBER, text)), texts[0] if texts else None)
