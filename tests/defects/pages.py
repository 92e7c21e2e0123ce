"""Pages of the documentation that are written from verdicts on several clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tier0.core.verdict import Verdict


@contextmanager
def collected(
    names: Collection[str], variable: str, as_page: Callable[[dict[str, Verdict]], str]
) -> Iterator[dict[str, Verdict]]:
    """Yield an object for the verdicts, and write them to the file that a variable names, once all are there.

    Args:
        names: clients that the page lists.
        variable: name of the environment variable.
        as_page: makes the page.
    """
    verdicts: dict[str, Verdict] = {}
    yield verdicts
    page = os.environ.get(variable)
    if page is not None and verdicts.keys() == set(names):
        Path(page).write_text(as_page(verdicts), encoding="utf-8")
