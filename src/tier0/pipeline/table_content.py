"""What a file of a table contains, by its first bytes, and its content without compression."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from tier0.core.errors import DatasetError, first_line
from tier0.core.named_file import MAX_TABLE_BYTES, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

Kind = Literal["csv", "parquet", "arrow", "arrow stream", "feather 1", "orc", "json lines", "json"]
HEAD = 512
BLOCK = 2**22
COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
TABLES: dict[bytes, Kind] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow stream",
    b"FEA1": "feather 1",
    b"ORC": "orc",
}
OTHERS = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls): save the sheet as CSV",
    b"%PDF": "a PDF document: export the table as CSV",
    b"SQLite format 3": "a SQLite database: export the table as CSV or Parquet",
    b"\x89HDF": "an HDF5 file: save the table as Parquet, with pandas.read_hdf(…).to_parquet(…)",
    b"\x93NUMPY": "an array of NumPy: save it with column names as CSV or Parquet",
    b"Obj\x01": "an Avro file: save the table as Parquet",
    b"<stata_dta>": "a Stata file: save the table as Parquet, with pandas.read_stata(…).to_parquet(…)",
    b"$FL2": "an SPSS file: save the table as Parquet, with pandas.read_spss(…).to_parquet(…)",
    b"HEADER RECORD": "a SAS file: save the table as Parquet, with pandas.read_sas(…).to_parquet(…)",
    b"\x00" * 12 + b"\xc2\xea\x81\x60": "a SAS file: save the table as Parquet, with pandas.read_sas(…)",
    b"RDX": "a file of R: save the table with write.csv(…, row.names = FALSE)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: fetch it with git lfs pull",
}
PICKLES = (b"\x80\x03", b"\x80\x04", b"\x80\x05")
TAR_MAGIC = slice(257, 262)
MARKUP = (b"<!doctype html", b"<html", b"<?xml")
ENCRYPTED = 1
"""Bit of a member of a zip archive."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, MemoryError, RuntimeError, NotImplementedError),
    *(zlib.error, lzma.LZMAError),
)
"""What decompression and Arrow raise about content that is damaged, beside the errors of `zipfile`."""


class _RawStream(io.RawIOBase):
    """A stream of Arrow as one of Python, which reads text from it."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def open_content(path: Path) -> Iterator[IO[bytes]]:
    """Open a file; if it is compressed, its content without compression.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not a regular file, too large, or an archive without a single table.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_regular(path, max_bytes=MAX_TABLE_BYTES))
        compression = _compression_of(file.read(HEAD))
        file.seek(0)
        if compression == "gzip":
            yield cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif compression == "bzip2":
            yield stack.enter_context(bz2.BZ2File(file))
        elif compression == "xz":
            yield stack.enter_context(lzma.LZMAFile(file))
        elif compression == "zstd":
            import pyarrow as pa  # noqa: PLC0415

            stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))
            yield stack.enter_context(io.BufferedReader(_RawStream(stream)))
        elif compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(file))
            yield stack.enter_context(archive.open(_only_member(archive)))
        else:
            yield file


def blocks_of(content: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in blocks.

    Raises:
        ValueError: the content is too large.
    """
    size = 0
    while block := content.read(BLOCK):
        size += len(block)
        if size > MAX_TABLE_BYTES:
            raise ValueError(f"its content is larger than {MAX_TABLE_BYTES:,} bytes")
        yield block


def in_memory(blocks: Iterable[bytes]) -> pa.Buffer:
    """Return blocks as memory of Arrow's own.

    Arrow's threads can read files of Python's, too, but a process that ends while one of them waits for
    Python is aborted.
    """
    import pyarrow as pa  # noqa: PLC0415

    memory = pa.BufferOutputStream()
    for block in blocks:
        memory.write(block)
    return memory.getvalue()


def _compression_of(head: bytes) -> str:
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), "")


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the only file in a zip archive."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not member.filename.rpartition("/")[2].startswith(".")
    ]
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:
        raise ValueError("it is an Excel workbook or another Office document: save the sheet as CSV")
    if len(members) != 1:
        shown = f": {', '.join(names[:5])}" if names else ""
        raise ValueError(f"it is an archive of {len(names)} files{shown}; unpack it, and name one of them")
    if members[0].flag_bits & ENCRYPTED:
        raise ValueError("it is a zip archive with a password: unpack it")
    return members[0]


def kind_of(path: Path) -> Kind:
    """Return what a file contains; text that is not JSON is CSV.

    Raises:
        DatasetError: it cannot be read, or contains no table in a form that is supported.
    """
    with reading(path, "a table"), open_content(path) as content:
        head = content.read(HEAD)
        kind: Kind = next((name for magic, name in TABLES.items() if head.startswith(magic)), "csv")
        if kind != "csv":
            if compression_of_file(path):
                raise ValueError(f"it is a compressed {kind} file: unpack it")
            return kind
        if problem := _not_a_table(head):
            raise ValueError(f"it is {problem}")
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith((b'{"', b"{ ")):
            return "json lines"
        return "json" if start[:1] == b"[" and start[1:].lstrip()[:1] == b"{" else "csv"


def compression_of_file(path: Path) -> str:
    """Return how a file is compressed; an empty text if it is not."""
    with open_regular(path, max_bytes=MAX_TABLE_BYTES) as file:
        return _compression_of(file.read(HEAD))


def _not_a_table(head: bytes) -> str:
    """Return what a file is that is neither a table nor text; an empty text if it may be text."""
    if found := next((what for magic, what in OTHERS.items() if head.startswith(magic)), ""):
        return found
    if head.startswith(PICKLES):
        return "a pickle: save the table as Parquet, with DataFrame.to_parquet"
    if head[TAR_MAGIC] == b"ustar":
        return "a tar archive: unpack it, and name one of its files"
    if head.lstrip()[:14].lower().startswith(MARKUP):
        return "a web page or XML: download or export the table itself as CSV"
    return ""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of the names and the digests of its files.

    Raises:
        DatasetError: it cannot be read.
    """
    with reading(path, "a table"):
        if not is_folder(path):
            digest = hashlib.sha256()
            with open_regular(path, max_bytes=MAX_TABLE_BYTES) as file:
                for block in blocks_of(file):
                    digest.update(block)
            return digest.hexdigest()
        digest = hashlib.sha256()
        for part in sorted(path.rglob("*")):
            if part.is_file():
                digest.update(f"{digest_of(part)} {part.relative_to(path)}\n".encode())
        return digest.hexdigest()


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turn what is raised while a file is read into a `DatasetError` with its name."""
    try:
        yield
    except FileNotFoundError as problem:
        raise DatasetError(f"cannot read {path} as {form}: file not found") from problem
    except zipfile.BadZipFile as problem:
        raise DatasetError(f"cannot read {path} as {form}: its zip archive is damaged") from problem
    except UNREADABLE as problem:
        raise DatasetError(f"cannot read {path} as {form}: {_problem_in_words(problem)}") from problem


def _problem_in_words(problem: Exception) -> str:
    if isinstance(problem, EOFError | zlib.error | lzma.LZMAError):
        return f"its compressed content is damaged or incomplete ({first_line(problem)})"
    return first_line(problem)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, which has no type of its own to open."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False
