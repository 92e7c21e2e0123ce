"""Each thing that `tier0 doctor` looks at, as it is when all is well, and as it is when it is not."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tier0.doctor import doctor, requirements
from tier0.doctor.doctor import Environment
from tier0.doctor.finding import Finding
from tier0.doctor.layout import Layout

ROOT = Path(__file__).parents[2]


@pytest.fixture
def well(tmp_path: Path) -> Environment:
    """An environment in which nothing is missing."""
    metadata = requirements.Metadata.from_checkout(ROOT)
    newest = dict.fromkeys((one.name for group in metadata.groups for one in group.requirements), "9999")
    return Environment(
        {}, tmp_path, "/venv/bin/python", "3.12.1", "linux", metadata, newest.get, frozenset({doctor.PLUGIN})
    )


def without(environment: Environment, *names: str) -> Environment:
    return replace(environment, installed=lambda name: None if name in names else environment.installed(name))


def only(environment: Environment, probe: Callable[[Environment], object]) -> Finding:
    (finding,) = list(probe(environment))  # type: ignore[call-overload]  # every probe gives findings
    assert isinstance(finding, Finding)
    return finding


def test_where_nothing_is_missing_all_is_well(well: Environment) -> None:
    findings = doctor.examine(well)

    assert {finding.name for finding in findings if finding.status == "missing"} == set()
    assert doctor.exit_status(findings) == 0
    assert doctor.repair_command(well) is None
    assert not any(doctor.uses(well).values())


def test_every_extra_says_what_it_is_for() -> None:
    groups = requirements.Metadata.from_checkout(ROOT).groups

    assert {group.name for group in groups} == requirements.NEEDED_FOR.keys()


def test_the_installed_distribution_and_the_checkout_say_the_same() -> None:
    installed, checkout = requirements.Metadata.read(), requirements.Metadata.from_checkout(ROOT)

    assert installed.python == checkout.python
    assert {group.name for group in installed.groups} == {group.name for group in checkout.groups}


def test_what_registering_a_model_needs_decides(well: Environment) -> None:
    lacking = without(well, "cloudpickle", "econml")
    findings = doctor.examine(lacking)

    told = {finding.name: finding.found for finding in findings if finding.status == "missing"}
    assert told == {"[bentoml]": "cloudpickle is not installed", "[causal]": "econml is not installed"}
    assert doctor.exit_status(findings) == 2
    assert doctor.exit_status(doctor.examine(without(well, "econml"))) == 0


@pytest.mark.parametrize(
    ("missing", "complete"),
    [
        ((), {"bentoml", "report", "service", "pipeline", "all"}),
        (("optuna", "opik"), {"bentoml", "report", "service"}),
        (("jinja2",), {"bentoml"}),
        (("pandas",), {"bentoml", "report"}),
        (("bentoml",), {"report"}),
    ],
)
def test_the_complete_extras_are_listed(
    well: Environment, missing: tuple[str, ...], complete: set[str]
) -> None:
    lean = without(well, *missing)
    extras = doctor.incomplete_extras(lean)
    nested = {"bentoml", "report", "service", "pipeline", "all"}

    assert {extra for extra, lacks in extras.items() if not lacks} & nested == complete
    assert "[report]" in doctor.conclusion(lean, doctor.examine(lean))


@pytest.mark.parametrize("extra", ["catboost", "onnx", "torch"])
def test_the_extra_of_a_framework_is_complete_only_if_the_framework_is_installed(
    well: Environment, extra: str
) -> None:
    framework = {"onnx": "onnxruntime"}.get(extra, extra)
    installed = replace(
        well,
        installed=lambda name: (
            "999" if name in {"catboost", "onnx", "onnxruntime", "torch"} else well.installed(name)
        ),
    )

    assert doctor.incomplete_extras(installed)[extra] == []
    assert doctor.incomplete_extras(without(installed, framework))[extra] == [framework]


@pytest.mark.parametrize(
    ("missing", "impossible"),
    [
        (("lightgbm", "pyarrow", "pytest-asyncio", "econml"), set()),
        (("optuna", "lightgbm"), {"train, register and serve a model"}),
        (
            ("scikit-learn",),
            {"register and serve a model of yours", "train, register and serve a model"},
        ),
        (
            ("bentoml",),
            {
                "start and check a service of yours",
                "register and serve a model of yours",
                "train, register and serve a model",
            },
        ),
    ],
)
def test_a_lean_environment_can_do_what_its_packages_allow(
    well: Environment, missing: tuple[str, ...], impossible: set[str]
) -> None:
    lean = without(well, *missing)

    assert {use for use, lacks in doctor.uses(lean).items() if lacks} == impossible
    assert doctor.exit_status(doctor.examine(lean)) == (2 if "bentoml" in missing else 0)


def test_an_algorithm_without_its_library_can_be_left_out(well: Environment) -> None:
    lean = without(well, "lightgbm")

    assert "--tier0-algorithms" in doctor.conclusion(lean, doctor.examine(lean))
    assert "--tier0-algorithms" not in doctor.conclusion(well, doctor.examine(well))


@pytest.mark.parametrize(("missing", "reason"), [("scikit-learn", "scikit-learn"), ("bentoml", "bentoml")])
def test_no_registration_is_tried_without_its_packages(well: Environment, missing: str, reason: str) -> None:
    lean = without(well, missing)

    (finding,) = doctor.try_out(lean, doctor.examine(lean))

    assert finding.status == "warns"
    assert reason in finding.found


def test_a_trial_that_fails_is_reported(well: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIAL_TIMEOUT", 0.1)
    before = set(Path(tempfile.gettempdir()).glob("tier0-*"))

    (finding,) = doctor.try_out(well, [])

    assert (finding.status, finding.main_job) == ("missing", True)
    assert "0.1 s" in finding.found
    left = set(Path(tempfile.gettempdir()).glob("tier0-*")) - before
    assert not [path for path in left if list(path.glob("d*"))]


def test_the_working_directory_may_be_deleted(well: Environment) -> None:
    gone = replace(well, folder=None)

    assert doctor.exit_status(doctor.examine(gone)) == 0
    assert only(gone, doctor.working_directory).status == "warns"
    assert list(doctor.working_directory(well)) == []


def layout(folder: Path, **changes: object) -> Layout:
    """A virtual environment with two packages in its own folder."""
    base = folder / "base"
    of_venv = Layout(folder, base, folder / "site-packages", None, (), {folder / "site-packages": 2})
    return replace(of_venv, **changes)  # type: ignore[arg-type]


def test_the_layout_is_named(tmp_path: Path) -> None:
    user, given, other = tmp_path / "user", tmp_path / "given", tmp_path / "other"

    assert str(layout(tmp_path)) == f"virtual environment {tmp_path}; packages: 2 in its own folder"
    everywhere = layout(
        tmp_path, user_site=user, python_path=(given,), packages={user: 3, given: 2, other: 1}
    )
    assert [count for count in ("3 in", "2 in", "1 in") if count in str(everywhere)] == [
        "3 in",
        "2 in",
        "1 in",
    ]
    assert "pip --user" in str(everywhere).partition("2 in")[0]
    assert f"{given} (PYTHONPATH)" in str(everywhere)
    assert "editable: pytest-tier0" in str(layout(tmp_path, editable=("pytest-tier0",)))


def test_the_kind_of_an_environment_is_named(tmp_path: Path) -> None:
    assert "without a virtual environment" in str(layout(tmp_path, base=tmp_path))
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = true\n", encoding="utf-8")
    assert f"with the packages of {tmp_path / 'base'}" in str(layout(tmp_path))
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "_uv_ephemeral_overlay.pth").touch()
    assert str(layout(tmp_path)).startswith("overlay of uv")
    (tmp_path / "conda-meta").mkdir()
    assert str(layout(tmp_path)).startswith("conda environment")


def test_what_is_too_old_is_told_with_what_is_needed(well: Environment) -> None:
    old = replace(well, installed=lambda name: "1.2.3" if name == "pandas" else well.installed(name))

    (told,) = [finding for finding in doctor.examine(old) if finding.status == "missing"]
    assert {"pandas", "1.2.3", ">=2.3"} <= set(told.found.replace(",", "").split())
    assert doctor.repair_command(old) is not None


@pytest.mark.parametrize(
    ("missing", "installs"),
    [
        (["lightgbm"], ["-e", f"{ROOT}[pipeline]"]),
        (["bentoml", "opik", "pytest-xdist"], ["-e", f"{ROOT}[bentoml,opik]", "pytest-xdist>=3.8"]),
        (["httpx"], ["-e", str(ROOT)]),
    ],
)
def test_one_command_mends_what_is_missing(
    well: Environment, missing: list[str], installs: list[str]
) -> None:
    command = doctor.repair_command(without(well, *missing))

    assert command is not None
    assert command.replace("'", "").split()[-len(installs) :] == installs
    assert "/venv/bin/python" in command


def test_where_all_is_missing_all_is_installed(well: Environment) -> None:
    nothing = replace(well, installed=lambda _: None)

    command = doctor.repair_command(nothing)

    assert command is not None
    assert command.endswith(f"'{ROOT}[all]'")
    assert "its owner needs this list" in doctor.conclusion(nothing, doctor.examine(nothing))
    assert "'bentoml>=" in doctor.conclusion(nothing, doctor.examine(nothing))


def test_python_may_be_too_old(well: Environment) -> None:
    assert only(well, doctor.python).status == "ok"
    old = only(replace(well, version="3.10.2"), doctor.python)
    assert (old.status, old.main_job) == ("missing", True)
    assert ">=3.11" in old.remedy


@pytest.mark.parametrize(
    ("variables", "plugins", "files", "status", "says"),
    [
        ({}, {doctor.PLUGIN}, {}, "ok", "by itself"),
        ({}, set(), {}, "missing", "no entry point"),
        (
            {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            {doctor.PLUGIN},
            {},
            "missing",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
        ),
        (
            {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": f"-p {doctor.PLUGIN}"},
            set(),
            {},
            "ok",
            "own configuration",
        ),
        ({}, set(), {"conftest.py": f'pytest_plugins = ["{doctor.PLUGIN}"]\n'}, "ok", "own configuration"),
        (
            {},
            {doctor.PLUGIN},
            {"pytest.ini": f"[pytest]\naddopts = -p no:{doctor.PLUGIN}\n"},
            "missing",
            "switched off",
        ),
    ],
)
def test_the_plugin_may_not_be_loaded(
    well: Environment,
    tmp_path: Path,
    variables: dict[str, str],
    plugins: set[str],
    files: dict[str, str],
    status: str,
    says: str,
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")

    found = only(replace(well, variables=variables, plugins=frozenset(plugins)), doctor.plugin)

    assert (found.status, says in found.found) == (status, True), found


def test_bentoml_may_be_something_else(
    well: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bentoml.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bentoml", raising=False)

    found = only(well, doctor.bentoml_command)

    assert found.status == "missing"
    assert str(tmp_path / "bentoml.py") in found.found


def test_bentoml_need_not_be_on_path(
    well: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bentoml")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert only(well, doctor.bentoml_command).found == "bentoml is not on PATH, and need not be"


@pytest.mark.parametrize(
    ("variables", "ini", "status"),
    [
        ({}, "", "warns"),
        ({"PYTEST_ADDOPTS": "-p no:opik"}, "", "ok"),
        ({}, "[pytest]\naddopts = -ra -p no:opik\n", "ok"),
        ({}, "[pytest]\n# addopts = -p no:opik\n", "warns"),
        ({}, "[pytest]\naddopts = -p no:opikish\n", "warns"),
        ({}, '[tool.pytest.ini_options]\naddopts = ["-p", "no:opik"]\n', "ok"),
    ],
)
def test_opik_may_cost_seconds_in_every_run(
    well: Environment, tmp_path: Path, variables: dict[str, str], ini: str, status: str
) -> None:
    (tmp_path / "pytest.ini").write_text(ini, encoding="utf-8")
    there = replace(well, variables=variables, plugins=frozenset({doctor.PLUGIN, "opik"}))

    assert only(there, doctor.opik_plugin).status == status
    assert list(doctor.opik_plugin(well)) == [], "where it is not installed, nothing is said of it"


def test_litellm_may_ask_the_network(well: Environment) -> None:
    there = replace(well, installed=lambda _: "1.80")

    assert only(there, doctor.litellm).remedy == "export LITELLM_LOCAL_MODEL_COST_MAP=True"
    assert (
        only(replace(there, variables={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}), doctor.litellm).status
        == "ok"
    )


def test_bentomls_variables_are_named_and_their_values_hidden(well: Environment) -> None:
    told = only(
        replace(well, variables={"BENTOML_PORT": "planted-secret", "BENTOML_HOME": "/x", "HOME": "/y"}),
        doctor.bentoml_variables,
    )

    assert (told.status, told.remedy) == ("warns", "unset BENTOML_PORT")
    assert "planted-secret" not in str(told)
    assert only(well, doctor.bentoml_variables).status == "ok"


def test_bentomls_home_may_be_a_file(well: Environment, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def look(home: Path) -> Finding:
        return only(replace(well, variables={"BENTOML_HOME": str(home)}), doctor.bentoml_home)

    assert look(tmp_path / "new" / "store").found.endswith("which does not exist yet")
    assert look(tmp_path).status == "ok"
    assert look(file).status == look(file / "store").status == "warns"


def test_temporary_files_may_be_impossible(
    well: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(well, doctor.temporary_folder).status == "ok"
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 10**18)
    assert only(well, doctor.temporary_folder).status == "warns"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert only(well, doctor.temporary_folder).status == "missing"


def test_shared_memory_may_be_missing(
    well: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path)
    assert only(well, doctor.shared_memory).status == "ok"
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path / "nowhere")
    assert only(well, doctor.shared_memory).status == "warns"
    assert list(doctor.shared_memory(replace(well, system="darwin"))) == []


def test_loopback_may_be_forbidden(well: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(well, doctor.loopback).status == "ok"

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", forbidden)
    found = only(well, doctor.loopback)
    assert (found.status, found.main_job) == ("missing", True)
    assert "Operation not permitted" in found.found


def test_the_guard_is_less_certain_elsewhere(well: Environment) -> None:
    assert only(well, doctor.guard).status == ("ok" if sys.platform == "linux" else "warns")
    assert only(replace(well, system="darwin"), doctor.guard).status == "warns"


def test_a_file_may_shadow_the_standard_library(well: Environment, tmp_path: Path) -> None:
    (tmp_path / "service.py").touch()
    assert only(well, doctor.shadowing_files).status == "ok"
    (tmp_path / "types.py").touch()
    (tmp_path / "random").mkdir()
    (tmp_path / "random" / "__init__.py").touch()
    assert only(well, doctor.shadowing_files).found.startswith("random/__init__.py, types.py have names")


def run(
    python: str | Path, *arguments: str, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), "-m", "tier0.cli", "doctor", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_shows_names_and_no_values(tmp_path: Path) -> None:
    report = tmp_path / "doctor.json"
    variables = {
        "PYTHONPATH": str(ROOT / "src"),
        "BENTOML_TIMEOUT": "planted-secret",
        "PYTEST_ADDOPTS": "-p tier0.pytest_plugin",
    }

    done = run(sys.executable, "--json", str(report), folder=tmp_path, **variables)

    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["schema"] == 1
    assert done.returncode == (0 if document["verdict"] == "pass" else 2), done.stdout + done.stderr
    assert [line[9:30].strip() for line in done.stdout.split("\n\n")[0].splitlines()] == [
        finding["name"] for finding in document["findings"]
    ]
    registration = document["findings"][-1]
    expected = "ok" if find_spec("bentoml") and find_spec("sklearn") else "warns"
    assert (registration["name"], registration["status"]) == ("registration", expected)
    assert "BENTOML_TIMEOUT" in done.stdout
    assert "planted-secret" not in done.stdout + report.read_text(encoding="utf-8")


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from tier0.doctor import doctor; doctor.examine(doctor.Environment.here());"
        "heavy = {'bentoml', 'numpy', 'pandas', 'sklearn', 'opik', 'mlflow', 'pytest', 'httpx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bare_environment_is_mended_by_the_command(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT,
        checkout,
        ignore=shutil.ignore_patterns(".venv*", ".git", ".*_cache", "reports", "build", "tests"),
    )
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(checkout)], check=True, timeout=600)
    report = tmp_path / "doctor.json"

    bare = run(python, "--json", str(report), folder=tmp_path)

    assert bare.returncode == 2, bare.stdout + bare.stderr
    missing = {
        finding["name"]
        for finding in json.loads(report.read_text(encoding="utf-8"))["findings"]
        if finding["status"] == "missing"
    }
    assert {"[bentoml]", "[pipeline]", "pytest-asyncio"} <= missing
    assert not missing & {"base", "Python", "the plugin"}
    assert f"{python} -m pip install 'pytest-tier0[all]'" in bare.stdout

    needed = [
        text
        for text in json.loads(report.read_text(encoding="utf-8"))["requirements"]
        if text.startswith(("orjson", "pytest-"))
    ]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needed], check=True, timeout=600)

    less = run(python, folder=tmp_path)

    assert "pytest-asyncio is not installed" not in less.stdout
    assert "orjson is not installed" not in less.stdout
    assert "bentoml is not installed" in less.stdout
