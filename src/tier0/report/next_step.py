"""The next step after a failure, which can be executed as written: with the service and the command."""

from __future__ import annotations

from tier0.core.catalogue import CATALOGUE
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.verdict import CheckResult

OF_SERVICE = frozenset(check.id for check in CATALOGUE)
TIMED_OUT = "(startup-timeout)"
"""In the message for a server that was not ready in time."""


def executable(step: str, result: CheckResult, *, start: str, command: str, service: str) -> str:
    """Return a next step with what it refers to; commands are between backticks.

    Args:
        step: what to do, as an imperative; empty if that is not known.
        result: result of the check that failed.
        start: command that starts the service; empty if it is not known.
        command: command of the run; empty if it is not known.
        service: the service as the user named it; empty if Tier0 has not started it.
    """
    if not step:
        return ""
    if result.message.startswith(SERVER_NOT_READY):
        alone = f"{step}: `{start}`" if start else step
        option = "--tier0-startup-timeout" if command.startswith("pytest ") else "--startup-timeout"
        more = f"; if it only needs more time, raise {option}"
        return f"{alone}{more if TIMED_OUT in result.message else ''}"
    return f"{step} (service: {service})" if service and result.id in OF_SERVICE else step
