"""Events: one typed class each, carried across processes, and no decision that depends on their wording."""

from __future__ import annotations

import socket
import traceback

import pytest

from tier0.core.foreign_text import PORT_IN_USE, TRACEBACK


def test_foreign_texts_are_what_is_printed_here() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match=PORT_IN_USE) as problem,
    ):
        socket.create_server(taken.getsockname())
    assert TRACEBACK in "".join(traceback.format_exception(problem.value))
