"""Events: typed classes, their transfer between processes, and no decision by the text of a message."""

from __future__ import annotations

import json
import re
import typing
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core import events as every_event
from tier0.core.event_log import EventLog, Recorded
from tier0.core.events import (
    Custom,
    DataNoted,
    Event,
    FaultInjected,
    HealthChecked,
    RunKept,
    SelectionScore,
    ServerKilled,
    ServerLaunched,
    ServerReady,
    ServerStopped,
    TestDone,
    event_from,
)
from tier0.core.foreign_text import PORT_IN_USE, TRACEBACK
from tier0.report import drawings
from tier0.report.cut_short import CutShort
from tier0.report.document import document_of, timeline_of
from tier0.report.summary import summary_rows
from tier0.runs.check_client import _reproduction

SOURCE = Path(__file__).parents[2] / "src" / "tier0"
OUR_WORDS = st.sampled_from(
    [
        *(
            "all processes killed",
            "worker killed",
            "12 requests",
            "requests",
            "ready",
            "starting",
            "never ready",
            "steps",
            "faults",
        ),
        *(
            "was interrupted",
            "was stopped (x)",
            "ended with an internal error of pytest",
            "holds",
            "hold",
            "pass",
            "in memory",
            "closed",
            "answered",
        ),
        *(
            "server.stopped",
            "Skipped: x",
            PORT_IN_USE,
            TRACEBACK,
            "tests could not be collected: x",
            "…",
            "{}",
            "",
        ),
    ]
)
TEXTS = OUR_WORDS | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def values_of(declared: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type, with texts that are words of our own messages."""
    parts = typing.get_args(declared)
    match typing.get_origin(declared):
        case None:
            return {
                Any: JSON,
                str: TEXTS,
                float: st.floats(allow_nan=False),
                int: st.integers(),
                bool: st.booleans(),
                type(None): st.none(),
            }[declared]
        case typing.Literal:
            return st.sampled_from(parts)
        case origin if origin is tuple:
            return st.tuples(*map(values_of, parts))
        case origin if isinstance(origin, type) and issubclass(origin, typing.Mapping):
            return st.dictionaries(TEXTS, values_of(parts[1]), max_size=3)
        case origin if isinstance(origin, type) and issubclass(origin, typing.Sequence):
            return st.lists(values_of(parts[0]), max_size=3)
    return st.one_of(*map(values_of, parts))


def events_of_kind(kind: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(
        kind,
        **{
            name: values_of(declared)
            for name, declared in typing.get_type_hints(kind, vars(every_event)).items()
            if name in names(kind)
        },
    )


def names(kind: type[Event]) -> set[str]:
    return {field.name for field in fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass


CUSTOM = st.builds(
    Custom, TEXTS.filter(lambda name: name not in Event.kinds), st.dictionaries(TEXTS, JSON, max_size=3)
)
ANY_EVENT = st.one_of(CUSTOM, *map(events_of_kind, Event.kinds.values()))


@given(st.lists(st.tuples(ANY_EVENT, TEXTS), max_size=5))
def test_events_of_every_class_arrive_in_another_process_as_they_were_recorded(
    happened: list[tuple[Event, str]],
) -> None:
    here, there = EventLog(), EventLog()
    for event, message in happened:
        here.emit(event, message)

    there.extend(json.loads(json.dumps([recorded.as_dict() for recorded in here.events])))

    assert there.events == here.events
    assert [type(recorded.event) for recorded in there.events] == [type(event) for event, _ in happened]


@pytest.mark.parametrize("name", Event.kinds)
def test_each_class_declares_its_fields_and_has_a_line_for_the_docs(name: str) -> None:
    kind = Event.kinds[name]

    assert issubclass(kind, Event)
    assert names(kind) == set(typing.get_type_hints(kind, vars(every_event))) - {"name", "kinds"}
    assert kind.__doc__
    assert kind.__doc__.partition("\n")[0].endswith("."), "its line in docs/events.md"


def test_what_is_recorded_can_be_written_to_a_file() -> None:
    import numpy as np

    log = EventLog()

    log.emit(
        Custom(
            "mine",
            {"table": {(1, 2): {3}}, "number": np.float64(0.5), "whole": np.int64(3), "path": Path("x")},
        ),
        "half \udcff a pair",
    )

    (recorded,) = log.events
    assert recorded.event == Custom(
        "mine", {"table": {"(1, 2)": [3]}, "number": 0.5, "whole": 3, "path": "x"}
    )
    assert json.loads(json.dumps(recorded.as_dict()))["message"] == "half \\udcff a pair"


def test_secrets_are_hidden_before_anybody_reads_an_event() -> None:
    heard: list[Recorded] = []
    log = EventLog(
        [heard.append],
        hide=lambda value: value.replace("hunter22", "***") if isinstance(value, str) else value,
    )

    log.emit(RunKept(path="/tmp/hunter22"), "kept in /tmp/hunter22")

    assert [(one.event, one.message) for one in heard] == [(RunKept(path="/tmp/***"), "kept in /tmp/***")]
    assert log.events == heard


def test_notes_on_the_data_are_in_the_summary() -> None:
    log = EventLog()
    log.emit(DataNoted("column 'region': 'NA' (2 rows) is kept as text"), "a note")

    assert summary_rows(log) == [("note", "column 'region': 'NA' (2 rows) is kept as text")]


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RunKept(path="x").path = "y"  # type: ignore[misc]


def test_an_event_of_a_users_test_needs_a_name_of_its_own() -> None:
    assert event_from("mine", {"rows": 3}) == Custom("mine", {"rows": 3})
    with pytest.raises(
        ValueError, match=r"'health\.checked' is an event of Tier0: use tier0\.core\.events\.HealthChecked"
    ):
        Custom("health.checked", {"status": "healthy"})


def test_events_are_found_by_their_class() -> None:
    log = EventLog()
    for mean in (0.5, 0.25):
        log.emit(SelectionScore(algorithm="Ridge", mean=mean))

    assert [score.mean for score in log.with_type(SelectionScore)] == [0.5, 0.25]
    newest = log.last(SelectionScore)
    assert newest is not None
    assert newest.mean == 0.25
    assert log.last(HealthChecked) is None
    assert log.with_type(HealthChecked) == []


def test_every_class_is_emitted_somewhere() -> None:
    sources = [
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "report" and path.name != "events.py"
    ]
    emitted = {
        kind.__name__
        for kind in Event.kinds.values()
        if any(re.search(rf"\b{kind.__name__}\(", source) for source in sources)
    }
    by_our_tests = {"HealthChecked", "BreakerState", "BreakerMeasured", "LatencyMeasured"}

    assert emitted | by_our_tests == {kind.__name__ for kind in Event.kinds.values()}


def server_spans(*happened: Event) -> list[tuple[str, float, float, str]]:
    recorded = [Recorded(event, "", float(second)) for second, event in enumerate(happened)]
    return [
        (span["name"], span["start"], span["end"], span["status"])
        for span in timeline_of(recorded)
        if span["lane"] == "server"
    ]


LAUNCHED, READY = ServerLaunched(port=0, nonce="a"), ServerReady(url="http://x", nonce="a")


@given(TEXTS, TEXTS)
def test_no_words_end_a_server_but_only_its_end(words: str, name: str) -> None:
    custom = [Custom(name, {"what": words, "nonce": "a"})] if name not in Event.kinds else []
    harmless = [
        FaultInjected(what=words, at=2.0),
        *custom,
        ServerKilled(part="worker", nonce="a"),
        ServerStopped(seconds=1.0, nonce="another"),
    ]

    assert server_spans(LAUNCHED, READY, *harmless) == [
        ("starting", 0.0, 1.0, ""),
        ("ready", 1.0, 1.0 + len(harmless), ""),
    ]


@pytest.mark.parametrize("end", [ServerKilled(part="all", nonce="a"), ServerStopped(seconds=1.0, nonce="a")])
def test_a_server_ends_when_it_is_killed_or_stopped(end: Event) -> None:
    later = HealthChecked(status="healthy")

    assert server_spans(LAUNCHED, READY, end, later) == [
        ("starting", 0.0, 1.0, ""),
        ("ready", 1.0, 2.0, "pass"),
    ]
    assert server_spans(LAUNCHED, end, later) == [("never ready", 0.0, 1.0, "error")]
    assert server_spans(LAUNCHED, end, LAUNCHED, READY, later) == [
        ("never ready", 0.0, 1.0, "error"),
        ("starting", 2.0, 3.0, ""),
        ("ready", 3.0, 4.0, ""),
    ]


def test_a_killed_server_is_a_fault_in_words() -> None:
    spans = timeline_of(
        [Recorded(ServerKilled(part=part, nonce="a"), "", 1.0) for part in ("all", "worker", "supervisor")]
    )

    assert [(span["lane"], span["name"]) for span in spans] == [
        ("faults", "all processes killed"),
        ("faults", "worker killed"),
        ("faults", "supervisor killed"),
    ]


def heights(spans: list[dict[str, Any]]) -> list[str]:
    return [bar.get("height", "") for bar in ET.fromstring(drawings.timeline(spans, 2.0)).iter("rect")]


@given(st.text(alphabet="0123456789 requst", max_size=20), st.integers(1, 100))
def test_the_height_of_requests_is_their_number_whatever_they_are_called(words: str, number: int) -> None:
    span = {"lane": "requests", "start": 0.0, "end": 1.0, "status": "", "requests": number}

    assert heights([{**span, "name": words}]) == heights([{**span, "name": f"{number} requests"}])


@given(TEXTS, TEXTS)
def test_a_test_may_be_called_as_anything(name: str, reason: str) -> None:
    log = EventLog()
    log.emit(
        TestDone(
            nodeid=f"test_it.py::{name}",
            check=None,
            message=reason,
            details="",
            exit_status=None,
            log="",
            when="call",
            outcome="passed",
            seconds=0.1,
            part=False,
        )
    )

    document = document_of(log.events, cut_short=CutShort("stopped", reason))

    assert document["cut_short"] == f"was stopped ({reason})"
    assert (document["verdict"], document["sentence"]) == (
        "inconclusive",
        f"Inconclusive: the run was stopped ({reason}); 1 of 1 tests passed.",
    )
    assert [span["lane"] for span in document["timeline"]] == ["tests"]


@pytest.mark.parametrize(
    ("cut_short", "words"),
    [
        (None, ""),
        (CutShort("interrupted"), "was interrupted"),
        (CutShort("stopped", "x"), "was stopped (x)"),
        (CutShort("internal_error"), "ended with an internal error of pytest"),
    ],
)
def test_how_a_run_ended_is_put_in_words_in_one_place(cut_short: CutShort | None, words: str) -> None:
    assert document_of([], cut_short=cut_short)["cut_short"] == words


def make() -> None:
    """Stand in for a factory of a client."""


@pytest.mark.parametrize("declare", ["{}.toml", "…", Path("a client.toml")])
def test_a_command_that_repeats_a_check_is_made_and_not_edited(declare: str | Path) -> None:
    assert (
        _reproduction("mod:make", declare, None)("retry.once")
        == f"tier0 check-client mod:make --declare {declare} --only retry.once"
    )
    assert (
        _reproduction("tier0 …:make", None, None)("retry.once")
        == "tier0 check-client tier0 …:make --only retry.once"
    )
    assert (
        _reproduction(make, declare, None)("retry.once") == "tier0.check_client(make, …, only=['retry.once'])"
    )
