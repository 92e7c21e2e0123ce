"""A small sample of what `make fuzz` does, what once failed, and what the fuzzing itself has to notice."""

from __future__ import annotations

import copy
import json
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz import __main__ as command
from tests.fuzz import grammar, parts, wire
from tests.fuzz.parts import PARTS, Part
from tier0 import check_serving
from tier0.runs.deployment import Deployment

CORPUS = Path(__file__).with_name("corpus")
SAMPLE = {"readers": 150, "requests": 150, "client": 6, "verify": 10}
"""Part to the number of its inputs in `make test`."""
PLAIN = {
    "status": "HTTP/1.1 200 OK", "headers": [], "coding": "", "framing": "length", "pieces": 1, "end": "keep",
}  # fmt: skip


def kept() -> Iterator[Any]:
    """Every input in the corpus, with its part."""
    for path in sorted(CORPUS.glob("*/*.json")):
        yield pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.xfail(
                name == "readers", strict=False, reason="TOML and reports that are nested too deeply"
            ),
        )
        for name in PARTS
    ],
)
def test_a_sample_is_refused_only_with_our_own_errors(name: str) -> None:
    state = command.new_state()

    command.run_seed(replace(PARTS[name], batch=SAMPLE[name]), 0, state)

    assert state["inputs"] >= SAMPLE[name]
    assert not state["failures"]


@pytest.mark.parametrize(("name", "path"), kept())
def test_what_once_failed_does_not_fail(name: str, path: Path) -> None:
    PARTS[name].examine(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("kind", grammar.VALID)
def test_the_files_from_which_others_are_made_are_valid(kind: str) -> None:
    valid = grammar.VALID[kind]
    content = valid if isinstance(valid, str) else grammar.encoded(valid)

    parts.read_file({"kind": kind, "content": content}, is_valid=True)


def service(route: str = "/predict", **reply: Any) -> dict[str, Any]:
    """The replies of a healthy service whose description names *route*; *reply* changes its predictions."""
    description: dict[str, Any] = copy.deepcopy(grammar.DESCRIPTION)
    description["routes"][0]["route"] = route
    return {
        "schema": {**PLAIN, "body": grammar.encoded(description)},
        "predict": {**PLAIN, "body": grammar.encoded(grammar.PREDICTION), **reply},
        "other": {**PLAIN, "body": "{}"},
    }


def test_a_healthy_service_passes_through_the_fuzzed_server() -> None:
    for framing in ("length", "chunked"):
        for pieces in (1, 20):
            with wire.Service(service(framing=framing, pieces=pieces)) as healthy:
                deployment = Deployment.from_url(healthy.url, golden=parts.GOLDEN, retries=0)
                verdict = check_serving(deployment, on_fail="return", groups=["parity"])
            by_id = {result.id: result.status for result in verdict.checks}
            assert by_id["parity.golden_rows"] == "pass", verdict


def part(check: Callable[[Any], None]) -> Part:
    return Part(st.just("input"), check, 5.0, 3)


def connect_elsewhere(_: Any) -> None:
    with wire.Service(service()) as server:
        address = urllib.parse.urlsplit(server.url.replace("127.0.0.1", "127.0.0.2"))
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    assert not server.elsewhere


def look_up_a_name(_: Any) -> None:
    with wire.Service(service()) as server:
        socket.getaddrinfo("127.0.0.3", 80)
    assert not server.elsewhere


def raise_unknown(_: Any) -> None:
    raise KeyError("unknown")


@pytest.mark.parametrize("bad", [connect_elsewhere, look_up_a_name, raise_unknown])
def test_a_bad_reader_is_noticed(
    bad: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "REPORTS", tmp_path)
    monkeypatch.setitem(PARTS, "readers", part(bad))

    assert command.fuzz("readers", 0.01) == 1

    (failure,) = json.loads((tmp_path / "readers.json").read_text(encoding="utf-8"))["failures"].values()
    assert failure["input"] == "input"


@pytest.mark.parametrize("limit", ["seconds", "GROWTH_LIMIT"])
def test_time_and_memory_are_bounded(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = part(lambda _: None)
    examined.examine("input")
    if limit == "seconds":
        examined = replace(examined, seconds=-1.0)
    else:
        monkeypatch.setattr(parts, limit, -1)

    with pytest.raises(AssertionError):
        examined.examine("input")


def test_a_later_run_continues_with_the_next_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "REPORTS", tmp_path)
    monkeypatch.setitem(PARTS, "readers", part(lambda _: None))
    monkeypatch.setattr(time, "monotonic", iter(range(10_000)).__next__)  # one seed per run
    seeds = []

    for _ in range(3):
        assert command.fuzz("readers", 1.5) == 0
        seeds.append(json.loads((tmp_path / "readers.json").read_text(encoding="utf-8"))["next_seed"])

    assert seeds == sorted(set(seeds))
    assert seeds[0] >= 1
