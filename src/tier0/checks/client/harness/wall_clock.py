"""The system clock as a client sees it, which can be stepped without changing that of the machine.

`replace` works for everything that is imported later, and belongs in a process of its own. `borrowed` works
in the user's process, but cannot find every name under which a client may have stored a function.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Self

NANOSECONDS = 10**9
_step = 0.0
_time, _time_ns = time.time, time.time_ns
_gmtime, _localtime = time.gmtime, time.localtime
_Datetime = dt.datetime


@contextmanager
def stepped(seconds: float) -> Iterator[None]:
    """Show a system clock that is *seconds* ahead, in this block."""
    global _step  # noqa: PLW0603 - there is one system clock
    _step = seconds
    try:
        yield
    finally:
        _step = 0.0


def replace() -> None:
    """Replace the functions of `time` and `datetime` that read the system clock, for later imports."""
    for name, function in _FUNCTIONS.items():
        setattr(time, name, function)
    dt.datetime = _Stepped  # type: ignore[misc]


@contextmanager
def borrowed() -> Iterator[None]:
    """Replace `time.time` and `time.time_ns`, also where modules have imported them, in this block."""
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    for real, function in ((_time, _shifted_time), (_time_ns, _shifted_time_ns)):
        for module in [module for name, module in sys.modules.items() if name != __name__]:
            names = vars(module) if isinstance(module, ModuleType) else {}
            replaced += [(names, name, real) for name, value in list(names.items()) if value is real]
            names.update({name: function for name, value in list(names.items()) if value is real})
    try:
        yield
    finally:
        for names, name, real in replaced:
            names[name] = real


def _shifted_time() -> float:
    return _time() + _step


def _shifted_time_ns() -> int:
    return _time_ns() + int(_step * NANOSECONDS)


def _shifted_gmtime(seconds: float | None = None) -> time.struct_time:
    return _gmtime(_shifted_time() if seconds is None else seconds)


def _shifted_localtime(seconds: float | None = None) -> time.struct_time:
    return _localtime(_shifted_time() if seconds is None else seconds)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "time": _shifted_time,
    "time_ns": _shifted_time_ns,
    "gmtime": _shifted_gmtime,
    "localtime": _shifted_localtime,
}


class _AnyDatetime(type):
    """Lets every `datetime` be an instance of the class that replaces it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _Datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Datetime)


class _Stepped(_Datetime, metaclass=_AnyDatetime):
    """`datetime.datetime` with a system clock that can be stepped."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_shifted_time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.fromtimestamp(_shifted_time(), dt.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.fromtimestamp(_shifted_time())


_Stepped.__name__ = _Stepped.__qualname__ = _Datetime.__name__
_Stepped.__module__ = _Datetime.__module__
