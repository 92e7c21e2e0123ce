"""The parts that are fuzzed: strategies of inputs, and what must be true after each of them.

An input may be refused only with an error of our own. A part has a folder with its name in ``corpus/``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import grammar
from tests.fuzz.wire import Service
from tier0 import check_serving
from tier0.client import BentoMLClient, ClientError
from tier0.contract.contract import read_contract
from tier0.core.declaration import read_declaration
from tier0.core.errors import InvalidRowError, Tier0Error
from tier0.core.trusted_file import write_private
from tier0.core.waivers import read_waivers
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Feature, Signature
from tier0.pipeline.study import read_study
from tier0.report.diff import changes_between, read_facts
from tier0.runs.deployment import Deployment
from tier0.runs.record import RECORD, Record, as_markdown
from tier0.serving.entry import DESCRIPTION_FILE, Entry

GROWTH_LIMIT = 768 * 1024 * 1024
"""Bytes by which the memory of the process may grow with all inputs of a part together."""
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
GOLDEN = GoldenRows(
    ["x", "y"], [[float(row), 1.0] for row in range(4)], [0, 1, 0, 1], None, [0, 1], tag="m:v"
)
LIMITED: dict[str, Any] = {"timeout": 5.0} if "timeout" in inspect.signature(check_serving).parameters else {}
"""The time limit of all checks, in versions that have one."""
VERIFY_SECONDS = 30.0
SIGNATURE = Signature(
    (
        Feature("f", "number", "float64", accepts_missing=True),
        Feature("i", "integer", "int64"),
        Feature("t", "text", "object", vocabulary=("a", "b")),
        Feature("c", "text", "category", categories=("x", "y")),
    ),
    "dataframe",
    "classification",
    (0, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of Tier0 that reads what others wrote.

    Attributes:
        inputs: strategy of the inputs, which are JSON types.
        check: reads one input; fails with any error that is not ours.
        seconds: time limit of one input.
        batch: number of inputs per seed.
    """

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    seconds: float
    batch: int

    def examine(self, given: Any) -> None:
        """Check one input, and its time and memory."""
        start = time.monotonic()
        self.check(given)
        seconds, grown = time.monotonic() - start, peak_memory() - AT_START
        assert seconds <= self.seconds, f"took {seconds:.1f} s"
        assert grown <= GROWTH_LIMIT, f"the memory of the process grew by {grown:,} bytes"


def peak_memory() -> int:
    """The largest size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


AT_START = peak_memory()


def _read_golden(path: Path) -> None:
    golden = GoldenRows.read(path)
    json.dumps([golden.examples.body(), golden.edge_cases.records()])
    answer = {part: getattr(golden, part) for part in ("predictions", "probabilities", "intervals")}
    golden.compare(
        {**answer, "classes": golden.classes},
        tolerance=golden.tolerances(same_arithmetic=False, same_batch=False),
    )


def _read_report(path: Path) -> None:
    changes_between(read_facts(path), read_facts(path))


def _read_record(path: Path) -> None:
    folder = path.parent
    path.rename(folder / RECORD)
    record = Record.read(folder)
    as_markdown(record)
    json.dumps(record.as_dict())


def _read_entry(path: Path) -> None:
    path.rename(path.parent / DESCRIPTION_FILE)
    Entry.read(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "golden": _read_golden,
    "report": _read_report,
    "record": _read_record,
    "entry": _read_entry,
    "contract": read_contract,
    "waivers": read_waivers,
    "declaration": read_declaration,
    "study": read_study,
}


def read_file(given: dict[str, str], *, is_valid: bool = False) -> None:
    """Read a file with the reader of its kind, and use what was read; a valid one must not be refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write_private(path, given["content"].encode("latin-1"))
        with nullcontext() if is_valid else suppress(Tier0Error):
            READERS[given["kind"]](path)


def verify(replies: dict[str, Any]) -> None:
    """Verify a service that responds with *replies*; its report can be written."""
    with Service(replies) as service:
        deployment = Deployment.from_url(service.url, golden=GOLDEN, retries=0, headers={"X-Key": "a-secret"})
        with suppress(Tier0Error):
            verdict = check_serving(deployment, on_fail="return", **LIMITED)
            json.dumps(verdict.as_dict(), allow_nan=False).encode()
            str(verdict).encode()
            unknown = [result.message for result in verdict.checks if "unexpected error" in result.message]
            assert not unknown, unknown
    assert not service.elsewhere, f"connected to {service.elsewhere}"


def call(replies: dict[str, Any]) -> None:
    """Call every method of the client on a service that responds with *replies*."""

    async def call_all(url: str) -> None:
        options: dict[str, Any] = {"timeout": 1.0, "max_attempts": 2, "backoff_base": 0.001}
        async with BentoMLClient(url, **options) as client:
            for method in (client.model_info, client.health_check, lambda: client.predict([[1.0, 2.0]] * 4)):
                with suppress(ClientError):
                    json.dumps(await method())
        with suppress(ClientError, Tier0Error):
            async with await BentoMLClient.for_service(url, **options) as found:
                await found.predict([[1.0, 2.0]] * 4)

    with Service(replies) as service:
        asyncio.run(call_all(service.url))
    assert not service.elsewhere, f"connected to {service.elsewhere}"


def parse_request(body: str) -> None:
    """Parse the body of a request as the service does; what is accepted becomes rows of the model."""
    from tier0.serving.predictor import Predictor  # imports BentoML, which takes seconds

    entry = Entry(Path(), SIGNATURE, "sklearn", {}, "", {})
    try:
        rows = Predictor("m:v", None, entry).parse_rows(body.encode("latin-1"))
    except InvalidRowError as problem:
        json.dumps(problem.as_dict()).encode()
    else:
        SIGNATURE.to_container(rows)


PARTS = {
    "readers": Part(grammar.files(), read_file, 5.0, 400),
    "requests": Part(grammar.REQUESTS, parse_request, 5.0, 400),
    "client": Part(grammar.services(), call, 15.0, 40),
    "verify": Part(grammar.services(), verify, VERIFY_SECONDS, 20),
}
