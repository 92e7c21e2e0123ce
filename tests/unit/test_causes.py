"""The folding of failures into causes: each failure once, the worst first, with its likely causes weighed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tier0.core.catalogue import CATALOGUE, SEVERITIES
from tier0.core.causes import (
    FIND_EXCEPTION,
    KNOWN,
    NOT_READY_IN_TIME,
    Cause,
    KnownCheck,
    causes_of,
    last_exception,
    likely_of,
    title_of,
)
from tier0.core.client_catalogue import CLIENT_CATALOGUE
from tier0.core.comparison_catalogue import COMPARISON_CATALOGUE
from tier0.core.errors import SERVER_NOT_READY
from tier0.core.step_catalogue import STEP_CATALOGUE
from tier0.core.verdict import CheckResult, Status

LOG = f"""{SERVER_NOT_READY}: the process ended with status 1.
The end of its log (/tmp/x/server.log):
2026-11-29T19:00:00 [INFO] [cli] Starting
Traceback (most recent call last):
  File "service.py", line 3, in __init__
    model = load()
            ^^^^^^
KeyError: 'weights'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "service.py", line 5, in __init__
    raise NoWeights("no weights in /models")
service.NoWeights: no weights in /models
2026-11-29T19:00:01 [ERROR] Application startup failed. Exiting.
Traceback (most recent call last):
  File "main.py", line 9, in <module>
    sys.exit(3)
SystemExit: 3
"""
WRONG_ROWS = {"rows_that_differ": 6, "rows_explained": 6, "pattern": "dropped_step"}


def failed(check: str, *, status: Status = "fail", **more: object) -> CheckResult:
    return CheckResult(check, status, **{"message": f"message of {check}", **more})  # type: ignore[arg-type]


def folded(causes: list[Cause]) -> list[list[str]]:
    return [[result.id for result in cause.checks] for cause in causes]


@pytest.mark.parametrize("check", KNOWN.values(), ids=list(KNOWN))
def test_every_check_has_what_a_report_says_of_its_failure(check: KnownCheck) -> None:
    title, remedy = check.title, check.remedy

    assert title[:1].isupper() or title.startswith("predict_batch")
    assert 8 < len(title) <= 48
    assert 12 < len(remedy) <= 110
    assert not title.endswith(".")
    assert not remedy.endswith(".")
    assert ": " not in remedy, "what follows a colon is taken for the remedy of a likely cause"


def test_the_catalogues_have_no_id_in_common() -> None:
    catalogues = (CATALOGUE, CLIENT_CATALOGUE, COMPARISON_CATALOGUE, STEP_CATALOGUE)
    assert len(KNOWN) == sum(map(len, catalogues))


def test_what_explains_a_check_is_known_and_never_explained_by_it() -> None:
    def reasons(check: str, above: tuple[str, ...] = ()) -> None:
        assert check not in above, f"{check} explains itself"
        for reason in KNOWN[check].explained_by:
            reasons(reason, (*above, check))

    for check in KNOWN:
        reasons(check)


def test_one_dropped_preprocessor_is_one_cause() -> None:
    explained = [
        "parity.rows_alone", "parity.shuffled", "parity.boundaries", "parity.through_client",
        "concurrency.own_answer",
    ]  # fmt: skip
    results = [
        CheckResult("health.ready", "pass"),
        failed("parity.golden_rows", evidence=WRONG_ROWS, causes=["a step is not deployed: serve all steps"]),
        *(failed(check, causes=["another cause"]) for check in explained),
    ]

    (cause,) = causes_of(results)

    assert folded([cause]) == [["parity.golden_rows", *explained]]
    assert (cause.severity, cause.title) == ("critical", "Wrong predictions")
    assert cause.headline == "message of parity.golden_rows"
    assert cause.likely == ("a step is not deployed: serve all steps",)
    assert cause.next_step == "serve all steps"
    assert likely_of(cause.as_dict()) == ["a step is not deployed"], "the next step is said once"


def test_another_model_explains_wrong_predictions_unless_they_have_a_pattern() -> None:
    names, rows = failed("identity.expected_model"), failed("parity.golden_rows")
    with_pattern = failed("parity.golden_rows", evidence=WRONG_ROWS)

    assert folded(causes_of([names, rows])) == [["identity.expected_model", "parity.golden_rows"]]
    assert folded(causes_of([names, with_pattern])) == [["identity.expected_model"], ["parity.golden_rows"]]


def test_predictions_that_change_explain_differences_but_not_those_with_a_pattern() -> None:
    changing, order = failed("identity.always_the_same"), failed("parity.shuffled")
    rows = failed("parity.golden_rows", evidence=WRONG_ROWS)

    assert folded(causes_of([changing, order])) == [["identity.always_the_same", "parity.shuffled"]]
    assert folded(causes_of([changing, rows, order])) == [
        ["parity.golden_rows", "parity.shuffled"],
        ["identity.always_the_same"],
    ]


def test_unrelated_failures_are_causes_of_their_own_the_worst_first() -> None:
    checks = ["observability.metrics_can_be_read", "teardown.stops", "security.keeps_secrets"]

    causes = causes_of([failed(check) for check in checks])

    assert folded(causes) == [[check] for check in reversed(checks)]
    assert [cause.severity for cause in causes] == ["critical", "major", "minor"]


def test_malformed_requests_that_get_predictions_share_a_cause_and_crashes_another() -> None:
    def got(check: str, status: int) -> CheckResult:
        return failed(check, evidence={"status": status}, causes=[f"cause of {check}"])

    results = [
        got("contract.refuses_no_json", 500),
        got("contract.refuses_wrong_width", 200),
        got("contract.refuses_text_for_number", 200),
        got("contract.empty_rows", 500),
    ]

    causes = causes_of(results)

    assert folded(causes) == [
        ["contract.refuses_wrong_width", "contract.refuses_text_for_number"],
        ["contract.refuses_no_json", "contract.empty_rows"],
    ]
    assert [cause.title for cause in causes] == [
        "Malformed requests get predictions",
        "Malformed requests crash the handler",
    ]


def test_a_server_that_did_not_start_is_one_cause_with_its_last_exception() -> None:
    skipped = [
        CheckResult(check.id, "not_judged", f"its test was skipped: {LOG.splitlines()[0]}")
        for check in CATALOGUE[3:]
    ]
    results = [failed(check.id, status="error", message=LOG) for check in CATALOGUE[:3]]

    (cause,) = causes_of([*results, *skipped])

    assert cause.headline == f"{SERVER_NOT_READY}: service.NoWeights: no weights in /models"
    assert (cause.severity, cause.title) == ("critical", "Server not started")
    assert [result.id for result in cause.skipped] == [check.id for check in CATALOGUE[3:]]
    assert cause.next_step


def test_a_network_error_of_all_checks_is_one_cause_and_less_than_a_wrong_model() -> None:
    errors = [
        failed(check.id, status="error", code="network", message=f"no response to {check.id}")
        for check in CATALOGUE[8:12]
    ]

    causes = causes_of([*errors, failed("identity.expected_model")])

    assert [len(cause.checks) for cause in causes] == [1, 4]
    assert causes[1].title == "No response"


def test_checks_that_were_not_run_belong_to_what_muted_them() -> None:
    muted = CheckResult(
        "parity.golden_rows",
        "not_judged",
        "a well-formed request gets no prediction: see health.can_predict",
        code="muted",
    )
    other = CheckResult("performance.memory", "not_judged", "needs a process", code="no_process")

    (cause,) = causes_of([failed("health.can_predict"), muted, other])

    assert cause.skipped == (muted,)


@pytest.mark.parametrize(
    ("others", "first"),
    [
        ([CheckResult("parity.rows_alone", "pass")], "predictions depend on the other rows"),
        ([failed("parity.rows_alone")], "the preprocessing was dropped"),
        ([failed("parity.missing_values"), failed("parity.rows_alone")], "missing values became zero"),
        ([failed("identity.expected_model"), failed("parity.rows_alone")], "another model is served"),
    ],
)
def test_likely_causes_are_weighed_by_what_else_failed_and_passed(
    others: list[CheckResult], first: str
) -> None:
    causes = [
        "the preprocessing was dropped",
        "predictions depend on the other rows",
        "missing values became zero",
        "another model is served",
    ]

    found = causes_of([failed("parity.golden_rows", causes=causes, evidence={"pattern": ""}), *others])

    assert next(cause for cause in found if cause.likely).likely[0] == first


NAMES = (
    "sklearn/base.py:493: UserWarning: X does not have valid feature names, but StandardScaler was fitted "
    "with feature names"
)
RAISED = """Traceback (most recent call last):
  File "service.py", line 9, in predict
    return rows["age"]
KeyError: 'age'"""


def test_the_log_of_the_server_is_evidence_for_a_cause() -> None:
    rows = failed("parity.golden_rows", causes=["another model is served"])

    (cause,) = causes_of([rows], {"parity.golden_rows": f"GET /readyz\n  {NAMES}\nPOST /predict"})
    (crash,) = causes_of(
        [failed("health.can_predict", causes=["it crashed"], evidence={"status": 500})],
        {"health.can_predict": RAISED},
    )
    (silent,) = causes_of([rows], {"parity.golden_rows": "POST /predict 200"})
    (answered,) = causes_of([rows], {"parity.golden_rows": RAISED})

    assert "column names are lost" in cause.likely[0]
    assert NAMES in cause.likely[0]
    assert cause.next_step == "pass the model the same type of table as in the training"
    assert crash.likely == (
        f"the handler raised KeyError: 'age' (server log): {FIND_EXCEPTION}",
        "it crashed",
    )
    assert crash.next_step == FIND_EXCEPTION
    assert silent.likely == ("another model is served",)
    assert answered.likely == silent.likely, "a request of another check raised it"


@pytest.mark.parametrize(
    ("reason", "evidence"),
    [
        ("health.can_predict", {"status": 500}),
        ("parity.golden_rows", {"rows_that_differ": 3, "expected": 1, "got": 2}),
        ("parity.rows_alone", {"rows_that_differ": 1, "expected": 1, "got": 2}),
        ("identity.always_the_same", {"rows_that_differ": 1, "expected": 1, "got": 2}),
    ],
)
def test_a_broken_service_is_no_second_cause_for_checks_that_ask_on_the_way(
    reason: str, evidence: dict[str, object]
) -> None:
    on_the_way = [
        failed(check, evidence=evidence)
        for check in ("observability.counts_requests", "resilience.worker_is_replaced", "performance.latency")
    ]

    (cause,) = causes_of([failed(reason), *on_the_way])

    assert cause.leading.id == reason
    assert list(cause.explained) == on_the_way


def test_counters_that_do_not_count_are_a_cause_of_their_own_beside_a_broken_service() -> None:
    counters = failed("observability.counts_requests", evidence={"asked": 3, "counted": 0.0})

    causes = causes_of([failed("parity.golden_rows", evidence=WRONG_ROWS), counters])

    assert [cause.title for cause in causes] == ["Wrong predictions", "Requests not counted"]


def test_a_wrong_prediction_on_the_way_is_called_so() -> None:
    (cause,) = causes_of([failed("observability.counts_requests", evidence={"rows_that_differ": 1})])

    assert (cause.title, cause.severity) == ("Wrong predictions", "critical")


def test_a_start_without_an_exception_is_not_told_to_fix_one() -> None:
    (cause,) = causes_of(
        [failed("health.ready", status="error", message=f"{SERVER_NOT_READY}: not within 30 s")]
    )

    assert cause.next_step == NOT_READY_IN_TIME


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_server_that_did_not_start_is_critical_in_tests_of_the_user_too(status: Status) -> None:
    (cause,) = causes_of([failed("test_own.py::test_it", status=status, message=LOG)])

    assert (cause.title, cause.severity, cause.key) == ("Server not started", "critical", "service.NoWeights")


def test_a_request_without_a_prediction_is_not_called_a_wrong_prediction() -> None:
    (cause,) = causes_of([failed("parity.golden_rows", evidence={"status": 500, "body": "oops"})])

    assert cause.title == "No predictions"
    assert "read the server's log" in cause.next_step


def test_the_log_does_not_outweigh_a_diagnosis_of_all_rows() -> None:
    rows = failed("parity.golden_rows", evidence=WRONG_ROWS, causes=["a step is lost: serve it"])

    (cause,) = causes_of([rows], {"parity.golden_rows": NAMES})

    assert cause.likely[0] == "a step is lost: serve it"
    assert cause.next_step == "serve it"
    assert len(cause.likely) == 2


@pytest.mark.parametrize(
    ("text", "exception"),
    [
        (LOG, "service.NoWeights: no weights in /models"),
        (RAISED, "KeyError: 'age'"),
        (RAISED.replace("\n", "\n  | "), "KeyError: 'age'"),
        ("    raise Broken\nBroken", ""),
        ("Traceback (most recent call last):\n    raise Broken\nBroken", "Broken"),
        ("rest of a traceback that is cut\nValueError: too long: 3", "ValueError: too long: 3"),
        (NAMES, ""),
        ("INFO: ready\nPOST /predict: 200", ""),
        ("", ""),
    ],
)
def test_the_last_exception_of_a_log(text: str, exception: str) -> None:
    assert last_exception(text) == exception


def test_thousands_of_failures_are_folded_at_once() -> None:
    alike = [failed(f"test_{number}", message="the same") for number in range(5000)]
    different = [failed(f"test_{number}", message=f"message {number}") for number in range(5000, 10_000)]

    start = time.process_time()
    causes = causes_of([*alike, *different])

    assert sorted(len(cause.checks) for cause in causes) == [1] * 5000 + [5000]
    assert time.process_time() - start < 10, "it takes a fraction of a second"


RESULTS = st.lists(
    st.builds(
        CheckResult,
        id=st.sampled_from([*KNOWN, "test_own.py::test_it", "compare.flips"]),
        status=st.sampled_from(["pass", "fail", "not_judged", "error"]),
        message=st.sampled_from(["", "one", "two", LOG, "muted: see health.can_predict"]),
        evidence=st.sampled_from([{}, WRONG_ROWS, {"status": 200}, {"status": 500}, {"status": "x"}]),
        causes=st.lists(st.sampled_from(["another model is served", "missing values: keep them"])),
        code=st.sampled_from(["", "network", "timeout", "muted"]),
    ),
    max_size=25,
    unique_by=lambda result: result.id,
)


@given(RESULTS)
def test_every_failure_is_in_exactly_one_cause(results: list[CheckResult]) -> None:
    causes = causes_of(results, {result.id: NAMES for result in results})

    listed = [result.id for cause in causes for result in cause.checks]
    assert sorted(listed) == sorted(result.id for result in results if result.status in {"fail", "error"})
    skipped = [result.id for cause in causes for result in cause.skipped]
    assert len(set(skipped)) == len(skipped)
    ranks = [SEVERITIES.index(cause.severity) for cause in causes]
    assert ranks == sorted(ranks)
    for cause in causes:
        assert cause.title
        assert "\n" not in cause.headline
        explained = [result["check"] for result in cause.as_dict()["explains"]]
        assert explained == [result.id for result in cause.explained]


@pytest.mark.parametrize("pattern", ["missing_part", "other_count"])
def test_a_response_whose_rows_cannot_be_compared_has_its_own_title_and_remedy(pattern: str) -> None:
    evidence = {"rows_that_differ": 30, "rows_asked": 30, "rows_explained": 30, "pattern": pattern}
    result = failed("parity.golden_rows", evidence=evidence, causes=["rows are dropped: return each"])

    (cause,) = causes_of([result])

    assert cause.title != title_of(failed("parity.golden_rows"))
    assert cause.next_step == "return each"
    assert "rows differ" not in cause.key
