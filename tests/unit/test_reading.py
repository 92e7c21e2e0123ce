"""How files become tables: what is detected, what is refused, and that every cell stays as it is in the file.

Messages and notes are in a snapshot; `pytest --snapshot-update` accepts new wording.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.errors import DatasetError
from tier0.pipeline.table_content import digest_of
from tier0.pipeline.tables import Reading, Table, column_names

ROWS = "age,spend,plan,left\n59,56.14,plus,1\n67,62.45,basic,0\n"
COLUMNS = {"age": ["59", "67"], "spend": ["56.14", "62.45"], "plan": ["plus", "basic"], "left": ["1", "0"]}


def cells(table: Table) -> dict[str, list[Any]]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


def read(folder: Path, content: bytes | str, name: str = "rows.csv", **options: str) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reading = Reading(**options)
    table = Table.read(path, reading)
    assert column_names(path, reading) == list(table.columns)
    return table


def refusal(folder: Path, content: bytes | str, name: str = "rows.csv", **options: str) -> str:
    with pytest.raises(DatasetError) as refused:
        read(folder, content, name, **options)
    return str(refused.value).replace(str(folder), "…")


# --- what is detected ---

DECIMAL = ROWS.replace(",", ";").replace(".", ",")
DETECTED: dict[str, str] = {
    "commas": ROWS,
    "semicolons": ROWS.replace(",", ";"),
    "tabs": ROWS.replace(",", "\t"),
    "bars": ROWS.replace(",", "|"),
    "declared": "sep=;\n" + ROWS.replace(",", ";"),
    "title": "Report of 2026\n\n" + ROWS,
    "title_of_two_values": "Report, March\n\n" + ROWS,
    "padded_title": "Report of 2026,,,\n,,,\n" + ROWS,
    "title_with_comma": "Umsatz, Stand März\n" + ROWS.replace(",", ";"),
    "blanks_in_header": ROWS.replace("age,spend,", " age , spend\t, "),
    "blanks_before_quotes": ROWS.replace("plus", '"plus"').replace("basic", '"basic"').replace(",", ", "),
    "single_quotes": "'age','spend','plan','left'\n'59','56.14','plus','1'\n67,62.45,'basic',0\n",
    "total": ROWS + "Total,118.59,,1\n",
    "short_total": ROWS + "Total\n",
    "remark": ROWS + "\n\nSource: the sales team\nretrieved on Monday\n",
    "padded_remark": ROWS + "Source: the sales team,,,\n",
    "separators_at_the_end": ROWS.replace("\n", ",\n"),
    "blank_lines": ROWS.replace("\n", "\n\n") + "   \n",
    "line_ends": ROWS.replace("\n", "\r\n"),
    "old_line_ends": ROWS.replace("\n", "\r"),
    "no_last_line_end": ROWS.rstrip(),
}


@pytest.mark.parametrize("case", DETECTED)
def test_the_layout_of_a_csv_file_is_detected_and_reported(
    tmp_path: Path, case: str, snapshot: SnapshotAssertion
) -> None:
    table = read(tmp_path, DETECTED[case])

    assert {name: column for name, column in cells(table).items() if any(column)} == COLUMNS
    assert table.notes == snapshot
    assert table.decimal == "."


NAMES = {
    "row_names_of_r": ('"mpg","cyl"\n"Mazda RX4",21,6\n"Datsun 710",22.8,4\n', ["Unnamed: 0", "mpg", "cyl"]),
    "counted_rows_of_r": ('"mpg","cyl"\n"1",21,6\n"2",22.8,4\n', ["Unnamed: 0", "mpg", "cyl"]),
    "first_name_is_empty": (",a\n0,1\n1,2\n", ["Unnamed: 0", "a"]),
    "last_name_is_empty": ("a,b,\n0,1\n1,2\n", ["a", "b"]),
    "last_name_is_blank": ("a,b, \n0,1,2\n1,2,3\n", ["a", "b", "Unnamed: 2"]),
    "line_end_in_name": ('a,"b\nc"\n0,1\n1,2\n', ["a", "b\nc"]),
    "years": (
        "Data,From,\n\ncountry,code,1960,1961\nAruba,ABW,1,2\nChad,TCD,3,4\n",
        ["country", "code", "1960", "1961"],
    ),
    "one_column": ("a\n1\n2\n", ["a"]),
}


VALUES = {
    "blanks and separators in quotes": ('a,b\n1, "x, y"\n2, "z"\n', ["x, y", "z"]),
    "blanks and quotes in quotes": ('a,b\n1,"He said, ""yes"""\n2," z"\n', ['He said, "yes"', " z"]),
    "blanks without quotes": ("a,b\n1, x\n2, y\n", [" x", " y"]),
    "escaped quotes": ('a,b\n1,"say \\"hi\\" now"\n2,"x"\n', ['say "hi" now', "x"]),
    "escaped separators": ("a,b\n1,x\\,y\n2,z\n", ["x,y", "z"]),
    "backslashes": ('a,b\n1,"C:\\dir\\"\n2,"D:\\"\n', ["C:\\dir\\", "D:\\"]),
    "a quote within a value": ('b,a\n5",1\nsix,2\n', ['5"', "six"]),
    "other separators in values": ("a,b\n1,x;y|z\n2,u;v|w\n", ["x;y|z", "u;v|w"]),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_are_read_as_they_were_written(tmp_path: Path, case: str) -> None:
    content, expected = VALUES[case]

    assert cells(read(tmp_path, content))["b"] == expected


@pytest.mark.parametrize("case", NAMES)
def test_names_of_columns_are_found(tmp_path: Path, case: str) -> None:
    content, expected = NAMES[case]

    assert list(read(tmp_path, content).columns) == expected


@pytest.mark.parametrize(
    ("content", "decimal"),
    [
        ("a;b\n1,5;2\n", ","),
        ('a,b\n"1,5",2\n', ","),
        ('a,b\n"1,5",2.5\n', "."),
        ('a,b\n"1,234",2\n', "."),
        ("a;b\n1,234;2\n", ","),
        ("a;b\n1.234,5;2\n", ","),
        ("a;b\n1.234.567;2\n", "."),
        ("a;b\n1.234;2,5\n", ","),
        ("a;b\n1.234,5 €;2\n", ","),
        ('a,b\n"$1,234.50",2\n', "."),
        ("a;b\n1,5;2.5\n", ","),
        ("a,b\n1.5,2\n", "."),
        ("a,b\n1,2\n", "."),
        ('a,b\n"x, y",2\n', "."),
    ],
)
def test_the_decimal_separator_is_that_of_most_columns(tmp_path: Path, content: str, decimal: str) -> None:
    assert read(tmp_path, content).decimal == decimal
    assert read(tmp_path, content, decimal=",").decimal == ","


def test_the_size_of_a_file_decides_nothing(tmp_path: Path) -> None:
    rows = 200_000
    late = "a;b\n" + "1;x\n" * rows + "1,5;x\n"
    assert read(tmp_path, late).decimal == ","

    late_in_latin = ("a,b\n" + "1,x\n" * rows).encode() + "2,é\n".encode("latin-1")
    assert cells(read(tmp_path, late_in_latin))["b"][-1] == "é"

    long = f"a,b\n1,{'x' * 2**23}\n2,y\n"
    assert cells(read(tmp_path, long))["a"] == ["1", "2"]

    assert f"line {rows + 2}" in refusal(tmp_path, "a,b\n" + "1,x\n" * rows + "1,2,3\n")


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_are_detected_and_reported(
    tmp_path: Path, encoding: str, snapshot: SnapshotAssertion
) -> None:
    sign = "€" if encoding == "cp1252" else "ß"
    text = f'größe,text,\n5,"a ""b"", c",1\n6,"5\'{sign}",2\n'

    table = read(tmp_path, text.encode(encoding))

    assert cells(table) == {"größe": ["5", "6"], "text": ['a "b", c', f"5'{sign}"], "Unnamed: 2": ["1", "2"]}
    assert table.notes == snapshot
    named = "utf-16" if encoding.startswith("utf-16-") else encoding
    if named == encoding:
        assert cells(read(tmp_path, text.encode(encoding), encoding=encoding)) == cells(table)


def test_options_take_precedence_over_what_is_detected(tmp_path: Path) -> None:
    assert list(read(tmp_path, "a;b,c;d\n1;2,3;4\n", separator=",").columns) == ["a;b", "c;d"]
    assert cells(read(tmp_path, "a b\n1 2\n", separator=" ")) == {"a": ["1"], "b": ["2"]}
    assert cells(read(tmp_path, "a,b\né,1\n", encoding="latin-1"))["a"] == ["Ã©"]
    assert cells(read(tmp_path, "a,b\nЖ,1\n".encode("cp1251"), encoding="cp1251"))["a"] == ["Ж"]


# --- compression and other forms ---


def zipped(content: bytes, *names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, content)
    return archive.getvalue()


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "rows.csv.gz": gzip.compress,
    "rows.csv.bz2": bz2.compress,
    "rows.csv.xz": lzma.compress,
    "rows.csv.zst": lambda content: pa.compress(content, "zstd", asbytes=True),
    "rows.zip": lambda content: zipped(content, "data/", "__MACOSX/._rows.csv", "data/rows.csv"),
    "ROWS.CSV": gzip.compress,
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files_are_read(tmp_path: Path, name: str, snapshot: SnapshotAssertion) -> None:
    table = read(tmp_path, COMPRESSED[name](ROWS.encode()), name)

    assert cells(table) == COLUMNS
    assert table.notes == snapshot


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files_are_read_line_by_line_too(tmp_path: Path, name: str) -> None:
    """A remark at the end, and an encoding that the first lines do not show, need Python's reader."""
    content = (ROWS + "68,46.15,größer,1\nSource: the sales team\n").encode("latin-1")

    table = read(tmp_path, COMPRESSED[name](content), name)

    assert cells(table)["plan"] == ["plus", "basic", "größer"]
    assert "line 6" in refusal(tmp_path, COMPRESSED[name](content + b"1,2\n"), name)


TYPED: dict[str, Callable[[pa.Table, Path], Any]] = {
    "rows.parquet": pq.write_table,
    "ROWS.PARQUET": pq.write_table,
    "rows.pq": pq.write_table,
    "rows.csv": pq.write_table,
    "rows.feather": lambda table, path: pyarrow.feather.write_feather(table, str(path)),
    "rows.arrow": lambda table, path: pyarrow.feather.write_feather(table, str(path), "uncompressed"),
    "rows.orc": pyarrow.orc.write_table,
    "rows.jsonl": lambda table, path: table.to_pandas().to_json(path, orient="records", lines=True),
    "rows.json": lambda table, path: table.to_pandas().to_json(path, orient="records"),
}


@pytest.mark.parametrize("name", TYPED)
def test_files_with_types_are_recognised_by_their_content(tmp_path: Path, name: str) -> None:
    expected = {"n": [1, 2], "x": [0.5, None], "text": ["2026-01-31T10:00:00", "NA"], "flag": [True, False]}
    TYPED[name](pa.table(expected), tmp_path / name)

    table = Table.read(tmp_path / name)

    assert cells(table) == expected
    assert column_names(tmp_path / name) == list(expected)
    assert not table.is_text


# --- provenance ---


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")

    assert digest_of(path) == hashlib.sha256(ROWS.encode()).hexdigest()


def test_the_digest_of_a_folder_changes_with_each_part_and_name(tmp_path: Path) -> None:
    seen = {digest_of(tmp_path)}
    for name, content in (("a", "1"), ("a", "2"), ("b", "1")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        seen.add(digest_of(tmp_path))
        assert digest_of(tmp_path) in seen
    (tmp_path / "b").rename(tmp_path / "c")

    assert len({*seen, digest_of(tmp_path)}) == 5


# --- folders, names and the index of pandas ---


def test_a_folder_of_parts_is_one_table(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    folder = tmp_path / "sales"
    for region, number in (("eu", 0), ("us", 1)):
        part = folder / f"region={region}"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"n": pa.array([number], pa.int32())}), part / "part-0.snappy.parquet")
    pq.write_table(pa.table({"n": [2.5], "late": ["x"]}), folder / "region=us" / "part-1.parquet")
    for name in ("_SUCCESS", ".part-0.crc", "README.txt"):
        (folder / name).write_text("x", encoding="utf-8")

    table = Table.read(folder)

    assert cells(table) == {"n": [0, 1, 2.5], "late": [None, None, "x"], "region": ["eu", "us", "us"]}
    assert column_names(folder) == list(table.columns)
    assert table.notes == snapshot


def test_a_folder_without_parts_is_refused(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")

    for read_ in (Table.read, column_names):
        with pytest.raises(DatasetError) as refused:
            read_(tmp_path)
        assert str(refused.value).replace(str(tmp_path), "…") == snapshot(name="no parts")


def test_parts_of_different_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"n": ["x"]}), tmp_path / "1.parquet")

    with pytest.raises(DatasetError, match=r"'n' is int64 in 0\.parquet and string in 1\.parquet"):
        Table.read(tmp_path)


def test_the_index_of_pandas_is_known_and_an_index_without_a_name_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2], "day": ["a", "b"], "hour": [3, 4]}, index=[7, 5])
    for index in ([], ["day"], ["day", "hour"]):
        (frame.set_index(index) if index else frame).to_parquet(tmp_path / "rows.parquet")

        table = Table.read(tmp_path / "rows.parquet")

        assert table.index == tuple(index)
        assert set(table.columns) == {"n", "day", "hour"}
        assert column_names(tmp_path / "rows.parquet") == list(table.columns)


def test_uuids_are_text_as_in_a_request(tmp_path: Path) -> None:
    known = uuid.UUID(int=7)
    ids = pa.array([known.bytes, None], pa.uuid())
    pq.write_table(pa.table({"id": ids, "n": [1, 2]}), tmp_path / "rows.parquet")

    assert cells(Table.read(tmp_path / "rows.parquet"))["id"] == [str(known), None]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([("x", "age"), ("x", "spend")], ["age", "spend"]),
        ([("x", "age"), ("y", "age")], ["x", "y"]),
        ([("x", "age"), ("y", "spend")], ["x_age", "y_spend"]),
    ],
)
def test_names_of_several_levels_are_joined(
    tmp_path: Path, levels: list[tuple[str, str]], expected: list[str]
) -> None:
    pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples(levels)).to_parquet(tmp_path / "rows.parquet")

    table = Table.read(tmp_path / "rows.parquet")

    assert list(table.columns) == expected
    assert len(table.notes) == 1


# --- what is refused ---

REFUSED: dict[str, bytes | str] = {
    "empty": b"",
    "blank": b"\n\n",
    "header_only": b"a,b\n",
    "header_without_end": b"a,b",
    "too_many": b"a,b\n1,2\n3,4,5\n",
    "too_many_below_a_value_of_two_lines": 'a,b\n"x\ny",2\n3,4,5\n',
    "too_many_in_all": b"a,b\n1,2,3\n4,5,6\n",
    "too_few": b"a,b\n1,2\n3\n",
    "too_few_in_between": ROWS + "Total\n" + "59,56.14,plus,1\n",
    "unclosed": b'a,b\n1,2\n3,"x\n4,5\n',
    "unclosed_at_the_end": b'a,b\n1,2\n3,"x',
    "unclosed_early": b'a,b\n"1,2\n3,4\n',
    "duplicate": b"a,b,a\n1,2,3\n",
    "duplicate_with_blanks": b"a,b, a\n1,2,3\n",
    "no_header": b"0,1,0\n1,2,3\n",
    "damaged": "größe,text\n5,groß\n6,Stra".encode() + b"\xdf,\n",
    "zero_bytes": b"\x00\x01\x02\x03\x00\x00\x00\x00\x07",
    "late_zero_bytes": b"a,b\n1,\x00\n",
    "parquet": b"PAR1\x15\x04\n",
    "arrow": b"ARROW1\x00\x00\x15\x04\n",
    "json": b'[{"a": 1}, 2]',
    "json_lines": b'{"a": 1}\n{"a": "x"}\n',
    "damaged_gzip": gzip.compress(ROWS.encode())[:-12],
    "parquet_in_gzip": gzip.compress(b"PAR1\x15\x04\n"),
    "several_files": zipped(b"a,b\n1,2\n", "a.csv", "b.csv"),
    "no_files": zipped(b""),
    "damaged_zip": zipped(ROWS.encode(), "a.csv")[:-30],
    "workbook": zipped(b"<x/>", "[Content_Types].xml", "xl/workbook.xml"),
    "old_workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "web_page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "pickle": b"\x80\x04\x95\x00",
    "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "tar": b"rows.csv".ljust(257, b"\0") + b"ustar\x0000".ljust(300, b"\0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_table_is_refused_with_line_and_remedy(
    tmp_path: Path, case: str, snapshot: SnapshotAssertion
) -> None:
    assert refusal(tmp_path, REFUSED[case]) == snapshot


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-16"])
def test_another_encoding_than_the_named_one_is_refused(
    tmp_path: Path, encoding: str, snapshot: SnapshotAssertion
) -> None:
    assert refusal(tmp_path, b"a,b\n1,2\n\xe9,1\n", encoding=encoding) == snapshot


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for read_ in (Table.read, column_names):
        for name in ("rows.csv", "rows.parquet"):
            with pytest.raises(DatasetError, match=name):
                read_(tmp_path / name)


# --- lines that could be a total or a remark, and are none ---


@pytest.mark.parametrize(
    "last",
    [
        "Total,3,4\n",  # complete: it may be a row
        "new,,\n",
        "Total,,\nx,1,2\n",
    ],
)
def test_the_last_row_is_kept_unless_it_is_clearly_no_row(tmp_path: Path, last: str) -> None:
    table = read(tmp_path, "a,b,c\nx,1,2\ny,3,4\n" + last)

    assert len(table.columns["a"]) == 2 + last.count("\n")
    assert not table.notes


def test_a_value_called_total_in_other_rows_is_a_value(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,c\nx,1,2\nTotal,3,\nx,1,2\nTotal,3,\n")

    assert len(table.columns["a"]) == 4


# --- properties ---

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=8)
LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from('äé€\n\n"'), max_size=8)


@st.composite
def tables(draw: st.DrawFn, cell: st.SearchStrategy[str]) -> list[list[str]]:
    width = draw(st.integers(2, 5))
    return draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=8))


@given(
    rows=tables(LATIN),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_written_table_reads_back_to_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    separator: str,
    encoding: str,
    quoting: Any,
    line_end: str,
) -> None:
    text = io.StringIO(newline="")
    names = [f"column{number}" for number in range(len(rows[0]))]
    rows = [*rows, ["end"] * len(names)]  # the last row is neither a total nor a remark
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=line_end).writerows([names, *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode(encoding))

    table = Table.read(path)

    assert list(table.columns) == names
    assert [list(row) for row in zip(*cells(table).values(), strict=True)] == rows


@given(
    content=st.binary(max_size=200)
    | st.text(st.sampled_from('a1,;"\n\r\t|\\é. '), max_size=60).map(str.encode)
    | st.text(st.sampled_from('a1,;"\n\r\t|\\é. '), max_size=60).map(lambda text: text.encode("latin-1")),
    start=st.sampled_from([b"", b"PAR1", b"\x1f\x8b\x08", b"PK\x03\x04", b"ARROW1", b'{"', b"[{", b"a,b\n"]),
)
@example(content=b'a,"b', start=b"")
def test_any_file_is_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(start + content)

    for read_ in (Table.read, column_names):
        with suppress(DatasetError):
            read_(path)
