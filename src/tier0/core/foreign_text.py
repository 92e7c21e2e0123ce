"""Texts of other software that Tier0 searches for, in the absence of a better indication."""

from __future__ import annotations

import errno
import os

PORT_IN_USE = os.strerror(errno.EADDRINUSE)
"""Text of the C library in the log of `bentoml serve`, when circus fails with this OSError.

Observed with BentoML 1.4.39.
"""

TRACEBACK = "Traceback (most recent call last)"
"""First line of CPython's tracebacks in the log of `bentoml serve`, also of a worker that is restarted.

Observed with CPython 3.11.
"""

UNPICKLING_ERROR = "UnpicklingError"
"""Name of CPython's exception in a response, from a service that returns its exceptions.

Observed with CPython 3.11.
"""

SKIPPED = "Skipped: "
"""Text before the reason in pytest's report of a skipped test. Observed with pytest 9.2.0."""
