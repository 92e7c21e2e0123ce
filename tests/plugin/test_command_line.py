"""The command ``tier0`` in processes of its own: entry points, variables, errors, Ctrl-C and completion."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import tier0

PYTHONPATH = str(Path(tier0.__file__).parents[1])
BREAKS = """
class Breaks:
    def predict(self, rows):
        return rows

    @property
    def feature_names_in_(self):
        raise RuntimeError("a mistake")

model = Breaks()
"""
IMPORTS_FOR_EVER = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
TURNS_INTERRUPTION_INTO_AN_ERROR = """
class Descriptor:
    def __set_name__(self, owner, name):
        print('importing', flush=True)
        import time
        time.sleep(60)

class Owner:
    attribute = Descriptor()
"""
COMPLETES = """
tier0 --install-completion
source ~/.bashrc
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _tier0_completion tier0
    echo "$@ -> ${COMPREPLY[@]}"
}
complete_words tier0 ver
complete_words tier0 verify --dis
complete_words tier0 verify --disturb ma
complete_words tier0 run --algorithms linear,x
"""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIER0_")}
    return {**kept, "PYTHONPATH": PYTHONPATH, **more}


def finish(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tier0", *arguments],
        cwd=folder, env=environment(**more), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("module", ["tier0", "tier0.cli"])
def test_modules_are_entry_points(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", module, "--version"]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout == f"tier0 {tier0.__version__}\n"


def test_the_installed_command_is_the_entry_point_of_the_module() -> None:
    import tomllib

    project = tomllib.loads((Path(PYTHONPATH).parent / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = project["project"]["scripts"]["tier0"].partition(":")

    assert (module, function) == ("tier0.__main__", "main")


def test_help_imports_nothing_that_only_a_command_needs(tmp_path: Path) -> None:
    code = (
        "import sys; from tier0.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    heavy = {"httpx", "numpy", "pandas", "sklearn", "bentoml", "mlflow", "psutil", "pytest", "tenacity"}
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "typer" in loaded
    assert not heavy & loaded


# --- variables ---


@pytest.fixture
def service() -> Iterator[tuple[str, list[str | None]]]:
    """The URL of a service that is ready, and the tokens of its requests."""
    tokens: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("X-Token"))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", tokens
    server.shutdown()
    server.server_close()


def test_verify_takes_settings_from_variables(service: tuple[str, list[str | None]], tmp_path: Path) -> None:
    url, tokens = service
    variables = {
        "TIER0_URL": url,
        "TIER0_HEADER": "X-Token: s3cret",
        "TIER0_GROUPS": "health.ready",
        "TIER0_WITHOUT_GOLDEN": "true",
        "TIER0_REPORT": "tier0.json",
        "TIER0_DATASET": "a setting of other commands",
    }

    done = finish(tmp_path, "verify", **variables)

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(tokens) == {"s3cret"}
    assert "s3cret" not in done.stdout + done.stderr
    assert (tmp_path / "tier0.json").exists()


@pytest.mark.parametrize("command", ["verify", "contract"])
def test_an_invalid_variable_is_named(command: str, tmp_path: Path) -> None:
    report = tmp_path / "tier0.json"
    report.write_text("of an earlier run", encoding="utf-8")

    done = finish(tmp_path, command, "http://127.0.0.1:9", TIER0_CA="nowhere.pem", TIER0_REPORT=str(report))

    assert done.returncode == 2
    assert "environment variable TIER0_CA" in done.stderr
    assert "--ca FILE: " in done.stderr
    assert report.exists() == (command != "verify"), "a report of an earlier run is removed"
    done = finish(tmp_path, command, "http://127.0.0.1:9", "--ca", "", TIER0_CA="nowhere.pem")
    assert "TIER0_CA" not in done.stderr, "the option takes precedence"


# --- errors ---


def test_an_internal_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS, encoding="utf-8")
    (tmp_path / "rows.csv").write_text("a\n1\n", encoding="utf-8")

    done = finish(tmp_path, "golden", "breaks:model", "rows.csv")

    assert done.returncode == 2
    *progress, last = done.stderr.splitlines()
    assert last.startswith("tier0: internal error: RuntimeError: a mistake (run `tier0 --debug golden …`")
    assert all("…" in one for one in progress), "only a slow machine has progress to show"


@pytest.mark.parametrize(("arguments", "variables"), [(["--debug"], {}), ([], {"TIER0_DEBUG": "1"})])
def test_debug_prints_the_traceback_of_an_internal_error(
    arguments: list[str], variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS, encoding="utf-8")
    (tmp_path / "rows.csv").write_text("a\n1\n", encoding="utf-8")

    done = finish(tmp_path, *arguments, "golden", "breaks:model", "rows.csv", **variables)

    assert done.returncode == 2
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert 'raise RuntimeError("a mistake")' in done.stderr
    assert "internal error: RuntimeError: a mistake" in done.stderr.splitlines()[-1]
    assert "--debug" not in done.stderr.splitlines()[-1]


def test_an_expected_error_has_no_traceback_even_with_debug(tmp_path: Path) -> None:
    done = finish(tmp_path, "--debug", "verify", "localhost:3000")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


# --- Ctrl-C ---


@pytest.mark.parametrize("source", [IMPORTS_FOR_EVER, TURNS_INTERRUPTION_INTO_AN_ERROR])
def test_ctrl_c_during_imports_exits_without_a_traceback(source: str, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(source, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "tier0", "--help"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{PYTHONPATH}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()

    assert (process.returncode, errors) == (130, "\nstopped\n")


def test_ctrl_c_while_a_command_works_exits_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tier0", "verify", "http://127.0.0.1:9", "--wait", "60"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        process.stderr.readline()  # it waits for the service
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 130
    assert errors.endswith("stopped\n")
    assert "Traceback" not in errors


# --- completion ---


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with ``tier0`` on the path, which is this checkout."""
    command = tmp_path / "bin" / "tier0"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tier0 "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return tmp_path


def run_in_bash(home: Path, script: str) -> str:
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    (home / "script.sh").write_text(script, encoding="utf-8")
    return subprocess.run(
        ["bash", "script.sh"],
        cwd=home, env=environment(HOME=str(home), PATH=path),
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_completion_can_be_installed_and_completes_commands_options_and_values(home: Path) -> None:
    lines = run_in_bash(home, COMPLETES).splitlines()

    assert [line for line in lines if " -> " in line] == [
        "tier0 ver -> verify",
        "tier0 verify --dis -> --disturb",
        "tier0 verify --disturb ma -> malformed",
        "tier0 run --algorithms linear,x -> linear,xgboost",
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_completion_can_be_shown(home: Path) -> None:
    assert "complete -o default -F _tier0_completion tier0" in run_in_bash(
        home, "tier0 --show-completion\ntrue\n"
    )


def test_a_reader_of_the_help_may_stop_early() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-m", "tier0", "verify", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (2, b"")
