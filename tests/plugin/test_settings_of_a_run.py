"""Settings of a run of pytest: where they may be written, and that they stop only the tests that use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import QUIET

PLAIN = "def test_plain():\n    pass\n"
USES = """
import json

import pytest

def test_plain():
    pass

@pytest.mark.tier0_bentoml
def test_marked():
    pass

def test_settings(tier0_settings):
    names = ("mask", "seed", "algorithms", "golden", "service", "store")
    with open("seen.json", "w") as file:
        json.dump({name: str(getattr(tier0_settings, name)) for name in names}, file)
"""
INVALID: dict[str, tuple[dict[str, str], str]] = {
    "variable": ({"TIER0_MODEL": "churn"}, ""),
    "variable of a file": ({"TIER0_GOLDEN": "gone.json", "TIER0_URL": "http://127.0.0.1:1"}, ""),
    "ini": ({}, "[pytest]\ntier0_seed = many\n"),
    "groups": ({"TIER0_GROUPS": "party"}, ""),
    "header": ({"TIER0_HEADER": "Authorization: @gone"}, ""),
    "report": ({"TIER0_REPORT": "/nowhere/report.json"}, ""),
}


@pytest.fixture(autouse=True)
def _project(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=USES)


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_settings_stop_only_the_runs_that_use_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    environ, ini = INVALID[kind]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    pytester.makeini(ini or "[pytest]\n")

    for selection in (
        ["-k", "plain"],
        ["-m", "not tier0_bentoml", "--deselect", "test_it.py::test_settings"],
    ):
        unaffected = pytester.runpytest_inprocess(*QUIET, *selection)
        unaffected.assert_outcomes(passed=1, deselected=2)
    for selected in ("marked", "settings"):
        used = pytester.runpytest_inprocess(*QUIET, "-k", selected)
        assert used.ret == pytest.ExitCode.USAGE_ERROR
        used.stderr.fnmatch_lines(["ERROR: tier0: *"])
        used.stdout.no_fnmatch_line("*INTERNALERROR*")
    listed = pytester.runpytest_inprocess(*QUIET, "--collect-only", "-q")
    assert listed.ret == (pytest.ExitCode.USAGE_ERROR if kind == "groups" else pytest.ExitCode.OK)


def test_a_fixture_that_a_test_requests_late_reports_the_same_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIER0_SEED", "many")
    pytester.makepyfile(test_it="def test_late(request):\n    request.getfixturevalue('tier0_deployment')\n")

    result = pytester.runpytest_inprocess(*QUIET)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*invalid value 'many' for environment variable TIER0_SEED*"])


def test_workers_leave_the_usage_error_to_their_controller(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntier0_seed = many\n")

    used = pytester.runpytest_subprocess(*QUIET, "-n1")
    unaffected = pytester.runpytest_subprocess(*QUIET, "-n1", "-k", "plain")

    assert used.ret == pytest.ExitCode.USAGE_ERROR
    used.stderr.fnmatch_lines(["ERROR: tier0: invalid value 'many' for ini key tier0_seed in tox.ini*"])
    unaffected.assert_outcomes(passed=1)


def test_the_address_of_a_kubernetes_service_is_reported_by_a_run_that_uses_tier0(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIER0_PORT", "tcp://10.0.0.1:80")

    result = pytester.runpytest_inprocess(*QUIET, "-k", "marked")
    unaffected = pytester.runpytest_inprocess(*QUIET, "-k", "plain")

    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(["environment variable TIER0_PORT=tcp://10.0.0.1:80 is ignored: *"])
    unaffected.stdout.no_fnmatch_line("*TIER0_PORT*")


FILES = {
    "pytest.toml": "[pytest]\n{}",
    ".pytest.toml": "[pytest]\n{}",
    "pyproject.toml": "[tool.pytest]\n{}",
    "tox.ini": "[pytest]\n{}",
    "setup.cfg": "[tool:pytest]\n{}",
    "pytest.ini": "[pytest]\n{}",
}
NATIVE = 'tier0_mask = true\ntier0_seed = 3\ntier0_algorithms = ["linear"]\n'
TEXTS = "tier0_mask = true\ntier0_seed = 3\ntier0_algorithms = linear\n"


@pytest.mark.parametrize("name", [*FILES, "ini_options"])
def test_every_configuration_file_is_read(pytester: pytest.Pytester, name: str) -> None:
    is_toml = name.endswith(".toml") or name == "ini_options"
    quote = '"' if is_toml else ""
    paths = "".join(
        f"tier0_{key} = {quote}{value}{quote}\n"
        for key, value in {"golden": "golden.json", "service": "services/s.py:S", "store": "home"}.items()
    )
    template = "[tool.pytest.ini_options]\n{}" if name == "ini_options" else FILES[name]
    content = template.format((NATIVE if is_toml else TEXTS) + paths)
    file = pytester.path / ("pyproject.toml" if name == "ini_options" else name)
    file.write_text(content, encoding="utf-8")
    (pytester.path / "golden.json").touch()
    below = pytester.mkdir("below")
    (pytester.path / "test_it.py").rename(below / "test_it.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        result = pytester.runpytest_inprocess(*QUIET, "-k", "settings")

    result.assert_outcomes(passed=1, deselected=2)
    root = pytester.path
    assert json.loads((below / "seen.json").read_text(encoding="utf-8")) == {
        "mask": "True",
        "seed": "3",
        "algorithms": "('linear',)",
        "golden": str(root / "golden.json"),
        "service": f"{root}/services/s.py:S",
        "store": str(root / "home"),
    }


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("tier0_mask = 1", "expected true or false"),
        ('tier0_seed = "many"', "expected a whole number"),
        ("tier0_target = [1]", "expected a string"),
        ("tier0_header = {A = 1}", "expected a list of strings"),
        ("tier0_wait = 2026-01-01", "expected a number of seconds"),
    ],
)
@pytest.mark.parametrize("name", ["pytest.toml", "pyproject.toml"])
def test_a_wrong_type_is_a_usage_error_where_it_is_used(
    pytester: pytest.Pytester, name: str, line: str, remedy: str
) -> None:
    (pytester.path / name).write_text(FILES[name].format(line), encoding="utf-8")

    used = pytester.runpytest_inprocess(*QUIET, "-k", "settings")
    unaffected = pytester.runpytest_inprocess(*QUIET, "-k", "plain")

    assert used.ret == pytest.ExitCode.USAGE_ERROR
    key = line.partition(" ")[0]
    used.stderr.fnmatch_lines([f"ERROR: tier0: invalid value * for ini key {key} in {name}: {remedy}*"])
    unaffected.assert_outcomes(passed=1, deselected=2)


def test_overrides_are_relative_to_the_working_folder(pytester: pytest.Pytester) -> None:
    below = pytester.mkdir("below")
    (below / "golden.json").touch()
    pytester.makeini("[pytest]\ntier0_golden = gone.json\ntier0_url = http://127.0.0.1:1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        for arguments in (["-o", "tier0_golden=golden.json"], ["--tier0-golden", "golden.json"]):
            result = pytester.runpytest_inprocess(*QUIET, *arguments, "-k", "settings", str(Path("..")))
            result.assert_outcomes(passed=1, deselected=2)


@pytest.mark.parametrize(
    "options",
    [
        ["-p", "no:terminal"],
        ["-p", "no:asyncio", "-p", "no:anyio"],
        ["-p", "no:warnings", "-p", "no:junitxml", "-p", "no:logging"],
        ["--import-mode=importlib", "-x"],
        ["--collect-only", "-q"],
        ["--setup-plan"],
    ],
    ids=" ".join,
)
def test_other_plugins_may_be_absent(pytester: pytest.Pytester, options: list[str]) -> None:
    assert pytester.runpytest_inprocess(*QUIET, *options).ret == pytest.ExitCode.OK
