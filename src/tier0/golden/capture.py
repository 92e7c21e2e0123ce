"""Golden rows and the signature of a model in memory, derived from examples and the model's predictions."""

from __future__ import annotations

import math
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.errors import InvalidRowError, RegistrationError
from tier0.golden.edge_cases import MARGIN, Predict, edge_case_rows, synthetic_rows
from tier0.golden.origins import EXAMPLE, SYNTHETIC
from tier0.golden.prediction import Output, compute_output, use_one_thread
from tier0.golden.rows import GoldenRows, Origin
from tier0.golden.signature import MAX_EXACT_INTEGER, Feature, Kind, Signature
from tier0.golden.spread import Meter, measure
from tier0.golden.tolerance import NO_SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_EXAMPLES = 200
PROBED_ROWS = 3
MARGIN_TOLERANCES = 64
"""Distance of a row from the decision, in tolerances, so that rounding errors cannot change its label."""
KIND_OF_DTYPE: dict[str, Kind] = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}


def infer_signature(
    model: Any, examples: Any, threshold: float | None, feature_names: Sequence[str] | None = None
) -> Signature:
    """Infer the inputs of *model* from *examples*, and its outputs from its attributes.

    A feature accepts missing values if the model returns an output for a row without its value.

    Raises:
        RegistrationError: the examples have values that JSON cannot represent, or the threshold does not fit
            the model.
    """
    count = examples.shape[0] if getattr(examples, "shape", ()) else len(examples)
    if not 0 < count <= MAX_EXAMPLES:
        raise RegistrationError(
            f"examples must have 1 to {MAX_EXAMPLES} rows, since they are stored with the model; got {count}"
        )
    classes = tuple(np.asarray(getattr(model, "classes_", ())).tolist())
    has_probabilities = bool(classes) and hasattr(model, "predict_proba")
    _validate_threshold(threshold, classes, has_probabilities=has_probabilities)
    features, array_dtype = _features_of(examples, feature_names)
    known = vocabularies(model, [feature.name for feature in features])
    if not array_dtype:
        # an encoder that does not know the examples' values gets them after another step has changed them
        known = {
            name: values for name, values in known.items() if set(examples[name].dropna()) <= set(values)
        }
    features = tuple(
        replace(feature, vocabulary=known[feature.name]) if _has_vocabulary(feature, known) else feature
        for feature in features
    )
    signature = Signature(
        features,
        container="csr" if _is_sparse(examples) else "ndarray" if array_dtype else "dataframe",
        task="classification" if classes else "regression",
        classes=classes,
        has_probabilities=has_probabilities,
        threshold=threshold,
        array_dtype=array_dtype or "float64",
        has_intervals=not classes and hasattr(model, "predict_interval"),
    )
    with _one_thread(model):
        return _with_missing(model, signature, _rows_of(examples, signature))


def make_golden_rows(
    model: Any, signature: Signature, examples: Any, *, synthetic: int = 0, seed: int = 7
) -> GoldenRows:
    """Return *examples* and edge cases with the outputs of the model in memory.

    Args:
        model: trained model.
        signature: signature of the model.
        examples: rows in the model's container.
        synthetic: number of rows to draw within the ranges of the examples, which are then not stored; 0
            stores the examples.
        seed: random seed for the drawn rows.

    Raises:
        RegistrationError: the outputs change when the examples are sent as JSON, so no service could return
            them.
    """
    with _one_thread(model):
        return _make_golden_rows(model, signature, examples, synthetic, seed)


def _make_golden_rows(
    model: Any, signature: Signature, examples: Any, synthetic: int, seed: int
) -> GoldenRows:
    rows = _rows_of(examples, signature)

    def predict(rows: list[list[Any]]) -> Output:
        parsed = signature.parse([list(row) for row in rows])
        return compute_output(model, signature, signature.to_container(parsed))

    direct = compute_output(model, signature, examples)
    try:
        output = predict(rows)
    except InvalidRowError as refusal:
        raise RegistrationError(f"the service would reject these examples: {refusal}") from refusal
    meter = measure(predict, rows, output)
    golden = _example_rows(signature, rows, output, meter, EXAMPLE)
    # not to the last bit: for examples in column-major order, the linear algebra library uses other kernels
    mismatch = golden.with_outputs(vars(direct)).compare(
        vars(output), tolerance=golden.tolerances(same_arithmetic=False, same_batch=False)
    )
    if mismatch is not None:
        raise RegistrationError(
            f"the model returns different outputs when the examples are sent as JSON: {mismatch}. "
            "Check the dtypes of the examples: they must match the training data."
        )
    if synthetic:
        rows = synthetic_rows(signature, rows, synthetic, seed)
        output = predict(rows)
        meter = measure(predict, rows, output)
        golden = _example_rows(signature, rows, output, meter, SYNTHETIC)
    found = edge_case_rows(predict, signature, rows, _decision_margin(golden))
    edge_cases, origins, outputs = _stable_rows(predict, golden, meter, *found, threshold=signature.threshold)
    start = time.perf_counter()
    predict(rows[:1])
    seconds = time.perf_counter() - start
    probabilities, intervals = output.probabilities, output.intervals
    return replace(
        golden,
        rows=[*rows, *edge_cases],
        predictions=[*output.predictions, *outputs.predictions],
        probabilities=None if probabilities is None else [*probabilities, *(outputs.probabilities or [])],
        intervals=None if intervals is None else [*intervals, *(outputs.intervals or [])],
        origins=[*golden.origins, *origins],
        spreads=meter.known(),
        categories={
            feature.name: list(known)
            for feature in signature.features
            if (known := feature.vocabulary or _text_categories(feature))
        },
        seconds=seconds,
    )


def _example_rows(
    signature: Signature, rows: list[list[Any]], output: Output, meter: Meter, origin: Origin
) -> GoldenRows:
    return GoldenRows(
        signature.names,
        rows,
        output.predictions,
        output.probabilities,
        list(signature.classes),
        origins=[origin] * len(rows),
        intervals=output.intervals,
        dtypes={part: dtype.name for part, dtype in output.dtypes.items()},
        spreads=meter.known(),
    )


def _stable_rows(
    predict: Predict,
    golden: GoldenRows,
    meter: Meter,
    rows: list[list[Any]],
    origins: list[Origin],
    *,
    threshold: float | None,
) -> tuple[list[list[Any]], list[Origin], Output]:
    """Return the edge cases with the same output together and alone; with others, no service could pass.

    The remaining differences between their outputs are added to *meter*.
    """
    tolerance = golden.tolerances(same_arithmetic=False, same_batch=False)
    alone = [predict([row]) for row in rows]
    kept = list(range(len(rows)))
    while kept:
        together = predict([rows[index] for index in kept])
        batch = replace(golden, rows=[rows[index] for index in kept], origins=[]).with_outputs(vars(together))
        unstable = {
            index
            for position, index in enumerate(kept)
            if batch.take([position]).compare(vars(alone[index]), tolerance=tolerance)
            or _is_close_call(batch, position, threshold)
        }
        if not unstable:
            for position, index in enumerate(kept):
                meter.add(together, alone[index], [position])
            return batch.rows, [origins[index] for index in kept], together
        kept = [index for index in kept if index not in unstable]
    return [], [], Output([], [])


def _decision_margin(golden: GoldenRows) -> float:
    """Return the distance of rows from the decision, as a fraction of the line between two examples."""
    if golden.spreads.get("probabilities") == NO_SPREAD:
        return MARGIN
    tolerance = golden.tolerance("probabilities", same_arithmetic=False, same_batch=False)
    return max(MARGIN, MARGIN_TOLERANCES * tolerance.relative)


def _is_close_call(golden: GoldenRows, index: int, threshold: float | None) -> bool:
    """Return whether the model's rounding errors could change the label of a row."""
    if golden.probabilities is None or len(golden.classes) < 2:
        return False
    if golden.spreads.get("probabilities") == NO_SPREAD:
        return False
    row = sorted(golden.probabilities[index])
    decisive = (row[-1], row[-2]) if threshold is None else (golden.probabilities[index][1], threshold)
    return golden.tolerance("probabilities", same_arithmetic=False, same_batch=False).allows(*decisive)


def golden_rows(
    model: Any,
    examples: Any,
    *,
    threshold: float | None = None,
    feature_names: Sequence[str] | None = None,
    synthetic: int = 0,
    seed: int = 7,
) -> GoldenRows:
    """Make golden rows for your own model, in the process that trained it; ``.write(path)`` saves them.

    Args:
        model: trained model with scikit-learn's estimator interface.
        examples: DataFrame, array or sparse matrix of shape (rows, features) in the form that *model* takes;
            200 rows at most.
        threshold: for two classes, the lowest probability of the second class for which it is predicted.
        feature_names: names of the columns of an array.
        synthetic: number of rows to draw within the ranges of the examples, so that no real data is stored; 0
            stores the examples.
        seed: random seed for the drawn rows.

    Raises:
        RegistrationError: the examples or the threshold are invalid, see `register_model_for_serving`.
    """
    signature = infer_signature(model, examples, threshold, feature_names)
    return make_golden_rows(model, signature, examples, synthetic=synthetic, seed=seed)


def vocabularies(model: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values that the encoders of a fitted scikit-learn pipeline know, by column of *names*."""
    if hasattr(model, "transformers_"):
        found: dict[str, tuple[Any, ...]] = {}
        for _, transformer, selected in model.transformers_:
            columns = [selected] if isinstance(selected, str) else selected
            columns = list(columns) if isinstance(columns, (list, tuple, np.ndarray)) else []
            if all(isinstance(column, str) for column in columns):
                found |= vocabularies(transformer, columns)
        return found
    if type(model).__module__.startswith("tier0."):
        return vocabularies(model.estimator, names)
    if hasattr(model, "steps"):
        return {
            name: known
            for _, step in reversed(model.steps)
            for name, known in vocabularies(step, names).items()
        }
    known = getattr(model, "categories_", None)
    if known is None or len(known) != len(names):
        return {}
    return {name: tuple(np.asarray(values).tolist()) for name, values in zip(names, known, strict=True)}


def _has_vocabulary(feature: Feature, known: Mapping[str, tuple[Any, ...]]) -> bool:
    if feature.kind != "text" or feature.categories is not None:
        return False
    return feature.name in known and all(isinstance(value, str) for value in known[feature.name])


def _text_categories(feature: Feature) -> tuple[Any, ...]:
    return feature.categories or () if feature.kind == "text" else ()


def _is_sparse(examples: Any) -> bool:
    return type(examples).__module__.startswith("scipy.sparse")


@contextmanager
def _one_thread(model: Any) -> Iterator[None]:
    """Limit the model to one thread, like the worker's: the order of a sum over threads changes its last bit.

    Finding the thread pools takes 4 ms.
    """
    jobs = use_one_thread(model)
    try:
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if jobs:
            model.set_params(**jobs)


def _validate_threshold(
    threshold: float | None, classes: tuple[Any, ...], *, has_probabilities: bool
) -> None:
    if threshold is None:
        return
    if len(classes) != 2 or not has_probabilities:
        found = "predict_proba" if has_probabilities else "no predict_proba"
        raise RegistrationError(
            f"threshold = {threshold} requires a model with predict_proba and two classes; this model has "
            f"{found} and {len(classes)} classes"
        )
    if not 0 <= threshold <= 1:
        raise RegistrationError(f"threshold must be a number from 0 to 1, got {threshold}")


def _features_of(
    examples: Any, feature_names: Sequence[str] | None
) -> tuple[tuple[Feature, ...], str | None]:
    """Return the features, and the dtype of the examples if they are an array."""
    if hasattr(examples, "columns"):
        return tuple(_feature_of(name, examples[name]) for name in examples.columns), None
    array = _as_array(examples)
    if array.ndim != 2 or array.dtype.kind not in KIND_OF_DTYPE:
        raise RegistrationError(
            "examples must be a numeric array of shape (rows, features), or a DataFrame for mixed columns; "
            f"got an array of shape {array.shape} and dtype {array.dtype}"
        )
    width = array.shape[1]
    names = list(feature_names or (f"x{index}" for index in range(width)))
    if len(names) != width:
        raise RegistrationError(f"feature_names has {len(names)} names for {width} columns")
    if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise RegistrationError(f"feature_names must be unique strings, got {names!r}")
    dtype = str(array.dtype)
    return tuple(Feature(name, KIND_OF_DTYPE[array.dtype.kind], dtype) for name in names), dtype


def _feature_of(name: Any, column: Any) -> Feature:
    if not isinstance(name, str):
        raise RegistrationError(
            f"column names of examples must be strings, since they are keys in JSON; got {name!r}"
        )
    dtype = str(column.dtype)
    present = column.dropna()
    if dtype == "category":
        vocabulary = tuple(column.cat.categories.tolist())
        return Feature(name, _kind_of_values(name, vocabulary), dtype, categories=vocabulary)
    kind = KIND_OF_DTYPE.get(getattr(column.dtype, "kind", "O"))
    if kind is None:
        kind = _kind_of_values(name, present.tolist())
    uses_none = dtype == "object" and any(value is None for value in column)
    return Feature(name, kind, dtype, missing="none" if uses_none else "nan")


def _kind_of_values(name: str, values: Sequence[Any]) -> Kind:
    types = set(map(type, values))
    for kind, allowed in (("text", {str}), ("boolean", {bool}), ("integer", {int}), ("number", {int, float})):
        if types <= allowed:
            return kind  # type: ignore[return-value]
    found = ", ".join(sorted(kind.__name__ for kind in types))
    raise RegistrationError(
        f"column {name!r} of examples must contain only text, only numbers or only booleans; found {found}. "
        "Convert it before the model or inside its pipeline."
    )


def _as_array(examples: Any) -> Any:
    return examples.toarray() if _is_sparse(examples) else np.asarray(examples)


def _rows_of(examples: Any, signature: Signature) -> list[list[Any]]:
    """Return the examples as rows of JSON values; missing values are None."""
    if signature.container != "dataframe":
        columns = _as_array(examples).T.tolist()
    else:
        columns = [examples[name].astype(object).tolist() for name in signature.names]
    return [[_json_value(value) for value in row] for row in zip(*columns, strict=True)]


def _json_value(value: Any) -> Any:
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:  # noqa: PLR0124 - NaN of any kind
        return None
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isinf(value):
        raise RegistrationError(
            "examples must be finite, since JSON cannot represent infinity. Omit these rows, "
            "or replace infinite values before the model."
        )
    return value


def _with_missing(model: Any, signature: Signature, rows: list[list[Any]]) -> Signature:
    """Return the signature with `Feature.accepts_missing` as the model behaves without each value in turn."""
    optional = replace(
        signature, features=tuple(replace(feature, accepts_missing=True) for feature in signature.features)
    )
    features = []
    for position, feature in enumerate(signature.features):
        probe = [
            [None if index == position else value for index, value in enumerate(row)]
            for row in rows[:PROBED_ROWS]
        ]
        # a missing value converts the column to float, in which large integers, often ids, lose digits
        is_large = feature.kind == "integer" and any(
            abs(row[position] or 0) > MAX_EXACT_INTEGER for row in rows
        )
        has_missing = any(row[position] is None for row in rows)
        accepts = has_missing or (not is_large and _has_output(model, optional, probe))
        features.append(replace(feature, accepts_missing=accepts))
    return replace(signature, features=tuple(features))


def _has_output(model: Any, signature: Signature, rows: list[list[Any]]) -> bool:
    try:
        compute_output(model, signature, signature.to_container(rows))
    except Exception:  # noqa: BLE001 - any error of the model means that it has no output
        return False
    return True
