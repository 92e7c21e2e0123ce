"""Output of the commands that check."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tier0.cli.output import print_conclusion, print_result
from tier0.core.verdict import CheckResult, Verdict

NO_GOLDEN = "no golden rows: pass --golden or --model"


def test_checks_that_were_not_checked_for_one_reason_have_one_line(
    capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    parity = [
        CheckResult(f"parity.{name}", "not_judged", NO_GOLDEN, code="no_golden")
        for name in ("golden_rows", "rows_alone", "shuffled", "repeated", "columns_by_name", "missing_values")
    ]
    other = CheckResult("resilience.slow_requests", "not_judged", "this check disturbs the service (load)")
    results = [CheckResult("health.ready", "pass", evidence={"seconds": 0.25}), *parity, other]

    for result in results:
        print_result(result)
    print_conclusion("http://127.0.0.1:3000", Verdict({}, results))

    output = capsys.readouterr().out
    assert output.count(NO_GOLDEN) == 1
    assert all(result.id in output for result in results)
    assert output == snapshot
