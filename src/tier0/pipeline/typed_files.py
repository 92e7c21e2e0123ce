"""Tables in files whose columns have types: Parquet and folders of it, Arrow, Feather, ORC and JSON."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tier0.core.errors import DatasetError, first_line
from tier0.core.named_file import MAX_BYTES, MAX_TABLE_BYTES, open_regular, read_json
from tier0.pipeline.table_content import Kind, blocks_of, in_memory, is_folder, open_content, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

FORMS = {
    "parquet": "Parquet",
    "arrow": "Arrow",
    "arrow stream": "Arrow",
    "feather 1": "Feather",
    "orc": "ORC",
    "json lines": "JSON lines",
    "json": "JSON",
}
HIDDEN = (".", "_")
"""First characters of files and folders that are not parts, such as ``_SUCCESS``."""
MAX_NAMED = 3


@dataclass(frozen=True)
class TypedCells:
    """The columns of a file that has types.

    Attributes:
        columns: columns in Arrow's types, by name.
        index: names of the columns that were the index of a DataFrame.
        notes: sentences about how the file was read.
    """

    columns: dict[str, pa.ChunkedArray]
    index: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_typed(path: Path, kind: Kind) -> TypedCells:
    """Return the columns of a file, or of a folder of Parquet files.

    Raises:
        DatasetError: it cannot be read, or has no rows.
    """
    form = FORMS[kind]
    with reading(path, form):
        table, notes = _read_folder(path) if is_folder(path) else (_READERS[kind](path), [])
        names, name_notes = _names(table.schema)
    if not table.num_rows:
        raise DatasetError(f"cannot read {path} as {form}: it has no rows. Export it again, with rows")
    notes = [*(() if kind == "parquet" else [f"read as {form}"]), *notes, *name_notes]
    indexes = _index_of(table.schema)
    unnamed = [name for name in indexes if name.startswith("__index_level_")]
    columns = {
        name: _without_uuids(column)
        for original, name, column in zip(table.column_names, names, table.columns, strict=True)
        if original not in unnamed
    }
    index = [name for name in indexes if name not in unnamed]
    return TypedCells(columns, tuple(index), tuple(notes))


def typed_names(path: Path, kind: Kind) -> list[str]:
    """Return the names of a file's columns; those of a Parquet file without its rows.

    Raises:
        DatasetError: the file cannot be read.
    """
    if kind != "parquet":
        return list(read_typed(path, kind).columns)
    import pyarrow.parquet as pq  # noqa: PLC0415

    with reading(path, FORMS[kind]):
        schema = _folder(path)[0].schema if is_folder(path) else pq.read_schema(path)
        unnamed = {name for name in _index_of(schema) if name.startswith("__index_level_")}
        names = zip(schema.names, _names(schema)[0], strict=True)
        return [name for original, name in names if original not in unnamed]


def folder_kind(path: Path) -> Kind:
    """Return ``parquet``, of which a folder must have a file.

    Raises:
        DatasetError: the folder has none.
    """
    with reading(path, "a table"):
        _parts(path)
    return "parquet"


def _without_uuids(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return UUIDs as text, as in a request; other columns as they are."""
    import pyarrow as pa  # noqa: PLC0415

    if str(cells.type) != "extension<arrow.uuid>":
        return cells
    return pa.chunked_array([pa.array([None if one is None else str(one) for one in cells.to_pylist()])])


# --- Parquet ---


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.read_schema(path)  # its errors say what is wrong with the file, and no more
    return pq.read_table(path, partitioning=None)


def _parts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the Parquet files of a folder, and its other files that are not hidden."""
    parts: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(name.startswith(HIDDEN) and "=" not in name for name in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        with open_regular(path, max_bytes=MAX_TABLE_BYTES) as file:
            (parts if file.read(4) == b"PAR1" else others).append(path)
    if not parts:
        named = f" (it has {others[0].name})" if others else ""
        raise ValueError(
            f"the folder contains no Parquet file{named}: name a file, or a folder of Parquet files"
        )
    return parts, others


def _folder(folder: Path) -> tuple[Any, list[Path]]:
    """Return a folder's Parquet files as one data set with all columns, and the folder's other files."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import dataset as arrow_dataset  # noqa: PLC0415

    parts, others = _parts(folder)
    options = {"format": "parquet", "partition_base_dir": str(folder), "partitioning": "hive"}
    files = [str(part) for part in parts]
    found = arrow_dataset.dataset(files, **options)
    schemas = [fragment.physical_schema for fragment in found.get_fragments()]
    partitions = [field for field in found.schema if field.name not in {n for s in schemas for n in s.names}]
    try:
        unified = pa.unify_schemas([*schemas, pa.schema(partitions)], promote_options="permissive")
    except (ValueError, TypeError) as problem:
        raise ValueError(
            f"its files have different types: {_conflict(parts, schemas) or first_line(problem)}"
        ) from problem
    unified = unified.with_metadata(schemas[0].metadata)
    return arrow_dataset.dataset(files, schema=unified, **options), others


def _conflict(parts: Sequence[Path], schemas: Sequence[pa.Schema]) -> str:
    """Return the first column whose types in two files do not go together; an empty text if there is none."""
    import pyarrow as pa  # noqa: PLC0415

    seen: dict[str, tuple[Path, pa.Field]] = {}
    for part, schema in zip(parts, schemas, strict=True):
        for field in schema:
            first, known = seen.setdefault(field.name, (part, field))
            try:
                pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            except (ValueError, TypeError):
                return (
                    f"column {field.name!r} is {known.type} in {first.name} and {field.type} in {part.name}: "
                    "write it with one type in all files"
                )
    return ""


def _read_folder(folder: Path) -> tuple[pa.Table, list[str]]:
    found, others = _folder(folder)
    table = found.to_table()
    notes = [f"read from a folder with {len(found.files)} Parquet files"]
    if others:
        names = ", ".join(path.name for path in others[:MAX_NAMED])
        notes.append(f"files of other kinds in the folder were left out: {names}")
    lacking = Counter(
        name
        for fragment in found.get_fragments()
        for name in set(table.column_names) - set(fragment.physical_schema.names) - _partitions(fragment)
    )
    notes += [
        f"{count} of {len(found.files)} files have no column {name!r}, where its values are missing"
        for name, count in sorted(lacking.items())
    ]
    return table, notes


def _partitions(fragment: Any) -> set[str]:
    from pyarrow import dataset as arrow_dataset  # noqa: PLC0415

    return set(arrow_dataset.get_partition_keys(fragment.partition_expression))


# --- names ---


def _index_of(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that were the index of a DataFrame."""
    index = _pandas_of(schema).get("index_columns", [])
    return [name for name in index if isinstance(name, str) and name in schema.names]


def _pandas_of(schema: pa.Schema) -> dict[str, Any]:
    try:
        return schema.pandas_metadata or {}
    except ValueError:
        return {}


def _names(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Return the names of the columns, those of several levels joined, and a note about these.

    Raises:
        ValueError: two columns have the same name.
    """
    names, notes = [str(name).strip() for name in schema.names], []
    if len(_pandas_of(schema).get("column_indexes", [])) > 1:
        names = _flat_names(names)
        notes = ["names of several levels were joined by _, without levels that are equal in all columns"]
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"it has {count} columns named {name!r}: rename one")
    return [name or f"Unnamed: {position}" for position, name in enumerate(names)], notes


def _flat_names(names: list[str]) -> list[str]:
    """Return texts of tuples as names; a level that all tuples have in common is left out."""
    levels: dict[str, tuple[Any, ...]] = {}
    for name in names:
        try:
            value = ast.literal_eval(name)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, tuple):
            levels[name] = value
    common = {
        level
        for level, parts in enumerate(zip(*levels.values(), strict=False))
        if len(levels) > 1 and len(set(parts)) == 1
    }
    joined = {
        name: "_".join(str(part) for level, part in enumerate(parts) if level not in common and part != "")
        for name, parts in levels.items()
    }
    return [joined.get(name) or name for name in names]


# --- other forms ---


def _read_arrow(path: Path) -> pa.Table:
    from pyarrow import feather  # noqa: PLC0415

    return feather.read_table(path)


def _read_stream(path: Path) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        return stream.read_all()


def _read_orc(path: Path) -> pa.Table:
    from pyarrow import orc  # noqa: PLC0415

    return orc.read_table(path)


def _read_json_lines(path: Path) -> pa.Table:
    """Return the objects of a file, one a line; text that looks like a time stays text, as in a request."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import json as arrow_json  # noqa: PLC0415

    with open_content(path) as content:
        memory = in_memory(blocks_of(content))

    def read(times: list[str]) -> pa.Table:
        schema = pa.schema([(name, pa.string()) for name in times])
        return arrow_json.read_json(
            pa.BufferReader(memory),
            arrow_json.ReadOptions(block_size=MAX_OBJECT_BYTES),
            arrow_json.ParseOptions(explicit_schema=schema),
        )

    table = read([])
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    return read(times) if times else table


MAX_OBJECT_BYTES = 2**24


def _read_json(path: Path) -> pa.Table:
    """Return an array of objects."""
    import pyarrow as pa  # noqa: PLC0415

    rows = read_json(path, max_bytes=MAX_BYTES)
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected an array of objects, one for each row")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "arrow stream": _read_stream,
    "feather 1": _read_arrow,
    "orc": _read_orc,
    "json lines": _read_json_lines,
    "json": _read_json,
}
