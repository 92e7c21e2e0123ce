"""Helpers of the tests: they start processes and servers, run pytest, follow the documentation, and record requests.

A module belongs here if tests import it and it has neither tests nor cases in it. Beside their tests stay the tables of cases,
and the subjects: services, models and clients that a test serves or judges, which are loaded by name from their own folder.
Nothing here imports a test or a case.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
