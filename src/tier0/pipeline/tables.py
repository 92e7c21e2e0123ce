"""Tables in files: text in CSV files, columns with types in Parquet files and others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tier0.pipeline.columns import Column, infer_column, plain_column, typed_column
from tier0.pipeline.csv_files import Reading, csv_names, read_csv
from tier0.pipeline.table_content import Kind, is_folder, kind_of
from tier0.pipeline.typed_files import folder_kind, read_typed, typed_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

__all__ = ["Reading", "Table", "column_names"]
AS_DETECTED = Reading()


@dataclass(frozen=True)
class Table:
    """The columns of a file.

    Attributes:
        path: the file, or a folder of Parquet files.
        columns: the columns in Arrow's types, by name; those of a CSV file are text.
        kind: the form of the file.
        decimal: decimal separator of numbers in cells of text.
        index: names of the columns that were the index of a DataFrame.
        notes: sentences about how the file was read.
    """

    path: Path
    columns: Mapping[str, pa.ChunkedArray]
    kind: Kind = "csv"
    decimal: str = "."
    index: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the cells are text, so that a column's values decide what they are."""
        return self.kind == "csv"

    @classmethod
    def read(cls, path: Path, options: Reading = AS_DETECTED) -> Table:
        """Read a file; its content decides in which form it is.

        Args:
            path: the file, or a folder of Parquet files.
            options: how a CSV file is written.

        Raises:
            DatasetError: it cannot be read, or has no rows.
        """
        kind = _kind_of(path)
        if kind != "csv":
            typed = read_typed(path, kind)
            return cls(path, typed.columns, kind, index=typed.index, notes=typed.notes)
        cells = read_csv(path, options)
        return cls(path, cells.columns, decimal=cells.decimal, notes=cells.notes)

    def column(self, name: str, declared: Collection[str] = ()) -> Column:
        """Return a column as scikit-learn takes it.

        Args:
            name: name of the column.
            declared: texts that are missing values.

        Raises:
            TypeError: no model can take its values; the message is their type.
        """
        cells = self.columns[name]
        if self.is_text:
            return infer_column(name, cells, declared)
        import pandas as pd  # noqa: PLC0415

        column = plain_column(cells)
        if isinstance(column.series.dtype, pd.CategoricalDtype):
            removed = [text for text in declared if text in column.series.cat.categories]
            return replace(column, series=column.series.cat.remove_categories(removed))
        if not declared or pd.api.types.infer_dtype(column.series, skipna=True) != "string":
            return column
        series = column.series.mask(column.series.isin(list(declared)))
        return Column(series, column.notes, tuple(declared))

    def unconverted(self, name: str) -> pd.Series[Any]:
        """Return a column as it is in the file: in a CSV file, text, and missing where a cell is empty."""
        import pyarrow.compute as pc  # noqa: PLC0415

        cells = self.columns[name]
        if self.is_text:
            return typed_column(cells, pc.equal(cells, ""), "text").series
        return cells.to_pandas()


def column_names(path: Path, options: Reading = AS_DETECTED) -> list[str]:
    """Return the names of a file's columns, if possible without reading its rows.

    Raises:
        DatasetError: the file cannot be read.
    """
    kind = _kind_of(path)
    return csv_names(path, options) if kind == "csv" else typed_names(path, kind)


def _kind_of(path: Path) -> Kind:
    return folder_kind(path) if is_folder(path) else kind_of(path)
