"""Golden rows and the signature of a model in memory, derived from examples and the model's predictions."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tier0.core.errors import InvalidRowError, RegistrationError, Tier0Error, first_line
from tier0.core.json_values import is_missing
from tier0.core.outputs import PARTS
from tier0.golden.edge_cases import MARGIN, Predict, Row, base_of, edge_case_rows, predictable, synthetic_rows
from tier0.golden.examples import as_container
from tier0.golden.forms import Form
from tier0.golden.inputs import as_numpy, column_of, form_of
from tier0.golden.origins import EXAMPLE, SYNTHETIC
from tier0.golden.prediction import (
    Output,
    compute_output,
    has_several_outputs,
    in_calling_thread,
    parts_of,
    predicted_array,
    with_one_job,
)
from tier0.golden.predictors import (
    HOW_TO_CALL,
    Call,
    Predictor,
    as_predictor,
    by_row_if_by_output,
    converts_lists,
    count_of,
)
from tier0.golden.returned import as_array, as_rows
from tier0.golden.rows import GoldenRows, Origin
from tier0.golden.selection import Simulated, choose_rows, taken, with_simulations
from tier0.golden.signature import MAX_EXACT_INTEGER, Container, Feature, Kind, Signature
from tier0.golden.spread import Meter, measure
from tier0.golden.tolerance import (
    ABSOLUTE_EPSILONS,
    EPSILONS,
    MAX_ROUNDING,
    NO_SPREAD,
    RELATIVE_EPSILONS,
    ROW_ALONE_TOLERANCE,
    SAFETY,
    Spread,
    Tolerance,
    largest_magnitude,
    spread_between,
)
from tier0.golden.variations import text_rows, varied_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_EXAMPLES = 200
PROBED_ROWS = 3
EVEN = 0.5
"""The probability at which a multilabel classifier usually decides between its two values."""
CONTAINER_NAMES = {
    "dataframe": "pandas DataFrame",
    "ndarray": "numpy array",
    "csr": "scipy CSR matrix",
    "lists": "list of rows",
    "records": "list of records",
    "texts": "list of texts",
    "arrays": "numpy array",
    "json": "list of JSON values",
}
HOW_TO_CONVERT = (
    "Requests reach the model like this: convert them to what it takes in the first step of its pipeline"
)
HOW_TO_REPEAT = (
    "Was it left in training mode? Make its predictions repeatable: switch dropout off (evaluation mode), "
    "and draw no random numbers in predict"
)
HOW_TO_PREDICT_ONE = "A service gets single rows, too: switch a model of PyTorch to evaluation mode"
OTHER_ROWS = 1e-2
"""Difference between outputs for a row in two batches, relative to the largest output, beyond rounding."""
MARGIN_TOLERANCES = 64
"""Distance of a row from the decision, in tolerances, so that rounding errors cannot change its label."""
KIND_OF_DTYPE: dict[str, Kind] = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
KIND_OF_COLUMN: dict[str, Kind] = {**KIND_OF_DTYPE, "M": "date"}


def infer_signature(
    model: Any,
    examples: Any,
    threshold: float | None,
    feature_names: Sequence[str] | None = None,
    *,
    is_estimator: bool = True,
) -> Signature:
    """Infer the inputs of *model* from *examples*, and its outputs from its attributes.

    A feature accepts missing values if the model returns an output for a row without its value.

    Args:
        model: what predicts, as an estimator.
        examples: rows in any form.
        threshold: see `golden_rows`.
        feature_names: names of the columns of an array.
        is_estimator: whether the model takes a table in place of a list of rows.

    Raises:
        RegistrationError: the examples have values that JSON cannot represent, or the threshold does not fit
            the model.
    """
    form = form_of(examples, converts_lists=is_estimator)
    if form != "table":
        if feature_names is not None:
            raise RegistrationError(
                "feature_names are the names of a table's columns, and these examples are not a table: omit "
                "them"
            )
        return _signature_of_values(model, examples, form, threshold)
    if not is_estimator and feature_names is None and isinstance(examples, (list, tuple)):
        signature = _signature_of_lists(model, list(examples), threshold)
        if signature is not None:
            return signature
    return _signature_of_table(model, as_numpy(examples), threshold, feature_names)


def _signature_of_table(
    model: Any, examples: Any, threshold: float | None, feature_names: Sequence[str] | None
) -> Signature:
    """Return the signature of a model of a table; see `infer_signature`."""
    given, examples = examples, as_container(examples, _names_in(model) or feature_names)
    _require_few(examples.shape[0] if examples.shape else 0)
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
        task="regression",
        array_dtype=array_dtype or "float64",
    )
    rows = _rows_of(examples, signature)
    with _one_thread(model):
        with _named_failure(*_failure(signature, given, examples)):
            predicted = _predictions_of(model, examples)
            signature = _with_outputs(model, signature, predicted, examples, threshold)
        return _with_missing(model, signature, rows)


def _require_few(count: int) -> None:
    if not 0 < count <= MAX_EXAMPLES:
        raise RegistrationError(
            f"examples must have 1 to {MAX_EXAMPLES} rows, since they are stored with the model; got {count}"
        )


def _signature_of_values(model: Any, examples: Any, form: Form, threshold: float | None) -> Signature:
    """Return the signature of a model whose rows are texts, arrays or JSON values."""
    _require_few(len(examples))
    feature, _, dtype = column_of(examples, form)
    signature = Signature((feature,), container=form, task="regression", array_dtype=dtype)  # type: ignore[arg-type]
    with _one_thread(model), _named_failure(*_failure(signature, examples, examples)):
        predicted = _predictions_of(model, examples)
        return _with_outputs(model, signature, predicted, examples, threshold)


def _signature_of_lists(model: Any, rows: list[Any], threshold: float | None) -> Signature | None:
    """Return the signature of a function that takes a list of rows or records; None if it does not."""
    import pandas as pd  # noqa: PLC0415 - not needed for arrays

    _require_few(len(rows))
    with _one_thread(model):
        try:
            predicted = _predictions_of(model, rows)
        except Exception:  # noqa: BLE001 - the function takes a table or an array, which is tried next
            return None
        are_records = isinstance(rows[0], Mapping)
        frame = pd.DataFrame(rows, columns=None if are_records else [f"x{i}" for i in range(len(rows[0]))])
        features, _ = _features_of(frame, None)
        container: Container = "records" if are_records else "lists"
        signature = Signature(features, container=container, task="regression")
        signature = _with_outputs(model, signature, predicted, rows, threshold)
        return _with_missing(model, signature, _rows_of(rows, signature))


def _predictions_of(model: Any, examples: Any) -> Any:
    """Return what the model predicts for the examples, as an array.

    Raises:
        RegistrationError: a function fails, or does not return one output per row.
        Exception: raised by an estimator, or a Tier0Error on what it returned.
    """
    try:
        return _predicted_for(model, examples)
    except Exception as problem:
        if type(model) is not Predictor:
            raise
        what = "" if isinstance(problem, Tier0Error) else "the model failed for the examples: "
        kind = f"{type(problem).__name__}: " if what else ""
        raise RegistrationError(f"{what}{kind}{first_line(problem)}. {HOW_TO_CALL}") from problem


def _predicted_for(model: Any, examples: Any) -> Any:
    rows = count_of(examples)
    returned = by_row_if_by_output(model.predict(examples), rows)
    columns = len(examples.columns) if hasattr(examples, "columns") else rows
    if columns != rows and len(returned) == columns:
        raise RegistrationError(
            f"the model returned {columns} predictions for {rows} rows, one for each column, as a vectorizer "
            "of texts does. Select the column of the texts in the first step of its pipeline"
        )
    return predicted_array(returned, rows)


def _names_in(model: Any) -> list[str] | None:
    """Return the names of the columns that the model was trained on; None if they are unknown."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None or not len(names) else [str(name) for name in names]


def _with_outputs(
    model: Any, signature: Signature, predicted: Any, examples: Any, threshold: float | None
) -> Signature:
    """Return the signature with the outputs of the model, whose predictions are *predicted*."""
    has_several = has_several_outputs(predicted)
    classes = _classes_of(model, predicted, has_several=has_several)
    has_probabilities = (
        bool(classes) and hasattr(model, "predict_proba") and _has_probabilities(model, examples)
    )
    _validate_threshold(
        threshold, classes, has_probabilities=has_probabilities, has_several_outputs=has_several
    )
    return replace(
        signature,
        task="classification" if classes else "regression",
        classes=classes,
        has_probabilities=has_probabilities,
        threshold=threshold,
        has_intervals=not classes and hasattr(model, "predict_interval"),
        has_several_outputs=has_several,
    )


def _classes_of(model: Any, predicted: Any, *, has_several: bool) -> tuple[Any, ...]:
    """Return the labels of a classifier, for several outputs a list per output; empty for a regressor.

    A multilabel classifier has a single ``classes_``, with the numbers of its outputs, or the two values of
    each.
    """
    given = getattr(model, "classes_", None)
    if given is None or not len(given):
        return ()
    per_output = [as_array(labels) for labels in given]
    if all(labels.ndim == 0 for labels in per_output):
        labels = as_rows(as_array(given), "class")
        if not has_several:
            return tuple(labels)
        if predicted.ndim != 2:  # lists of different lengths, such as tags
            return tuple(labels)
        if set(predicted.ravel().tolist()) <= {0, 1}:  # whether each label applies
            labels = np.array([0, 1]).astype(predicted.dtype).tolist()
        return tuple(labels for _ in range(predicted.shape[1]))
    lists = [as_rows(labels, "class") for labels in per_output]
    return tuple(lists if has_several else lists[0])


def _has_probabilities(model: Any, examples: Any) -> bool:
    """Return whether ``predict_proba`` works: some estimators have it and raise when it is called."""
    try:
        model.predict_proba(examples)
    except (AttributeError, NotImplementedError):
        return False
    except Exception:  # noqa: BLE001 - reported where the probabilities are needed
        return True
    return True


def _failure(signature: Signature, given: Any, examples: Any) -> tuple[str, str]:
    """Return the description and the remedy if the model fails for *examples*, made from those *given*."""
    if given is examples:
        return "the model failed for the examples", "Pass them in the form that the model was trained on"
    what = f"the model fails for the {CONTAINER_NAMES[signature.container]} that was made from the examples"
    if isinstance(given, (Mapping, list, tuple)):
        return what, f"Pass examples with the dtypes of the training data. {HOW_TO_CONVERT}"
    return what, HOW_TO_CONVERT


@contextmanager
def _named_failure(what: str, remedy: str) -> Iterator[None]:
    """Raise errors of the model as a RegistrationError with a remedy."""
    try:
        yield
    except RegistrationError:
        raise
    except InvalidRowError as refusal:
        raise RegistrationError(f"the service would reject these examples: {refusal}") from refusal
    except Tier0Error as problem:
        raise RegistrationError(str(problem)) from problem
    except Exception as problem:
        kind = type(problem).__name__
        raise RegistrationError(f"{what}: {kind}: {first_line(problem)}. {remedy}") from problem


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


def _make_golden_rows(model: Any, signature: Signature, given: Any, synthetic: int, seed: int) -> GoldenRows:
    examples = _container_of(given, signature)
    rows = _rows_of(examples, signature)

    def predict(rows: list[list[Any]]) -> Output:
        parsed = signature.parse([list(row) for row in rows])
        return compute_output(model, signature, signature.to_container(parsed))

    container = CONTAINER_NAMES[signature.container]
    with _named_failure(
        f"the model fails for the {container} that a service makes from JSON", HOW_TO_CONVERT
    ):
        output, again = predict(rows), predict(rows)
    _require_repeatable(_example_rows(signature, rows, output, Meter(), EXAMPLE), again)
    with _named_failure("the model fails for a single row", HOW_TO_PREDICT_ONE):
        predict(rows[:1])
    meter = measure(predict, rows, output)
    by_memory = _add_other_memory(meter, model, signature, rows, output)
    golden = _example_rows(signature, rows, output, meter, EXAMPLE)
    if isinstance(model, Predictor) or signature.form != "table" or _is_in_training(model):
        _require_rows_of_their_own(golden)

    def direct_output() -> Output:
        return _direct_output(model, signature, given, examples)

    with _named_failure(*_failure(signature, given, examples)):
        _require_same(golden, direct_output, by_memory, model, signature, examples)
    if synthetic and signature.form != "table":
        raise RegistrationError(
            "synthetic rows are drawn for tables only: pass examples that may be stored, and no synthetic"
        )
    if synthetic:
        rows = synthetic_rows(signature, rows, synthetic, seed)
        output = predict(rows)
        meter = measure(predict, rows, output)
        _add_other_memory(meter, model, signature, rows, output)
        golden = _example_rows(signature, rows, output, meter, SYNTHETIC)
    edge_cases = edge_case_rows(predict, signature, rows, _decision_margin(golden))
    golden, simulated = _with_added_rows(model, signature, predict, golden, meter, edge_cases)
    start = time.perf_counter()
    predict(rows[:1])
    seconds = time.perf_counter() - start
    golden = replace(
        golden,
        spreads=meter.known(),
        categories={
            feature.name: list(known)
            for feature in signature.features
            if (known := feature.vocabulary or _text_categories(feature))
        },
        seconds=seconds,
    )
    return with_simulations(golden, simulated)


def _with_added_rows(
    model: Any,
    signature: Signature,
    predict: Predict,
    golden: GoldenRows,
    meter: Meter,
    edge_cases: list[tuple[Row, Origin]],
) -> tuple[GoldenRows, Simulated]:
    """Return the examples with edge cases and with variations that show defects; and simulated defects.

    The remaining differences between the outputs of the added rows are added to *meter*.
    """
    base = base_of(golden.rows)
    texts = predictable(predict, text_rows(signature, golden.rows[base], golden.rows))
    required = [*edge_cases, *texts]
    known = [*golden.rows, *(row for row, _ in required)]
    varied = varied_rows(signature, golden.rows[base], golden.rows)
    variations = predictable(predict, [(row, origin) for row, origin in varied if row not in known])
    added = required + variations
    try:
        output = predict([row for row, _ in added]) if added else Output([], None)
    except Exception:  # noqa: BLE001 - a model can reject rows together that it takes apart
        added = required = edge_cases
        output = predict([row for row, _ in added]) if added else Output([], None)
    everything = _joined(golden, added, output)
    count = len(golden)
    chosen, simulated = choose_rows(
        model, signature, everything, examples=count, base=base, required=count + len(required)
    )
    added = [added[index - count] for index in chosen[count:]]
    kept, together = _stable_rows(predict, golden, meter, added, signature.threshold)
    chosen = chosen[:count] + [chosen[count + index] for index in kept]
    return _joined(golden, [added[index] for index in kept], together), taken(simulated, chosen)


def _joined(golden: GoldenRows, added: list[tuple[Row, Origin]], output: Output) -> GoldenRows:
    """Return *golden* with the rows *added* and the model's *output* for them."""
    probabilities, intervals = golden.probabilities, golden.intervals
    return replace(
        golden,
        rows=[*golden.rows, *(row for row, _ in added)],
        predictions=[*golden.predictions, *output.predictions],
        probabilities=None if probabilities is None else [*probabilities, *(output.probabilities or [])],
        intervals=None if intervals is None else [*intervals, *(output.intervals or [])],
        origins=[*golden.origins, *(origin for _, origin in added)],
    )


def _add_other_memory(
    meter: Meter, model: Any, signature: Signature, rows: list[Row], output: Output
) -> dict[str, Spread]:
    """Add the differences of the model for the same values in another order in memory, and return them.

    Linear algebra has other kernels for values by rows and by columns, and a service can build either.
    """
    container = _in_other_order(signature.to_container(signature.parse([list(row) for row in rows])))
    if container is None:
        return {}
    try:
        got = compute_output(model, signature, container)
    except Exception:  # noqa: BLE001 - any error of the model means that nothing is known
        return {}
    found = Meter()
    for one in (meter, found):
        one.add(output, got, list(range(len(rows))), is_same_memory=False)
    return found.spreads


def _in_other_order(container: Any) -> Any:
    """Return an array, or a DataFrame with numbers of one type, with its columns or its rows contiguous."""
    if isinstance(container, np.ndarray):
        return np.asfortranarray(container)
    if not hasattr(container, "columns") or len({str(dtype) for dtype in container.dtypes}) > 1:
        return None
    values = container.to_numpy()
    if values.dtype.kind not in KIND_OF_DTYPE:
        return None
    return type(container)(np.ascontiguousarray(values), columns=container.columns)


def _direct_output(model: Any, signature: Signature, given: Any, examples: Any) -> Output:
    """Return the model's output for the examples as they were given, or else for their container."""
    if given is not examples and not isinstance(given, (Mapping, list, tuple)):
        with suppress(Exception):  # a model that was trained on frames of pandas can fail for other ones
            return compute_output(model, signature, given)
    return compute_output(model, signature, examples)


def _require_repeatable(golden: GoldenRows, again: Output) -> None:
    """Refuse a model whose outputs for the same rows in the same batch differ by more than rounding errors.

    Raises:
        RegistrationError: they differ; with the measured difference.
    """
    allowed = {}
    for part in PARTS:
        epsilon = max(EPSILONS["float32"], EPSILONS.get(golden.dtypes.get(part, ""), 0.0))
        limit = min(RELATIVE_EPSILONS * epsilon, MAX_ROUNDING)
        allowed[part] = Tolerance(limit, limit * largest_magnitude(getattr(golden, part) or []))
    mismatch = golden.compare(vars(again), tolerance=allowed)
    if mismatch is None:
        return
    largest = max(
        spread_between(getattr(golden, part), getattr(again, part)).absolute
        for part in PARTS
        if getattr(golden, part)
    )
    measured = f"; largest difference {largest:.3g}" if largest else ""
    raise RegistrationError(
        "the model differs from itself: it was called twice with the same rows, and its outputs differ: "
        f"{mismatch}{measured}. {HOW_TO_REPEAT}"
    )


def _require_rows_of_their_own(golden: GoldenRows) -> None:
    """Refuse a model whose output for a row depends on the other rows of its batch.

    Estimators of tables can be meant like this; a network in training mode is not.

    Raises:
        RegistrationError: it does; with the measured difference.
    """
    for part in PARTS:
        largest = largest_magnitude(getattr(golden, part) or [])
        found = golden.spreads.get(part, NO_SPREAD).absolute
        epsilon = EPSILONS.get(golden.dtypes.get(part, ""), 0.0)
        if found > max(OTHER_ROWS, RELATIVE_EPSILONS * epsilon) * largest:
            raise RegistrationError(
                "the model differs from itself: its output for a row depends on the other rows of the batch; "
                f"largest difference {found:.3g} in {part}. {HOW_TO_REPEAT}"
            )


def _require_same(
    golden: GoldenRows,
    direct_output: Callable[[], Output],
    by_memory: Mapping[str, Spread],
    model: Any,
    signature: Signature,
    examples: Any,
) -> None:
    """Compare the outputs for the examples with those for the same examples after their way through JSON.

    They need not be equal to the last bit: see `_add_other_memory`.

    Raises:
        RegistrationError: they differ.
    """
    epsilon = max(EPSILONS.get(feature.value_dtype, 0.0) for feature in signature.features)
    allowed = {
        part: tolerance.widened(
            relative=RELATIVE_EPSILONS * epsilon,
            absolute=ABSOLUTE_EPSILONS
            * max(epsilon, EPSILONS.get(golden.dtypes.get(part, ""), 0.0), ROW_ALONE_TOLERANCE)
            * largest_magnitude(getattr(golden, part) or []),
        ).widened(absolute=SAFETY * by_memory.get(part, NO_SPREAD).absolute)
        for part, tolerance in golden.tolerances(same_arithmetic=False, same_batch=False).items()
    }
    as_given = golden.with_outputs(vars(direct_output()))
    mismatch = as_given.compare({part: getattr(golden, part) for part in PARTS}, tolerance=allowed)
    if mismatch is None:
        return
    again = vars(direct_output())
    if _is_in_training(model) or as_given.compare(again, tolerance=allowed) is not None:
        raise RegistrationError(
            f"the model differs from itself for the same rows: {mismatch}. {HOW_TO_REPEAT}"
        )
    raise RegistrationError(
        f"the model returns different outputs when the examples are sent as JSON: {mismatch}. "
        f"{_difference_of_dtypes(signature, examples)}"
    )


def _is_in_training(model: Any) -> bool:
    """Return whether a part of *model* is in PyTorch's training mode, in which it differs from itself."""
    return any(vars(part).get("training") is True for part in parts_of(model))


def _difference_of_dtypes(signature: Signature, examples: Any) -> str:
    """Return a sentence on the columns that have another dtype after their way through JSON."""
    if signature.container == "dataframe":
        rebuilt = signature.to_container(_rows_of(examples, signature))
        changed = [
            f"{name!r} is {examples[name].dtype}, and {rebuilt[name].dtype} in the service"
            for name in signature.names
            if examples[name].dtype != rebuilt[name].dtype
        ]
        if changed:
            return f"Column {changed[0]}: convert it before the model, or inside its pipeline"
    return "Check that the examples have the form and the dtypes of the training data"


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
        form=signature.form,
    )


def _stable_rows(
    predict: Predict,
    golden: GoldenRows,
    meter: Meter,
    added: list[tuple[Row, Origin]],
    threshold: float | None,
) -> tuple[list[int], Output]:
    """Return the indices of the rows *added* with the same output together and alone; and their output.

    With others, no service could pass. The remaining differences between their outputs are added to *meter*.
    """
    rows, origins = [row for row, _ in added], [origin for _, origin in added]
    tolerance = golden.tolerances(same_arithmetic=False, same_batch=False)
    alone = {index: _output_or_none(predict, [row]) for index, row in enumerate(rows)}
    outputs = {index: output for index, output in alone.items() if output is not None}
    kept = list(outputs)
    while kept:
        together = predict([rows[index] for index in kept])
        batch = replace(golden, rows=[rows[index] for index in kept], origins=[]).with_outputs(vars(together))
        unstable = {
            index
            for position, index in enumerate(kept)
            if batch.take([position]).compare(vars(outputs[index]), tolerance=tolerance)
            or _is_close_call(batch, position, threshold)
        }
        if not unstable:
            for position, index in enumerate(kept):
                if not origins[index].is_extreme:
                    meter.add(together, outputs[index], [position])
            return kept, together
        kept = [index for index in kept if index not in unstable]
    return [], Output([], [])


def _output_or_none(predict: Predict, rows: list[Row]) -> Output | None:
    try:
        return predict(rows)
    except Exception:  # noqa: BLE001 - any error of the model means that it has no output
        return None


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
    tolerance = golden.tolerance("probabilities", same_arithmetic=False, same_batch=False)
    probabilities = golden.probabilities[index]
    if threshold is not None:
        return tolerance.allows(probabilities[1], threshold)
    if not golden.has_several_outputs:
        return _is_tie(probabilities, tolerance)
    return any(
        _is_tie(output, tolerance) if isinstance(output, list) else tolerance.allows(output, EVEN)
        for output in probabilities
    )


def _is_tie(probabilities: Sequence[float], tolerance: Tolerance) -> bool:
    *_, second, first = [-math.inf, *sorted(probabilities)]
    return tolerance.allows(first, second)


def golden_rows(
    model: Any,
    examples: Any,
    *,
    call: Call = None,
    threshold: float | None = None,
    feature_names: Sequence[str] | None = None,
    synthetic: int = 0,
    seed: int = 7,
) -> GoldenRows:
    """Make golden rows for your own model, in the process that trained it; ``.write(path)`` saves them.

    Args:
        model: what predicts: an estimator, a function of rows, a booster, a module of PyTorch, a session of
            ONNX Runtime, or any object with the method *call*.
        examples: rows in the form that *model* takes, 200 at most: a DataFrame, an array or a sparse matrix
            of shape (rows, features); texts; arrays of any shape, such as images or sequences; or a list of
            JSON values.
        call: what to call in place of ``predict``: the name of a method, such as ``"predict_proba"``, or a
            function that takes rows and calls the model.
        threshold: for two classes, the lowest probability of the second class for which it is predicted.
        feature_names: names of the columns of an array.
        synthetic: number of rows to draw within the ranges of a table's examples, so that no real data is
            stored; 0 stores the examples.
        seed: random seed for the drawn rows.

    Raises:
        RegistrationError: the model cannot be called, or the examples or the threshold are invalid, see
            `register_model_for_serving`.
    """
    predictor = as_predictor(model, call)
    is_estimator = converts_lists(model, call)
    signature = infer_signature(predictor, examples, threshold, feature_names, is_estimator=is_estimator)
    return make_golden_rows(predictor, signature, examples, synthetic=synthetic, seed=seed)


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
    if type(model).__module__.startswith("tier0.") and hasattr(model, "estimator"):
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
    with with_one_job(model), in_calling_thread(), threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _validate_threshold(
    threshold: float | None, classes: tuple[Any, ...], *, has_probabilities: bool, has_several_outputs: bool
) -> None:
    if threshold is None:
        return
    if len(classes) != 2 or not has_probabilities or has_several_outputs:
        found = "predict_proba" if has_probabilities else "no predict_proba"
        count = f"{len(classes)} {'outputs' if has_several_outputs else 'classes'}"
        raise RegistrationError(
            f"threshold = {threshold} requires a model with predict_proba and two classes; this model has "
            f"{found} and {count}"
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
    dtype = array.dtype.name
    return tuple(Feature(name, KIND_OF_DTYPE[array.dtype.kind], dtype) for name in names), dtype


def _feature_of(name: str, column: Any) -> Feature:
    dtype = str(column.dtype)
    present = column.dropna()
    if dtype == "category":
        index = column.cat.categories
        vocabulary = tuple(_json_value(value) for value in index.tolist())
        return Feature(
            name,
            _kind_of_values(name, vocabulary, "categories of "),
            dtype,
            categories=vocabulary,
            categories_dtype=str(index.dtype),
            is_ordered=bool(column.cat.ordered),
        )
    kind = KIND_OF_COLUMN.get(getattr(column.dtype, "kind", "O"))
    if kind is None:
        kind = _kind_of_values(name, present.tolist())
    uses_none = dtype == "object" and any(value is None for value in column)
    return Feature(name, kind, dtype, missing="none" if uses_none else "nan")


def _kind_of_values(name: str, values: Sequence[Any], what: str = "") -> Kind:
    types = set(map(type, values))
    for kind, allowed in (("text", {str}), ("boolean", {bool}), ("integer", {int}), ("number", {int, float})):
        if types <= allowed:
            return kind  # type: ignore[return-value]
    found = ", ".join(sorted(kind.__name__ for kind in types))
    raise RegistrationError(
        f"{what}column {name!r} of examples must contain only text, only numbers or only booleans; found "
        f"{found}. Convert it before the model or inside its pipeline."
    )


def _as_array(examples: Any) -> Any:
    return examples.toarray() if _is_sparse(examples) else np.asarray(examples)


def _container_of(given: Any, signature: Signature) -> Any:
    """Return the examples in the container of the signature, or as they are if they are not a table."""
    if signature.form != "table" or signature.container in {"lists", "records"}:
        return list(given) if isinstance(given, tuple) else given
    return as_container(as_numpy(given), signature.names if signature.container == "dataframe" else None)


def _rows_of(examples: Any, signature: Signature) -> list[list[Any]]:
    """Return the examples as rows of JSON values; missing values are None."""
    match signature.container:
        case "texts" | "arrays" | "json":
            return column_of(examples, signature.form)[1]
        case "lists":
            return [[_json_value(value) for value in row] for row in examples]
        case "records":
            return [[_json_value(row[name]) for name in signature.names] for row in examples]
    if signature.container != "dataframe":
        columns = _as_array(examples).T.tolist()
    else:
        columns = [examples[name].astype(object).tolist() for name in signature.names]
    return [[_cell(value) for value in row] for row in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    """Return a value of a table as a JSON value; a date is text."""
    value = _json_value(value)
    return value.isoformat() if isinstance(value, date) else value


def _json_value(value: Any) -> Any:
    if is_missing(value):
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
