"""The command line ``tier0``: one module per command, which imports what it needs when it runs."""

from __future__ import annotations

# The order of the imports is the order of the commands in the help.
# isort: off
from tier0.cli import verify, contract, check_client, run, compare, diff, golden, serve, build, doctor
from tier0.cli.application import app
# isort: on

__all__ = [
    "app", "build", "check_client", "compare", "contract", "diff", "doctor", "golden", "run", "serve",
    "verify",
]  # fmt: skip
