"""A sample of what `make fuzz` does, inputs that failed once, and what the fuzzing itself has to notice."""

from __future__ import annotations

import copy
import json
import socket
import sys
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

SAMPLE = {"files": 100, "requests": 100, "client": 6, "verify": 3}
"""Part to the number of its inputs in `make test`."""


def kept() -> Iterator[Any]:
    """Yield every input in the corpus of a part in the sample."""
    for name in SAMPLE:
        for path in command.kept(name):
            yield pytest.param(name, path, id=f"{name}-{path.stem}")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RESULT", tmp_path / "fuzz.json")
    monkeypatch.setattr(command, "INPUTS", tmp_path)
    monkeypatch.setattr(command, "CORPUS", tmp_path)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_refused_only_with_our_own_errors(name: str) -> None:
    state = command.read_state(name)

    command.run_seed(name, replace(PARTS[name], batch=SAMPLE[name], shrinks=False), state)

    assert state["cases"] >= SAMPLE[name]
    assert not state["failures"]


@pytest.mark.parametrize(("name", "path"), kept())
def test_an_input_that_failed_once_does_not_fail(name: str, path: Path) -> None:
    PARTS[name].examine(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", SAMPLE)
def test_healthy_inputs_are_accepted(name: str) -> None:
    for healthy in PARTS[name].healthy:
        assert PARTS[name].examine(healthy), healthy


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("pieces", [1, 20])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
def test_the_forms_of_healthy_responses_are_accepted(framing: str, pieces: int, coding: str) -> None:
    replies = copy.deepcopy(grammar.HEALTHY)
    replies["predict"].update(framing=framing, pieces=pieces, coding=coding)

    assert PARTS["client"].check({**parts.HEALTHY_CALL, "replies": replies})


def part(check: Callable[[Any], bool]) -> Part:
    return Part(st.just("input"), [], check, 5.0, 3)


def connect_elsewhere(_: Any) -> bool:
    with wire.Service(grammar.HEALTHY) as server:
        address = urllib.parse.urlsplit(server.url.replace("127.0.0.1", "127.0.0.2"))
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    return True


def look_up_a_name(_: Any) -> bool:
    socket.getaddrinfo("127.0.0.3", 80)
    return True


def raise_unknown(_: Any) -> bool:
    raise KeyError("unknown")


@pytest.mark.parametrize("bad", [connect_elsewhere, look_up_a_name, raise_unknown])
def test_a_bad_reader_is_noticed(bad: Callable[[Any], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "files", part(bad))

    command.fuzz("files", 0.01)

    (failure,) = command.read_state("files")["failures"].values()
    assert json.loads(Path(failure["input"]).read_text(encoding="utf-8")) == "input"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise KeyError('x')", "KeyError at"),
        ("import typer; raise typer.Exit(1)", "status 1 without a verdict"),
        ("import typer; raise typer.Exit(3)", "status 3"),
    ],
)
def test_a_bad_command_is_noticed(
    code: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tier0.runs.verify.check_serving", lambda *_, **__: exec(code))

    with pytest.raises(parts.FindingError, match=kind):
        parts.run_command(tmp_path, "verify", "http://127.0.0.1:9")


def test_a_request_that_is_not_answered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CLOSED_WITHIN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(parts.FindingError):
        parts._statuses(silent.getsockname(), parts.HEALTHY_REQUEST)


def test_time_is_bounded() -> None:
    examined = part(lambda _: True)
    examined.examine("input")

    with pytest.raises(parts.FindingError, match="too long"):
        replace(examined, seconds=-1.0).examine("input")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the largest size")
def test_memory_is_bounded() -> None:
    part(lambda _: bool(b"a" * (parts.GROWTH_LIMIT // 2))).examine("input")

    with pytest.raises(parts.FindingError, match="memory"):
        part(lambda _: bool(b"a" * (parts.GROWTH_LIMIT + parts.MIB))).examine("input")


def test_an_input_that_does_not_end_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends by itself, and its last input is a failure."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(
        f"#!/bin/sh\necho '[1]' > {tmp_path}/files.running.json\necho 'Timeout (0:00:10)!' >&2\nexit 1\n",
        encoding="utf-8",
    )
    (tmp_path / "python").chmod(0o700)

    command.run_in_own_process("files", 1.0)

    state = command.read_state("files")
    ((place, failure),) = state["failures"].items()
    assert "did not end" in place
    assert json.loads(Path(failure["input"]).read_text(encoding="utf-8")) == [1]
    assert state["next_seed"] == 1


def test_a_later_run_continues_with_the_next_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "files", part(lambda _: True))
    seeds = []

    for _ in range(3):
        command.fuzz("files", 0.05)
        seeds.append(command.read_state("files")["next_seed"])

    assert seeds == sorted(set(seeds))
    assert seeds[0] >= 1
