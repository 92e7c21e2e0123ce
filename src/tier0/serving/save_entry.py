"""Worker process that saves models in a BentoML store: BentoML reads BENTOML_HOME once, when it is imported.

With ``prove``, the model is first loaded from its file, in this interpreter, which did not train it, and its
predictions are compared with the golden rows. A model that differs is not saved.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
from bentoml.models import ModelContext

from tier0.core.errors import ModelChangedError
from tier0.core.worker_process import Handler
from tier0.golden.rows import GoldenRows
from tier0.serving.entry import DESCRIPTION_FILE, GOLDEN_FILE, Entry
from tier0.serving.formats.choice import format_named
from tier0.serving.metadata import without_none


def prepare() -> Handler:
    """Return the handler of orders; BentoML is imported with this module."""
    return save_all


def save_all(order: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Save the ``entries`` of an order, each verified first if ``prove`` is true."""
    return {"saved": [save(entry, proven=order["prove"]) for entry in order["entries"]]}


def save(entry: dict[str, Any], *, proven: bool) -> dict[str, str]:
    """Save the files in the entry's ``folder`` as an entry of the store.

    Returns:
        The exact ``tag``, and the ``path`` of the entry.

    Raises:
        ModelChangedError: the loaded model's predictions differ from the golden rows.
    """
    folder = Path(entry["folder"])
    if proven:
        prove(folder)
    described = Entry.read(folder)
    with bentoml.models.create(
        entry["name"],
        module=format_named(described.format).BENTOML_MODULE,
        metadata=without_none(entry["metadata"]),
        signatures={"predict": {"batchable": False}},
        context=ModelContext(framework_name=entry["framework"], framework_versions=entry["versions"]),
    ) as model:
        for name in (described.model_file.name, DESCRIPTION_FILE):
            shutil.copyfile(folder / name, model.path_of(name))
        replace(GoldenRows.read(folder / GOLDEN_FILE), tag=str(model.tag)).write(
            Path(model.path_of(GOLDEN_FILE))
        )
    saved = bentoml.models.get(model.tag)
    return {"tag": str(saved.tag), "path": str(saved.path)}


def prove(path: Path) -> None:
    """Load the model from the files in *path*, and compare its predictions with its golden rows.

    Raises:
        ModelChangedError: they differ, or the model cannot be loaded or called.
    """
    from tier0.golden.prediction import compute_output  # noqa: PLC0415 - imports libraries that saving alone does not need

    entry = Entry.read(path)
    golden = entry.golden_rows()
    signature = entry.signature
    batches = [
        batch for batch in (golden.examples, golden.edge_cases) if batch
    ]  # the same batches as in memory
    try:
        model = entry.load_model()
        outputs = [
            compute_output(model, signature, signature.to_container(signature.parse(batch.records())))
            for batch in batches
        ]
    except Exception as problem:
        raise ModelChangedError(
            f"a fresh interpreter cannot use the saved model: {type(problem).__name__}: {problem}"
        ) from problem
    tolerance = golden.tolerances(same_arithmetic=True, same_batch=True)
    for batch, output in zip(batches, outputs, strict=True):
        if (mismatch := batch.compare(vars(output), tolerance=tolerance)) is not None:
            raise ModelChangedError(f"the saved model differs from the model in memory: {mismatch}")
