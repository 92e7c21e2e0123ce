"""What a person sees while the steps run: lines, and on a terminal also what is being done now."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import rich.console
import rich.markup

from tier0.core.errors import ServerError

if TYPE_CHECKING:
    from tier0.core.event_log import Recorded


class Console:
    """Prints plain lines; on a terminal a line that moves says what is being done."""

    def __init__(self) -> None:
        self._out = rich.console.Console(highlight=False, soft_wrap=True)
        self._status: Any = None

    def say(self, text: str) -> None:
        """Print a line as it is; what moves stands still from here on."""
        self._stand_still()
        self._out.print(text, markup=False)

    def _stand_still(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def begins(self, number: int, step: str) -> None:
        """Head a step."""
        self._out.print(f"\nSTEP {number}: {step.upper()}", style="bold", markup=False)
        if self._out.is_terminal:
            self._status = self._out.status("…")
            self._status.start()

    def happened(self, event: Recorded) -> None:
        """Show what is being done, where a terminal can."""
        if event.message and self._status is not None:
            self._status.update(rich.markup.escape(event.message))

    def ended(self, _: str, found: Any, seconds: float) -> None:
        """Print what a step found."""
        self._stand_still()
        for line in found.lines:
            self._out.print(f"  {line}", markup=False)
        for problem in found.problems:
            self._out.print(
                f"  {'NO' if found.status == 1 else 'NOT DONE'}: {problem}", markup=False, style="bold red"
            )
        self._out.print(f"  ({seconds:.1f} s)", markup=False, style="dim")

    def plan(
        self, options: Mapping[str, str], steps: Sequence[str], all_steps: Sequence[str], *, serve: bool
    ) -> None:
        """Print what would be done."""
        self.settings(options)
        for step in steps:
            self.say(
                f"would do step {all_steps.index(step) + 1}: {step}"
                + (", and serve the model" if step == "deployment" and serve else "")
            )

    def settings(self, options: Mapping[str, str]) -> None:
        """Print what was asked for."""
        asked = ", ".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
        self.say(f"settings: {asked or 'all as by default'}")

    def hold(self, work: Any) -> None:
        """Let what is served go on until somebody presses Ctrl-C, or it ends by itself."""
        self.say(f"\nserving at {work.server.url}; Ctrl-C stops it, and so does: kill {os.getpid()}")
        try:
            while work.server.pids:
                time.sleep(1)
        except KeyboardInterrupt:
            self.say("")
            return
        raise ServerError(f"the server has ended by itself; its log ends:\n{work.server.log_end()}")

    def verdict(self, record: Any) -> None:
        """Print how it ended, and where everything is."""
        self.say(
            f"\n{record.folder.name}: {record.verdict_text}"
            + (f": {record.problem}" if record.problem else "")
        )
        self.say(f"report: {record.folder / 'report.md'}")
