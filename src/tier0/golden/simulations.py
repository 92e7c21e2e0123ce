"""Simulated defects: what a service would return for the golden rows if it had a certain defect."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

SimulationKind = Literal[
    "defaulted_column",
    "swapped_columns",
    "permuted_columns",
    "rounded_column",
    "cast_float32",
    "cached_without_column",
    "clipped_column",
    "scaled_column",
    "negated_column",
    "unknown_category",
    "changed_text",
    "filled_missing",
    "zero_as_missing",
    "dropped_step",
    "refitted_step",
    "dropped_target_transform",
    "swapped_labels",
    "swapped_probabilities",
    "swapped_outputs",
    "default_threshold",
    "constant",
]
MAX_COMPRESSED_BYTES = 1 << 20
"""Size of the simulated outputs in a file, compressed and as base64."""
MAX_BYTES = 16 << 20
"""Size of the same outputs as JSON: a small file must not fill the memory of its reader."""


@dataclass(frozen=True)
class Simulation:
    """Outputs of a simulated defect for the golden rows, in their order.

    Attributes:
        kind: one of `SimulationKind`. Other kinds are allowed, since files of later versions may have them.
        column: column that the defect is in; None for another place.
        sentence: what the defect is, to be read after "as if", such as "column 'age' were 0".
        predictions: one label or number per row, as in `GoldenRows`.
        probabilities: one list of numbers per row, as in `GoldenRows`; None if the model has none.
        is_distinguished: whether the outputs differ from the trained model's by more than the tolerance.
    """

    kind: str
    column: str | None
    sentence: str
    predictions: list[Any]
    probabilities: list[Any] | None = None
    is_distinguished: bool = False


def compressed(simulations: Iterable[Simulation]) -> str:
    """Return simulated defects as base64 of compressed JSON."""
    content = json.dumps(
        [vars(simulation) for simulation in simulations], allow_nan=False, separators=(",", ":")
    )
    return base64.b64encode(zlib.compress(content.encode())).decode("ascii")


def decompressed(text: str) -> Any:
    """Return the JSON value that `compressed` wrote.

    Raises:
        ValueError: *text* is too large, not base64, not compressed, or not JSON.
    """
    if len(text) > MAX_COMPRESSED_BYTES:
        raise ValueError(f"it is larger than {MAX_COMPRESSED_BYTES:,} bytes")
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(base64.b64decode(text, validate=True), MAX_BYTES)
    except (binascii.Error, zlib.error) as problem:
        raise ValueError(str(problem)) from None
    if not stream.eof:
        is_large = len(content) == MAX_BYTES
        raise ValueError(
            f"its content is larger than {MAX_BYTES:,} bytes" if is_large else "it is incomplete"
        )
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")
