"""The history of runs: what is kept, what is read, and what the report shows of it."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tier0.core.verdict import SCHEMA, CheckResult, Verdict
from tier0.report import history as kept
from tier0.report.document import document_of
from tier0.report.history import read_runs, remember
from tier0.report.history_page import history_markdown, history_section, history_sentences
from tier0.report.markdown import as_markdown
from tier0.report.page import as_html

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 3, 1, 6, tzinfo=UTC)
URL = "https://models.example"
READY, PARITY, LATENCY = "health.ready", "parity.golden_rows", "performance.latency"


def report(
    *,
    tag: str | None = "churn:1",
    url: str = URL,
    p50: float | None = None,
    metrics: dict[str, tuple[float, float]] | None = None,
    data: str = "rows.csv",
    **statuses: str,
) -> dict[str, Any]:
    """A report of a service, with statuses of checks by the last part of their ids."""
    ids = {"ready": READY, "parity": PARITY, "latency": LATENCY}
    results = [CheckResult(ids[name], status, "") for name, status in statuses.items()]  # type: ignore[arg-type]
    if p50 is not None:
        results.append(CheckResult(LATENCY, "pass", evidence={"p50_ms": p50, "p95_ms": p50 * 2}))
    target = {"url": url, **({"model": tag} if tag else {})}
    found = {name: {"value": value, "spread": spread} for name, (value, spread) in (metrics or {}).items()}
    model = {"metrics": found, "dataset": data} if metrics else None
    return {**Verdict(target, results).as_dict(), "model": model}


def remembered(folder: Path, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The history after the last of these reports, which are a day apart."""
    shown: dict[str, Any] = {}
    for number, content in enumerate(reports):
        shown = remember(folder, content, now=BEGIN + timedelta(days=number))
    return shown


def check_in(history: dict[str, Any], check: str) -> dict[str, Any]:
    return next(row for row in history["checks"] if row["id"] == check)


def line_in(history: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in history["lines"] if row["name"] == name)


def with_history(history: dict[str, Any]) -> dict[str, Any]:
    return {**document_of([]), "history": history}


def test_a_run_is_kept_with_what_is_compared(tmp_path: Path) -> None:
    content = report(ready="pass", parity="fail", p50=2.0, metrics={"auc_roc": (0.8, 0.03)})

    history = remember(tmp_path / "new" / "folder", content, now=BEGIN)

    (path,) = (tmp_path / "new" / "folder").iterdir()
    entry = json.loads(path.read_text(encoding="utf-8"))
    facts = entry["facts"]
    assert (entry["schema"], entry["at"], entry["subject"]) == (1, "2026-03-01T06:00:00+00:00", URL)
    assert facts["checks"] == {READY: "pass", PARITY: "fail", LATENCY: "pass"}
    assert (facts["metrics"], facts["latencies"]) == ({"auc_roc": [0.8, 0.03]}, {"p50": 2.0, "p95": 4.0})
    assert (facts["verdict"], facts["model"]["tag"]) == ("fail", "churn:1")
    assert (history["kept"], history["problem"], history["skipped"]) == (1, "", [])
    assert [run["verdict"] for run in history["runs"]] == ["fail"]


def test_the_last_thirty_runs_are_shown_and_the_others_count(tmp_path: Path) -> None:
    history = remembered(tmp_path, [report(ready="pass", p50=2.0 + number / 100) for number in range(35)])

    assert (len(history["runs"]), history["kept"]) == (30, 35)
    assert history["runs"][-1]["at"].startswith("2026-04-04")
    assert line_in(history, "latency p50")["values"] == [2.0 + number / 100 for number in range(5, 35)]


@pytest.mark.parametrize(
    ("statuses", "tags", "flips"),
    [
        pytest.param("pfpfp", "aaaaa", 4, id="in turn"),
        pytest.param("pppfp", "aaaaa", 2, id="once, and back"),
        pytest.param("ppfff", "aaaaa", 0, id="a defect"),
        pytest.param("fffpp", "aaaaa", 0, id="a correction"),
        pytest.param("pfpfp", "abcde", 0, id="a new model each time"),
        pytest.param("pfpfp", "aabbb", 2, id="a new model in between"),
        pytest.param("pfpf", "aab-", 0, id="one change with each model"),
        pytest.param("pepep", "aaaaa", 0, id="the network"),
        pytest.param("pnpnp", "aaaaa", 0, id="not checked now and then"),
        pytest.param("pfpf", "----", 3, id="no tag"),
    ],
)
def test_a_check_is_flaky_if_it_flips_without_another_model(
    tmp_path: Path, statuses: str, tags: str, flips: int
) -> None:
    words = {"p": "pass", "f": "fail", "e": "error", "n": "not_judged"}
    reports = [
        report(ready="pass", parity=words[status], tag=None if tag == "-" else f"churn:{tag}")
        for status, tag in zip(statuses, tags, strict=True)
    ]

    history = remembered(tmp_path, reports)

    assert (check_in(history, PARITY)["flips"], check_in(history, READY)["flips"]) == (flips, 0)
    sentences = " ".join(history_sentences(history))
    assert (f"{PARITY} is flaky" in sentences) == (flips > 0)
    assert ("no run names the model" in sentences) == (flips > 0 and set(tags) == {"-"})


def test_since_when_a_check_fails(tmp_path: Path) -> None:
    statuses = ["pass", "pass", "fail", "not_judged", "error", "fail"]
    history = remembered(tmp_path, [report(ready="pass", parity=status) for status in statuses])

    since = check_in(history, PARITY)["fails_since"]

    assert (since["at"][:10], since["runs"], since["passed_at"][:10]) == ("2026-03-03", 2, "2026-03-02")
    assert check_in(history, READY)["fails_since"] is None
    assert check_in(history, PARITY)["changed"] == 5


def test_a_check_that_fails_for_longer_than_is_shown(tmp_path: Path) -> None:
    history = remembered(tmp_path, [report(parity="fail")] * 40)

    since = check_in(history, PARITY)["fails_since"]

    assert (since["at"][:10], since["runs"], since["passed_at"]) == ("2026-03-01", 40, None)
    assert "passed in no run" in history_sentences(history)[0]


def test_changes_of_metrics_and_latencies_are_marked_and_noise_is_not(tmp_path: Path) -> None:
    values = [(0.80, 2.0), (0.81, 2.4), (0.79, 1.9), (0.60, 2.1), (0.61, 9.0), (0.60, 8.0)]
    history = remembered(
        tmp_path,
        [report(ready="pass", p50=p50, metrics={"auc_roc": (value, 0.03)}) for value, p50 in values],
    )

    metric, latency = line_in(history, "auc_roc"), line_in(history, "latency p50")
    assert [(change["run"], change["kind"]) for change in metric["changes"]] == [(3, "worse")]
    assert [(change["run"], change["kind"]) for change in latency["changes"]] == [(4, "worse")]


def test_a_slow_drift_is_a_change(tmp_path: Path) -> None:
    values = [0.80 - number * 0.01 for number in range(10)]
    history = remembered(tmp_path, [report(ready="pass", metrics={"auc_roc": (one, 0.03)}) for one in values])

    (change,) = line_in(history, "auc_roc")["changes"]
    assert (change["run"], change["kind"]) == (5, "worse")


def test_metrics_on_other_data_are_not_a_change(tmp_path: Path) -> None:
    reports = [
        report(ready="pass", metrics={"auc_roc": (value, 0.01)}, data=data)
        for value, data in ((0.9, "old.csv"), (0.5, "new.csv"), (0.5, "new.csv"))
    ]

    assert line_in(remembered(tmp_path, reports), "auc_roc")["changes"] == []


def test_runs_of_other_subjects_are_not_mixed(tmp_path: Path) -> None:
    client = {**Verdict({"client": "app:make"}, [CheckResult("retry.attempts", "fail")]).as_dict()}
    steps = {"schema": 3, "verdict": "pass", "done": {}, "steps": [], "options": {"dataset": "/a/b/rows.csv"}}
    remembered(tmp_path, [report(ready="fail"), client, steps])

    other = remember(tmp_path, report(ready="pass", url="https://staging.example"), now=BEGIN)
    same = remember(tmp_path, report(ready="pass"), now=BEGIN + timedelta(days=9))

    assert (other["kept"], same["kept"]) == (1, 2)
    assert {run.subject for run in read_runs(tmp_path)[0]} == {
        URL, "https://staging.example", "app:make", "rows.csv"
    }  # fmt: skip


def test_a_server_on_this_machine_may_have_any_port(tmp_path: Path) -> None:
    ports = [f"http://{host}" for host in ("127.0.0.1:3000", "localhost:51234", "[::1]:9")]

    assert remembered(tmp_path, [report(ready="pass", url=url) for url in ports])["kept"] == 3


def test_the_sides_of_a_comparison_may_have_any_version(tmp_path: Path) -> None:
    def comparison(old: str, new: str, differing: int) -> dict[str, Any]:
        evidence = {"differing": differing, "rows": 200}
        return Verdict(
            {"old": old, "new": new, "url": new},
            [
                CheckResult("compare.flips", "fail" if differing else "pass", evidence=evidence),
                CheckResult("compare.latency", "pass", evidence={"new_median_seconds": 0.004}),
            ],
        ).as_dict()

    history = remembered(
        tmp_path,
        [
            comparison("churn:ab1", "http://127.0.0.1:3000", 0),
            comparison("churn:cd2", "http://127.0.0.1:3999", 3),
            comparison("services/churn.py:Churn", "models:/churn/3", 0),
            comparison("services/churn.py:Churn", "models:/churn/4", 1),
            comparison("tier0-build/churn", "models:/churn/4", 0),
        ],
    )

    assert [run.subject for run in read_runs(tmp_path)[0]] == [
        *["churn and this machine"] * 2,
        *["services/churn.py:Churn and models:/churn"] * 2,
        "tier0-build/churn and models:/churn",
    ]
    assert history["kept"] == 1
    facts = read_runs(tmp_path)[0][1].facts
    assert facts.metrics == {"flipped decisions": (0.015, None)}
    assert facts.latencies == {"p50": 4.0}


BROKEN: dict[str, Any] = {
    "empty": "",
    "not JSON": "{",
    "no object": "[]",
    "later schema": {"schema": 2},
    "schema as text": {"schema": "1"},
    "no facts": {"schema": 1, "at": "2026-03-01T06:00:00+00:00", "subject": URL},
    "no time": {"at": "yesterday"},
    "time without a zone": {"at": "2026-03-01T06:00:00"},
    "checks": {"facts": {"checks": ["health.ready"]}},
    "metric": {"facts": {"metrics": {"auc": "high"}}},
    "latency": {"facts": {"latencies": {"p50": [1]}}},
    "verdict": {"facts": {"verdict": "splendid"}},
    "too deep": "[" * 100_000 + "]" * 100_000,
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_reported_and_skipped(tmp_path: Path, kind: str) -> None:
    remembered(tmp_path, [report(ready="pass")])
    (good,) = tmp_path.iterdir()
    content = BROKEN[kind]
    if isinstance(content, dict):
        whole = json.loads(good.read_text(encoding="utf-8"))
        facts = {**whole["facts"], **content.get("facts", {})}
        content = json.dumps(content if kind == "no facts" else {**whole, **content, "facts": facts})
    broken = tmp_path / good.name.replace("20260301", "20260227")
    broken.write_bytes(content if isinstance(content, bytes) else content.encode())

    history = remember(tmp_path, report(ready="pass"), now=BEGIN + timedelta(days=1))

    assert (history["kept"], history["problem"]) == (2, "")
    (reason,) = history["skipped"]
    assert reason.startswith(f"{broken.name}: ")
    assert broken.exists(), "what others wrote is left alone"


def test_files_of_others_are_reported_and_left_alone(tmp_path: Path) -> None:
    name = "tier0-20260227T060000000000Z-00000000.json"
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / "more").mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name.replace("0.json", "1.json")).symlink_to("/dev/zero")
    (tmp_path / name.replace("0.json", "2.json")).symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / name.replace("0.json", "3.json"))

    history = remember(tmp_path, report(ready="pass"), now=BEGIN)

    assert {line.partition(": ")[0] for line in history["skipped"]} == {
        "README.md", "more", name, name.replace("0.json", "1.json"), name.replace("0.json", "3.json")
    }  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 8


def test_many_files_of_others_are_counted(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").touch()

    skipped = remember(tmp_path, report(ready="pass"), now=BEGIN)["skipped"]

    assert (len(skipped), skipped[-1]) == (11, "and 40 more")


def test_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_RUNS", 5)
    unfinished = tmp_path / ".tier0-20260227T060000000000Z-00000000.json.unfinished"
    younger = tmp_path / ".tier0-20260227T060000000000Z-00000001.json.unfinished"
    for path in (unfinished, younger, tmp_path / ".other.unfinished"):
        path.touch()
    os.utime(unfinished, (0, 0))

    remembered(tmp_path, [report(ready="pass")] * 8)

    names = sorted(path.name for path in tmp_path.glob("tier0-*"))
    assert [name[:14] for name in names] == [f"tier0-202603{day:02}" for day in range(4, 9)]
    assert not unfinished.exists()
    assert younger.exists()


def test_a_file_is_small_whatever_the_report_has(tmp_path: Path) -> None:
    metrics = {f"{'m' * 1000}{number}": {"value": 0.5, "spread": None} for number in range(5000)}
    content = {**report(ready="pass", tag="t" * 10_000), "model": {"metrics": {"b": {"value": 1}, **metrics}}}

    remember(tmp_path, content, now=BEGIN)

    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 400_000
    assert read_runs(tmp_path)[0][0].facts.metrics["b"] == (1.0, None)


def test_many_runs_may_write_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: remember(tmp_path, report(ready="pass")), range(64)))

    assert not [history["problem"] for history in found if history["problem"]]
    assert not [history["skipped"] for history in found if history["skipped"]]
    runs, skipped = read_runs(tmp_path)
    assert (len(runs), skipped) == (64, [])
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_used_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    history = remember(tmp_path / "file", report(ready="pass"), now=BEGIN)

    assert "is not kept" in history["problem"]
    assert len(history["runs"]) == 1
    assert history["problem"] in history_sentences(history)


def test_a_value_that_is_not_a_number_has_no_point(tmp_path: Path) -> None:
    values = [0.5, float("nan"), float("inf"), 0.6]
    history = remembered(tmp_path, [report(ready="pass", metrics={"r2": (one, 0.01)}) for one in values])

    assert line_in(history, "r2")["values"] == [0.5, None, None, 0.6]
    json.dumps(history, allow_nan=False)


def test_the_page_shows_lines_with_the_change_marked(tmp_path: Path) -> None:
    reports = [report(ready="pass", parity="pass", p50=2.0, tag="churn:1") for _ in range(3)]
    reports += [report(ready="pass", parity="fail", p50=9.0, tag="churn:2") for _ in range(2)]
    history = remembered(tmp_path, reports)

    section = ET.fromstring(history_section(with_history(history)))

    drawings = {drawing.get("aria-label", ""): drawing for drawing in section.iter("svg")}
    parity = next(drawing for label, drawing in drawings.items() if label.startswith(PARITY))
    latency = next(drawing for label, drawing in drawings.items() if label.startswith("latency p50"))
    assert [rect.get("class") for rect in parity.iter("rect")] == ["span good"] * 3 + ["span bad"] * 2
    assert len([path for path in parity.iter("path") if path.get("class") == "change"]) == 1
    assert len([path for path in parity.iter("path") if path.get("class") == "model"]) == 1
    assert [dot.get("class") for dot in latency.iter("circle")] == ["span bad", "span plain"]
    assert any("changed at 2026-03-04" in label for label in drawings)
    steady = section.find("details")
    assert steady is not None
    assert READY in "".join(steady.itertext())
    assert f"{PARITY} fails since 2026-03-04" in "".join(section.itertext())


def test_all_forms_of_the_report_show_it(tmp_path: Path) -> None:
    history = remembered(
        tmp_path, [report(ready=status, parity="fail") for status in ("pass", "fail", "pass", "fail")]
    )
    document = with_history(history)

    for text in (as_html(document), as_markdown(document)):
        plain = text.replace("\\", "")
        assert "health.ready is flaky" in plain
        assert f"{PARITY} fails since 2026-03-01" in plain
    assert history_section(document_of([])) == ""
    assert history_markdown(document_of([])) == []


def test_texts_of_a_file_are_shown_as_data(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"\x1b[31m'
    reports = [report(ready="pass", metrics={hostile: (value, 0.0)}, tag=hostile) for value in (0.9, 0.1)]
    document = with_history(remembered(tmp_path, reports))

    assert "<script" not in history_section(document)
    assert "\x1b" not in history_section(document)
    ET.fromstring(history_section(document))
    assert "<script" not in "\n".join(history_markdown(document)).replace("\\<", "")


def test_the_first_run_has_no_lines_to_compare(tmp_path: Path) -> None:
    section = history_section(with_history(remember(tmp_path, report(ready="pass", p50=1.0), now=BEGIN)))

    assert "first run that is kept" in section
    ET.fromstring(section)


def test_a_report_with_a_history_fits_the_schema(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    history = remembered(tmp_path, [report(ready="pass", parity="fail", p50=2.0)] * 3)

    jsonschema.validate({**report(ready="pass"), "schema": SCHEMA, "history": history}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**report(ready="pass"), "history": {**history, "kept": "3"}}, schema)
