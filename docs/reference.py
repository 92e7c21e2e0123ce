"""Write the reference pages from the code: ``python docs/reference.py``, or ``make docs``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tier0.cli import app
from tier0.cli.output import catalogue_table, client_catalogue_table
from tier0.core.catalogue import CATALOGUE, Check
from tier0.core.client_catalogue import CLIENT_CATALOGUE, JUDGED_BY, ClientCheck
from tier0.core.events import Event
from tier0.core.settings import PYTEST, TABLE, Setting, rows_for

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "tier0"
MADE = "Made by `make docs`."
TIER0: Any = get_command(app)
COMMANDS: dict[str, Any] = TIER0.commands
PUBLIC = {
    "tier0": (),
    "tier0.client": (),
    "tier0.client.opik_tracer": ("OpikTracer",),
    "tier0.faults": (),
    "tier0.integrations.router": ("make_router",),
    "tier0.integrations.agents": (
        "HTTPModelClient",
        "ModelAnswer",
        "ModelInferenceTool",
        "ModelOrchestrator",
        "Synthesis",
    ),
    "tier0.serving.service": ("Tier0Service",),
    "tier0.core.events": tuple(kind.__name__ for kind in Event.kinds.values()),
}
"""Modules with public names; () stands for all of `__all__`."""


def settings() -> str:
    """Return the page of all settings."""
    intro = (
        "An option takes precedence over a variable, a variable over the ini file, and all of them over the "
        "default. A command ignores the variables of settings that it does not have. Relative paths in "
        "options and variables begin at the working directory, those in a configuration file of pytest at "
        "the folder of that file, which may use the types of TOML. Invalid settings end a run of pytest only "
        "if a selected test uses Tier0."
    )
    columns = "pytest option | command options | variable | ini key | default | description"
    return _page("Settings", intro, columns, [_setting(row) for row in TABLE])


def _setting(row: Setting) -> str:
    is_of_pytest = PYTEST in row.commands
    defaults = [_code(row.default), *(f"{_code(text)} ({name})" for name, text in row.defaults.items())]
    cells = [
        _code(f"{row.option} {row.metavar}") if is_of_pytest else "",
        ", ".join(_code(f"{name} {row.spelling(name)}") for name in row.commands if name != PYTEST),
        _code(row.variable),
        _code(row.ini) if is_of_pytest else "",
        ", ".join(filter(None, defaults)),
        _cell(row.help),
    ]
    return f"| {' | '.join(cells)} |"


def commands() -> str:
    """Return the page of all commands, with their arguments and options."""
    parts = [f"# Commands\n\n{MADE} {_flowing(TIER0.help)}\n", _table(TIER0.params, {}), ""]
    for name, command in COMMANDS.items():
        examples = "\n".join(line for line in command.epilog.split("\n\n") if line != "Examples:")
        parts.append(f"## tier0 {name}\n\n{_flowing(command.help)}\n\n```\n{examples}\n```\n")
        parts.append(_table(command.params, {row.name: row for row in rows_for(name)}, name) + "\n")
    return "\n".join(parts)


def _table(parameters: list[Any], rows: dict[str, Setting], command: str = "") -> str:
    lines = [_parameter(parameter, rows.get(parameter.name), command) for parameter in parameters]
    return "\n".join(["| option | description | default | variable |", "|---|---|---|---|", *lines])


def _parameter(parameter: Any, row: Setting | None, command: str) -> str:
    if row is not None:
        default = "" if row.is_switch else row.default_for(command)
        help_, variable = row.help, row.variable
    else:
        default = "" if parameter.default in {None, False, ""} else str(parameter.default)
        help_, variable = parameter.help.removesuffix("."), parameter.envvar or ""
    is_argument = parameter.param_type_name == "argument"
    name = parameter.metavar if is_argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    return f"| {_code(name)} | {_cell(help_)} | {_code(default)} | {_code(variable)} |"


def fixtures() -> str:
    """Return the page of all fixtures, with their scopes and docstrings."""
    rows = [f"| `{name}` | {scope} | {text} |" for name, scope, text in sorted(_fixtures())]
    intro = (
        "A fixture of the same name in a `conftest.py` replaces it. Nothing is imported, trained or started "
        "before a test uses one of them."
    )
    return _page("Fixtures", intro, "fixture | scope | value", rows)


def _fixtures() -> Iterator[tuple[str, str, str]]:
    """Yield name, scope and docstring of each fixture."""
    for path in sorted(SOURCE.glob("pytest_*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if function.name.startswith("_"):
                continue
            for decorator in map(ast.unparse, function.decorator_list):
                if decorator.startswith(("pytest.fixture", "pytest_asyncio.fixture")):
                    scope = "session" if "scope='session'" in decorator else "test"
                    yield function.name, scope, _flowing(ast.get_docstring(function) or "")


def checks() -> str:
    """Return the page of all checks of a service."""
    intro = (
        "`tier0 verify` runs the checks that disturb nothing, unless `--disturb` allows more; "
        "`tier0 verify --list` prints this table."
    )
    failures = _failures(CATALOGUE)
    return f"# Checks of a served model\n\n{MADE} {intro}\n\n{catalogue_table()}\n\n{failures}"


def _failures(catalogue: Sequence[Check | ClientCheck]) -> str:
    """Return a section with a line for the failure of each check, to which reports link."""
    intro = (
        "A failure has a [severity](report.md#causes-and-severity). One that is explained by another check's "
        "failure is shown with it, as one cause."
    )
    rows = [
        f'| <a id="{check.id}"></a>`{check.id}` | {check.title} | {check.severity} | {check.remedy} | '
        f"{', '.join(f'`{reason}`' for reason in check.explained_by)} |"
        for check in catalogue
    ]
    columns = ["| check | failure | severity | next step | explained by |", "|---|---|---|---|---|"]
    return "\n".join(["## What a failure means", "", intro, "", *columns, *rows, ""])


def client_checks() -> str:
    """Return the page of all checks of a client."""
    intro = (
        "The column *needs* lists the fields that must be [declared](check-client.md) and the methods that "
        "the client must have; without them, a check is not run. "
        "`tier0 check-client --list` prints this table."
    )
    promises = (
        "## Which check judges which declared field\n\n"
        "Each of these checks fails a client that breaks only the promise in the first column. A field of "
        "which no check could be run is not judged: the result of the check gives the reason.\n\n"
    )
    rows = [f"| `{promise}` | {', '.join(f'`{id_}`' for id_ in ids)} |" for promise, ids in JUDGED_BY.items()]
    table = "\n".join(["| field | checks |", "|---|---|", *rows])
    failures = _failures(CLIENT_CATALOGUE)
    checks = f"{MADE} {intro}\n\n{client_catalogue_table()}"
    return f"# Checks of a client\n\n{checks}\n\n{promises}{table}\n\n{failures}"


def events() -> str:
    """Return the page of all events."""
    intro = (
        "Every event of a run is recorded once, and every report is made from these records. `tier0_events` "
        "is their log: `last(CLASS)` returns the newest event of a class, `with_type(CLASS)` all of them, "
        "and `emit(EVENT)` records one. "
        "The classes are in `tier0.core.events`; `Custom(name, data)` is for events of your own."
    )
    rows = [
        f"| `{name}` | `{kind.__name__}` | {_cell(_summary(kind))} | {_fields(kind)} |"
        for name, kind in Event.kinds.items()
    ]
    return _page("Events", intro, "event | class | meaning | fields", rows)


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _fields(kind: type) -> str:
    return ", ".join(f"`{field.name}`" for field in fields(kind))


def api() -> str:
    """Return the page of all public names; mkdocstrings puts signature and docstring in each one's place."""
    intro = (
        "All names that programs may import ([what is stable](compatibility.md)). The site of the "
        "documentation (`make site`) shows each with its signature and its docstring, as does `help` in "
        "Python. All else is internal."
    )
    parts = [f"# Python\n\n{MADE} {intro}\n"]
    for module, names in PUBLIC.items():
        parts.append(f"## {module}\n\n{_flowing(import_module(module).__doc__ or '')}\n")
        parts += [f"::: {module}.{name}\n" for name in names or import_module(module).__all__]
    return "\n".join(parts)


def examples() -> str:
    """Return the page of the examples, with their files and the commands that run them."""
    return f"""# Examples

{MADE} The files are in the folder `examples/` of the source: copy them, and put your own in their place.
Each has a broken twin, which shows what is caught. They need `pip install 'pytest-tier0[service]'`.

## A service

The training writes the golden rows from the model in memory, before it is saved:

{_file("service/train.py")}
{_file("service/service.py")}
{_file("service/pytest.ini")}
```console
$ python train.py
churn:…
$ pytest --pyargs tier0.suite -m tier0_bentoml
verdict  Passed: …
```

Its broken twin serves only the last step of the pipeline. The service starts, reports that it is healthy, and
responds to every request with status 200:

{_file("service/broken_service.py")}
```console
$ pytest --pyargs tier0.suite -m tier0_bentoml --tier0-service broken_service.py:Churn
verdict  Failed: …
```

## A CI file

Put it in `.github/workflows/`; [other CIs](ci.md) run the same commands.

{_file("service/tier0.yml")}
Its broken twin keeps the output in a file, and loses the status: the job is green, whatever the verdict is.

{_file("service/broken-tier0.yml")}
## A client

No running service is needed to test a client. The declaration says what the client promises:

{_file("client/clients.py")}
{_file("client/client.toml")}
```console
$ tier0 check-client clients:make_client --declare client.toml
clients:make_client: passed: …
```

Its broken twin waits as long as a byte arrives now and then, and sends its requests to any proxy that the
environment names:

{_file("client/broken_clients.py")}
```console
$ tier0 check-client broken_clients:make_client --declare client.toml
broken_clients:make_client: failed: …
```
"""


def _file(name: str) -> str:
    """Return a block with one of the examples."""
    path = DOCS.parent / "examples" / name
    language = {".py": "python", ".yml": "yaml"}.get(path.suffix, path.suffix[1:])
    return f"```{language}\n# {path.name}\n{path.read_text(encoding='utf-8')}```\n"


def _page(title: str, intro: str, columns: str, rows: list[str]) -> str:
    rule = "|---" * (columns.count("|") + 1) + "|"
    return "\n".join([f"# {title}", "", f"{MADE} {intro}", "", f"| {columns} |", rule, *rows, ""])


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _flowing(text: str) -> str:
    """Return text with one line for each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


PAGES = {
    "settings.md": settings, "commands.md": commands, "fixtures.md": fixtures, "checks.md": checks,
    "client-checks.md": client_checks, "events.md": events, "api.md": api, "examples.md": examples,
}  # fmt: skip

if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
        print(DOCS / page)
