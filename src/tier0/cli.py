"""The command line: the same checks, without pytest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tier0.core.catalogue import CATALOGUE, GROUPS, Disturbance
from tier0.core.errors import Tier0Error
from tier0.core.verdict import CheckResult, Status, Verdict

COULD_NOT_BE_JUDGED = 2
SIGNS = {"pass": "holds", "fail": "FAILS", "not_judged": "-", "error": "ERROR"}
WORDS: dict[Status, str] = {"pass": "hold", "fail": "fail", "not_judged": "not judged", "error": "broke"}
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Is what is served what was trained?")


@app.callback()
def main() -> None:
    """Is what is served what was trained? Exit status 0: it holds, 1: it does not, 2: it could not be judged."""


@app.command()
def verify(
    url: Annotated[str, typer.Argument(help="of the running service, such as https://models.example:3000")] = "",
    model: Annotated[str | None, typer.Option(help="tag of the model that must answer; its store entry holds the golden rows")] = None,
    store: Annotated[Path | None, typer.Option(help="BentoML home that holds the model; only read  [default: $BENTOML_HOME or ~/bentoml]")] = None,
    golden: Annotated[Path | None, typer.Option(help="golden rows in a file, instead of the store's")] = None,
    contract: Annotated[Path | None, typer.Option(help="how the service is asked, a few lines of TOML, where its schema does not say")] = None,
    groups: Annotated[str, typer.Option(help=f"groups of checks, separated by commas: {', '.join(GROUPS)}")] = "",
    disturb: Annotated[Disturbance, typer.Option(help="how far the service may be disturbed: none, malformed (what must be refused), load")] = "none",
    header: Annotated[list[str] | None, typer.Option(help="'Name: value', or 'Name: @FILE' to read a secret from a file; shown nowhere")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="write the verdict to a file")] = None,
    *,
    mask: Annotated[bool, typer.Option("--mask", help="show no values of golden rows in evidence and commands")] = False,
    list_: Annotated[bool, typer.Option("--list", help="print the catalogue of checks, and do nothing else")] = False,
) -> None:
    """Check a running service: safe against production by default (few requests, all well formed).

    With golden rows (--model or --golden) it proves that what is served is what was trained; without them it judges what it can, and
    says what it could not.
    """
    if list_:
        typer.echo(catalogue_table())
        return
    if not url:
        _refuse("which service? Say its URL: tier0 verify http://127.0.0.1:3000")
    from tier0.runs.deployment import Deployment  # noqa: PLC0415 - seconds of imports, which --help and --list do not need
    from tier0.runs.verify import check_serving  # noqa: PLC0415

    try:
        deployment = Deployment.from_url(url, golden=golden, model=model, store=store, contract=contract, headers=read_headers(header or []))
        verdict = check_serving(
            deployment,
            on_fail="return",
            groups=[name for name in groups.split(",") if name],
            disturb=disturb,
            mask=mask,
            tell=_tell,
        )
    except Tier0Error as problem:
        _refuse(str(problem))
    _conclude(verdict)
    if json_ is not None:
        json_.write_text(json.dumps(verdict.as_dict(), indent=2, default=str) + "\n", encoding="utf-8")
    raise typer.Exit(verdict.exit_status)


def catalogue_table() -> str:
    """Return the catalogue as a Markdown table."""
    rows = [f"| `{check.id}` | {check.question} | {', '.join(check.needs) or '-'} | {check.disturb} |" for check in CATALOGUE]
    return "\n".join(["| check | question | needs | disturbs |", "|---|---|---|---|", *rows])


def read_headers(given: list[str]) -> dict[str, str]:
    """Read headers as a user gives them.

    Raises:
        Tier0Error: one has no name or no value, or its file cannot be read; its value is not shown.
    """
    headers = {}
    for header in given:
        name, colon, value = header.partition(":")
        value = value.strip()
        if not colon or not name.strip() or not value:
            raise Tier0Error(f"--header {name!r}: give 'Name: value', or 'Name: @FILE'")
        if value.startswith("@"):
            try:
                value = Path(value[1:]).read_text(encoding="utf-8").strip()
            except OSError as problem:
                raise Tier0Error(f"--header {name!r}: {problem}") from problem
        headers[name.strip()] = value
    return headers


def _refuse(message: str) -> NoReturn:
    typer.echo(f"tier0: {message}", err=True)
    raise typer.Exit(COULD_NOT_BE_JUDGED)


def _tell(result: CheckResult) -> None:
    typer.echo(f"{SIGNS[result.status]:>6}  {result.id:34} {result.message if result.status != 'pass' else ''}".rstrip())


def _conclude(verdict: Verdict) -> None:
    for result in [*verdict.with_status("fail"), *verdict.with_status("error")]:
        typer.echo(f"\n{result.explain()}")
    counts = ", ".join(f"{len(verdict.with_status(status))} {word}" for status, word in WORDS.items())
    conclusion = {"pass": "it holds", "fail": "it does not hold", "error": "it could not be judged"}[verdict.verdict]
    typer.echo(f"\n{verdict.target['url']}: {conclusion}: {counts}")


if __name__ == "__main__":
    sys.exit(app())
