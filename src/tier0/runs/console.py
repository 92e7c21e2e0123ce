"""The console of `tier0 run`: printed lines and, on a terminal, a status line with the work in progress."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import rich.console
import rich.markup
import rich.status

from tier0.core import display
from tier0.core.errors import ServerError
from tier0.core.secrets import ENVIRONMENT
from tier0.runs.context import RESULT

if TYPE_CHECKING:
    from tier0.core.event_log import Recorded
    from tier0.runs.context import RunContext, StepResult
    from tier0.runs.record import Record

FAILED = {1: "FAILED", 2: "ERROR"}
"""Heading of a step's problems, by the exit status that they mean."""
POLL = 1.0
"""Seconds between two looks at the processes of a server that goes on serving."""


NOTES = ("note: ", "warning: ")
"""Beginnings of lines of a step that are more important than others."""
LEFT_OUT = ("input: ", "checked: ")
"""Beginnings of lines of a step that are printed with ``--verbose`` only."""
MAX_DETAILS = 2
"""Lines of a step beside its result."""
MAX_FAILED_DETAILS = 5


class Console:
    """Prints plain lines; on a terminal, also a status line that changes in place.

    Args:
        verbose: whether to print all lines of each step.

    Attributes:
        printed: number of lines that were printed.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.printed = 0
        self._verbose = verbose
        self._out = rich.console.Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
        self._status: rich.status.Status | None = None

    def say(self, text: str) -> None:
        """Print *text*, and remove the status line."""
        self._stop_status()
        self._print(text)

    def _print(self, text: str, style: str = "") -> None:
        self.printed += 1 + text.count("\n")
        self._out.print(display.terminal(text, ENVIRONMENT.hide), style=style)

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def begins(self, number: int, step: str) -> None:
        """Print the heading of a step."""
        self._print(f"\nSTEP {number}: {step.upper()}", "bold")
        if self._out.is_terminal:
            self._status = self._out.status("…")
            self._status.start()

    def happened(self, event: Recorded) -> None:
        """Show an event in the status line, if there is one."""
        if event.message and self._status is not None:
            self._status.update(rich.markup.escape(display.line(event.message, ENVIRONMENT.hide)))

    def ended(self, _: str, result: StepResult, seconds: float) -> None:
        """Print the result of a step."""
        self._stop_status()
        for line in result.lines if self._verbose else _shortened(result):
            self._print(f"  {line}")
        for suspicion in result.suspicions:
            self._print(f"  FAILED: {self._short(suspicion)}", "bold red")
        for problem in result.problems:
            self._print(f"  {FAILED[result.status]}: {self._short(problem)}", "bold red")
        self._print(f"  ({seconds:.1f} s)", "dim")

    def _short(self, problem: str) -> str:
        """Return a problem: by default, its first line; the report at the end has the others."""
        return problem if self._verbose else problem.partition("\n")[0]

    def plan(
        self, options: Mapping[str, str], steps: Sequence[str], all_steps: Sequence[str], *, serve: bool
    ) -> None:
        """Print the steps that would be run."""
        self.settings(options)
        for step in steps:
            served = ", and serve the model" if step == "deployment" and serve else ""
            self.say(f"would run step {all_steps.index(step) + 1}: {step}{served}")

    def settings(self, options: Mapping[str, str]) -> None:
        """Print the settings that differ from the defaults."""
        given = ", ".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
        self.say(f"settings: {given or 'defaults'}")

    def hold(self, context: RunContext) -> None:
        """Keep the server of a run up until Ctrl-C.

        Raises:
            ServerError: the server ended by itself.
        """
        server = context.server
        assert server is not None  # noqa: S101 - the runner only calls this with a server
        self.say(f"\nserving at {server.url}; stop with Ctrl-C or: kill {os.getpid()}")
        try:
            while server.pids:
                time.sleep(POLL)
        except KeyboardInterrupt:
            self.say("")
            return
        raise ServerError(f"the server ended by itself; end of its log:\n{server.log_end()}")

    def verdict(self, record: Record) -> None:
        """Print the path of a run's report."""
        more = "" if self._verbose else " (all lines; or --verbose)"
        self.say(f"\nreport: {record.folder / 'report.md'}{more}")


def _shortened(result: StepResult) -> Sequence[str]:
    """Return the lines of a step that are always printed: notes, some numbers, and the result."""
    others = [line for line in result.lines if not line.startswith((*LEFT_OUT, RESULT))]
    others.sort(key=lambda line: not line.startswith(NOTES))
    kept = others[: MAX_FAILED_DETAILS if result.status else MAX_DETAILS]
    return [*kept, *(line for line in result.lines if line.startswith(RESULT))]
