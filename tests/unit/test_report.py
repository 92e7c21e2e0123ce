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

from tests.support import SOURCE
from tier0.core.display import markdown, markdown_code
from tier0.core.event_log import EventLog
from tier0.core.events import CheckDone, LeakSuspected, RunStarted, TargetDescribed
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


def test_a_column_that_gives_the_target_away_fails_a_run_whose_checks_passed() -> None:
    events = log_of("pass")
    events.emit(LeakSuspected("paid", "its values are ranges of the target", "Leave it out"))

    document = document_of(events.events)

    assert document["verdict"] == "fail"
    assert "column 'paid'" in document["sentence"]
    (cause,) = document["causes"]
    assert (cause["severity"], cause["title"]) == ("critical", "Target leaked")
    assert cause["next_step"] == "leave it out"


@pytest.mark.parametrize(
    ("command", "alone"),
    [
        ("tier0 verify http://x", "tier0 verify http://x --groups identity.expected_model"),
        ("pytest -m tier0_bentoml", "pytest -m tier0_bentoml --tier0-groups identity.expected_model"),
        (
            "tier0 verify http://x --groups health,identity --wait 9",
            "tier0 verify http://x --wait 9 --groups identity.expected_model",
        ),
        (
            "pytest --tier0-groups='health, identity' tests",
            "pytest tests --tier0-groups identity.expected_model",
        ),
        ("python script.py", ""),
        ("", ""),
    ],
)
def test_a_failure_without_a_command_is_reproduced_by_its_check_alone(command: str, alone: str) -> None:
    events = EventLog()
    events.emit(RunStarted(command, "", "2026-01-01T00:00:00+00:00", "3.11", {}, None))
    result = CheckResult("identity.expected_model", "fail", "the response comes from b:1, expected a:1")
    events.emit(
        CheckDone(**result.as_dict(), nodeid=result.id, asked=True, question="Is it?", requests=[], log="")
    )

    (cause,) = document_of(events.events)["causes"]

    assert cause["reproduce"] == alone


def test_checks_of_two_deployments_have_causes_of_their_own() -> None:
    events = EventLog()
    for name, check in (("green", "parity.golden_rows"), ("blue", "parity.rows_alone")):
        result = CheckResult(check, "fail", f"rows of {name} differ")
        nodeid = f"test_it[{name}-{check}]"
        events.emit(
            CheckDone(**result.as_dict(), nodeid=nodeid, asked=True, question="Is it?", requests=[], log="")
        )

    assert [cause["explains"] for cause in document_of(events.events)["causes"]] == [[], []]


SCRIPT = (SOURCE / "tier0" / "report" / "page.js").read_text(encoding="utf-8").rstrip("\n")
HOSTILE = st.text(alphabet="<>&\"'`*_[]|#\\~@\n ab", max_size=30)


@settings(deadline=None)
@given(HOSTILE)
def test_what_comes_from_data_is_never_markup(text: str) -> None:
    events = log_of("fail", message=f"x{text}", body=text)
    document = document_of(events.events)

    page = as_html(document)
    inside, script = page[page.index("<section") :].split("<script>")
    ET.fromstring(re.sub(r"<input ([^>]*?)( checked)?>", "", inside).replace(" open>", ">"))
    assert script == f"{SCRIPT}</script>"
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


def named_rows(drawing: ET.Element) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of each name of a row in a chart."""
    places = [
        (float(one.get("x", "")), float(one.get("y", "")), len(one.text or ""))
        for one in drawing.iter("text")
        if one.get("class") == "small strong"
    ]
    return [
        (left, down - 10, left + letters * drawings.BOLD_LETTER, down + 2) for left, down, letters in places
    ]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from((0.0, 0.5, 1.0))), min_size=1, max_size=80))
def test_names_of_rows_cover_no_point_no_name_and_no_frame(pairs: list[tuple[float, float]]) -> None:
    golden = GoldenRows(["x"], [[0.0]] * len(pairs), [before for before, _ in pairs], None, [])
    drawing = ET.fromstring(
        drawings.parity(golden.comparison({"predictions": [after for _, after in pairs]}) or {})
    )

    points = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in drawing.iter("circle")]
    names = named_rows(drawing)
    for number, (left, top, right, bottom) in enumerate(names):
        assert min(left, top) > drawings.PARITY_MARGIN
        assert max(right, bottom) < drawings.SIDE - drawings.PARITY_MARGIN
        for across, down in points:
            assert not (left - 3 < across < right + 3 and top - 3 < down < bottom + 3)
        for other in names[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


@pytest.mark.parametrize("served", [0.0, 1.0], ids=["lower edge", "upper edge"])
def test_rows_at_one_edge_are_named_all_the_same(served: float) -> None:
    expected = [index / 60 for index in range(60)]
    golden = GoldenRows(["x"], [[0.0]] * 60, expected, None, [])
    drawing = ET.fromstring(drawings.parity(golden.comparison({"predictions": [served] * 60}) or {}))

    assert len(named_rows(drawing)) == 5


def test_a_rounding_error_at_the_end_of_an_axis_is_0() -> None:
    golden = GoldenRows(["x"], [[0.0]] * 2, [8.87e-08, 1.0], None, [])
    drawing = ET.fromstring(drawings.parity(golden.comparison({"predictions": [0.5, 1.0]}) or {}))

    assert [one.text for one in drawing.iter("text") if (one.text or "x")[0].isdigit()] == ["0", "1"]


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
    least = {name for name, (_, better, *_) in METRICS.items() if better == "least"}

    assert least == LESS_IS_BETTER & METRICS.keys()


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
        ({"checks": {"parity.golden_rows": "pass"}}, {"checks": {"parity.golden_rows": "error"}}, "worse"),
        ({"checks": {"parity.golden_rows": "pass"}}, {"is_cut_short": True}, "worse"),
        ({"checks": {"parity.golden_rows": "pass"}}, {}, "changed"),
        ({}, {"checks": {"parity.golden_rows": "fail"}}, "changed"),
        ({"is_cut_short": True}, {"checks": {"parity.golden_rows": "fail"}}, "worse"),
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


READY, LIVE, PARITY = "health.ready", "health.live", "parity.golden_rows"


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        pytest.param({READY: "pass", LIVE: "pass"}, {READY: "pass"}, ["changed"], id="fewer groups"),
        pytest.param({READY: "pass"}, {READY: "pass", LIVE: "pass"}, ["changed"], id="more groups"),
        pytest.param(
            {READY: "pass", LIVE: "pass"}, {READY: "fail"}, ["worse", "worse", "changed"], id="worse"
        ),
        pytest.param(
            {READY: "pass", LIVE: "pass"}, {READY: "pass", PARITY: "pass"}, ["changed"] * 2, id="others"
        ),
        pytest.param({READY: "pass"}, {READY: "pass", LIVE: "fail"}, ["changed"] * 2, id="a new one fails"),
        pytest.param(
            {READY: "pass", LIVE: "fail"}, {READY: "pass"}, ["changed"] * 2, id="was not asked again"
        ),
        pytest.param(
            {READY: "pass"}, {READY: "fail", LIVE: "fail"}, ["worse", "worse", "changed"], id="both fail"
        ),
    ],
)
def test_runs_with_other_groups_are_compared_by_what_both_were_asked(
    old: dict[str, str], new: dict[str, str], kinds: list[str]
) -> None:
    before, after = (
        Facts("checks of a service", "fail" if "fail" in checks.values() else "pass", checks)
        for checks in (old, new)
    )

    changes = changes_between(before, after)

    assert [change.kind for change in changes] == kinds
    printed = "\n".join(map(str, changes))
    assert all(check in printed for check in old.keys() ^ new.keys())


def test_a_verdict_that_no_check_explains_is_worse_although_the_groups_differ() -> None:
    before = Facts("checks of a service", "pass", {READY: "pass"})
    after = Facts("checks of a service", "fail", {READY: "pass", LIVE: "pass"})  # a test of one's own failed

    assert [change.kind for change in changes_between(before, after)] == ["worse", "changed"]


def test_reports_without_a_common_check_are_not_called_equal() -> None:
    before, after = (Facts("checks of a service", "pass", {check: "pass"}) for check in (READY, PARITY))

    with pytest.raises(DiffError, match="nothing in common"):
        changes_between(before, after)


def test_steps_that_only_one_run_planned_are_not_compared_but_planned_ones_are(tmp_path: Path) -> None:
    def facts(planned: list[str], done: list[str]) -> Facts:
        content = {"schema": 3, "verdict": "pass", "steps": planned}
        path = tmp_path / "run.json"
        path.write_text(json.dumps({**content, "done": {step: {"problems": []} for step in done}}))
        return read_facts(path)

    whole = facts(["data", "training"], ["data", "training"])

    assert [change.kind for change in changes_between(whole, facts(["data"], ["data"]))] == ["changed"]
    (stopped,) = changes_between(whole, facts(["data", "training"], ["data"]))
    assert (stopped.kind, stopped.what, stopped.after) == ("worse", "step training", "not run")


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


def test_rows_of_the_two_sides_of_a_comparison_are_listed() -> None:
    largest = [{"row_number": number, "old": 1.5, "new": 2.25, "row": {}} for number in range(9)]
    events = EventLog()
    events.emit(
        TargetDescribed({"old": "http://old.test", "new": "http://new.test", "url": "http://new.test"})
    )
    result = CheckResult("compare.scores", "fail", "numbers differ", {"slices": [], "largest": largest})
    events.emit(
        CheckDone(**result.as_dict(), nodeid=result.id, asked=True, question="Is it?", requests=[], log="")
    )

    page = as_html(document_of(events.events))

    assert '<th scope="col">old side</th><th scope="col">new side</th>' in page
    assert page.count('<td>1.5</td><td class="bad">2.25</td>') == 5
    assert "http://old.test" in page


MOMENT = st.floats(0, 60, allow_nan=False)
SPANS = st.lists(
    st.builds(
        lambda lane, name, start, length, status: {
            "lane": lane, "name": name, "start": start, "end": start + length, "status": status,
        },
        st.sampled_from(drawings.EXCHANGE_LANES), st.text(max_size=90), MOMENT, MOMENT,
        st.sampled_from(["", "pass", "fail", "not_judged"]),
    ),
    max_size=30,
)  # fmt: skip


@given(SPANS)
def test_any_exchange_of_a_client_is_drawn_within_its_frame(spans: list[dict[str, Any]]) -> None:
    drawing = ET.fromstring(drawings.exchange(spans))
    bars = list(drawing.iter("rect"))

    assert len(bars) == len(spans)
    for bar in bars:
        left, width = float(bar.get("x", "")), float(bar.get("width", ""))
        assert drawings.EXCHANGE_LABEL - 0.1 <= left <= left + width <= drawings.EXCHANGE_WIDTH
    tops = [float(bar.get("y", "")) for bar in bars]
    assert len(set(tops)) == len(tops), "each call and each request has a row of its own"
    for label in drawing.iter("text"):
        if "middle" in (label.get("class") or ""):
            half = len(label.text or "") * drawings.LETTER / 2
            assert float(label.get("x", "")) - half >= 0
            assert float(label.get("x", "")) + half <= drawings.EXCHANGE_WIDTH
    assert drawing.get("aria-label")


def test_the_timeline_counts_requests_and_not_their_spans() -> None:
    spans = [
        {"lane": "requests", "name": "9 requests", "start": 0.0, "end": 1.0, "status": "", "requests": 9},
        {"lane": "requests", "name": "3 requests", "start": 1.0, "end": 2.0, "status": "", "requests": 3},
    ]

    label = ET.fromstring(drawings.timeline(spans, 2.0)).get("aria-label", "")

    assert "requests: 12." in label


def test_a_page_says_a_message_once_and_links_what_shares_its_cause() -> None:
    events = EventLog()
    message = "3 of 9 rows differ: as if the scaler were left out"
    evidence = {"rows_that_differ": 3, "rows_asked": 9}
    causes = ["a step is not deployed: serve the entire pipeline"]
    for check in ("parity.golden_rows", "parity.rows_alone"):
        result = CheckResult(
            check, "fail", message, {**evidence, "pattern": "x", "rows_explained": 3}, causes
        )
        events.emit(CheckDone.of(result, "Is it?"))

    page = as_html(document_of(events.events))

    shown = re.sub(r'<span class="hidden"[^>]*>[^<]*</span>| title="[^"]*"', "", page)
    assert shown.count(message) == 1
    assert shown.count("serve the entire pipeline") == 1
    assert shown.count("3 of 9 rows differ") == 2, "the number is at the top, too"
    for check in ("parity.golden_rows", "parity.rows_alone"):
        assert f'href="#tier0-check-{check}"' in shown
        assert f'id="tier0-check-{check}"' in shown
