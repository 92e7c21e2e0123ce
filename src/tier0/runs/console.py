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

if TYPE_CHECKING:
    from tier0.core.event_log import Recorded
    from tier0.runs.context import RunContext, StepResult
    from tier0.runs.record import Record

FAILED = {1: "FAILED", 2: "ERROR"}
"""Heading of a step's problems, by the exit status that they mean."""
POLL = 1.0
"""Seconds between two looks at the processes of a server that goes on serving."""


class Console:
    """Prints plain lines; on a terminal, also a status line that changes in place."""

    def __init__(self) -> None:
        self._out = rich.console.Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
        self._status: rich.status.Status | None = None

    def say(self, text: str) -> None:
        """Print *text*, and remove the status line."""
        self._stop_status()
        self._print(text)

    def _print(self, text: str, style: str = "") -> None:
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
        for line in result.lines:
            self._print(f"  {line}")
        for problem in result.problems:
            self._print(f"  {FAILED[result.status]}: {problem}", "bold red")
        self._print(f"  ({seconds:.1f} s)", "dim")

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
        """Print the verdict of a run, and the path of its report."""
        problem = f": {record.problem}" if record.problem else ""
        self.say(f"\n{record.folder.name}: {record.verdict_text}{problem}")
        self.say(f"report: {record.folder / 'report.md'}")
