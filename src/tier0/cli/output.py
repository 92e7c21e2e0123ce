"""Output of the commands: findings as JSON, and the tables of checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tier0.cli.application import SECRETS, refuse
from tier0.core import display
from tier0.core.catalogue import CATALOGUE
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.named_file import write_text


def write_report(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write the findings of a command as JSON, if a file was named for them."""
    if path is None:
        return
    try:
        write_text(path, json.dumps(display.as_json(content, SECRETS.hide), indent=2) + "\n")
    except OSError as problem:
        refuse(f"cannot write the report {path}: {problem.strerror}. The checks themselves completed")


def catalogue_table() -> str:
    """Return the checks of a service as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join(check.needs) or '-'} | {check.disturb} |"
        for check in CATALOGUE
    ]
    return "\n".join(["| check | question | needs | disturbs |", "|---|---|---|---|", *rows])


def client_catalogue_table() -> str:
    """Return the checks of a client as a Markdown table."""
    rows = [
        f"| `{check.id}` | {check.question} | {', '.join((*check.declared, *check.methods)) or '-'} |"
        for check in CLIENT_CATALOGUE
    ]
    return "\n".join(["| check | question | needs |", "|---|---|---|", *rows])
