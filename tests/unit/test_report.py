"""Parts of the report: the verdict, the charts, the removal of secrets, and the differences."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tier0.core.display import markdown, markdown_code
from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone
from tier0.core.secrets import Secrets
from tier0.core.verdict import CheckResult
from tier0.golden.rows import GoldenRows
from tier0.pipeline.study import METRICS
from tier0.report import drawings
from tier0.report.cut_short import CutShort
from tier0.report.diff import LESS_IS_BETTER, DiffError, Facts, changes_between, read_facts
from tier0.report.document import document_of
from tier0.report.markdown import as_markdown
from tier0.report.page import as_html


def log_of(*statuses: str, message: str = "it is wrong", **evidence: Any) -> EventLog:
    events = EventLog()
    for number, status in enumerate(statuses):
        result = CheckResult(f"parity.check_{number}", status, message if status == "fail" else "", evidence)  # type: ignore[arg-type]
        nodeid, requests = f"test_it[{number}]", [(0.1, True), (0.2, True)]
        events.emit(
            CheckDone(
                **result.as_dict(), nodeid=nodeid, asked=True, question="Is it?", requests=requests, log=""
            )
        )
    return events


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["pass", "not_judged"], "pass"),
        (["pass", "fail", "error"], "fail"),
        (["pass", "error"], "inconclusive"),
        (["not_judged"], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_the_verdict_is_the_worst_that_was_found(statuses: list[str], verdict: str) -> None:
    assert document_of(log_of(*statuses).events)["verdict"] == verdict


def test_an_interruption_is_no_pass_and_hides_no_failure() -> None:
    assert document_of(log_of("pass").events, cut_short=CutShort("interrupted"))["verdict"] == "inconclusive"
    assert document_of(log_of("fail").events, cut_short=CutShort("interrupted"))["verdict"] == "fail"


HOSTILE = st.text(alphabet="<>&\"'`*_[]|#\\~@\n ab", max_size=30)


@settings(deadline=None)
@given(HOSTILE)
def test_what_comes_from_data_is_never_markup(text: str) -> None:
    events = log_of("fail", message=f"x{text}", body=text)
    document = document_of(events.events)

    page = as_html(document)
    inside = page[page.index("<section") :]
    ET.fromstring(
        re.sub(r"<input ([^>]*?)( checked)?>", "", inside).replace("<br>", "<br/>").replace(" open>", ">")
    )
    assert "<script" not in inside
    for line in as_markdown(document).splitlines():
        assert not re.search(r"(?<!\\)<[a-z]", line)
    assert "\n" not in markdown(text)
    assert markdown_code(text).count("\n") == 0


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
def test_any_numbers_can_be_drawn(pairs: list[tuple[float, float]]) -> None:
    golden = GoldenRows(["x"], [[0.0]] * len(pairs), [before for before, _ in pairs], None, [])
    compared = golden.comparison({"predictions": [after for _, after in pairs]})

    assert compared is not None
    drawing = ET.fromstring(drawings.parity(compared))
    places = [
        float(value) for dot in drawing.iter("circle") for value in (dot.get("cx", ""), dot.get("cy", ""))
    ]
    assert len(places) == 2 * len(pairs)
    assert all(0 <= place <= drawings.SIDE for place in places)
    assert drawing.get("role") == "img"
    differ = sum(before != after for before, after in pairs)
    assert sum(dot.get("class") == "bad" for dot in drawing.iter("circle")) == differ
    assert (f"{differ} of them" in drawing.get("aria-label", "")) == (differ > 0)
    worst = [abs(row["expected"] - row["served"]) for row in compared["worst"]]
    assert (
        worst == sorted((abs(before - after) for before, after in pairs if before != after), reverse=True)[:5]
    )


def test_of_several_classes_the_one_that_differs_is_drawn() -> None:
    golden = GoldenRows(["x"], [[1], [2]], ["a", "a"], [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]], ["a", "b", "c"])

    compared = golden.comparison(
        {"predictions": ["b", "b"], "probabilities": [[0.3, 0.5, 0.2], [0.2, 0.6, 0.2]]}
    )

    assert compared is not None
    assert compared["what"] in {"probability of a", "probability of b"}
    assert len(compared["worst"]) == 2


def test_golden_rows_are_compared_in_numbers_where_there_are_some() -> None:
    golden = GoldenRows(["x"], [[1], [2]], ["no", "yes"], [[0.9, 0.1], [0.2, 0.8]], ["no", "yes"])

    compared = golden.comparison({"predictions": ["no", "yes"], "probabilities": [[0.9, 0.1], [0.3, 0.7]]})

    assert compared is not None
    assert (compared["what"], compared["expected"], compared["served"]) == (
        "probability of yes",
        [0.1, 0.8],
        [0.1, 0.7],
    )
    assert [row["row"] for row in compared["worst"]] == [1]
    assert golden.comparison({"predictions": ["no", "yes"]}) is None, "labels are no numbers"
    assert golden.comparison({"predictions": ["no"], "probabilities": [[0.9, 0.1]]}) is None, (
        "another number of rows"
    )


VALUES = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=40)


@given(
    VALUES,
    st.recursive(
        st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
)
def test_a_secret_is_hidden_wherever_it_stands(secret: str, around: Any) -> None:
    secrets = Secrets({"SOME_TOKEN": secret, "HOME": "/somewhere"})

    for form in (secret, json.dumps(secret)[1:-1]):
        hidden = secrets.hide({"text": f"before {form} after", "deep": [around, {"list": [form]}], form: 1})
        assert secret not in str(hidden)
        assert hidden["text"] == "before (SOME_TOKEN hidden) after"
    assert secrets.hide(5.5) == 5.5


def test_a_secret_is_recognized_by_its_name() -> None:
    environ = {
        "API_KEY": "abcdefgh",
        "DB_PASSWORD": "short",
        "DATABASE_URL": "postgres://me:hunter22@host/db",
        "PWD": "/",
        "MONKEY": "banana1",
    }
    secrets = Secrets(environ, {"Authorization": "Bearer tok-123456"})

    hidden = secrets.hide("abcdefgh short hunter22 / banana1 tok-123456 Bearer")

    assert (
        hidden
        == "(API_KEY hidden) short (password of DATABASE_URL hidden) / banana1 (Authorization hidden) Bearer"
    )
    index = Secrets(
        {"PIP_INDEX_URL": "https://ghp_abcdef123@host/simple", "URL": "amqp://me:p%40ss/word@host"}
    )
    assert index.hide("ghp_abcdef123 p%40ss/word p@ss/word bWU6cCU0MHNzL3dvcmQ=") == (
        "(user of PIP_INDEX_URL hidden)" + " (password of URL hidden)" * 3
    )
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----"
    assert "MIIEvQIBADANBgkqhkiG9w0" not in Secrets({"TLS_PRIVATE_KEY": pem}).hide(
        "x MIIEvQIBADANBgkqhkiG9w0 x"
    )


@given(st.text(alphabet="abcdefgh-0123456789", min_size=20, max_size=60), st.integers(12, 60))
def test_a_secret_that_was_cut_off_is_hidden(secret: str, kept: int) -> None:
    secrets = Secrets({"A_TOKEN": secret})

    for cut in (f"said {secret[:kept]}", f"said {secret[:kept]}…", f"…{secret[-kept:]} was said"):
        assert secret[: min(kept, 12)] not in secrets.hide(cut)
        assert secret[-min(kept, 12) :] not in secrets.hide(cut) or secret[-12:] in secret[:-1]


@pytest.mark.parametrize("part", [slice(12), slice(-12, None)])
def test_a_text_full_of_parts_of_a_secret_takes_no_time(part: slice) -> None:
    secret = "tok-0123456789-abcdefghij"

    assert Secrets({"A_TOKEN": secret}).hide(secret[part] * 100_000) == "(A_TOKEN hidden)" * 100_000


def test_the_evidence_of_a_result_has_a_limited_size() -> None:
    long, short = "a" * 2_000_000, ["a" * 100, {"b": 1}]
    evidence = {"text": long, "list": [1] * 1_000_000, "short": short}

    limited = CheckResult("parity.golden_rows", "fail", "", evidence).without(Secrets({})).evidence

    assert all(len(limited[name]) < 50_000 for name in ("text", "list"))
    assert limited["short"] == short


def test_secrets_are_those_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"DB_PASSWORD": "hunter22"}
    secrets = Secrets(environ)
    (tmp_path / "hunter22").mkdir()
    monkeypatch.chdir(tmp_path)

    assert secrets.hide("hunter22 later-secret") == "(DB_PASSWORD hidden) later-secret", (
        "a password may be the name of a file, too"
    )
    environ["LATE_SECRET"] = "later-secret"
    assert secrets.hide("later-secret") == "(LATE_SECRET hidden)"


def test_which_metrics_are_better_when_less() -> None:
    assert {name for name, (_, better, *_) in METRICS.items() if better == "least"} == LESS_IS_BETTER


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"metrics": {"auc_roc": (0.8, 0.03)}}, {"metrics": {"auc_roc": (0.7, 0.03)}}, "worse"),
        ({"metrics": {"auc_roc": (0.8, 0.03)}}, {"metrics": {"auc_roc": (0.77, 0.03)}}, "changed"),
        ({"metrics": {"rmse": (3.0, 0.1)}}, {"metrics": {"rmse": (2.0, 0.1)}}, "better"),
        ({"metrics": {"r2": (0.8, None)}}, {"metrics": {"r2": (0.79, None)}}, "worse"),
        ({"latencies": {"p50": 2.0}}, {"latencies": {"p50": 3.5}}, "worse"),
        ({"latencies": {"p50": 0.2}}, {"latencies": {"p50": 0.9}}, None),
        ({"latencies": {"p99": 2.0}}, {"latencies": {"p99": 30.0}}, "changed"),
        ({"checks": {"parity.golden_rows": "pass"}}, {"checks": {}}, "worse"),
        ({"checks": {}}, {"checks": {"parity.golden_rows": "fail"}}, "worse"),
        ({"checks": {"health.ready": "not_judged"}}, {"checks": {"health.ready": "pass"}}, "better"),
        ({"versions": {"bentoml": "1.4.38"}}, {"versions": {"bentoml": "1.4.39"}}, "changed"),
        ({"model": {"tag": "a:1"}}, {"model": {"tag": "a:2"}}, "changed"),
    ],
)
def test_what_a_difference_means(old: dict[str, Any], new: dict[str, Any], kind: str | None) -> None:
    changes = changes_between(Facts("steps", "pass", **old), Facts("steps", "pass", **new))

    assert [change.kind for change in changes] == ([kind] if kind else [])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="absent"),
        pytest.param("{", id="not JSON"),
        pytest.param("[]", id="no report"),
        pytest.param('{"schema": 9, "checks": []}', id="later schema"),
        pytest.param('{"schema": 1, "checks": []}', id="incomplete"),
        pytest.param(
            '{"schema": 1, "checks": [], "target": {}, "verdict": "splendid"}', id="unknown verdict"
        ),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, content: str | None, snapshot: SnapshotAssertion
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(DiffError) as refusal:
        read_facts(path)
    assert str(refusal.value).replace(str(tmp_path), "") == snapshot


def test_reports_of_two_kinds_are_not_compared() -> None:
    with pytest.raises(DiffError):
        changes_between(Facts("checks of a client", "pass"), Facts("steps of a run", "pass"))


def test_differences_are_printed(snapshot: SnapshotAssertion) -> None:
    old = Facts(
        "steps of a run",
        "pass",
        {"parity.golden_rows": "pass", "step data": "pass"},
        {"auc_roc": (0.8, 0.03), "rmse": (3.0, 0.1), "r2": (0.5, None)},
        {"p50": 2.0, "p99": 2.0},
        {"bentoml": "1.4.38"},
        {"tag": "a:1"},
    )
    new = Facts(
        "steps of a run",
        "fail",
        {"parity.golden_rows": "fail"},
        {"auc_roc": (0.77, 0.03), "rmse": (2.0, 0.1)},
        {"p50": 3.5, "p99": 30.0},
        {"bentoml": "1.4.39"},
        {"tag": "a:2"},
    )

    assert "\n".join(map(str, changes_between(old, new))) == snapshot


def test_the_timeline_counts_requests_and_not_their_spans() -> None:
    spans = [
        {"lane": "requests", "name": "9 requests", "start": 0.0, "end": 1.0, "status": "", "requests": 9},
        {"lane": "requests", "name": "3 requests", "start": 1.0, "end": 2.0, "status": "", "requests": 3},
    ]

    label = ET.fromstring(drawings.timeline(spans, 2.0)).get("aria-label", "")

    assert "requests: 12." in label
