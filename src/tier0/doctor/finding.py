"""The result of one probe."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["ok", "missing", "warns"]


class Finding(NamedTuple):
    """The result of one probe.

    Attributes:
        status: ``missing`` if something must be installed or changed, ``warns`` if it may surprise.
        name: name of what was examined.
        found: state that was found.
        needed_for: what does not work without it.
        remedy: how to change it; empty if nothing needs to be changed.
        main_job: True if registering and serving a model needs it.
    """

    status: Status
    name: str
    found: str
    needed_for: str
    remedy: str = ""
    main_job: bool = False

    def __str__(self) -> str:
        remedy = f" → {self.remedy}" if self.remedy else ""
        return f"{self.status:<9}{self.name:<20}  {self.found} (for {self.needed_for}){remedy}"
