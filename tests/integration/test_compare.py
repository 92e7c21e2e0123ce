"""The command and its sides: golden rows and recorded requests; and what cannot be compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support import SOURCE
from tests.support.command_line import run_cli
from tests.support.compared_services import COLUMNS, Service, customers, score, services
from tier0.cli import app
from tier0.core.errors import Tier0Error
from tier0.core.verdict import DoesNotHoldError
from tier0.golden.rows import GoldenRows
from tier0.runs.compare import compare

CONTRACT_FILE = 'schema = 1\nfeatures = "rows"\nstyle = "records"\npredictions = "predictions"\n'
MORTAL = """
import http.server, json, os, sys

left = int(sys.argv[1])

class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond({})

    def do_POST(self):
        global left
        left -= 1
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
        if left < 0:
            os._exit(1)
        self.respond({"predictions": ["yes"] * len(rows)})

    def respond(self, content):
        body = json.dumps(content).encode()
        self.send_response(200 if content or self.path == "/readyz" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
DECLARED = {
    "features": "rows",
    "style": "records",
    "predictions": "predictions",
    "probabilities": "probabilities",
}


@pytest.fixture(scope="module")
def url() -> Iterator[Callable[[str], str]]:
    with services({"old": Service(), "new": Service(threshold=0.6)}) as url:
        yield url


@pytest.fixture(scope="module")
def golden() -> GoldenRows:
    """Rows with the outputs of the old service's model."""
    rows = customers(40)
    scores = [score(row) for row in rows]
    return GoldenRows(
        list(COLUMNS),
        [[row[name] for name in COLUMNS] for row in rows],
        ["yes" if one >= 0.5 else "no" for one in scores],
        [[1 - one, one] for one in scores],
        ["no", "yes"],
    )


def test_the_command_exits_with_the_verdict(
    url: Callable[[str], str], golden: GoldenRows, tmp_path: Path
) -> None:
    golden.write(tmp_path / "golden.json")
    (tmp_path / "contract.toml").write_text(CONTRACT_FILE, encoding="utf-8")
    common = ("--golden", "golden.json", "--contract", "contract.toml")
    same = run_cli("compare", url("old"), url("old"), *common, cwd=tmp_path)
    assert same.returncode == 0, same.stdout + same.stderr
    other = run_cli("compare", url("old"), url("new"), *common, "--json", "out.json", cwd=tmp_path)
    assert other.returncode == 1, other.stdout + other.stderr
    assert "threshold" in other.stdout
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    kinds = {
        check["id"]: check["evidence"].get("kind") for check in report["checks"] if check["status"] == "fail"
    }
    assert kinds == {"compare.flips": "threshold"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("http://127.0.0.1:9", "http://127.0.0.1:9"), "127.0.0.1:9"),
        (("absent.json", "http://127.0.0.1:9"), "absent.json"),
        (("absent:1", "http://127.0.0.1:9"), "expected a URL"),
        (("absent.py:Service", "http://127.0.0.1:9"), "absent.py"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--allow-flips", "2"), "--allow-flips"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--allow-difference", "few"), "--allow-difference"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--limits", "absent.toml"), "absent.toml"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--rows", "."), "cannot read rows"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--history", "a.txt"), "a.txt"),
        (("ftp://127.0.0.1", "http://127.0.0.1:9"), "ftp://127.0.0.1"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--rows", "absent.csv"), "absent.csv"),
        (("http://127.0.0.1:9", "http://127.0.0.1:9", "--disturb", "faults"), "--disturb"),
    ],
)
def test_the_command_exits_with_2_where_nothing_is_compared(
    arguments: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").touch()
    done = run_cli("compare", *arguments, "--retries", "0", "--store", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_that_do_not_fit_are_not_compared(
    url: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.toml").write_text(CONTRACT_FILE, encoding="utf-8")
    (tmp_path / "others.csv").write_text("height,weight\n1.8,80\n1.6,55\n", encoding="utf-8")
    (tmp_path / "uneven.csv").write_text("age,plan\n1,basic\n1,basic,3\n", encoding="utf-8")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    (tmp_path / "text.jsonl").write_text("hello\n", encoding="utf-8")
    for name, reason in (
        ("others.csv", "does not answer the first rows"),
        ("uneven.csv", "uneven.csv"),
        ("binary.csv", "binary.csv"),
        ("text.jsonl", "text.jsonl"),
    ):
        arguments = ["--rows", name, "--contract", "contract.toml"]
        done = CliRunner().invoke(app, ["compare", url("old"), url("new"), *arguments])
        assert done.exit_code == 2, done.output
        assert reason in done.output


def csv_of(path: Path, count: int) -> Path:
    lines = [",".join(COLUMNS)]
    lines += [
        ",".join("" if row[name] is None else str(row[name]) for name in COLUMNS) for row in customers(count)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextmanager
def mortal(requests: int) -> Iterator[str]:
    """A service in a process of its own, which dies after so many requests with rows."""
    with subprocess.Popen(
        [sys.executable, "-c", MORTAL, str(requests)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@pytest.mark.parametrize("dies", ["old", "new"])
def test_a_side_that_dies_is_no_verdict(url: Callable[[str], str], dies: str, tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv", 3000)
    with mortal(8) as dying:
        sides = (dying, url("old")) if dies == "old" else (url("old"), dying)
        with pytest.raises(Tier0Error, match=f"{dying} does not respond") as raised:
            compare(*sides, rows=path, contract=DECLARED, retries=0)
    assert raised.value.exit_status == 2


def test_an_interrupt_ends_a_comparison(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv", 5000)
    asked = threading.Event()

    def seconds() -> float:
        asked.set()
        return 0.2

    (tmp_path / "contract.toml").write_text(CONTRACT_FILE, encoding="utf-8")
    with services({"slow": Service(seconds=seconds)}) as url:
        arguments = ["compare", url("slow"), url("slow"), "--rows", str(path), "--contract", "contract.toml"]
        with subprocess.Popen(
            [sys.executable, "-m", "tier0.cli", *arguments],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert asked.wait(60)
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in printed


def test_comparisons_are_remembered_and_two_of_them_are_compared(
    url: Callable[[str], str], golden: GoldenRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    golden.write(tmp_path / "golden.json")
    (tmp_path / "contract.toml").write_text(CONTRACT_FILE, encoding="utf-8")
    common = ("--golden", "golden.json", "--contract", "contract.toml", "--history", "history")
    for name, status in (("old", 0), ("new", 1)):
        done = CliRunner().invoke(app, ["compare", url("old"), url(name), *common, "--json", f"{name}.json"])
        assert done.exit_code == status, done.output
    unreachable = ("http://127.0.0.1:9", "http://127.0.0.1:9", "--retries", "0", "--history", "history")
    assert CliRunner().invoke(app, ["compare", *unreachable]).exit_code == 2

    history = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))["history"]
    assert [run["verdict"] for run in history["runs"]] == ["pass", "fail"]
    assert "compare.flips fails since" in done.output
    assert {line["name"] for line in history["lines"]} >= {"flipped decisions", "latency p50"}
    assert len(list((tmp_path / "history").iterdir())) == 3
    worse = CliRunner().invoke(app, ["diff", "old.json", "new.json"])
    assert worse.exit_code == 1, worse.output
    assert "compare.flips: passed" in worse.output
    assert "metric flipped decisions: 0" in worse.output
    better = CliRunner().invoke(app, ["diff", "new.json", "old.json"])
    assert "better  compare.flips: failed → passed" in better.output  # its latency may be worse, by chance


def test_golden_rows_are_a_side(url: Callable[[str], str], golden: GoldenRows) -> None:
    assert compare(golden, url("old"), contract=DECLARED).verdict == "pass"
    with pytest.raises(DoesNotHoldError, match=r"compare\.flips"):
        compare(golden, url("new"), contract=DECLARED)
    with pytest.raises(Tier0Error, match="both sides are golden rows"):
        compare(golden, golden)


def rounded(answer: Any, _: Any) -> Any:
    """Return labels with one rounded probability each, whose class and rounding no contract declares."""
    scores = [round(one, 4) for _, one in answer["probabilities"]]
    return {"predictions": answer["predictions"], "probability": scores}


def test_what_golden_rows_confirm_undeclared_is_printed(golden: GoldenRows, tmp_path: Path) -> None:
    golden.write(tmp_path / "golden.json")
    (tmp_path / "part.toml").write_text(
        'schema = 1\nfeatures = "rows"\nstyle = "records"\n', encoding="utf-8"
    )
    common = ("--contract", "part.toml", "--history", "none")
    sides = {"old": Service(changed=rounded), "new": Service(changed=rounded, threshold=0.6)}
    with services(sides) as url:
        same = run_cli("compare", "golden.json", url("old"), *common, cwd=tmp_path)
        other = run_cli("compare", "golden.json", url("new"), *common, cwd=tmp_path)
        hidden = compare(golden, url("old"), contract=tmp_path / "part.toml", mask=True)
        declared = {**DECLARED, "probabilities": "probability", "probability_of": "yes", "decimals": 4}
        silent = compare(golden, url("old"), contract=declared)

    assert same.returncode == 0, same.stdout + same.stderr
    assert "confirmed by the golden rows, but not declared (declare it with `tier0 contract" in same.stdout
    assert 'probability_of = "yes"' in same.stdout
    assert other.returncode != 0, other.stdout
    assert "confirmed by the golden rows" not in other.stdout
    assert "probability_of" in hidden.target["assumed"]
    assert '"yes"' not in hidden.target["assumed"]
    assert "assumed" not in silent.target


def test_recorded_requests_are_sent_as_they_are(url: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    rows = customers(300)
    bodies = [{"rows": rows[start : start + 3]} for start in range(0, 300, 3)]
    path.write_text("\n".join(map(json.dumps, bodies)), encoding="utf-8")
    declared = {"route": "/predict"}
    assert compare(url("old"), url("old"), rows=path, contract=declared).target["rows"] == 300
    verdict = compare(url("old"), url("new"), rows=path, contract=declared, on_fail="return")
    assert verdict.exit_status == 1


def test_a_side_that_refuses_all_rows_is_not_comparable(
    url: Callable[[str], str], golden: GoldenRows
) -> None:
    with pytest.raises(Tier0Error, match="422"):
        compare(url("old"), url("old"), golden=golden, contract={**DECLARED, "features": "other"})


def test_values_of_rows_can_be_hidden(url: Callable[[str], str], golden: GoldenRows) -> None:
    verdict = compare(url("old"), url("new"), golden=golden, contract=DECLARED, mask=True, on_fail="return")
    flips = next(check for check in verdict.checks if check.id == "compare.flips")
    assert {one["row"] for one in flips.evidence["largest"]} == {"…"}


STREAM = """
import asyncio, json, resource, sys
from pathlib import Path
from tier0.comparison.answers import Answer
from tier0.comparison.asking import Asking
from tier0.comparison.batches import RowSource
from tier0.comparison.findings import Findings
from tier0.comparison.limits import Limits
from tier0.comparison.measures import Measures

class Side:
    name, is_service, max_rows = "a side", True, None

    def __init__(self, shift):
        self.shift = shift

    async def ask(self, batch):
        scores = [row[0] / 1000 % 1 + self.shift * (row[1] == "c") for row in batch.rows]
        labels = ["yes" if score > 0.5 else "no" for score in scores]
        vectors = [[1 - score, score] for score in scores]
        return Answer({"score": vectors, "label": labels}, {}, {}, 0.001, 200)

measures = Measures(Limits())
asking = Asking(Side(0.0), Side(0.01), measures)
asyncio.run(asking.run(RowSource.read(Path(sys.argv[1])).batches()))
results = {result.id: result.evidence.get("kind") for result in Findings(measures).results()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"rows": measures.rows, "peak": peak, "kinds": results}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_rows_are_compared_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("number,group\n")
        file.writelines(f"{row},{'abcd'[row % 4]}\n" for row in range(1_000_000))
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["rows"] == 1_000_000
    assert found["peak"] < 500, found
    assert found["kinds"]["compare.scores"] == "slice"
