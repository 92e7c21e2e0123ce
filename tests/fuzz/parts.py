"""The parts that are fuzzed: strategies of inputs, and what must be true after each of them.

An input may be refused, but only with an error of our own or with a status; see `Part.examine` for the rest.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from typer.testing import CliRunner

import tier0
from tests.fuzz import clients, grammar, wire
from tier0.cli import app
from tier0.client import BentoMLClient, ClientError, SyncBentoMLClient
from tier0.client.wire import decode_json
from tier0.contract.contract import read_contract
from tier0.contract.service_schema import find_contract
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.declaration import read_declaration
from tier0.core.errors import InvalidRowError, Tier0Error
from tier0.core.foreign_text import TRACEBACK
from tier0.core.trusted_file import write_private
from tier0.core.waivers import read_waivers
from tier0.golden.rows import GoldenRows
from tier0.golden.signature import Feature, Signature
from tier0.pipeline.study import read_study
from tier0.pipeline.tables import Table
from tier0.runs.record import RECORD, Record, as_markdown
from tier0.serving.entry import DESCRIPTION_FILE, Entry, find_entry
from tier0.serving.server import Server
from tier0.serving.service_source import ServiceSource

MIB = 1 << 20
GROWTH_LIMIT = 200 * MIB
"""Bytes by which the memory of a process may grow with one input."""
GOLDEN = GoldenRows(
    ["x", "y"], [[float(row), 1.0] for row in range(4)], [0, 1, 0, 1], None, [0, 1], tag="m:v"
)
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
)


class FindingError(AssertionError):
    """Something that must not happen.

    Attributes:
        kind: what findings with one cause have in common.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


@dataclass(frozen=True)
class Part:
    """A part of Tier0 that reads what others wrote.

    Attributes:
        inputs: strategy of the inputs, which are JSON types.
        healthy: inputs that are accepted.
        check: reads one input, and returns whether it was accepted; fails with any error that is not ours.
        seconds: time limit of one input.
        batch: number of inputs per seed.
        shrinks: whether there is time to shrink an input that failed.
    """

    inputs: st.SearchStrategy[Any]
    healthy: Sequence[Any]
    check: Callable[[Any], bool]
    seconds: float
    batch: int
    shrinks: bool = False

    def examine(self, given: Any) -> bool:
        """Check one input, its time and memory, and the addresses that it connected to.

        Returns:
            Whether the input was accepted.
        """
        start, connected = time.monotonic(), wire.number_connected()
        memory.start()
        accepted = self.check(given)
        memory.stop()
        seconds = time.monotonic() - start
        if others := [to for to in wire.connected_since(connected, 0) if to[0] != "127.0.0.1"]:
            raise FindingError("connected elsewhere", str(others[:3]))
        if seconds > self.seconds:
            raise FindingError("took too long", f"{seconds:.1f} s")
        if memory.grown > GROWTH_LIMIT:
            raise FindingError("memory", f"grew by {memory.grown / MIB:.0f} MiB")
        return accepted


class Memory:
    """How far this process grew with an input; Linux forgets the largest size so far on request.

    Attributes:
        grown: bytes.
    """

    grown = 0

    def start(self) -> None:
        """Begin with the size of now."""
        if sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = self._largest()

    def stop(self) -> None:
        """Take the largest size since the start."""
        self.grown = self._largest() - self._before

    @staticmethod
    def _largest() -> int:
        if sys.platform != "linux":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


memory = Memory()


# --- files ---


def _read_golden(path: Path) -> None:
    golden = GoldenRows.read(path)
    json.dumps([golden.examples.body(), golden.edge_cases.records()])
    answer = {part: getattr(golden, part) for part in ("predictions", "probabilities", "intervals")}
    golden.compare(
        {**answer, "classes": golden.classes},
        tolerance=golden.tolerances(same_arithmetic=False, same_batch=False),
    )


def _read_record(path: Path) -> None:
    record = Record.read(path.rename(path.parent / RECORD).parent)
    as_markdown(record)
    json.dumps(record.as_dict())


def _read_entry(path: Path) -> None:
    entry = Entry.read(path.rename(path.parent / DESCRIPTION_FILE).parent)
    dict(entry.metadata), dict(entry.versions), [*entry.framework, *entry.sha256]


def _read_latest(path: Path) -> None:
    entry = path.parent / "models" / "m" / "v1"
    entry.mkdir(parents=True)
    (entry / "model.yaml").touch()
    path.rename(entry.parent / "latest")
    find_entry("m:latest", path.parent)


def _read_table(path: Path) -> None:
    table = Table.read(path)
    for name in table.columns:
        with suppress(TypeError):  # the documented refusal of one column
            table.column(name)


READERS: dict[str, Callable[[Path], Any]] = {
    "golden": _read_golden,
    "report": lambda path: run_command(path.parent, "diff", str(path), str(path)),
    "record": _read_record,
    "entry": _read_entry,
    "latest": _read_latest,
    "contract": read_contract,
    "description": lambda path: find_contract(decode_json(path.read_bytes()), {}, ("x", "y")),
    "waivers": read_waivers,
    "declaration": read_declaration,
    "study": read_study,
    "csv": _read_table,
    "parquet": _read_table,
    "build": lambda path: ServiceSource.find(str(path.rename(path.parent / "pyproject.toml").parent)),
}


def read_file(given: dict[str, str]) -> bool:
    """Read a file with the reader of its kind, and use its content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{given['kind']}"
        write_private(path, given["content"].encode("latin-1"))
        try:
            READERS[given["kind"]](path)
        except (Tier0Error, ClientError):
            return False
        return True


# --- commands ---


def run_command(folder: Path, *arguments: str) -> int:
    """Run a command here; it may fail only with a message, and with status 1 only for a verdict."""
    result = CliRunner().invoke(app, ["--debug", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if TRACEBACK in result.output or "internal error" in result.output:
        lines = re.findall(r'/tier0/([^"]+)", line (\d+)', result.output) or [("?", "?")]
        error = re.search(r"internal error: (\w+)", result.output)
        raise FindingError(
            f"{error[1] if error else 'traceback'} at {':'.join(lines[-1])}", result.output[-4000:]
        )
    if grammar.SECRET in result.output:
        raise FindingError("the secret is printed", result.output[-1000:])
    if result.exit_code not in {0, 1, 2}:
        raise FindingError(f"status {result.exit_code}", result.output[-1000:])
    report = folder / "report.json"
    verdict = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    for check in verdict.get("checks", ()):
        if "unexpected error" in check["message"]:
            raise FindingError(f"{check['id']}: {check['message'][:60]}", check["message"])
    if (
        result.exit_code == 1
        and arguments[0] in {"verify", "check-client"}
        and verdict.get("verdict") != "fail"
    ):
        raise FindingError("status 1 without a verdict", result.output[-1000:])
    return result.exit_code


def ask_service(given: dict[str, Any]) -> bool:
    """Verify a service that responds with generated replies, or draft its contract."""
    drips = given["command"] == "verify"  # the other command has no limit for all requests together
    with wire.Service(given["replies"], drips=drips) as service, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        GOLDEN.write(folder / "golden.json")
        options = ["--golden", str(folder / "golden.json"), "--header", f"X-Key: {grammar.SECRET}"]
        if given["contract"]:
            (folder / "contract.toml").write_text(given["contract"], encoding="utf-8")
            options += ["--contract", str(folder / "contract.toml")]
        if given["command"] == "verify":
            options += ["--json", str(folder / "report.json"), "--timeout", "3", "--retries", "1"]
            options += ["--disturb", given["disturb"], "--groups", given["groups"]]
        status = run_command(folder, given["command"], service.url, *options)
    _require_no_other(service)
    return status == 0


def _require_no_other(service: wire.Service) -> None:
    generated = [kind for kind in service.sent if service.replies[kind] != grammar.HEALTHY[kind]]
    answers.update(count=answers["count"] + len(generated))
    if service.elsewhere:
        raise FindingError("connected elsewhere", str(service.elsewhere[:3]))


answers = {"count": 0}
"""Number of generated replies that were sent at least once."""


def check_client(given: dict[str, Any]) -> bool:
    """Check a generated client."""
    clients.given.clear()
    clients.given.update(given)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "declared.toml").write_text("\n".join(["schema = 1", *given["declared"]]), encoding="utf-8")
        options = ["--declare", str(folder / "declared.toml"), "--only", ",".join(given["only"])]
        options += ["--json", str(folder / "report.json")]
        return run_command(folder, "check-client", "tests.fuzz.clients:make", *options) == 0


# --- the client ---


def call(given: dict[str, Any]) -> bool:
    """Call every method of a client on a service that responds with generated replies."""
    options: dict[str, Any] = {"timeout": 0.5, "max_attempts": 2, "backoff_base": 0.001}
    with wire.Service(given["replies"]) as service:
        if given["asynchronous"]:
            accepted = asyncio.run(_call_all(service.url, options, given["declared"]))
        else:
            accepted = _call_all_synchronously(service.url, options)
    _require_no_other(service)
    return accepted


ROWS = [[1.0, 2.0]] * 4


async def _call_all(url: str, options: dict[str, Any], declared: dict[str, Any]) -> bool:
    accepted = False
    async with BentoMLClient(url, **options) as client:
        for method in (client.model_info, client.health_check, lambda: client.predict_batch(ROWS)):
            with suppress(ClientError):
                json.dumps(await method())
    with suppress(ClientError, Tier0Error):
        async with await BentoMLClient.for_service(url, declared=declared, **options) as found:
            json.dumps(await found.predict(ROWS))
            accepted = True
    return accepted


def _call_all_synchronously(url: str, options: dict[str, Any]) -> bool:
    accepted = False
    with SyncBentoMLClient(url, **options) as client:
        for method in (client.model_info, client.health_check):
            with suppress(ClientError):
                json.dumps(method())
        with suppress(ClientError):
            json.dumps(client.predict(ROWS))
            accepted = True
    return accepted


# --- the service ---


def parse_request(body: str) -> bool:
    """Parse the body of a request as the service does; what is accepted becomes rows of the model."""
    from tier0.serving.predictor import Predictor  # imports BentoML, which takes seconds

    entry = Entry(Path(), SIGNATURE, "sklearn", {}, "", {})
    try:
        rows = Predictor("m:v", None, entry).parse_rows(body.encode("latin-1"))
    except InvalidRowError as problem:
        json.dumps(problem.as_dict()).encode()
        return False
    SIGNATURE.to_container(rows)
    return True


@cache
def serve() -> Server:
    """Serve a model with `bentoml serve` until this process ends."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    rows = pd.DataFrame({"f": [1.0, None, 2.0, 3.0], "i": [1, 2, 3, 4], "t": list("abab"), "c": list("xyyx")})
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("texts", encoder, ["t", "c"])], remainder="passthrough")
    model = make_pipeline(columns, DecisionTreeClassifier(random_state=0)).fit(rows, [0, 1, 0, 1])
    registered = asyncio.run(tier0.register_model_for_serving(model, "m", examples=rows))
    server = asyncio.run(tier0.start_bentoml_service(registered, startup_timeout=90))
    atexit.register(server.stop)
    return server


ANSWERED_WITHIN = 0.3
"""Seconds after which the rest of a request is not waited for: the sender ends its side of the connection."""
CLOSED_WITHIN = 15.0
SERVER_ERROR = 500


def ask_our_service(given: dict[str, Any]) -> bool:
    """Send a generated request to a served model; the next request must be answered as always."""
    server = serve()
    address, offset = ("127.0.0.1", int(server.url.rpartition(":")[2])), server.log.stat().st_size
    statuses = _statuses(address, given)
    errors = [status for status in statuses if status >= SERVER_ERROR]
    (healthy,) = _statuses(address, HEALTH)
    log = server.log.read_bytes()[offset:].decode(errors="replace")
    if errors or healthy != 200 or TRACEBACK in log:
        raise FindingError(f"our service: {errors[:1] or healthy}", log[-4000:])
    if (grown := server_memory() - served_memory()) > GROWTH_LIMIT:
        raise FindingError("memory of our service", f"{grown / MIB:.0f} MiB")
    return statuses == [200]


HEALTH = {
    **grammar.PLAIN,
    "status": "GET /health HTTP/1.1",
    "headers": ["Host: a", "Connection: close"],
    "body": "",
}


def _statuses(address: tuple[str, int], request: dict[str, Any]) -> list[int]:
    """Send a request, and return the status of each response."""
    with socket.create_connection(address, timeout=CLOSED_WITHIN) as connection:
        received = b""
        with suppress(OSError):  # closed by the service before the end of the request
            wire.send(connection, request, "127.0.0.2:1")
        if request["end"] == "reset":
            return []
        connection.settimeout(ANSWERED_WITHIN)
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                try:
                    piece = connection.recv(wire.BLOCK)
                except TimeoutError:
                    if connection.gettimeout() == CLOSED_WITHIN:
                        raise FindingError(
                            "our service does not end the connection", repr(received[:200])
                        ) from None
                    connection.settimeout(CLOSED_WITHIN)
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                    continue
                if not piece:
                    break
                received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


def server_memory() -> int:
    """The size of all processes of the served model, in bytes."""
    import psutil

    from tier0.serving.processes import processes_marked

    total = 0
    for process in processes_marked(serve().nonce):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


@cache
def served_memory() -> int:
    """The size at the first call."""
    return server_memory()


HEALTHY_FILES = [{"kind": kind, "content": grammar.content_of(kind)} for kind in grammar.VALID]
HEALTHY_VERIFICATION = {
    "command": "verify", "groups": "parity.golden_rows", "disturb": "none", "contract": "",
    "replies": grammar.HEALTHY,
}  # fmt: skip
HEALTHY_REQUEST = {
    **grammar.PLAIN,
    "status": "POST /predict HTTP/1.1",
    "headers": ["Host: a", "Content-Type: application/json", "Connection: close"],
    "body": grammar.encoded(grammar.ROWS),
}
ASKS = {"does": "ask", "value": None, "error": "ValueError"}
HEALTHY_CLIENT = {
    "asynchronous": True, "created": ASKS, "predict": [ASKS], "others": {},
    "declared": ["timeout = 0.3"], "only": ["wire.one_request"],
}  # fmt: skip
CHECKS = [check.id for check in CLIENT_CATALOGUE]
DECLARED = [
    {},
    {"scale": 0.5, "probabilities": "probabilities"},
    {"style": "record"},
    {"predictions": "*.0"},
    {"intervals": "predictions", "max_rows": 1},
    {"probability_of": "1", "probabilities": "predictions"},
]
CALLS = st.fixed_dictionaries(
    {
        "asynchronous": st.sampled_from([True, True, False]),
        "declared": st.sampled_from(DECLARED),
        "replies": grammar.services(),
    }
)
HEALTHY_CALL = {"asynchronous": True, "declared": {}, "replies": grammar.HEALTHY}
PARTS = {
    "files": Part(grammar.files(), HEALTHY_FILES, read_file, 5.0, 400, shrinks=True),
    "requests": Part(grammar.BODIES, [grammar.encoded(grammar.ROWS)], parse_request, 5.0, 400, shrinks=True),
    "client": Part(CALLS, [HEALTHY_CALL], call, 20.0, 40),
    "verify": Part(grammar.verifications(), [HEALTHY_VERIFICATION], ask_service, 30.0, 20),
    "service": Part(grammar.requests(), [HEALTHY_REQUEST], ask_our_service, 30.0, 40),
    "check-client": Part(grammar.clients(CHECKS), [HEALTHY_CLIENT], check_client, 150.0, 5),
}
