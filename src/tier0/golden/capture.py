"""Finding out what a model in memory takes and gives, by looking at examples and by asking it."""

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
from tier0.golden.edge_cases import MARGIN, Ask, edge_case_rows, synthetic_rows
from tier0.golden.origins import EXAMPLE, SYNTHETIC
from tier0.golden.prediction import Output, ask_model, use_one_thread
from tier0.golden.rows import GoldenRows, Origin
from tier0.golden.signature import BEYOND_A_FLOAT, Feature, Kind, Signature
from tier0.golden.spread import Meter, measure
from tier0.golden.tolerance import NO_SPREAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_EXAMPLES = 200
PROBED_ROWS = 3
MARGIN_TOLERANCES = 64
"""How many tolerances a row is away from the decision between two classes, so that rounding errors leave its label as it is."""
KIND_OF_DTYPE: dict[str, Kind] = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}


def infer_signature(
    model: Any, examples: Any, threshold: float | None, feature_names: Sequence[str] | None = None
) -> Signature:
    """Infer what *model* takes from *examples*, and what it gives from what it is.

    Where a value may be missing is found by asking the model with that value missing.

    Raises:
        RegistrationError: the examples hold something that a request cannot, or the threshold does not fit the model.
    """
    if (
        not 0
        < (count := examples.shape[0] if hasattr(examples, "shape") and examples.shape else len(examples))
        <= MAX_EXAMPLES
    ):
        raise RegistrationError(
            f"examples has {count} rows: give 1 to {MAX_EXAMPLES} of them, since they are kept beside the model"
        )
    classes = tuple(np.asarray(getattr(model, "classes_", ())).tolist())
    has_probabilities = bool(classes) and hasattr(model, "predict_proba")
    _check_threshold(threshold, classes, has_probabilities=has_probabilities)
    features, array_dtype = _features_of(examples, feature_names)
    known = vocabularies(model, [feature.name for feature in features])
    if not array_dtype:
        known = {
            name: values for name, values in known.items() if set(examples[name].dropna()) <= set(values)
        }  # else other steps spell it first
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


def ask_in_memory(
    model: Any, signature: Signature, examples: Any, *, synthetic: int = 0, seed: int = 7
) -> GoldenRows:
    """Ask the model in memory about *examples*, as they are and as a request would bring them, and about what is harder than they.

    Args:
        model: that was trained.
        signature: what it takes and gives.
        examples: rows, as the model takes them.
        synthetic: keep none of the examples, but this many rows drawn within their ranges.
        seed: of that draw.

    Raises:
        RegistrationError: a request cannot bring them unchanged, so that no server could ever answer right.
    """
    with _one_thread(model):
        return _ask_in_memory(model, signature, examples, synthetic, seed)


def _ask_in_memory(model: Any, signature: Signature, examples: Any, synthetic: int, seed: int) -> GoldenRows:
    rows = _rows_of(examples, signature)

    def ask(asked: list[list[Any]]) -> Output:
        return ask_model(
            model, signature, signature.to_container(signature.parse([list(row) for row in asked]))
        )

    direct = ask_model(model, signature, examples)
    try:
        output = ask(rows)
    except InvalidRowError as refusal:
        raise RegistrationError(f"the service would refuse these examples: {refusal}") from refusal
    meter = measure(ask, rows, output)
    plain = _plain_rows(signature, rows, output, meter, EXAMPLE)
    # not to the bit: examples may lie column by column in memory, for which the linear algebra library picks other kernels
    mismatch = plain.answered(vars(direct)).compare(
        vars(output), tolerance=plain.tolerances(same_arithmetic=False, same_batch=False)
    )
    if mismatch is not None:
        raise RegistrationError(
            f"the model answers otherwise when the examples come as JSON: {mismatch}. "
            "Check the dtypes of the examples: they must be what the model was trained on."
        )
    if synthetic:
        rows = synthetic_rows(signature, rows, synthetic, seed)
        output = ask(rows)
        meter = measure(ask, rows, output)
        plain = _plain_rows(signature, rows, output, meter, SYNTHETIC)
    found = edge_case_rows(ask, signature, rows, _decision_margin(plain))
    edge_cases, origins, answers = _answered_alike(ask, plain, meter, *found, threshold=signature.threshold)
    start = time.perf_counter()
    ask(rows[:1])
    seconds = time.perf_counter() - start
    return replace(
        plain,
        rows=[*rows, *edge_cases],
        predictions=[*output.predictions, *answers.predictions],
        probabilities=None
        if output.probabilities is None
        else [*output.probabilities, *(answers.probabilities or [])],
        intervals=None if output.intervals is None else [*output.intervals, *(answers.intervals or [])],
        origins=[*plain.origins, *origins],
        spreads=meter.known(),
        categories={
            feature.name: list(known)
            for feature in signature.features
            if (known := feature.vocabulary or _text_categories(feature))
        },
        seconds=seconds,
    )


def _plain_rows(
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


def _answered_alike(
    ask: Ask,
    plain: GoldenRows,
    meter: Meter,
    rows: list[list[Any]],
    origins: list[Origin],
    *,
    threshold: float | None,
) -> tuple[list[list[Any]], list[Origin], Output]:
    """Keep the edge cases to which the model gives one answer, together and alone: others would accuse every service.

    How far the answers to those that are kept differ goes into *meter*.
    """
    tolerance = plain.tolerances(same_arithmetic=False, same_batch=False)
    alone = [ask([row]) for row in rows]
    kept = list(range(len(rows)))
    while kept:
        together = ask([rows[index] for index in kept])
        batch = replace(plain, rows=[rows[index] for index in kept], origins=[]).answered(vars(together))
        unlike = {
            index
            for position, index in enumerate(kept)
            if batch.take([position]).compare(vars(alone[index]), tolerance=tolerance)
        }
        unlike |= {index for position, index in enumerate(kept) if _is_close_call(batch, position, threshold)}
        if not unlike:
            for position, index in enumerate(kept):
                meter.add(together, alone[index], [position])
            return batch.rows, [origins[index] for index in kept], together
        kept = [index for index in kept if index not in unlike]
    return [], [], Output([], [])


def _decision_margin(plain: GoldenRows) -> float:
    """Return how far rows should be from the decision between two classes, as a share of the way from one example to another."""
    if plain.spreads.get("probabilities") == NO_SPREAD:
        return MARGIN
    return max(
        MARGIN,
        MARGIN_TOLERANCES
        * plain.tolerance("probabilities", same_arithmetic=False, same_batch=False).relative,
    )


def _is_close_call(golden: GoldenRows, index: int, threshold: float | None) -> bool:
    """Return True if the model's rounding errors could give a row another label."""
    if (
        golden.probabilities is None
        or len(golden.classes) < 2
        or golden.spreads.get("probabilities") == NO_SPREAD
    ):
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
    """Make golden rows for a model of your own, in the process that trained it; ``.write(path)`` keeps them.

    Args:
        model: follows scikit-learn's estimator interface.
        examples: a DataFrame, array or sparse matrix of shape (rows, features), just as *model* takes them; 200 rows at most.
        threshold: for two classes, the probability of the second class from which it is predicted.
        feature_names: the names of the columns of an array.
        synthetic: keep none of the examples, but this many rows drawn within their ranges: nobody's data.
        seed: of that draw.

    Raises:
        RegistrationError: see `register_model_for_serving`.
    """
    return ask_in_memory(
        model,
        infer_signature(model, examples, threshold, feature_names),
        examples,
        synthetic=synthetic,
        seed=seed,
    )


def vocabularies(model: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Find what the encoders of a fitted scikit-learn pipeline know of each of its columns *names*."""
    if hasattr(model, "transformers_"):
        found: dict[str, tuple[Any, ...]] = {}
        for _, transformer, chosen in model.transformers_:
            columns = (
                [chosen]
                if isinstance(chosen, str)
                else list(chosen)
                if isinstance(chosen, (list, tuple, np.ndarray))
                else []
            )
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
    """Let the model use one thread, as the worker does: the order of a sum over threads decides its last bit. Finding the pools takes 4 ms."""
    jobs = use_one_thread(model)
    try:
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if jobs:
            model.set_params(**jobs)


def _check_threshold(threshold: float | None, classes: tuple[Any, ...], *, has_probabilities: bool) -> None:
    if threshold is None:
        return
    if len(classes) != 2 or not has_probabilities:
        raise RegistrationError(
            f"threshold = {threshold} needs a model with predict_proba and two classes, and this one has {len(classes)} classes"
        )
    if not 0 <= threshold <= 1:
        raise RegistrationError(f"threshold = {threshold} is not a probability: give a number from 0 to 1")


def _features_of(
    examples: Any, feature_names: Sequence[str] | None
) -> tuple[tuple[Feature, ...], str | None]:
    """Return the features, and the dtype of the array if the examples are one."""
    if hasattr(examples, "columns"):
        return tuple(_feature_of(name, examples[name]) for name in examples.columns), None
    array = _as_array(examples)
    if array.ndim != 2 or array.dtype.kind not in KIND_OF_DTYPE:
        raise RegistrationError(
            f"examples is an array of shape {array.shape} and dtype {array.dtype}: give one of shape (rows, features) with numbers, "
            "or a DataFrame where columns differ in kind"
        )
    names = list(feature_names or (f"x{index}" for index in range(array.shape[1])))
    if len(names) != array.shape[1]:
        raise RegistrationError(
            f"metadata['feature_names'] has {len(names)} names for {array.shape[1]} columns"
        )
    if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise RegistrationError(
            f"metadata['feature_names'] = {names!r}: give different names, all of them text"
        )
    dtype = str(array.dtype)
    return tuple(Feature(name, KIND_OF_DTYPE[array.dtype.kind], dtype) for name in names), dtype


def _feature_of(name: Any, column: Any) -> Feature:
    if not isinstance(name, str):
        raise RegistrationError(
            f"examples has a column called {name!r}: names of columns must be text, as they are in JSON"
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
    raise RegistrationError(
        f"column {name!r} of the examples holds {', '.join(sorted(kind.__name__ for kind in types))}: a column must hold only text, "
        "only numbers or only true and false. Convert it before the model, or inside its pipeline."
    )


def _as_array(examples: Any) -> Any:
    return examples.toarray() if _is_sparse(examples) else np.asarray(examples)


def _rows_of(examples: Any, signature: Signature) -> list[list[Any]]:
    """Return the examples as rows of JSON values, None where a value is missing."""
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
            "examples hold infinity, which JSON cannot. Leave those rows out, and let the pipeline replace infinities."
        )
    return value


def _with_missing(model: Any, signature: Signature, rows: list[list[Any]]) -> Signature:
    """Ask the model with each value missing in turn, and note where it gives an answer."""
    everywhere = replace(
        signature, features=tuple(replace(feature, accepts_missing=True) for feature in signature.features)
    )
    features = []
    for position, feature in enumerate(signature.features):
        probe = [
            [None if index == position else value for index, value in enumerate(row)]
            for row in rows[:PROBED_ROWS]
        ]
        is_id = feature.kind == "integer" and any(
            abs(row[position] or 0) > BEYOND_A_FLOAT for row in rows
        )  # lost beside a missing one
        accepts = any(row[position] is None for row in rows) or (
            not is_id and _answers(model, everywhere, probe)
        )
        features.append(replace(feature, accepts_missing=accepts))
    return replace(signature, features=tuple(features))


def _answers(model: Any, signature: Signature, rows: list[list[Any]]) -> bool:
    try:
        ask_model(model, signature, signature.to_container(rows))
    except Exception:  # noqa: BLE001 - whatever the model raises, its answer is no
        return False
    return True
