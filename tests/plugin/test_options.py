"""What the plugin adds to pytest, and what it costs those who do not ask for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import QUIET
from tier0.core.settings import TABLE, rows_for
from tier0.pytest_plugin import INCONCLUSIVE

NOTHING = "def test_nothing():\n    pass\n"
LISTS_MODULES = """
import sys

def pytest_unconfigure(config):
    with open("modules.txt", "w") as file:
        file.write("\\n".join(sys.modules))
"""
ASKED = """
import pytest

@pytest.mark.tier0_bentoml
def test_it(tier0_deployment, tier0_client):
    pass
"""


def test_help_shows_every_setting(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_subprocess(*QUIET, "--help").stdout.str()

    rows = rows_for("pytest")
    for row in rows:
        assert row.option in shown
        assert row.variable in shown
        assert row.ini in shown
    assert not [row.option for row in TABLE if row not in rows and row.option in shown]


def test_marker_is_known_under_strict_markers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NOTHING)

    result = pytester.runpytest_subprocess(*QUIET, "--strict-markers", "-m", "not tier0_bentoml")

    result.assert_outcomes(passed=1)
    pytester.runpytest_subprocess(*QUIET, "--markers").stdout.fnmatch_lines(["@pytest.mark.tier0_bentoml*"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tier0-dataset", "iris"],
        ["--tier0-hpo-trials", "0"],
        ["--tier0-port", "http"],
        ["--tier0-target", "y"],
        ["--tier0-service", "missing.py:Churn"],
        ["--tier0-service", "missing.module:Churn"],
        ["--tier0-service", "."],
        ["--tier0-store", "test_an_invalid_setting_is_a_usage_error_before_anything_is_done.py"],
    ],
)
def test_an_invalid_setting_is_a_usage_error_before_anything_is_done(
    pytester: pytest.Pytester, arguments: list[str]
) -> None:
    pytester.makepyfile(ASKED)

    result = pytester.runpytest_subprocess(*QUIET, *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    option, value = arguments
    result.stderr.fnmatch_lines([f"ERROR: tier0: *{value}'*{option}*", "  *--tier0-*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_missing_service_is_no_error_where_no_test_uses_it(pytester: pytest.Pytester) -> None:
    missing = ("--tier0-service", "missing.py:Churn")
    pytester.makepyfile(NOTHING)
    pytester.runpytest_subprocess(*QUIET, *missing).assert_outcomes(passed=1)
    pytester.makepyfile(ASKED)

    assert pytester.runpytest_subprocess(*QUIET, *missing, "--collect-only").ret == pytest.ExitCode.OK


@pytest.mark.parametrize("option", ["contract", "golden", "waivers", "ca"])
def test_a_file_that_cannot_be_used_is_told_without_a_traceback(
    pytester: pytest.Pytester, option: str
) -> None:
    pytester.makepyfile(ASKED)
    (pytester.path / "wrong").write_bytes(b"\xff\xfe\x00")

    result = pytester.runpytest_subprocess(
        *QUIET, "--tier0-url", "http://127.0.0.1:9", f"--tier0-{option}", "wrong"
    )

    assert result.ret == INCONCLUSIVE
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E   *wrong*"])
    result.stdout.no_fnmatch_line("*.py:[0-9]*: *Error")


def test_a_fixture_of_the_user_keeps_its_traceback(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, tier0

        @pytest.fixture
        def served():
            return tier0.Deployment.from_service("missing.py:Churn")

        @pytest.mark.tier0_bentoml
        def test_it(served):
            pass
        """
    )

    result = pytester.runpytest_subprocess(*QUIET)

    result.stdout.fnmatch_lines(["*return tier0.Deployment.from_service*"])


def test_header_says_where_each_setting_came_from(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(NOTHING)
    pytester.makeini("[pytest]\ntier0_seed = 4\ntier0_hpo_trials = 9\n")
    monkeypatch.setenv("TIER0_HPO_TRIALS", "3")

    result = pytester.runpytest_subprocess(*QUIET, "--tier0-port", "3001+")

    expected = [
        "hpo-trials=3 (environment variable TIER0_HPO_TRIALS)",
        "seed=4 (ini key tier0_seed in tox.ini)",
        "port=3001+ (--tier0-port)",
    ]
    result.stdout.fnmatch_lines([f"tier0: {', '.join(expected)}"])


def test_no_header_where_nothing_was_set(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NOTHING)

    pytester.runpytest_subprocess(*QUIET).stdout.no_fnmatch_line("tier0: *")


def test_loading_the_plugin_imports_the_standard_library_and_pytest_only() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import tier0.pytest_plugin; "
        "print(*(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    own = {name for name in loaded if name.partition(".")[0] == "tier0"}
    names = (
        "catalogue", "display", "errors", "event_log", "fields", "interruption", "named_file",
        "near_names", "protocols", "secrets", "setting_parsers", "settings",
    )  # fmt: skip
    core = {f"tier0.core.{name}" for name in names}
    plugin = {f"tier0.pytest_{name}" for name in ("client_fixture", "plugin", "recorder", "settings")}
    assert own == {"tier0", "tier0.core"} | plugin | core
    assert {name.partition(".")[0] for name in loaded} - {"tier0"} <= set(sys.stdlib_module_names)


def test_a_deselected_run_neither_imports_nor_starts_anything(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NOTHING + ASKED)
    pytester.makeconftest(LISTS_MODULES)

    result = pytester.runpytest_subprocess(*QUIET, "-m", "not tier0_bentoml")

    result.assert_outcomes(passed=1, deselected=1)
    loaded = (pytester.path / "modules.txt").read_text(encoding="utf-8").split()
    heavy = {
        "bentoml",
        "sklearn",
        "mlflow",
        "numpy",
        "pandas",
        "httpx",
        "psutil",
        "optuna",
        "xgboost",
        "lightgbm",
    }
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert not [
        name
        for name in loaded
        if name.startswith(("tier0.runs", "tier0.serving", "tier0.pipeline", "tier0.client", "tier0.report"))
    ]
    assert "tier0.core.events" not in loaded, "its classes take milliseconds to make"
    result.stdout.no_fnmatch_line("*= tier0 =*")


def test_client_imports_httpx_and_nothing_of_pytest_or_training() -> None:
    code = "import sys, tier0.client; print(*sys.modules)"
    loaded = {
        name.partition(".")[0]
        for name in subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    }

    assert "httpx" in loaded
    assert not {"pytest", "_pytest", "bentoml", "sklearn", "numpy", "pandas", "mlflow", "psutil"} & loaded


def test_public_names_are_there() -> None:
    import tier0

    for name in tier0.__all__:
        assert getattr(tier0, name).__name__ == {"ModelClient": "BentoMLClient"}.get(name, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tier0.nothing  # noqa: B018
