"""The fenced blocks of the documentation: each is run in a new folder, or listed with a reason why not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import ROOT
from tests.support.reader import Reader
from tests.support.snippets import PAGES, Block, Command, blocks
from tier0.core.verdict import CheckResult, Status, Verdict

NOT_RUN = {
    r"make( |$)": "runs this very test",
    r"pip install ": "would change the environment of the test; test_doctor.py installs into its own",
    r"python -m venv ": "likewise",
    r"docker ": "needs an engine",
    r"kubectl ": "needs a cluster; tests/integration/test_gate.py runs what the files start",
}
"""Commands that are not run, and why."""
ILLUSTRATIONS = {"", "json"}
"""Languages in which nothing can be run: what is printed, what is answered."""
FILES = {"python", "toml", "ini", "yaml"}
RUN_ELSEWHERE = {
    "client-stacks.md": "tests/defects/test_stacks.py, with packages of its own, writes the page"
}
"""Pages whose blocks another test runs, and which."""


@dataclass(frozen=True)
class Page:
    """How one page is followed.

    Attributes:
        given: makes what the page takes for granted, in the reader's folder.
        serves: what runs already.
        instead: what is run in the place of what a page can only name.
        statuses: exit statuses that are not 0, by command.
        variables: of the environment.
        before: Python that its nameless snippets take for granted.
        grows: files that it adds to.
        abridged: replacements that shorten it for `make test`; None where only `make test-all` follows it.
    """

    given: Callable[[Path, pytest.FixtureRequest], None] = lambda *_: None
    serves: Sequence[str] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    grows: Sequence[str] = ()
    abridged: Mapping[str, str] | None = None


def churn(folder: Path, request: pytest.FixtureRequest) -> None:
    """The files of the tutorial, its model and its golden rows; and a table of the project's own."""
    shutil.copytree(request.getfixturevalue("followed_tutorial"), folder, dirs_exist_ok=True)
    (folder / "token.txt").write_text("Bearer none\n", encoding="utf-8")
    table = (
        "from training import customers; rows, left = customers(); "
        "rows.assign(churned=left, customer_id=rows.index // 2).to_parquet('rows.parquet')"
    )
    subprocess.run([sys.executable, "-c", table], cwd=folder, check=True)


def registered(folder: Path, request: pytest.FixtureRequest) -> None:
    """The tutorial's, and models that Tier0 registered, in `registered`."""
    churn(folder, request)
    shutil.copytree(request.getfixturevalue("registered_models"), folder / "registered", symlinks=True)


def other_client(folder: Path, request: pytest.FixtureRequest) -> None:
    """The tutorial's, and a client with a signature of its own."""
    churn(folder, request)
    (folder / "myapp" / "scoring.py").write_text(
        "import httpx\n\n\n"
        "class ScoringClient:\n"
        "    def __init__(self, base_url):\n"
        "        self.url = base_url\n\n"
        "    def call(self, name, body):\n"
        "        return httpx.post(f'{self.url}/{name}', json=body, trust_env=False).json()\n",
        encoding="utf-8",
    )


def good_client(folder: Path, _: pytest.FixtureRequest) -> None:
    """A client that keeps what `client.toml` declares."""
    (folder / "myapp").mkdir()
    (folder / "myapp" / "clients.py").write_text(
        "from tier0.client import BentoMLClient\n\n\ndef make_client(url, **options):\n"
        "    return BentoMLClient(url, failure_threshold=5, max_connections=20, **options)\n",
        encoding="utf-8",
    )


def two_reports(folder: Path, _: pytest.FixtureRequest) -> None:
    """What two runs of pytest wrote: one check was not well before, either."""
    status: Status
    for name, status, version in (("old", "pass", "1.9.0"), ("new", "fail", "1.9.1")):
        checks = [CheckResult("parity.golden_rows", status), CheckResult("contract.refuses_infinity", "fail")]
        document = {
            **Verdict({"url": "http://127.0.0.1:1"}, checks).as_dict(),
            "run": {"versions": {"scikit-learn": version}},
        }
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def churn_and_two_reports(folder: Path, request: pytest.FixtureRequest) -> None:
    """The tutorial's, and two reports."""
    churn(folder, request)
    two_reports(folder, request)


def checkout(folder: Path, _: pytest.FixtureRequest) -> None:
    """Tier0's own source."""
    for name in ("src", "docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests" / "unit").mkdir(parents=True)


SERVED = "bentoml serve services/churn.py:Churn --port 3001"
REMOTE = {"https://models.example:3000": "http://127.0.0.1:3001"}
MLSERVER = os.environ.get("TIER0_MLSERVER", "")
"""Path of `mlserver`, which `make servers` installs into an environment of its own."""
ALL_ON_ANY_PORT = {"tier0 serve --all ": "tier0 serve --all --first-port 0 "}
FOLLOWED = {
    "README.md": Page(
        churn,
        [SERVED],
        REMOTE,
        {"tier0 check-client myapp.clients:make_client --declare client.toml": 1},
    ),
    "bring-your-own.md": Page(),
    "check-client.md": Page(
        good_client,
        statuses={
            "tier0 check-client adapters:Adapter --declare client.toml": 1,
            "tier0 check-client adapters:with_httpx --declare client.toml": 1,
            "tier0 check-client adapters:with_requests --declare client.toml": 1,
            "tier0 check-client adapters:with_bentoml --declare bentoml.toml": 1,
        },
        abridged={
            f"--declare {file}": f"--declare {file} --only wire.one_request,hygiene.proxy_environment"
            for file in ("client.toml", "bentoml.toml")
        },
    ),
    "ci.md": Page(
        churn,
        [SERVED],
        REMOTE,
        variables={"GITHUB_STEP_SUMMARY": "summary.md", "SCORING_TOKEN": "planted-secret"},
    ),
    "client.md": Page(
        registered,
        ["tier0 serve churn:latest --store registered --port 3000", SERVED],
        variables={"OPIK_URL_OVERRIDE": "http://127.0.0.1:9"},
    ),
    "client-metrics.md": Page(),
    "compare.md": Page(churn, [SERVED], REMOTE),
    "contract.md": Page(churn),
    "gate.md": Page(
        churn,
        [SERVED],
        REMOTE,
        statuses={"exit 1": 1, "exit 2": 2},
        variables={"GITHUB_OUTPUT": "output.txt"},
    ),
    "examples.md": Page(
        instead={" --tier0-report tier0.json": " --tier0-groups health,parity --tier0-report tier0.json"},
        statuses={
            "pytest --pyargs tier0.suite -m tier0_bentoml --tier0-service broken_service.py:Churn": 1,
            "tier0 check-client broken_clients:make_client --declare client.toml": 1,
        },
    ),
    "integrations.md": Page(serves=["tier0 serve --all --first-port 3001 --kinds classification,regression"]),
    "faults.md": Page(abridged={}),
    "locked-venv.md": Page(
        instead={
            "git clone https://git.example/tier0.git": (
                f"mkdir -p tier0 && cp -r {ROOT / 'src'} {ROOT / 'pyproject.toml'} tier0"
            ),
        },
    ),
    "mlflow.md": Page(variables={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, abridged=None),
    "own-service.md": Page(churn),
    "report.md": Page(churn_and_two_reports, [SERVED], REMOTE, statuses={"tier0 diff old.json new.json": 1}),
    "run.md": Page(churn, instead={"--resume 20261124-035811-785fa3": "--resume $(ls tier0-runs | head -1)"}),
    "server-fastapi.md": Page(),
    "server-mlflow.md": Page(abridged=None),
    "server-mlserver.md": Page(instead={"serving/bin/mlserver": MLSERVER}, abridged=None),
    "servers.md": Page(),
    "service.md": Page(
        registered,
        ["tier0 serve churn:latest --store registered --port 3000"],
        {
            **ALL_ON_ANY_PORT,
            "~/bentoml": "registered",
            "tier0-build/classification --port 3000": "tier0-build/classification --port 3005",
        },
    ),
    "tutorial.md": Page(
        statuses={
            (
                "pytest --pyargs tier0.suite -m tier0_bentoml --tier0-service services/forgetful.py:Churn"
                " --tier0-golden golden.json --tier0-model churn:latest --tier0-groups health,parity"
            ): 1,
            "tier0 check-client myapp.clients:make_client --declare client.toml": 1,
        },
    ),
    "verify.md": Page(
        other_client,
        [SERVED],
        {**REMOTE, "churn:dm3kq2": "churn:$(cat ~/bentoml/models/churn/latest)"},
        before="from training import customers, train\npipeline, X_holdout = train(), customers()[0]\n",
    ),
    "write-a-check.md": Page(
        checkout,
        grows=["src/tier0/checks/serving/security.py"],
        variables={"PYTHONPATH": "src"},
        abridged={},
    ),
    "xdist.md": Page(),
}


@pytest.fixture(scope="module")
def followed_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial was followed as far as the trained model."""
    folder = tmp_path_factory.mktemp("tutorial")
    reader = Reader(folder)
    reader.write(blocks(ROOT / "docs" / "tutorial.md"))
    reader.type(Command("python training.py"))
    return folder


@pytest.fixture(scope="module")
def registered_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a classifier and a regression that Tier0 registered."""
    from tier0 import register_model_for_serving
    from tier0.pipeline.examples import train_classification, train_regression

    store = tmp_path_factory.mktemp("registered") / "bentoml"
    for example in (train_classification(7)[0], train_regression(7)[0]):
        how = {"examples": example.examples, "threshold": example.threshold, "store": store}
        asyncio.run(register_model_for_serving(example.model, example.name, example.metadata, **how))
    return store


def cases() -> Iterator[object]:
    for name, page in FOLLOWED.items():
        slow = [pytest.mark.slow, pytest.mark.timeout(1800)]
        if name == "server-mlserver.md":
            slow.append(pytest.mark.skipif(not MLSERVER, reason="make servers installs MLServer"))
        if page.abridged is not None:
            yield pytest.param(
                name,
                replace(page, instead={**page.instead, **page.abridged}),
                id=name,
                marks=pytest.mark.timeout(600),
            )
        if page.abridged != {}:
            yield pytest.param(name, page, id=f"{name}, all of it", marks=slow)


def is_run(command: Command) -> bool:
    return not any(re.match(pattern, command.plain) for pattern in NOT_RUN)


@pytest.mark.server
@pytest.mark.parametrize(("name", "page"), cases())
def test_a_reader_can_follow_the_page(
    tmp_path: Path, request: pytest.FixtureRequest, name: str, page: Page
) -> None:
    taken = blocks(path_of(name))
    with Reader(tmp_path, page.instead, page.statuses, page.variables, page.grows) as reader:
        page.given(tmp_path, request)
        reader.write(taken)
        for served in page.serves:
            reader.type(Command(served))
        typed = [command for block in taken for command in block.commands() if is_run(command)]
        for command in typed:
            reader.type(command)
        for test in unnamed_tests(taken, typed):
            reader.type(Command(f"pytest {test}"))
        if session := [block.text for block in taken if block.language == "python" and not block.file]:
            reader.run_session(session, page.before)
    if name == "ci.md":
        refuse_a_job_without_reports(tmp_path)


def refuse_a_job_without_reports(folder: Path) -> None:
    """Both jobs have left what their CI shows, without the secret."""
    written = [folder / name for name in ("summary.md", "tier0.xml", "tier0.html", "tier0.json")]
    assert all(path.stat().st_size for path in written)
    assert not [path for path in written if "planted-secret" in path.read_text(encoding="utf-8")]


def unnamed_tests(taken: Sequence[Block], typed: Sequence[Command]) -> list[str]:
    tests = [block.file for block in taken if block.file and Path(block.file).name.startswith("test_")]
    return [
        test
        for test in tests
        if not any(
            re.search(rf"pytest .*\b{test}|pytest {Path(test).parts[0]} ", command.plain) for command in typed
        )
    ]


def path_of(name: str) -> Path:
    return next(path for path in PAGES if path.name == name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run(page: Path) -> None:
    assert not list(left_out(page.name, blocks(page)))


@pytest.mark.parametrize(
    ("name", "block", "says"),
    [
        ("new.md", Block("console", "$ tier0 doctor\n"), "no test follows new.md"),
        ("new.md", Block("python", "import tier0\n"), "no test follows new.md"),
        ("README.md", Block("console", "tier0 doctor\n"), "a command begins with '$ '"),
        ("README.md", Block("bash", "tier0 doctor\n"), "bash blocks are not run"),
        ("README.md", Block("toml", "schema = 1\n"), "say its name"),
        (
            "README.md",
            Block("toml", "# contract.toml\nschema = 1\n"),
            "nothing on the page uses contract.toml",
        ),
    ],
)
def test_a_block_that_nobody_runs_is_found(name: str, block: Block, says: str) -> None:
    assert [problem for problem in left_out(name, [block]) if says in problem]
    assert not list(left_out("new.md", [Block("console", "$ make test\n"), Block("", "what is printed\n")]))


def left_out(name: str, taken: Sequence[Block]) -> Iterator[str]:
    """Say what of a page is neither run nor has a reason why not."""
    if name in RUN_ELSEWHERE:
        return
    taken = [block for block in taken if block.language not in ILLUSTRATIONS]
    if name not in FOLLOWED and any(
        not block.commands() or any(map(is_run, block.commands())) for block in taken
    ):
        yield f"no test follows {name}: add it to FOLLOWED, or give its commands a reason in NOT_RUN"
    for block in taken:
        if block.language not in FILES | {"console", "diff"}:
            yield f"{block.language} blocks are not run: use no language, or json, for output: {block.text}"
        elif block.language == "console" and not block.commands():
            yield f"a command begins with '$ ': {block.text}"
        elif block.language in FILES - {"python"} and not block.file:
            yield f"say its name in its first line, as in '# name.toml': {block.text}"
        elif block.file and not is_used(block.file, block, taken):
            yield f"nothing on the page uses {block.file}"


def is_used(file: str, block: Block, taken: Sequence[Block]) -> bool:
    """Whether a file is a test, is read by a tool under that name, or is named by something that is run."""
    path = Path(file)
    if (
        path.name.startswith("test_")
        or path.name == "pytest.ini"
        or block.commands()
        or path.parts[0] == "src"
    ):
        return True
    named = file if path.suffix != ".py" else rf"\b{path.stem}\b"
    return any(re.search(named, command.plain) for other in taken for command in other.commands()) or any(
        re.search(named, other.text)
        for other in taken
        if other.language in {"python", "ini"} and other.file != file
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, page.name, "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text)
        elif block.language == "json":
            json.loads(block.text)


def test_there_is_no_reason_for_what_is_not_there() -> None:
    commands = [command for page in PAGES for block in blocks(page) for command in block.commands()]
    typed = {command.plain for command in commands}

    assert not [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in typed)]
    assert not {command for page in FOLLOWED.values() for command in page.statuses} - typed
    assert not FOLLOWED.keys() - {page.name for page in PAGES}
    for name, page in FOLLOWED.items():
        text = path_of(name).read_text(encoding="utf-8")
        assert not [told for told in {**page.instead, **(page.abridged or {})} if told not in text], name
