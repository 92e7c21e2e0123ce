"""``tier0 golden``: create golden rows from a model in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tier0.cli.application import app, examples
from tier0.cli.parameters import import_from_here, require_writable
from tier0.core.errors import Tier0Error
from tier0.core.interruption import raise_on_interrupt

MAX_SAMPLED = 200


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
            help=f".csv or .parquet file of rows as the model takes them; the first {MAX_SAMPLED} are used.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="JSON file for the golden rows.")
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

    Exit status: 0 the file was written, 2 it could not be created.
    """
    from dataclasses import replace

    from tier0.golden.capture import golden_rows

    raise_on_interrupt()
    require_writable("--output", output)
    import_from_here()
    fitted = _load_model(model)
    examples_ = _read_sample(sample, getattr(fitted, "feature_names_in_", None))
    as_array = not hasattr(fitted, "feature_names_in_")
    names = [str(name) for name in examples_.columns]
    rows = golden_rows(
        fitted,
        examples_.to_numpy() if as_array else examples_,
        threshold=threshold,
        feature_names=names if as_array else None,
        synthetic=synthetic,
        seed=seed,
    )
    replace(rows, tag=tag).write(output)
    verify = f"tier0 verify URL --golden {output}"
    typer.echo(
        f"{output}: {len(rows)} golden rows of {len(rows.columns)} columns; check a service with: {verify}"
    )


def _load_model(name: str) -> Any:
    """Return a fitted model: the object of that name, or what it returns if it is a function.

    Raises:
        Tier0Error: there is no such model.
    """
    from tier0.core.import_object import import_named

    found = import_named(
        "model", name, "a fitted model or a function that returns one, such as training:model"
    )
    remedy = "Name a fitted model, or a function that returns one"
    try:
        fitted = found if hasattr(found, "predict") or not callable(found) else found()
    except Exception as problem:
        raise Tier0Error(f"model {name!r} raised {type(problem).__name__}: {problem}. {remedy}") from problem
    if not hasattr(fitted, "predict"):
        raise Tier0Error(f"model {name!r} is of type {type(fitted).__name__}, which has no predict. {remedy}")
    return fitted


def _read_sample(path: Path, names: Any) -> Any:
    """Return the first rows of a file as a DataFrame.

    Args:
        path: a .csv or .parquet file.
        names: names of the columns that the model takes, in its order; None for all columns of the file.

    Raises:
        Tier0Error: the file cannot be read, or lacks a column.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, ImportError) as problem:
        raise Tier0Error(f"cannot read the sample {str(path)!r}: {problem}") from problem
    if names is not None:
        missing = [name for name in names if name not in frame.columns]
        if missing:
            columns = ", ".join(frame.columns)
            raise Tier0Error(
                f"column {missing[0]!r} of the model not found in {path}. Available columns: {columns}"
            )
        frame = frame[list(names)]
    return frame[:MAX_SAMPLED]
