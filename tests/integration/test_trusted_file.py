"""Files that execute code when they are loaded: only what no other user can have written is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tier0.cli import app
from tier0.core import trusted_file
from tier0.core.errors import RegistrationError, Tier0Error, UntrustedFileError
from tier0.core.trusted_file import MAX_BYTES, read_trusted, write_private
from tier0.golden.signature import Signature
from tier0.runs.context import RunContext
from tier0.runs.plan import make_plan
from tier0.runs.record import STATE_FIELDS, Record
from tier0.runs.session import Session
from tier0.serving.entry import DESCRIPTION_FILE, Entry, describe, link_entry
from tier0.serving.formats import pickled
from tier0.serving.workspace import Workspace

OTHER = 54321
PLAN = make_plan({}, None, {}, "1-2", serve=False)
SETTINGS = PLAN.settings()
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


class Payload:
    """Creates *marker* when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class Loader:
    """One of the places where Tier0 loads a pickle: its file, and how that is loaded.

    Attributes:
        is_store: whether the file is in a BentoML store, which a group may share.
    """

    is_store = False

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "ours"
        self.file = self.folder / "file.pickle"

    def prepare(self) -> None:
        """Make the folder and the files around the pickle."""
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def write(self, content: bytes) -> None:
        write_private(self.file, content)

    def load(self) -> Any:
        raise NotImplementedError

    def wrap(self, payload: Any) -> Any:
        return payload


class RunState(Loader):
    """`tier0 run --resume`."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.record = Record.create(tmp_path / "runs", PLAN)
        self.folder = self.record.folder
        self.file = self.folder / "state.pickle"

    def load(self) -> Any:
        record = Record.read(self.folder)
        context = RunContext(Session(record.plan.settings()), record.plan.study, self.folder)
        record.load(context)
        return context.manifest

    def wrap(self, payload: Any) -> Any:
        return {**dict.fromkeys(STATE_FIELDS), "manifest": payload}


class RunRecord(RunState):
    """The record beside the state: it names functions, which are imported."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.file = self.folder / "run.json"


class SharedResult(Loader):
    """What a worker of pytest-xdist made for the others."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.file = self.folder / "trained.pickle"

    def load(self) -> Any:
        session = Session(SETTINGS, shared_id="id", controller=1, _shared=Workspace(self.folder))
        return session._once("trained", lambda: pytest.fail("the file is not used"))

    def wrap(self, payload: Any) -> Any:
        return payload, None


class StoreEntry(Loader):
    """A model in a BentoML store."""

    is_store = True

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.store = tmp_path / "store"
        self.folder = self.store / "models" / "m" / "v1"
        self.file = self.folder / pickled.FILE

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, content: bytes) -> None:
        self.file.write_bytes(content)
        self.describe(content)

    def describe(self, content: bytes) -> None:
        """Write the digest, as an attacker would, too."""
        signature = Signature((), "ndarray", "regression")
        document = describe(signature, "sklearn", {}, hashlib.sha256(content).hexdigest(), {})
        (self.folder / DESCRIPTION_FILE).write_text(json.dumps(document), encoding="utf-8")
        (self.folder / "model.yaml").touch()

    def load(self) -> Any:
        return Entry.read(self.folder).load_model()


PICKLES = [RunState, SharedResult, StoreEntry]


def exchange_for_link(loader: Loader) -> None:
    loader.file.rename(loader.folder.parent / "elsewhere")
    loader.file.symlink_to(loader.folder.parent / "elsewhere")


def exchange_for_pipe(loader: Loader) -> None:
    loader.file.unlink()
    os.mkfifo(loader.file, 0o600)


def exchange_for_folder(loader: Loader) -> None:
    loader.file.unlink()
    loader.file.mkdir(mode=0o700)


def exchange_for_huge_file(loader: Loader) -> None:
    os.truncate(loader.file, MAX_BYTES + 1)


def mode_of_file(mode: int) -> Callable[[Loader], None]:
    return lambda loader: loader.file.chmod(mode)


def mode_of_folder(mode: int) -> Callable[[Loader], None]:
    return lambda loader: loader.folder.chmod(mode)


BAD: dict[str, tuple[Callable[[Loader], None], str]] = {
    "link": (exchange_for_link, "symbolic link"),
    "pipe": (exchange_for_pipe, "not a regular file"),
    "folder": (exchange_for_folder, "not a regular file"),
    "huge": (exchange_for_huge_file, "more than"),
    "0666": (mode_of_file(0o666), "0666"),
    "0777": (mode_of_file(0o777), "0777"),
    "0602": (mode_of_file(0o602), "0602"),
    "folder 0777": (mode_of_folder(0o777), "0777"),
    "sticky folder": (mode_of_folder(0o1777), "1777"),
}
BAD_IN_PRIVATE = {
    "0664": (mode_of_file(0o664), "0664"),
    "0620": (mode_of_file(0o620), "0620"),
    "folder 0770": (mode_of_folder(0o770), "0770"),
}
"""What is bad in a folder of the run, but not in a store, which a group may share."""
OWNER: dict[str, Callable[[Loader], None]] = {
    "file": lambda loader: os.chown(loader.file, OTHER, -1),
    "folder": lambda loader: os.chown(loader.folder, OTHER, -1),
}


@pytest.fixture(params=PICKLES, ids=lambda kind: kind.__name__)
def loader(request: pytest.FixtureRequest, tmp_path: Path) -> Loader:
    """A place that loads a pickle, with a payload in it."""
    made: Loader = request.param(tmp_path)
    made.prepare()
    made.write(pickle.dumps(made.wrap(Payload(tmp_path / "marker"))))
    return made


def refusal(loader: Loader, marker: Path) -> str:
    """The message with which the file is refused; its payload was not executed."""
    with pytest.raises(Tier0Error) as raised:
        loader.load()
    assert raised.value.exit_status == 2
    assert not marker.exists()
    assert str(loader.folder) in str(raised.value)
    return str(raised.value)


def test_the_payload_is_executed_where_nothing_is_wrong(loader: Loader, tmp_path: Path) -> None:
    loader.load()

    assert (tmp_path / "marker").exists(), "else the tests below would show nothing"


@pytest.mark.timeout(20)  # a pipe is not waited for
@pytest.mark.parametrize("kind", [*BAD, *BAD_IN_PRIVATE])
def test_what_others_can_have_written_is_refused(loader: Loader, kind: str, tmp_path: Path) -> None:
    exchange, reason = {**BAD, **BAD_IN_PRIVATE}[kind]
    exchange(loader)

    if loader.is_store and kind in BAD_IN_PRIVATE:
        loader.load()
        assert (tmp_path / "marker").exists()
    else:
        assert reason in refusal(loader, tmp_path / "marker")


@AS_ROOT
@pytest.mark.parametrize("part", OWNER)
def test_what_another_user_owns_is_refused(loader: Loader, part: str, tmp_path: Path) -> None:
    OWNER[part](loader)

    assert f"owner {OTHER}" in refusal(loader, tmp_path / "marker")


@pytest.mark.parametrize("size", [0, 1, 20])
def test_what_was_cut_off_is_damaged(loader: Loader, size: int, tmp_path: Path) -> None:
    os.truncate(loader.file, size)

    refusal(loader, tmp_path / "marker")


@pytest.mark.parametrize("kind", [*BAD, *BAD_IN_PRIVATE])
def test_the_record_of_a_run_is_checked_as_its_state_is(kind: str, tmp_path: Path) -> None:
    loader = RunRecord(tmp_path)
    exchange, reason = {**BAD, **BAD_IN_PRIVATE}[kind]
    exchange(loader)

    assert reason in refusal(loader, tmp_path / "marker")


@pytest.mark.parametrize("kind", [*BAD, "owner"])
def test_a_store_entry_is_refused_before_a_server_is_started(kind: str, tmp_path: Path) -> None:
    loader = StoreEntry(tmp_path)
    loader.prepare()
    loader.write(pickle.dumps(Payload(tmp_path / "marker")))
    if kind == "owner" and os.geteuid() != 0:
        pytest.skip("only root can give files to another user")
    exchange = OWNER["file"] if kind == "owner" else BAD[kind][0]
    exchange(loader)

    done = CliRunner().invoke(app, ["serve", "m:v1", "--store", str(loader.store)])

    assert done.exit_code == 2, done.output
    assert "refusing to load" in done.output
    assert not (tmp_path / "marker").exists()


@AS_ROOT
def test_a_store_of_another_user_or_of_root_is_read(tmp_path: Path) -> None:
    """An image is often built as one user and run as another; what a third one put into it is refused."""
    loader = StoreEntry(tmp_path)
    loader.prepare()
    loader.write(pickle.dumps("model"))
    for path in [*loader.store.rglob("*"), loader.store]:
        os.chown(path, OTHER, OTHER)

    assert loader.load() == "model"
    os.chown(loader.file, 0, 0)
    assert loader.load() == "model"
    os.chown(loader.file, OTHER + 1, 0)
    with pytest.raises(UntrustedFileError, match=f"owner {OTHER + 1}"):
        loader.load()


def test_a_linked_entry_is_read(tmp_path: Path) -> None:
    loader = StoreEntry(tmp_path)
    loader.prepare()
    loader.write(pickle.dumps("model"))
    link_entry("m:v1", loader.store, tmp_path / "home")

    assert Entry.read(tmp_path / "home" / "models" / "m" / "v1").load_model() == "model"


@pytest.fixture(params=[0o077, 0o022, 0o002, 0o000], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("kind", [RunState, SharedResult])
def test_what_we_wrote_ourselves_is_read_with_any_umask(kind: type[Loader], tmp_path: Path) -> None:
    loader = kind(tmp_path)
    loader.prepare()
    loader.write(pickle.dumps(loader.wrap("ours")))

    assert loader.file.stat().st_mode & 0o777 == 0o600
    assert loader.load() == "ours"


@pytest.mark.usefixtures("_umask")
def test_a_state_is_saved_and_restored_with_any_umask(tmp_path: Path) -> None:
    loader = RunState(tmp_path)
    (loader.folder / "state.pickle.unfinished").write_bytes(b"of a run that was killed")
    context = RunContext(Session(SETTINGS), loader.record.plan.study, loader.folder, manifest={"tag": "m:v1"})

    loader.record.save(context)

    assert loader.load() == {"tag": "m:v1"}
    assert {path.stat().st_mode & 0o777 for path in loader.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_a_store_entry_is_read_with_any_usual_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        loader = StoreEntry(tmp_path)
        loader.prepare()
        loader.write(pickle.dumps("model"))
    finally:
        os.umask(before)

    assert loader.load() == "model"


def test_a_file_that_is_exchanged_between_check_and_use_is_never_read(tmp_path: Path) -> None:
    """The path is exchanged without a pause, for a file and a link that others can have written."""
    tmp_path.chmod(0o700)
    path, stopped = tmp_path / "file", threading.Event()
    (tmp_path / "evil").write_bytes(b"evil")
    (tmp_path / "evil").chmod(0o666)
    write_private(path, b"good")

    def exchange() -> None:
        while not stopped.is_set():
            shutil.copy(tmp_path / "evil", tmp_path / "copy")  # with its mode
            (tmp_path / "copy").replace(path)
            (tmp_path / "link").symlink_to(tmp_path / "evil")
            (tmp_path / "link").replace(path)
            write_private(path, b"good")

    thread = threading.Thread(target=exchange)
    thread.start()
    read, refused = 0, 0
    try:
        while not (read > 20 and refused > 20):
            with suppress(FileNotFoundError):
                try:
                    assert read_trusted(path) == b"good"
                    read += 1
                except UntrustedFileError:
                    refused += 1
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize("moment", ["before the check", "after the check"])
def test_what_is_read_is_what_was_checked(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    path, evil = tmp_path / "file", tmp_path / "evil"
    write_private(path, b"good")
    check = trusted_file._require_trusted

    def exchange_and_check(*args: Any) -> None:
        if args[0] != args[1]:  # the folder is checked first
            check(*args)
            return
        if moment == "after the check":
            check(*args)
        evil.write_bytes(b"evil")
        evil.chmod(0o666)
        evil.replace(path)
        if moment == "before the check":
            check(*args)

    monkeypatch.setattr(trusted_file, "_require_trusted", exchange_and_check)

    assert read_trusted(path) == b"good"
    with pytest.raises(UntrustedFileError):
        read_trusted(path)


def test_the_remedy_of_a_refusal_makes_the_file_usable(tmp_path: Path) -> None:
    folder = tmp_path / "a folder's name"
    folder.mkdir(mode=0o700)
    write_private(folder / "file", b"good")
    (folder / "file").chmod(0o666)
    folder.chmod(0o777)

    for _ in range(2):
        with pytest.raises(UntrustedFileError) as raised:
            read_trusted(folder / "file")
        assert os.system(str(raised.value).partition("run: ")[2]) == 0
    assert read_trusted(folder / "file") == b"good"


def test_a_changed_model_is_refused_by_its_digest(tmp_path: Path) -> None:
    loader = StoreEntry(tmp_path)
    loader.prepare()
    loader.write(pickle.dumps("model"))
    loader.file.write_bytes(pickle.dumps(Payload(tmp_path / "marker")))

    with pytest.raises(RegistrationError, match="SHA-256"):
        loader.load()
    assert not (tmp_path / "marker").exists()
