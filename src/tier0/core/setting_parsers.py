"""Parsers of the settings: each reads the text of a value, or raises `ValueError` with what was expected."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tier0.core.catalogue import CATALOGUE, LEVELS, select_checks
from tier0.core.errors import UnknownCheckError, reason_of
from tier0.core.named_file import read_text
from tier0.core.protocols import PROTOCOLS

DATASETS = ("patients", "breast_cancer", "wine", "diabetes")
ALGORITHMS = ("linear", "random_forest", "hist_gradient_boosting", "xgboost", "lightgbm")
"""Algorithms that are compared by default."""
ALL_ALGORITHMS = (*ALGORITHMS, "catboost")
UNITS = {"s": 1, "m": 60, "h": 3600}
"""Seconds in the units of a duration."""
MAX_PORT = 65535
PORT_PLACEHOLDER = "{port}"
"""In the command of a server, in place of the port that it is to listen on."""
MAX_HEADER_BYTES = 64 * 1024
"""Size of a file with the value of a header; servers accept much less."""
SWITCHES = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class Port(NamedTuple):
    """A TCP port on loopback: 0 takes any free one; with *or_next*, the next free one if it is taken."""

    number: int
    or_next: bool = False

    def __str__(self) -> str:
        return f"{self.number}{'+' if self.or_next else ''}"


def parse_text(text: str) -> str | None:
    """Return the text; None if it is empty."""
    return text or None


def parse_list(text: str) -> tuple[str, ...]:
    """Return the parts between commas or line breaks, without blanks around them."""
    return tuple(part.strip() for part in text.replace("\n", ",").split(",") if part.strip())


def parse_types(text: str) -> dict[str, str]:
    """Return the kinds of columns, by name, from parts such as ``age=number`` between commas."""
    kinds = {}
    for part in parse_list(text):
        name, equals, kind = part.rpartition("=")
        if not equals or not name.strip() or not kind.strip():
            raise ValueError(f"{part!r} has no column or no kind; expected COLUMN=KIND")
        kinds[name.strip()] = kind.strip()
    return kinds


def parse_switch(text: str) -> bool:
    """Return True or False."""
    try:
        return SWITCHES[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def parse_number(text: str) -> float | None:
    """Return a finite number; None if the text is empty."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError("expected a number") from None
    if not -float("inf") < number < float("inf"):
        raise ValueError("expected a finite number")
    return number


def parse_rate(text: str) -> float | None:
    """Return a positive number per second; None if the text is empty."""
    rate = parse_number(text)
    if rate is not None and rate <= 0:
        raise ValueError("the number of requests per second must be positive")
    return rate


def whole_number(minimum: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that are not less than *minimum*."""
    return partial(parse_whole_number, minimum)


def parse_whole_number(minimum: int, text: str) -> int:
    """Return a whole number that is not less than *minimum*."""
    try:
        number = int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None
    if number < minimum:
        raise ValueError(f"must be at least {minimum}")
    return number


def parse_seconds(text: str) -> float:
    """Return a positive, finite number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("expected a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise ValueError("the number of seconds must be positive and finite")
    return seconds


def parse_duration(text: str) -> float | None:
    """Return a number of seconds from text such as ``60``, ``60s``, ``5m`` or ``1h``; None without text."""
    if not text:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return parse_seconds(number.strip()) * UNITS[unit]
    except ValueError:
        raise ValueError("expected a time such as 60s, 5m or 1h") from None


def parse_waiting_time(text: str) -> float:
    """Return a number of seconds that may be 0."""
    return 0.0 if text in {"0", "0.0"} else parse_seconds(text)


def parse_port(text: str) -> Port:
    """Return a port: ``0``, ``3001`` or ``3001+``."""
    digits = text.removesuffix("+")
    if not digits.isdecimal() or int(digits) > MAX_PORT:
        raise ValueError(
            "expected 0 (any free port), 3001 (exactly that port) or 3001+ (that port or the next free one)"
        )
    return Port(int(digits), or_next=text.endswith("+"))


def parse_scheduler(text: str) -> str | None:
    """Return the address of a Dask scheduler; None if the text is empty."""
    if text and not text.startswith(("tcp://", "tls://")):
        raise ValueError("expected tcp://host:port or tls://host:port")
    return text or None


def parse_level(text: str) -> str:
    """Return how far a service may be disturbed; empty if the caller decides."""
    if text and text not in LEVELS:
        raise ValueError(f"choose {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    return text


def parse_groups(text: str) -> tuple[str, ...]:
    """Return names of groups of checks, or of single checks."""
    names = parse_list(text)
    try:
        select_checks(CATALOGUE, names)
    except UnknownCheckError as problem:
        raise ValueError(str(problem)) from None
    return names


def parse_protocol(text: str) -> str | None:
    """Return the name of a protocol; None if the text is empty."""
    if text not in {"", *PROTOCOLS}:
        raise ValueError(f"unknown protocol {text!r}; choose from {', '.join(PROTOCOLS)}")
    return text or None


def parse_algorithms(text: str) -> tuple[str, ...]:
    """Return names of algorithms, each once."""
    names = parse_list(text)
    unknown = [name for name in names if name not in ALL_ALGORITHMS]
    if unknown or not names:
        problem = f"unknown algorithm {', '.join(map(repr, unknown))}" if unknown else "the list is empty"
        raise ValueError(f"{problem}; choose from {', '.join(ALL_ALGORITHMS)}")
    return tuple(dict.fromkeys(names))


def parse_dataset(text: str) -> str:
    """Return the name of a built-in data set, or the absolute path of a file or folder that exists."""
    if text in DATASETS:
        return text
    path = _absolute(text)
    if not path.suffix and not path.exists():
        raise ValueError(f"expected one of {', '.join(DATASETS)}, or the path of a CSV or Parquet file")
    if not path.is_dir():
        _require_file(path)
    return str(path)


def parse_service(text: str) -> str | None:
    """Return a service with the absolute path of its file or module; None if the text is empty."""
    file, colon, name = text.rpartition(":")
    return f"{_absolute(file)}{colon}{name}" if file else text or None


def parse_command(text: str) -> tuple[str, ...]:
    """Return the words of a command that starts a server, in which ``{port}`` stands for its port.

    No shell runs it: ``$NAME``, pipes and the like have no meaning.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as problem:
        raise ValueError(f"{problem}; quote it as in a shell") from None
    if words and not any(PORT_PLACEHOLDER in word for word in words):
        raise ValueError(
            f"the command has no {PORT_PLACEHOLDER}, in whose place it gets the port to listen on, e.g. "
            f"'uvicorn app:app --port {PORT_PLACEHOLDER}'"
        )
    return words


def parse_directory(text: str) -> Path | None:
    """Return the absolute path of a directory, which need not exist; None if the text is empty."""
    path = _absolute(text) if text else None
    if path is not None and path.exists() and not path.is_dir():
        raise ValueError(f"{path} is not a directory")
    return path


def parse_file(text: str) -> Path | None:
    """Return the absolute path of a file that exists; None if the text is empty."""
    if not text:
        return None
    path = _absolute(text)
    _require_file(path)
    return path


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{'not a regular file' if path.exists() else 'file not found'}: {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"no permission to read {path}")


def parse_output_file(text: str) -> Path | None:
    """Return the absolute path of a file to write; None if the text is empty."""
    if not text:
        return None
    path = _absolute(text)
    if path.is_dir():
        raise ValueError(f"{path} is a directory; name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"directory not found: {path.parent}")
    return path


def parse_headers(text: str) -> dict[str, str]:
    """Return headers from lines of ``Name: value``, or ``Name: @FILE`` to read the value from a file."""
    return _read_headers([line for line in text.splitlines() if line.strip()])


def _read_headers(lines: Sequence[str]) -> dict[str, str]:
    """Read headers; the values are secrets, and are not in the messages."""
    headers = {}
    for number, line in enumerate(lines, 1):
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not name or not value:
            raise ValueError(
                f"header {number} has no name or no value; "
                "expected 'Name: value', or 'Name: @FILE' to read the value from a file"
            )
        if value.startswith("@"):
            try:
                value = read_text(Path(value[1:]).expanduser(), max_bytes=MAX_HEADER_BYTES).strip()
            except UnicodeDecodeError:  # its message would contain a byte of the secret
                raise ValueError(f"the file with the value of header {name!r} is not text in UTF-8") from None
            except (OSError, RuntimeError, ValueError) as problem:
                raise ValueError(
                    f"cannot read the value of header {name!r} from {value[1:]}: {reason_of(problem)}"
                ) from None
            if not value:
                raise ValueError(f"the file with the value of header {name!r} is empty")
        if not value.isascii() or not value.isprintable() or not name.isascii() or " " in name:
            raise ValueError(
                f"header {number} contains characters that HTTP does not allow: "
                "the name must be ASCII without blanks, the value printable ASCII"
            )
        headers[name] = value
    return headers


def text_of(value: Any, parse: Callable[[str], Any]) -> str:
    """Return the text of a setting whose value may have a type of TOML.

    Args:
        value: text, or a value of a TOML file.
        parse: parser of the setting.

    Raises:
        ValueError: the value has another type than the setting; the message has the expected one.
    """
    if isinstance(value, str):
        return value
    types, expected = NATIVE_TYPES.get(getattr(parse, "func", parse), ((), "a string"))
    if type(value) not in types:
        raise ValueError(f"expected {expected}")
    if not isinstance(value, list):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of strings")
    separator = "\n" if parse is parse_headers else ","
    return separator.join(value) or separator


def resolve_paths(text: str, parse: Callable[[str], Any], folder: Path) -> str:
    """Return the text of a setting with its paths made absolute, relative to *folder*."""
    if not text:
        return text
    if parse in {parse_directory, parse_file, parse_output_file}:
        return str(folder / _expanded(text))
    if parse is parse_service:
        place, colon, name = text.rpartition(":") if ":" in text else (text, "", "")
        return f"{folder / _expanded(place)}{colon}{name}"
    if parse is parse_dataset and text not in DATASETS:
        return str(folder / _expanded(text))
    if parse is parse_headers:
        return "\n".join(_resolve_header(line, folder) for line in text.splitlines())
    return text


def _resolve_header(line: str, folder: Path) -> str:
    """Return the line of a header with the path of its file made absolute."""
    name, at, file = line.partition("@")
    is_file = at and name.rstrip().endswith(":") and name.count(":") == 1
    return f"{name}@{folder / _expanded(file.strip())}" if is_file else line


def _absolute(text: str) -> Path:
    try:
        return _expanded(text).absolute()
    except FileNotFoundError:
        raise ValueError("it is relative to the working directory, which no longer exists") from None


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        start = text.partition("/")[0]
        reason = "there is no home directory" if start == "~" else "no such user"
        raise ValueError(f"cannot expand {start!r}: {reason}") from None


NATIVE_TYPES: dict[Callable[..., Any], tuple[tuple[type, ...], str]] = {
    parse_switch: ((bool,), "true or false"),
    parse_number: ((int, float), "a number"),
    parse_rate: ((int, float), "a number"),
    parse_whole_number: ((int,), "a whole number"),
    parse_seconds: ((int, float), "a number of seconds"),
    parse_duration: ((int, float), "a time such as 60s"),
    parse_waiting_time: ((int, float), "a number of seconds"),
    parse_port: ((int,), "a whole number, or a string such as '3001+'"),
    parse_list: ((list,), "a list of strings, or a string"),
    parse_command: ((list,), "a list of strings, or a string"),
    parse_groups: ((list,), "a list of strings, or a string"),
    parse_algorithms: ((list,), "a list of strings, or a string"),
    parse_headers: ((list,), "a list of strings, or a string"),
}
"""By parser: types of TOML that the value may have besides a string, and their description."""
