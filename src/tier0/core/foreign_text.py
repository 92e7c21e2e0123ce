"""Texts that other software prints and that Tier0 searches for, because nothing better tells what happened."""

from __future__ import annotations

import errno
import os

PORT_IN_USE = os.strerror(errno.EADDRINUSE)
"""In the log of `bentoml serve`, whose circus ends with this OSError; the C library's words. Seen with BentoML 1.4.39."""

TRACEBACK = "Traceback (most recent call last)"
"""In the log of `bentoml serve`: CPython's first line of every traceback, also that of a worker that tries again. Seen with CPython 3.11."""

UNPICKLING_ERROR = "UnpicklingError"
"""In a response: the name of CPython's own exception, of a service that shows what it raises. Seen with CPython 3.11."""

SKIPPED = "Skipped: "
"""Before the reason in pytest's report of a skipped test. Seen with pytest 9.2.0."""
