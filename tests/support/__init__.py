"""Helpers of the tests: they start processes and servers, run pytest, follow pages and record requests.

A module belongs here if tests import it and it contains neither tests nor cases. Tables of cases stay beside
their tests, and so do the subjects: services, models and clients that a test serves or checks, which are
loaded by name from their own folder. Nothing here imports a test or a case.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FAST_START = ("-p", "no:opik", "-p", "no:hypothesispytest")
"""Options of a pytest run within a test: without plugins that are slow to import."""
QUIET = (*FAST_START, "-p", "no:cacheprovider")
"""The same, and without files of pytest."""
