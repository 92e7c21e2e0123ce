"""Events: one typed class each; what they carry across processes; and no decision that depends on the words in them."""

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
