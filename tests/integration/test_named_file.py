"""Files that the user names: what is not a usable file ends a command in status 2, without a wait."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tier0.cli import app
from tier0.core.errors import RegistrationError, Tier0Error
from tier0.core.verdict import Verdict
from tier0.golden.rows import GoldenRows
from tier0.report.diff import read_facts

CONTENTS = {
    "empty": b"",
    "binary": b"\x80\xff\x00",
    "nested": b"[" * 200_000,
    "nested_toml": b"schema = " + b"[" * 200_000,
    "text": b"what, is this\n",
    "twice": b'{"schema": 3, "schema": 3}',
    "list": b"[1]",
    "types": b'{"schema": [3], "checks": 5, "done": "x", "rows": {}}',
    "types_toml": b"schema = [1]\n",
    "huge_toml": b"schema = 1\nattempts = 0x" + b"f" * 5000 + b"\nabsolute = 1e400\nwaive = 5\nscope = 5\n",
}
SPECIAL = ["absent", "directory", "pipe", "device"]
KINDS = [*SPECIAL, *CONTENTS]
URL = "http://127.0.0.1:9"
HERE = "tests.integration.test_named_file"
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "diff": (["diff", "FILE", "FILE"], KINDS),
    "verify --golden": (["verify", URL, "--golden", "FILE"], KINDS),
    "verify --contract": (["verify", URL, "--contract", "FILE"], KINDS),
    "verify --waivers": (["verify", URL, "--waivers", "FILE"], KINDS),
    "verify --ca": (["verify", URL, "--ca", "FILE"], KINDS),
    "verify --header": (["verify", URL, "--header", "X-Key: @FILE"], [*SPECIAL, "empty", "binary"]),
    "contract --golden": (["contract", URL, "--golden", "FILE"], KINDS),
    "contract --contract": (["contract", URL, "--golden", "HEALTHY", "--contract", "FILE"], KINDS),
    "check-client --declare": (["check-client", f"{HERE}:client", "--declare", "FILE"], KINDS),
    "golden SAMPLE": (["golden", f"{HERE}:MODEL", "FILE.csv", "-o", "OUTPUT"], [*SPECIAL, "empty", "binary"]),
    "golden SAMPLE.parquet": (["golden", f"{HERE}:MODEL", "FILE.parquet", "-o", "OUTPUT"], KINDS),
    "run --dataset": (["run", "--dataset", "FILE.csv", "--target", "y", "--step", "1"], SPECIAL),
    "run --study": (["run", "--study", "FILE", "--dry-run"], KINDS),
    "build --store": (["build", "a:1", "--store", "FILE", "--output-dir", "OUTPUT"], [*SPECIAL[2:], "text"]),
    "serve --store": (["serve", "a:1", "--store", "FILE"], [*SPECIAL[2:], "text"]),
    "doctor --json": (["doctor", "--json", "FILE"], ["directory"]),
    "golden --output": (["golden", f"{HERE}:MODEL", "ROWS", "-o", "FILE"], ["directory", "pipe", "full"]),
}


class Model:
    """A model of two columns."""

    n_features_in_ = 2

    def predict(self, rows: Any) -> Any:
        return rows[:, 0] - rows[:, 1]


MODEL = Model()


def client(url: str) -> Any:
    pytest.fail(f"a client was created for {url}")


def file_of(kind: str, path: Path) -> Path:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "full":
        path.symlink_to("/dev/full")
    elif kind != "absent":
        path.write_bytes(CONTENTS[kind])
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_a_usable_file_ends_a_command_in_status_2(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, kinds = COMMANDS[command]
    monkeypatch.chdir(Path(__file__).parents[2])
    healthy = tmp_path / "healthy.json"
    healthy.write_text(json.dumps(document("predictions", ["a", "b"])), encoding="utf-8")
    (rows := tmp_path / "rows.csv").write_text("a,b\n1,2\n3,5\n4,7\n", encoding="utf-8")
    suffix = "".join(Path(argument).suffix for argument in arguments if argument.startswith("FILE."))
    for kind in kinds:
        path = file_of(kind, tmp_path / f"{kind}{suffix}")
        words = {f"FILE{suffix}": path, "HEALTHY": healthy, "ROWS": rows, "OUTPUT": tmp_path / "output"}
        given = [str(words.get(argument, argument.replace("@FILE", f"@{path}"))) for argument in arguments]

        done = CliRunner().invoke(app, given)

        assert (done.exit_code, done.output.count("Traceback")) == (2, 0), (kind, done.output)
        assert "internal error" not in done.output, (kind, done.output)
        said = " ".join(done.output.split())
        is_named = path.name in said or command in {"verify --header", "build --store", "serve --store"}
        assert is_named, (kind, done.output)


def test_healthy_files_are_read_by_the_commands(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(Verdict({"url": URL}, []).as_dict()), encoding="utf-8-sig")
    (sample := tmp_path / "rows.csv").write_text("a,b\n1,2\n3,5\n4,7\n", encoding="utf-8-sig")
    (link := tmp_path / "link.json").symlink_to(report)

    assert CliRunner().invoke(app, ["diff", str(report), str(link)]).output == "no difference\n"
    output = tmp_path / "golden.json"
    done = CliRunner().invoke(app, ["golden", f"{HERE}:MODEL", str(sample), "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert GoldenRows.read(output).columns == ["a", "b"]


def test_code_that_ends_the_process_does_not_choose_the_status(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["golden", f"{HERE}:leave", str(tmp_path / "rows.csv")])

    assert (done.exit_code, "sys.exit(1)" in done.output) == (2, True)


def leave() -> Any:
    sys.exit(1)


@pytest.mark.parametrize("schema", [[], {}, None, "3", 10**300])
def test_a_schema_of_any_type_is_an_error(schema: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"checks": [], "schema": schema}), encoding="utf-8")

    with pytest.raises(Tier0Error):
        read_facts(path)


def document(part: str, values: Any) -> dict[str, Any]:
    outputs = {"predictions": {"values": ["a", "b"]}, part: {"values": values}}
    return {"schema": 3, "columns": ["x"], "rows": [[1], [2]], "outputs": outputs, "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("part", "values", "field"),
    [
        ("predictions", "ab", "outputs.predictions.values"),
        ("predictions", ["a", 10**400], r"outputs.predictions.values\[1\]"),
        ("intervals", [[0, 1], [0]], r"outputs.intervals.values\[1\]"),
        ("probabilities", [[0.5, 0.5], [1]], r"probabilities\[1\] has length 1, but classes has length 2"),
        ("probabilities", [[0.5, 0.5], ["x", 0.5]], r"outputs.probabilities.values\[1\]"),
        ("intervals", [[0, 1], [{}, 1]], r"outputs.intervals.values\[1\]"),
    ],
)
def test_values_of_a_wrong_type_are_named(part: str, values: Any, field: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document(part, values)), encoding="utf-8")

    with pytest.raises(RegistrationError, match=field):
        GoldenRows.read(path)


@pytest.mark.parametrize("values", [[{"label": "a"}, {"label": {"of": ["b", None]}}], [["a", {}], [None, 1]]])
def test_predictions_may_be_objects_at_any_depth(values: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    GoldenRows(["x"], [[1], [2]], values, None, []).write(path)

    assert GoldenRows.read(path).predictions == values


def test_a_healthy_file_with_a_byte_order_mark_through_a_link_is_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document("probabilities", [[1, 0], [0, 1]])), encoding="utf-8-sig")
    (link := tmp_path / "link").symlink_to(path)

    assert GoldenRows.read(link).predictions == ["a", "b"]
