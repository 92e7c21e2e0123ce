"""The table of settings: pytest's options, the commands' options, variables and ini keys are made from it.

An option takes precedence over an environment variable, a variable over the ini file, and all of them over
the default. They are merged once, into a frozen `Settings` object that records the source of each value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from tier0.core import setting_parsers as parsers
from tier0.core.catalogue import GROUPS, LEVELS
from tier0.core.errors import SettingsError
from tier0.core.named_file import is_stream
from tier0.core.protocols import PROTOCOLS
from tier0.core.setting_parsers import ALGORITHMS, ALL_ALGORITHMS, DATASETS, Port

__all__ = [
    "ALGORITHMS", "DATASETS", "NOT_GIVEN", "PYTEST", "REPORT_FILES", "TABLE", "IniValue", "Port", "Setting",
    "Settings", "invalid_setting", "merge_settings", "read_setting", "remove_report", "rows_for",
    "text_of_variable", "why_ignored",
]  # fmt: skip
NOT_GIVEN = "default"
"""The source of a setting that is at its default."""
PYTEST = "pytest"
SERVICE_ADDRESS = ("tcp://", "udp://", "sctp://")
"""How Kubernetes and Docker begin the value of TIER0_PORT in containers that see a service called tier0."""
REPORT_FILES = ("html", "report", "junit", "markdown")
"""Settings that name a file of the report, which is written without an effect on what is done."""
DATA, TRAINING, SERVICE, MODEL, CHECKS, REPORT = "Data", "Training", "Service", "Model", "Checks", "Report"
"""Sections of a command's help."""


def _setting(
    default: str,
    parse: Callable[[str], Any],
    metavar: str,
    section: str,
    commands: str,
    help_: str,
    **other: Any,
) -> Any:
    row = {"default": default, "parse": parse, "metavar": metavar, "section": section, "help": help_}
    return field(metadata={**row, "commands": tuple(commands.split()), **other})


# A generated __eq__ and __repr__ would take a millisecond to create, in every run of pytest.
@dataclass(frozen=True, eq=False, repr=False)
class Settings:
    """The merged settings of one run of pytest or of a command. Create it with `merge_settings`."""

    # fmt: off
    dataset: str = _setting(
        "patients", parsers.parse_dataset, "NAME|PATH", DATA, "pytest run",
        f"Data to train on: {', '.join(DATASETS)}, or the path of a CSV or Parquet file", choices=DATASETS,
    )
    target: str | None = _setting(
        "", parsers.parse_text, "COLUMN", DATA, "pytest run",
        "Column to predict; required if the data set is a file",
    )
    group: str | None = _setting(
        "", parsers.parse_text, "COLUMN", DATA, "pytest run",
        "Column that groups rows, such as a patient's id: training and test never share a group",
    )
    date: str | None = _setting(
        "", parsers.parse_text, "COLUMN", DATA, "pytest run",
        "Column of dates, not used as a feature: training uses the oldest rows, the test newer ones",
    )
    drop: tuple[str, ...] = _setting(
        "", parsers.parse_list, "COLUMN[,COLUMN]", DATA, "run",
        "Columns of a file to leave out",
    )
    keep_columns: tuple[str, ...] = _setting(
        "", parsers.parse_list, "COLUMN[,COLUMN]", DATA, "run",
        "Columns to use as features that would be left out, such as dates and ids",
        command_option="--keep",
    )
    allow: tuple[str, ...] = _setting(
        "", parsers.parse_list, "COLUMN[,COLUMN]", DATA, "run",
        "Columns that may predict the target almost alone, because their values are known at prediction time",
    )
    types: Mapping[str, str] = _setting(
        "", parsers.parse_types, "COLUMN=KIND[,…]", DATA, "run",
        "What columns of a file contain, in place of what was inferred: number, category, misspelled, "
        "boolean, date, time, text or id",
    )
    separator: str | None = _setting(
        "", parsers.parse_text, "CHARACTER", DATA, "run",
        "Character between the values of a CSV file, \\t for a tab; detected by default",
        command_option="--sep",
    )
    decimal: str | None = _setting(
        "", parsers.parse_text, "CHARACTER", DATA, "run",
        "Decimal separator of a CSV file, a point or a comma; detected by default",
    )
    encoding: str | None = _setting(
        "", parsers.parse_text, "NAME", DATA, "run",
        "Encoding of a CSV file, such as latin-1; detected by default",
    )
    missing_texts: tuple[str, ...] = _setting(
        "", parsers.parse_list, "TEXT[,TEXT]", DATA, "run",
        "Texts in a file that are missing values, beside the empty cell",
        command_option="--na",
    )
    imbalanced: float | None = _setting(
        "", parsers.parse_number, "SHARE", DATA, "run",
        "Reduce the rarest class to this share of the rows, greater than 0 and less than 0.5",
    )
    study: Path | None = _setting(
        "", parsers.parse_file, "FILE", DATA, "pytest run",
        "TOML file with the problem, the success criterion, the rules for the data and the cohort; pytest "
        "uses only the task, and how a file is read",
    )
    metric: str | None = _setting(
        "", parsers.parse_text, "NAME", TRAINING, "run",
        "Acceptance metric, computed on the test split: auc_roc, brier, recall_minority, r2, rmse …",
    )
    success: float | None = _setting(
        "", parsers.parse_number, "NUMBER", TRAINING, "run",
        "Value of the acceptance metric that a model must reach to be deployed",
    )
    task: str | None = _setting(
        "", parsers.parse_text, "TASK", TRAINING, "run",
        "What the target asks for, in place of what was inferred: classification or regression",
        choices=("classification", "regression"),
    )
    pipeline: str | None = _setting(
        "", parsers.parse_text, "MODULE:FUNCTION", TRAINING, "pytest run",
        "Function that trains your own model, instead of selection and training (see docs/bring-your-own.md)",
    )
    algorithms: tuple[str, ...] = _setting(
        ",".join(ALGORITHMS), parsers.parse_algorithms, "LIST", TRAINING, "pytest run",
        f"Algorithms that selection compares, separated by commas: {', '.join(ALL_ALGORITHMS)}",
        choices=ALL_ALGORITHMS,
    )
    hpo_trials: int = _setting(
        "5", parsers.whole_number(1), "N", TRAINING, "pytest run",
        "Trials of the hyper-parameter search",
    )
    budget: float | None = _setting(
        "", parsers.parse_duration, "60s", TRAINING, "pytest run",
        "Time for the hyper-parameter search, such as 60s or 5m, in place of a number of trials",
    )
    seed: int = _setting(
        "7", parsers.whole_number(0), "N", TRAINING, "pytest run serve",
        "Random seed; the same seed trains the same model",
    )
    dask: str | None = _setting(
        "", parsers.parse_scheduler, "tcp://HOST:PORT", TRAINING, "run",
        "Address of a Dask scheduler, whose workers fit the models of steps 4 and 5",
    )
    startup_timeout: float = _setting(
        "30", parsers.parse_seconds, "SECONDS", SERVICE, "pytest run serve build compare",
        "Seconds until a started server must return correct predictions for the golden rows",
        defaults={"serve": "60", "build": "60", "compare": "60"},
    )
    port: Port = _setting(
        "0", parsers.parse_port, "PORT", SERVICE, "pytest run serve",
        "Port to serve on: 0 for any free port, 3001, or 3001+ for that port or the next free one",
        defaults={"serve": "3001+"},
    )
    url: str | None = _setting(
        "", parsers.parse_text, "URL", SERVICE, "pytest verify contract",
        "URL of a running service to check, e.g. https://models.example:3000",
        argument_of=("verify", "contract"),
    )
    service: str | None = _setting(
        "", parsers.parse_service, "FILE.py:CLASS", SERVICE, "pytest",
        "BentoML service of your own to start and check",
    )
    command: tuple[str, ...] = _setting(
        "", parsers.parse_command, "COMMAND", SERVICE, "pytest",
        "Command that starts a server of any kind to check, with {port} in place of its port",
    )
    header: Mapping[str, str] = _setting(
        "", parsers.parse_headers, "'NAME: VALUE|@FILE'", SERVICE, "pytest verify contract compare",
        "Header of every request (several: one per line); @FILE reads the value from a file; never shown",
        is_repeatable=True, is_secret=True,
    )
    ca: Path | None = _setting(
        "", parsers.parse_file, "FILE", SERVICE, "pytest verify contract compare",
        "PEM file of the certificate authorities to trust, instead of the system's",
    )
    retries: int = _setting(
        "3", parsers.whole_number(0), "N", SERVICE, "pytest verify compare",
        "How often a request is sent again after a reset, a timeout, or status 429, 502, 503 or 504",
    )
    rate: float | None = _setting(
        "", parsers.parse_rate, "NUMBER", CHECKS, "pytest verify compare",
        "Requests per second that all checks together may send; those that need more are not checked. No "
        "limit by default",
    )
    timeout: float = _setting(
        "120", parsers.parse_seconds, "SECONDS", CHECKS, "verify",
        "Seconds for all checks; what is not completed by then is not checked, and the run is inconclusive",
    )
    wait: float = _setting(
        "0", parsers.parse_waiting_time, "SECONDS", SERVICE, "pytest verify compare",
        "Seconds to wait for a service that does not respond yet",
    )
    store: Path | None = _setting(
        "", parsers.parse_directory, "DIR", MODEL, "pytest run verify contract serve build compare",
        "BentoML home to register a trained model in (instead of a private one), or to read models from "
        "(instead of $BENTOML_HOME or ~/bentoml)",
    )
    model: tuple[str, ...] = _setting(
        "", parsers.parse_list, "TAG[,TAG]", MODEL, "pytest verify contract",
        "Tag of the expected model, whose store entry contains the golden rows; for a service to start, "
        "tags of all models that it loads",
    )
    golden: Path | None = _setting(
        "", parsers.parse_file, "FILE", MODEL, "pytest verify contract compare",
        "File of golden rows, written by tier0 golden; used instead of those in the store",
    )
    without_golden: bool = _setting(
        "false", parsers.parse_switch, "BOOL", MODEL, "pytest verify",
        "Accept a run without golden rows: predictions are then not compared with the trained model",
    )
    protocol: str | None = _setting(
        "", parsers.parse_protocol, "NAME", MODEL, "pytest verify contract compare check-client",
        f"Protocol of the service, found by itself by default: {', '.join(PROTOCOLS)}",
        choices=PROTOCOLS,
    )
    contract: Path | None = _setting(
        "", parsers.parse_file, "FILE", MODEL, "pytest verify contract compare",
        "TOML file that declares the service's request and response format; `tier0 contract` drafts it",
    )
    client: str | None = _setting(
        "", parsers.parse_text, "MODULE:FUNCTION", CHECKS, "pytest verify check-client",
        "Function that takes a URL and returns the client that the application uses",
        argument_of=("check-client",),
    )
    declare: Path | None = _setting(
        "", parsers.parse_file, "FILE", CHECKS, "check-client",
        "TOML file that declares what the client promises; other behaviour is not checked",
    )
    groups: tuple[str, ...] = _setting(
        "", parsers.parse_groups, "LIST", CHECKS, "pytest verify",
        f"Groups of checks, or single checks, separated by commas; all by default: {', '.join(GROUPS)}",
        choices=GROUPS,
    )
    disturb: str = _setting(
        "", parsers.parse_level, "LEVEL", CHECKS, "pytest verify compare",
        "How far the service may be disturbed: none, malformed (requests that must be refused), load, "
        "or faults (kills); by default none for a URL, load for a service that the run starts",
        choices=LEVELS,
    )
    waivers: Path | None = _setting(
        "", parsers.parse_file, "FILE", CHECKS, "pytest verify",
        "TOML file of waived checks, each with a reason and an expiry date",
    )
    mask: bool = _setting(
        "false", parsers.parse_switch, "BOOL", REPORT, "pytest verify compare",
        "Show no values of golden rows in evidence and commands",
    )
    html: Path | None = _setting(
        "", parsers.parse_output_file, "FILE.html", REPORT, "pytest verify check-client run compare",
        "File for the report as one page for readers, which needs no network; an older file is removed first",
    )
    report: Path | None = _setting(
        "", parsers.parse_output_file, "FILE.json", REPORT, "pytest verify check-client run compare",
        "File for the report as JSON, for `tier0 diff` and other programs; an older file is removed first",
        command_option="--json",
    )
    junit: Path | None = _setting(
        "", parsers.parse_output_file, "FILE.xml", REPORT, "pytest verify check-client run compare",
        "File for the report as JUnit XML, for the list of tests of a CI; an older file is removed first",
    )
    markdown: Path | None = _setting(
        "", parsers.parse_output_file, "FILE.md", REPORT, "pytest verify check-client run compare",
        "File for a summary of the report as Markdown, for a comment; an older file is removed first",
    )
    history: Path | None = _setting(
        "", parsers.parse_directory, "FOLDER", REPORT, "pytest verify check-client run compare",
        "Folder that keeps the verdict, checks, metrics and latencies of each run, one small file per run; "
        "the report then shows the last thirty runs, flaky checks, and since when a check fails",
    )
    keep: bool = _setting(
        "false", parsers.parse_switch, "BOOL", REPORT, "pytest",
        "Keep the run's directory (data, MLflow store, models, server logs) and print its path",
    )
    # fmt: on
    sources: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Variables that are not settings although they have such a name, each with the reason."""

    def describe_changed(self) -> str:
        """Return the settings that are not at their default, each with its source, on one line."""
        return ", ".join(
            f"{row.name.replace('_', '-')}={_as_text(getattr(self, row.name))} ({source})"
            for row in TABLE
            if (source := self.sources.get(row.name, NOT_GIVEN)) != NOT_GIVEN
        )


class Setting(NamedTuple):
    """One row of the table.

    Attributes:
        name: name of the attribute of `Settings`.
        default: default value, as text.
        parse: converts the text of a value; raises `ValueError` with what was expected.
        help: description, which stands alone.
        metavar: placeholder of the value in help.
        section: section of a command's help.
        commands: where the setting applies: ``pytest``, or commands of ``tier0``.
        choices: values for the completion in a shell, if there are a few.
        defaults: other defaults, by command.
        argument_of: commands that take the value as a positional argument.
        command_option: the option's spelling in commands, where it is not made from the name.
        is_repeatable: True if the option may be given several times, once for each line of the value.
        is_secret: True if messages must not show the value.
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    metavar: str
    section: str
    commands: tuple[str, ...]
    choices: tuple[str, ...] = ()
    defaults: Mapping[str, str] = {}
    argument_of: tuple[str, ...] = ()
    command_option: str = ""
    is_repeatable: bool = False
    is_secret: bool = False

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

    @property
    def is_switch(self) -> bool:
        """True if the value is true or false."""
        return self.parse is parsers.parse_switch

    def spelling(self, command: str) -> str:
        """Return the option or argument of a command, such as ``--hpo-trials`` of ``run``, or ``URL``."""
        if command == PYTEST:
            return self.option
        if command in self.argument_of:
            return self.name.upper()
        return self.command_option or f"--{self.name.replace('_', '-')}"

    def default_for(self, command: str) -> str:
        """Return the default value in a command, as text."""
        return self.defaults.get(command, self.default)


class IniValue(NamedTuple):
    """The value of a key in pytest's configuration.

    Attributes:
        value: text, or a value of a TOML file.
        place: name of the file, or the option that overrides it, for messages.
        folder: folder to which paths in the value are relative.
    """

    value: Any
    place: str
    folder: Path


TABLE = tuple(Setting(row.name, **row.metadata) for row in fields(Settings) if row.metadata)
_BY_NAME = {row.name: row for row in TABLE}


def rows_for(command: str) -> tuple[Setting, ...]:
    """Return the settings that apply to ``pytest``, or to a command of ``tier0``."""
    return tuple(row for row in TABLE if command in row.commands)


def merge_settings(
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, IniValue] | None = None,
    *,
    command: str = PYTEST,
) -> Settings:
    """Merge options, environment variables and ini keys into one frozen object.

    Args:
        options: texts of options, by the names of `Settings`; None for an option that was not given.
        environ: environment variables.
        ini: values of pytest's configuration, by the names of `Settings`.
        command: ``pytest``, or a command of ``tier0``; other settings stay at their default.

    Raises:
        SettingsError: a value is invalid, or two contradict each other; the message names the setting, the
            value, its source and the remedy.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in TABLE:
        if command in row.commands:
            values[row.name], sources[row.name] = _read(row, options, environ, ini or {}, command)
        else:
            values[row.name], sources[row.name] = row.parse(row.default), NOT_GIVEN
    reasons = (
        why_ignored(row, environ) for row in rows_for(command) if sources[row.name] != row.spelling(command)
    )
    settings = Settings(**values, sources=sources, ignored=tuple(filter(None, reasons)))
    _check_contradictions(settings, command)
    return settings


def read_setting(
    name: str,
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, IniValue] | None = None,
    *,
    command: str = PYTEST,
) -> Any:
    """Return the value of one setting, even if others are invalid; see `merge_settings`.

    Raises:
        SettingsError: the value is invalid.
    """
    return _read(_BY_NAME[name], options, environ, ini or {}, command)[0]


def remove_report(path: Path) -> None:
    """Remove the report of an earlier run, if *path* is a regular file (and not, for example, /dev/stdout).

    Raises:
        OSError: the file cannot be removed.
    """
    if path.is_file() and not is_stream(path):
        path.unlink()


def text_of_variable(row: Setting, environ: Mapping[str, str]) -> str | None:
    """Return the text of a setting's variable; None if it is not set, or is not the setting."""
    return None if why_ignored(row, environ) else environ.get(row.variable)


def why_ignored(row: Setting, environ: Mapping[str, str]) -> str:
    """Return why a variable with the name of a setting is ignored; empty if it is not ignored."""
    text = environ.get(row.variable, "")
    if row.parse is not parsers.parse_port or not text.startswith(SERVICE_ADDRESS):
        return ""
    return (
        f"environment variable {row.variable}={text} is ignored: Kubernetes or Docker sets it to the address "
        "of a service called tier0"
    )


def _read(
    row: Setting,
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, IniValue],
    command: str,
) -> tuple[Any, str]:
    """Return the value of a setting and its source."""
    given, source, folder = _first_given(row, options, environ, ini, command)
    try:
        text = parsers.text_of(given, row.parse)
        if row.is_repeatable and source != NOT_GIVEN and not text.strip():
            raise ValueError("it is empty; remove it, or give a value")  # noqa: TRY301 - a message like the others
        return row.parse(text if folder is None else parsers.resolve_paths(text, row.parse, folder)), source
    except ValueError as problem:
        raise invalid_setting(row.name, given, source, str(problem), command=command) from None


def invalid_setting(
    name: str, given: Any, source: str, problem: str, *, command: str = PYTEST
) -> SettingsError:
    """Return the error for a value that cannot be used.

    Args:
        name: name of the setting.
        given: its value.
        source: where the value came from.
        problem: what is wrong with it, and what was expected.
        command: ``pytest``, or a command of ``tier0``.
    """
    row = _BY_NAME[name]
    shown = "(hidden)" if row.is_secret else repr(given)
    return SettingsError(
        f"invalid value {shown} for {source}: {problem}.\n"
        f"  {row.spelling(command)} {row.metavar}: {row.help}",
        setting=name,
        source=source,
    )


def _first_given(
    row: Setting,
    options: Mapping[str, str | None],
    environ: Mapping[str, str],
    ini: Mapping[str, IniValue],
    command: str,
) -> tuple[Any, str, Path | None]:
    """Return the value of a setting as it was given, its source, and the folder of its relative paths."""
    if (text := options.get(row.name)) is not None:
        return text, row.spelling(command), None
    if (text := text_of_variable(row, environ)) is not None:
        return text, f"environment variable {row.variable}", None
    found = ini.get(row.name)
    if found is not None and found.value != "":
        return found.value, f"ini key {row.ini} in {found.place}", found.folder
    return row.default_for(command), NOT_GIVEN, None


def _check_contradictions(settings: Settings, command: str) -> None:
    _check_own_pipeline(settings, command)
    _check_data_set(settings, command)
    if command == PYTEST:
        _check_service(settings)


def _check_own_pipeline(settings: Settings, command: str) -> None:
    """Check that nothing is given that a pipeline function replaces."""
    for name in ("dataset", "target", "group", "date", "algorithms", "hpo_trials", "url", "service"):
        if settings.pipeline and settings.sources[name] != NOT_GIVEN:
            option = _BY_NAME["pipeline"].spelling(command)
            raise _contradiction(
                settings,
                name,
                f"cannot be combined with {option} {settings.pipeline}, which has its own model and rows",
                "Remove one of the two.",
            )


def _check_data_set(settings: Settings, command: str) -> None:
    """Check that a file comes with a target, and that a built-in data set comes without options of a file."""
    dataset, target = _BY_NAME["dataset"], _BY_NAME["target"]
    if settings.dataset not in DATASETS:
        if settings.target is None:
            ini = f", or {target.ini} in the ini file" if command == PYTEST else ""
            raise _contradiction(
                settings,
                "dataset",
                "is a file, and the column to predict is not given",
                f"Add {target.spelling(command)} COLUMN (or set {target.variable}{ini}).",
            )
        return
    for name in ("target", "group", "date"):
        if getattr(settings, name) is not None:
            raise _contradiction(
                settings,
                name,
                f"cannot be combined with the built-in data set {settings.dataset!r}",
                f"Remove it, or name a file of your own with {dataset.spelling(command)} PATH.",
            )


def _check_service(settings: Settings) -> None:
    """Check that options of a service are given with exactly one service."""
    given = [name for name in ("url", "service", "command") if getattr(settings, name)]
    if len(given) > 1:
        raise _contradiction(
            settings,
            given[0],
            f"cannot be combined with {given[1]} {_as_text(getattr(settings, given[1]))!r}: only one service "
            "is checked",
            f"Remove one of --tier0-{given[0]} and --tier0-{given[1]}.",
        )
    if settings.ca and not settings.url:
        raise _contradiction(
            settings,
            "ca",
            "has no effect without the URL of a service",
            "Add --tier0-url https://….",
        )
    for name in ("model", "golden", "protocol", "contract", "header"):
        if getattr(settings, name) and not given:
            raise _contradiction(
                settings,
                name,
                "has no effect without a service of your own",
                "Add --tier0-url URL for a running service, or --tier0-service FILE.py:CLASS, or "
                "--tier0-command COMMAND, to start one.",
            )


def _contradiction(settings: Settings, name: str, problem: str, remedy: str) -> SettingsError:
    source = settings.sources[name]
    shown = f"{name} {_as_text(getattr(settings, name))!r} (from {source})"
    return SettingsError(f"{shown} {problem}.\n  {remedy}", setting=name, source=source)


def _as_text(value: Any) -> str:
    """Return a value as text; of headers only the names, since the values are secrets."""
    if isinstance(value, Port):
        return str(value)
    return ",".join(value) if isinstance(value, (tuple, Mapping)) else str(value)
