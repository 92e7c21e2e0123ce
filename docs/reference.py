"""Writes the pages of the reference from the code: ``python docs/reference.py``, or ``make docs``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from typer.main import get_command

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tier0 import cli
from tier0.core.events import Event
from tier0.core.settings import TABLE

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "tier0"
MADE = "Made by `make docs`."
COMMANDS = get_command(cli.app).commands  # type: ignore[attr-defined]  # several commands are a group


def settings() -> str:
    """Every setting of the table."""
    rows = [
        f"| `{row.option} {_cell(row.metavar)}` | `{row.variable}` | `{row.ini}` | {f'`{row.default}`' if row.default else ''} | {row.help} |"
        for row in TABLE
    ]
    return _page(
        "Settings",
        "The option wins over the environment, the environment over the ini file.",
        "option | environment | ini | default | ",
        rows,
    )


def commands() -> str:
    """Every command, with its arguments and options."""
    parts = [f"# Commands\n\n{MADE} {_flowing(cli.main.__doc__ or '')}\n"]
    for name, command in COMMANDS.items():
        parts.append(f"## tier0 {name}\n\n{_flowing(command.help or '')}\n\n| | | default |\n|---|---|---|")
        parts.append("\n".join(_parameter(parameter) for parameter in command.params) + "\n")
    return "\n".join(parts)


def _parameter(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    spelled = (parameter.metavar or parameter.name.upper()) if is_argument else ", ".join(parameter.opts)
    default = "" if parameter.default in {None, False, ""} else f"`{parameter.default}`"
    return f"| `{spelled}` | {_cell(parameter.help or '')} | {default} |"


def fixtures() -> str:
    """Every fixture of the plugin, with its scope and what its docstring says."""
    rows = [f"| `{name}` | {scope} | {said} |" for name, scope, said in sorted(_fixtures())]
    says = "A fixture of the same name in a `conftest.py` takes its place. Nothing is imported, trained or started before one is asked for."
    return _page("Fixtures", says, "fixture | scope | gives", rows)


def _fixtures() -> Iterator[tuple[str, str, str]]:
    for path in sorted(SOURCE.glob("pytest_*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or function.name.startswith(
                "_"
            ):
                continue
            for decorator in map(ast.unparse, function.decorator_list):
                if decorator.startswith(("pytest.fixture", "pytest_asyncio.fixture")):
                    yield (
                        function.name,
                        "session" if "scope='session'" in decorator else "test",
                        _flowing(ast.get_docstring(function) or ""),
                    )


def checks() -> str:
    """Every check of a service."""
    says = (
        "`tier0 verify` runs the checks that disturb nothing, unless `--disturb` allows more; "
        "`tier0 verify --list` prints this table."
    )
    return f"# Checks of a served model\n\n{MADE} {says}\n\n{cli.catalogue_table()}\n"


def client_checks() -> str:
    """Every check of a client."""
    says = (
        "The column *needs* lists the fields that must be [declared](check-client.md) and the methods that the client "
        "must have; without them, a check is not run. `tier0 check-client --list` prints this table."
    )
    return f"# Checks of a client\n\n{MADE} {says}\n\n{cli.client_catalogue_table()}\n"


def events() -> str:
    """Every event."""
    says = (
        "Every event of a run is recorded once, and every report is made from these records. `tier0_events` is their log: "
        "`last(CLASS)` returns the newest event of a class, `with_type(CLASS)` all of them, and `emit(EVENT)` records one. "
        "The classes are in `tier0.core.events`; `Custom(name, data)` is for events of your own."
    )
    rows = [
        f"| `{name}` | `{kind.__name__}` | {_cell(_summary(kind))} | {_fields(kind)} |"
        for name, kind in Event.kinds.items()
    ]
    return _page("Events", says, "event | class | meaning | fields", rows)


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _fields(kind: type) -> str:
    return ", ".join(f"`{field.name}`" for field in fields(kind))


def _page(title: str, says: str, columns: str, rows: list[str]) -> str:
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{MADE} {says}",
            "",
            f"| {columns} |",
            "|---" * (columns.count("|") + 1) + "|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _flowing(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


PAGES = {
    "settings.md": settings, "commands.md": commands, "fixtures.md": fixtures, "checks.md": checks, "client-checks.md": client_checks,
    "events.md": events,
}  # fmt: skip

if __name__ == "__main__":
    for page, written in PAGES.items():
        (DOCS / page).write_text(written(), encoding="utf-8")
        print(DOCS / page)
