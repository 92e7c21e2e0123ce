"""Fixtures that keep the event loops of pytest-asyncio open; registered only if that plugin is loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest_asyncio


def _loop_fixture(scope: Literal["function", "class", "module", "package", "session"]) -> Any:
    @pytest_asyncio.fixture(loop_scope=scope, name=f"_tier0_{scope}_loop")
    async def loop() -> AsyncIterator[None]:
        yield

    return loop


_function_loop = _loop_fixture("function")
_class_loop = _loop_fixture("class")
_module_loop = _loop_fixture("module")
_package_loop = _loop_fixture("package")
_session_loop = _loop_fixture("session")
