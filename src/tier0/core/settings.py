"""One table of settings, from which options, environment variables and ini keys are made.

An option wins over the environment, the environment over the ini file, all of them over the default. The merge
happens once, into a frozen `Settings` that remembers where each value came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from tier0.core.catalogue import CATALOGUE, GROUPS, LEVELS, select_checks
from tier0.core.errors import SettingsError, UnknownCheckError

DATASETS = ("patients", "breast_cancer", "wine", "diabetes")
HIGHEST_PORT = 65535
ALGORITHMS = ("linear", "random_forest", "hist_gradient_boosting", "xgboost", "lightgbm")
NOT_GIVEN = "default"
"""The source of a setting that is at its default."""


class Port(NamedTuple):
    """A TCP port on loopback: 0 takes any free one; with *or_next*, the next free one if it is taken."""

    number: int
    or_next: bool = False

    def __str__(self) -> str:
        return f"{self.number}{'+' if self.or_next else ''}"


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("begins with the home of a user who is not known here") from None


def _dataset(text: str) -> str:
    if text in DATASETS:
        return text
    path = _path(text)
    if path.suffix.lower() not in {".csv", ".parquet"}:
        names = ", ".join(DATASETS)
        raise ValueError(f"is neither a built-in data set ({names}) nor the path of a .csv or .parquet file")
    if not path.is_file():
        raise ValueError(f"does not exist (looked at {path})")
    return str(path)


def _algorithms(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown or not names:
        raise ValueError(
            f"names no known algorithm{': ' + ', '.join(unknown) if unknown else ''}; choose among {', '.join(ALGORITHMS)}"
        )
    return tuple(dict.fromkeys(names))


def _whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if number < least:
            raise ValueError(f"is less than {least}")
        return number

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise ValueError("is not a positive, finite number of seconds")
    return seconds


def _waiting_time(text: str) -> float:
    return 0.0 if text == "0" else _seconds(text)


def _port(text: str) -> Port:
    digits = text.removesuffix("+")
    if not digits.isdigit() or int(digits) > HIGHEST_PORT:
        raise ValueError(
            "is not a port: give 0 for any free one, 3001 for exactly that one, or 3001+ for that one or the next free one"
        )
    return Port(int(digits), or_next=text.endswith("+"))


def _tags(text: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in text.split(",") if tag.strip())


def _groups(text: str) -> tuple[str, ...]:
    names = _tags(text)
    try:
        select_checks(CATALOGUE, names)
    except UnknownCheckError as problem:
        raise ValueError(f"cannot be used: {problem}") from None
    return names


def _level(text: str) -> str:
    if text and text not in LEVELS:
        raise ValueError(f"is no level: give one of {', '.join(LEVELS)}")
    return text


def read_headers(lines: Sequence[str]) -> dict[str, str]:
    """Read headers as a user gives them: ``Name: value``, or ``Name: @FILE`` to read the value from a file.

    Raises:
        ValueError: one has no name or no value, or its file cannot be read; its value is not shown.
    """
    headers = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not name or not value:
            raise ValueError(
                f"number {number} has no name or no value: give 'Name: value', or 'Name: @FILE' to read it from a file"
            )
        if value.startswith("@"):
            try:
                value = Path(value[1:]).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, RuntimeError, UnicodeDecodeError) as problem:
                raise ValueError(f"has {name!r} in a file that cannot be read: {problem}") from None
        if not value.isascii() or not value.isprintable() or not name.isascii() or " " in name:
            raise ValueError(
                f"number {number} holds what no header may: a name without blanks, and printable ASCII"
            )
        headers[name] = value
    return headers


def _headers(text: str) -> dict[str, str]:
    return read_headers([line for line in text.splitlines() if line.strip()])


def _file(text: str) -> Path | None:
    if not text:
        return None
    path = _path(text)
    if not path.is_file():
        raise ValueError(f"is no file (looked at {path})")
    return path


def _output_file(text: str) -> Path | None:
    if not text:
        return None
    path = _path(text)
    if path.is_dir():
        raise ValueError("is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"cannot be written: there is no folder {path.parent}")
    return path


def _optional_text(text: str) -> str | None:
    return text or None


def _directory(text: str) -> Path | None:
    return _path(text) if text else None


def _switch(text: str) -> bool:
    values = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return values[text.lower()]
    except KeyError:
        raise ValueError("is neither true nor false") from None


def _setting(default: str, parse: Callable[[str], Any], help_: str, metavar: str) -> Any:
    return field(metadata={"default": default, "parse": parse, "help": help_, "metavar": metavar})


@dataclass(
    frozen=True, eq=False, repr=False
)  # what is left out here takes a millisecond to make, in every run of pytest
class Settings:
    """What a run was asked to do. Make one with `merge_settings`."""

    dataset: str = _setting(
        "patients",
        _dataset,
        f"data to train on: {', '.join(DATASETS)}, or the path of a .csv or .parquet file",
        "NAME|PATH",
    )
    target: str | None = _setting("", _optional_text, "the column to predict; needed with a file", "COLUMN")
    group: str | None = _setting(
        "", _optional_text, "a column whose rows must not be split between training and test", "COLUMN"
    )
    date: str | None = _setting(
        "",
        _optional_text,
        "a column of dates, which is no feature: the oldest rows train, newer ones test",
        "COLUMN",
    )
    pipeline: str | None = _setting(
        "",
        _optional_text,
        "a function that trains your own model, instead of selection and training (see docs/bring-your-own.md)",
        "MODULE:FUNCTION",
    )
    algorithms: tuple[str, ...] = _setting(
        ",".join(ALGORITHMS),
        _algorithms,
        f"what selection compares, separated by commas: {', '.join(ALGORITHMS)}",
        "LIST",
    )
    hpo_trials: int = _setting("5", _whole_number(1), "trials of the search for hyper-parameters", "N")
    seed: int = _setting("7", _whole_number(0), "the same seed gives the same model", "N")
    startup_timeout: float = _setting(
        "30", _seconds, "how long a server may take to answer a golden row", "SECONDS"
    )
    port: Port = _setting(
        "0", _port, "port to serve on: 0 for any, 3001, or 3001+ for the next free one if it is taken", "PORT"
    )
    store: Path | None = _setting(
        "", _directory, "BentoML home to register in, and leave the model in, instead of a private one", "DIR"
    )
    url: str | None = _setting(
        "", _optional_text, "judge the service that runs there, instead of training and serving one", "URL"
    )
    service: str | None = _setting(
        "", _optional_text, "start and judge a service of your own, in its own folder", "FILE.py:CLASS"
    )
    model: tuple[str, ...] = _setting(
        "",
        _tags,
        "the tag that must answer, of a model in the store; for a service, all that it loads",
        "TAG[,TAG]",
    )
    golden: Path | None = _setting("", _file, "golden rows in a file, instead of the store's", "FILE")
    contract: Path | None = _setting(
        "",
        _file,
        "TOML file that declares how the service is asked and read; `tier0 contract` drafts it",
        "FILE",
    )
    client: str | None = _setting(
        "", _optional_text, "what makes the client that the application uses, given a URL", "MODULE:FUNCTION"
    )
    groups: tuple[str, ...] = _setting(
        "", _groups, f"groups of checks, or single ones, to ask: {', '.join(GROUPS)}", "LIST"
    )
    disturb: str = _setting(
        "",
        _level,
        f"how far the service may be disturbed: {', '.join(LEVELS)}; by default load for what we start, none for a URL",
        "LEVEL",
    )
    waivers: Path | None = _setting(
        "", _file, "TOML file of waived checks, each with a reason and an expiry date", "FILE"
    )
    header: Mapping[str, str] = _setting(
        "", _headers, "sent with every request and shown nowhere; a line for each", "NAME: VALUE|@FILE"
    )
    without_golden: bool = _setting(
        "false", _switch, "accept a run without golden rows: predictions are then not compared", "BOOL"
    )
    retries: int = _setting(
        "3",
        _whole_number(0),
        "how often a request is sent again after a reset, a timeout, or status 429, 502, 503 or 504",
        "N",
    )
    wait: float = _setting(
        "0", _waiting_time, "how long to wait for a service that does not respond yet", "SECONDS"
    )
    ca: Path | None = _setting(
        "", _file, "certificates of authorities to trust for a URL, in PEM, instead of the system's", "FILE"
    )
    report: Path | None = _setting(
        "", _output_file, "write the report as JSON there, for `tier0 diff` and other programs", "FILE.json"
    )
    mask: bool = _setting("false", _switch, "show no values of golden rows in evidence and commands", "BOOL")
    keep: bool = _setting(
        "false",
        _switch,
        "keep the run's folder (data, MLflow store, models, server logs) and print where it is",
        "BOOL",
    )
    sources: Mapping[str, str] = field(default_factory=dict)

    def describe_changed(self) -> str:
        """Return the settings that are not the default, each with where it came from, on one line."""
        return ", ".join(
            f"{row.name.replace('_', '-')}={_as_text(getattr(self, row.name))} ({source})"
            for row in TABLE
            if (source := self.sources.get(row.name, NOT_GIVEN)) != NOT_GIVEN
        )


class Setting(NamedTuple):
    """One row of the table: *name* as in `Settings`, and how each door spells it."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    metavar: str

    @property
    def option(self) -> str:
        """The option of pytest, such as ``--tier0-hpo-trials``."""
        return f"--tier0-{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable, such as ``TIER0_HPO_TRIALS``."""
        return f"TIER0_{self.name.upper()}"

    @property
    def ini(self) -> str:
        """The key in pytest's ini file, such as ``tier0_hpo_trials``."""
        return f"tier0_{self.name}"


TABLE = tuple(Setting(row.name, **row.metadata) for row in fields(Settings) if row.metadata)


def merge_settings(
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, str | None] | None = None,
    *,
    spelled: str = "--tier0-",
) -> Settings:
    """Merge the three sources of settings, given as text under the names of `Settings`, into one frozen object.

    Args:
        options: as given.
        environ: the environment.
        ini: of pytest.
        spelled: how the options begin, for messages: pytest's have the plugin's name in them, a command's have not.

    Raises:
        SettingsError: a value cannot be used; the message names the setting, the value, where it came from and the remedy.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in TABLE:
        text, source = _first_given(row, options, environ, ini or {}, spelled)
        try:
            values[row.name] = row.parse(text)
        except ValueError as problem:
            shown = "(hidden)" if row.name == "header" else repr(text)
            raise SettingsError(
                f"{source} = {shown} {problem}.\n  {row.option.replace('--tier0-', spelled)} {row.metavar}: {row.help}"
            ) from None
        sources[row.name] = source
    settings = Settings(**values, sources=sources)
    _refuse_contradictions(settings, spelled)
    return settings


def report_of(
    options: Mapping[str, str | None], environ: Mapping[str, str], ini: Mapping[str, str | None]
) -> Path | None:
    """Return where the report goes, whatever is wrong with the other settings.

    Raises:
        ValueError: it cannot go there.
    """
    (row,) = (row for row in TABLE if row.name == "report")
    path: Path | None = row.parse(_first_given(row, options, environ, ini, "--tier0-")[0])
    return path


def remove_report(path: Path) -> None:
    """Remove the report of an earlier run; a pipe or a device such as /dev/stdout holds none.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_file():
        path.unlink()


def _first_given(
    row: Setting,
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, str | None],
    spelled: str,
) -> tuple[str, str]:
    if (text := options.get(row.name)) is not None:
        return text, row.option.replace("--tier0-", spelled)
    if (text := environ.get(row.variable)) is not None:
        return text, f"environment {row.variable}"
    if text := ini.get(row.name):
        return text, f"ini {row.ini}"
    return row.default, NOT_GIVEN


def _refuse_contradictions(settings: Settings, spelled: str) -> None:
    for name in ("dataset", "target", "group", "date", "algorithms", "hpo_trials", "url", "service"):
        if settings.pipeline and settings.sources[name] != NOT_GIVEN:
            raise SettingsError(
                f"{name} = {_as_text(getattr(settings, name))!r} (from {settings.sources[name]}) has no meaning beside "
                f"pipeline = {settings.pipeline!r}, which brings its own model and rows.\n  Leave one of the two out."
            )
    if settings.url and settings.service:
        raise SettingsError(
            f"url = {settings.url!r} and service = {settings.service!r} were both given: "
            "a service either runs already, or is started here.\n  Leave one of --tier0-url and --tier0-service out."
        )
    if settings.ca and not settings.url:
        raise SettingsError(
            f"ca (from {settings.sources['ca']}) says whom to trust at a URL, and none was given.\n  Add --tier0-url https://…."
        )
    for name in ("model", "golden", "contract", "header"):
        if getattr(settings, name) and not settings.url and not settings.service:
            raise SettingsError(
                f"{name} (from {settings.sources[name]}) says what a service of your own must do, and no service was named.\n"
                "  Add --tier0-url URL for one that runs, or --tier0-service FILE.py:CLASS for one to start."
            )
    built_in = settings.dataset in DATASETS
    if not built_in and settings.target is None:
        raise SettingsError(
            f"dataset = {settings.dataset!r} is a file, and no target says which of its columns to predict.\n"
            f"  Add {spelled}target COLUMN (or set TIER0_TARGET{', or tier0_target in the ini file' if spelled != '--' else ''})."
        )
    for name in ("target", "group", "date"):
        value = getattr(settings, name)
        if built_in and value is not None:
            raise SettingsError(
                f"{name} = {value!r} (from {settings.sources[name]}) has no meaning with the built-in data set {settings.dataset!r}.\n"
                f"  Leave it out, or give a file of your own with {spelled}dataset PATH."
            )


def _as_text(value: Any) -> str:
    if isinstance(value, Port):
        return str(value)
    return ",".join(value) if isinstance(value, (tuple, Mapping)) else str(value)  # of headers only the names
