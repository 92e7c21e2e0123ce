"""The reference says what the code says, and leaves nothing out."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from tests.support import ROOT
from tests.support.snippets import FENCE, INLINE, PAGES, Command, blocks, inline_commands
from tier0 import cli
from tier0.contract.contract import STYLES, Contract, check_declared
from tier0.core.catalogue import CATALOGUE
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.events import Event
from tier0.core.settings import TABLE, rows_for

DOCS = ROOT / "docs"
COMMANDS = get_command(cli.app).commands  # type: ignore[attr-defined]  # several commands are a group
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_what_the_code_says(reference: ModuleType) -> None:
    old = [
        page
        for page, written in reference.PAGES.items()
        if (DOCS / page).read_text(encoding="utf-8") != written()
    ]

    assert not old, "outdated; update them: make docs"


def named_in(page: str) -> set[str]:
    return set(INLINE.findall(FENCE.sub("", (DOCS / page).read_text(encoding="utf-8"))))


def test_every_setting_check_event_and_command_is_named() -> None:
    assert {row.variable for row in TABLE} <= named_in("settings.md")
    assert {row.ini for row in rows_for("pytest")} <= named_in("settings.md")
    assert {check.id for check in CATALOGUE} <= named_in("checks.md")
    assert {check.id for check in CLIENT_CATALOGUE} <= named_in("client-checks.md")
    assert set(Event.kinds) <= named_in("events.md")
    headings = re.findall(
        r"^## tier0 (\S+)$", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings == list(COMMANDS)
    options = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert options <= {name for row in named_in("commands.md") for name in row.split(", ")}


def test_every_key_of_a_contract_is_described_with_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wire", wire := ModuleType("wire"))
    wire.Rows = type("Rows", (), {"body": id, "read": id})  # type: ignore[attr-defined]
    _, _, keys = (DOCS / "contract.md").read_text(encoding="utf-8").partition("## All keys")
    examples = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \| ", keys, re.MULTILINE))
    found_out = {
        *("optional", "is_array", "is_batchable", "may_ignore_names", "is_bentoml", "prefix"),
        *("flat_tensors", "why_not_asked"),
    }

    assert examples.keys() == {field.name for field in fields(Contract)} - found_out | {"placeholders"}
    text = "\n".join(f"{name} = {example}" for name, example in examples.items())
    assert check_declared(tomllib.loads(text)).keys() == examples.keys() - {"placeholders"}
    assert set(STYLES) <= named_in("contract.md")


def test_every_fixture_is_named_as_pytest_lists_it(tmp_path: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:opik", "-p", "tier0.pytest_plugin", "--fixtures", "-q"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    listed = dict(re.findall(r"^(tier0_\w+)(?: \[(\w+) scope\])? -- ", listing.stdout, re.MULTILINE))

    assert "tier0_client" in listed
    page = (DOCS / "fixtures.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(tier0_\w+)` \| (\w+) \|", page, re.MULTILINE)) == {
        name: scope or "test" for name, scope in listed.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_a_page_gives_them(page: Path) -> None:
    typed = [command.plain for block in blocks(page) for command in block.commands()]
    for command in typed + [Command(text).plain for text in inline_commands(page)]:
        program, *words = shlex.split(command.split(" | ")[0].replace("…", "X"))
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if program == "tier0" and words and not words[0].startswith("-"):
            assert words[0] in COMMANDS, command
            known = {option for parameter in COMMANDS[words[0]].params for option in parameter.opts} | {
                "--help"
            }
            assert options <= known, command
        elif program == "pytest":
            known = {row.option for row in rows_for("pytest")}
            assert {option for option in options if option.startswith("--tier0-")} <= known, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        link
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert not broken


def test_every_page_is_linked() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {link for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8"))}

    assert not [
        page.name for page in DOCS.glob("*.md") if page.name not in {Path(link).name for link in linked}
    ]
    assert "docs/tutorial.md" in readme


def test_the_readme_is_short_and_begins_with_pip_and_a_picture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("$ ")]
    before_install = readme.partition("## Install")[0]

    assert len(readme.split()) <= 400
    assert commands[0] == "$ pip install pytest-tier0"
    assert re.search(r"!\[[^]]{20,}\]\((docs/images/\S+)\)", before_install)
    assert "(LICENSE)" in readme
    assert not re.search(r"\d GB", readme)
