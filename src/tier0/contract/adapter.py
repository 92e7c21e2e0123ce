"""Adapters: classes of the user that write requests and read responses which no contract can describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tier0.core.errors import Tier0Error
from tier0.core.import_object import import_named

WHAT = "a class with the methods body(columns, rows) and read(response)"


class AdapterError(Tier0Error, ValueError):
    """An adapter cannot be imported, or raised an exception."""


class Adapter:
    """The adapter that a contract names.

    Args:
        named: ``module:Class``. The class is called without arguments. Its ``body(columns, rows)`` returns
            the body of a request, as JSON types, for rows that are lists of values in the order of the
            model's *columns*; its ``read(response)`` returns an object with ``predictions``, and with
            ``probabilities``, ``intervals`` and ``model_tag`` where the response has them, each with one item
            per row.

    Raises:
        AdapterError: the class cannot be imported or created, or lacks a method.
    """

    def __init__(self, named: str) -> None:
        self.named = named
        try:
            self._made = import_named("adapter", named, WHAT)()
        except Tier0Error as problem:
            raise AdapterError(str(problem)) from problem
        except Exception as problem:
            raise AdapterError(f"{named}() raised {type(problem).__name__}: {problem}") from problem
        for method in ("body", "read"):
            if not callable(getattr(self._made, method, None)):
                raise AdapterError(f"invalid adapter {named!r}: expected {WHAT}, but it has no {method}")

    def body(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        """Return the body of a request for *rows*.

        Raises:
            AdapterError: the adapter raised an exception.
        """
        try:
            return self._made.body(list(columns), [list(row) for row in rows])
        except Exception as problem:
            raise AdapterError(
                f"the adapter {self.named} cannot write a request: {type(problem).__name__}: {problem}"
            ) from problem

    def read(self, response: Any) -> dict[str, Any]:
        """Return the parts of a response, by name.

        Raises:
            AdapterError: the adapter raised an exception, or returned something other than an object.
        """
        try:
            parts = self._made.read(response)
        except Exception as problem:
            raise AdapterError(
                f"the adapter {self.named} cannot read the response: {type(problem).__name__}: {problem}"
            ) from problem
        if not isinstance(parts, Mapping):
            kind = type(parts).__name__
            raise AdapterError(f"the adapter {self.named} returned {kind} for a response, expected an object")
        return dict(parts)


@cache
def adapter_of(named: str) -> Adapter:
    """Return the adapter ``module:Class``, which is created once."""
    return Adapter(named)
