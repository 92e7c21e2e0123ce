"""A service of BentoML for the kind of model that an environment variable names.

It loads the model that the test has saved. A header names the mutant that answers in its place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import InvalidArgument

from tests.models.files import GOLDEN, load
from tests.models.kinds import KINDS
from tests.models.server import problem_of
from tier0.golden.rows import GoldenRows

KIND, FOLDER, MUTANT = "TIER0_TEST_KIND", "TIER0_TEST_FOLDER", "X-Mutant"
MADE = KINDS[os.environ[KIND]][1]()
SAVED = Path(os.environ[FOLDER])
ROWS = GoldenRows.read(SAVED / GOLDEN)
HEALTHY = MADE.answer if MADE.serve is None else MADE.serve(load(SAVED, MADE.build))


@bentoml.service
class Scoring:
    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[Any], context: bentoml.Context) -> dict[str, Any]:
        if (problem := problem_of({"rows": rows}, ROWS)) is not None:
            raise InvalidArgument(problem)
        answer = MADE.mutants.get(context.request.headers.get(MUTANT, ""), HEALTHY)
        try:
            return answer(rows)
        except Exception as problem:
            raise InvalidArgument(type(problem).__name__) from problem
