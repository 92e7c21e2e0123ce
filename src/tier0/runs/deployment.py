"""A deployment of ours: a registered model, the server that serves it, and the questions that prove it."""

from __future__ import annotations

import json
import os
import shlex
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from tier0.checks.serving.harness.sender import DEFAULT_RETRIES
from tier0.client import BentoMLClient
from tier0.contract.contract import Contract, read_contract
from tier0.core.catalogue import Disturbance
from tier0.core.errors import PredictionMismatchError, Tier0Error
from tier0.core.event_log import EventLog
from tier0.core.settings import Port, Settings
from tier0.core.waivers import Waiver, read_waivers
from tier0.faults.background import BackgroundLoop
from tier0.golden.rows import GoldenRows, Mismatch
from tier0.serving.entry import GOLDEN_FILE, Entry, find_entry
from tier0.serving.server import Probe, Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.serving.registration import (
        RegisteredModel,
    )  # needs cloudpickle, which the base install has not

POLL = 0.05
Result = TypeVar("Result")


@dataclass(frozen=True)
class Deployment:
    """What checks are asked of: where it is, what it must answer, how it is asked, and how far it may be disturbed.

    Attributes:
        url: of the service.
        golden: rows with what the model in memory gave for them; None if there are none.
        tag: the exact tag that must answer; None if it is not known.
        contract: how it is asked, or what is known of that; the rest is found out from the service.
        headers: sent with every request, and shown nowhere.
        client: makes the client that the application uses, given a URL: a function, or ``module:function``; None without one.
        disturb: how far it may be disturbed.
        waivers: what is not held against it.
        ca: certificates of the authorities to trust, in PEM; the system's by default.
        mask: show no values of golden rows.
        server: its processes, where this run started them.
        without_golden: a run without golden rows is accepted.
        retries: how often a request is sent again after a reset, a timeout, or a 429, 502, 503 or 504.
        wait: seconds to wait for a service that does not respond yet.
    """

    url: str
    golden: GoldenRows | None = None
    tag: str | None = None
    contract: Contract | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: Callable[[str], Any] | str | None = None
    disturb: Disturbance = "none"
    waivers: Sequence[Waiver] = ()
    ca: Path | None = None
    mask: bool = False
    server: Server | None = field(default=None, kw_only=True)
    without_golden: bool = field(default=False, kw_only=True)
    retries: int = field(default=DEFAULT_RETRIES, kw_only=True)
    wait: float = field(default=0.0, kw_only=True)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        golden: Path | str | GoldenRows | None = None,
        model: str | None = None,
        store: Path | str | None = None,
        contract: Path | str | Contract | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        client: Callable[[str], Any] | str | None = None,
        disturb: Disturbance = "none",
        waivers: Path | str | Sequence[Waiver] = (),
        ca: Path | str | None = None,
        mask: bool = False,
        without_golden: bool = False,
        retries: int = DEFAULT_RETRIES,
        wait: float = 0.0,
    ) -> Deployment:
        """Describe a running service.

        Args:
            url: of the service.
            golden: golden rows, or a file of them.
            model: the tag that must answer, ``name:version``; in *store* also ``name:latest``. Its entry holds golden rows if
                Tier0 registered it.
            store: a BentoML home; ``BENTOML_HOME`` or ``~/bentoml`` by default. It is only read.
            contract: or a file with one, or with what is known of it.
            headers: sent with every request.
            client: makes the client that the application uses, given a URL.
            disturb: by default requests are well formed and few; ``malformed`` also sends what must be refused, ``load`` asks a
                lot, ``faults`` kills.
            waivers: or a file with them.
            ca: file with the certificates of the authorities to trust, in PEM, instead of the system's.
            mask: show no values of golden rows in evidence and commands.
            without_golden: accept a run without golden rows.
            retries: how often a request is sent again after a reset, a timeout, or a 429, 502, 503 or 504.
            wait: seconds to wait for a service that does not respond yet.

        Raises:
            Tier0Error: a file or the model cannot be read.
        """
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise Tier0Error(
                f"invalid service URL {url!r}: expected an http(s) URL such as http://127.0.0.1:3000"
            )
        if parts.username or parts.password:
            raise Tier0Error(
                "the service URL contains a user name or a password, which reports would show: pass credentials with --header 'Authorization: @FILE'"
            )
        if parts.query or parts.fragment:
            raise Tier0Error(
                f"invalid service URL {url!r}: remove the query or fragment (the part after ? or #)"
            )
        if isinstance(golden, (str, Path)):
            golden = GoldenRows.read(golden)
        tag = golden.tag if golden is not None else None
        if model is not None and golden is not None and ":" in model and not model.endswith(":latest"):
            tag = model
        elif model is not None:
            tag, path = find_entry(model, Path(store or default_store()))
            golden = golden or golden_rows_in(path)
        if isinstance(contract, (str, Path)):
            contract = read_contract(Path(contract))
        if isinstance(waivers, (str, Path)):
            waivers = read_waivers(Path(waivers))
        ca = None if ca is None else Path(ca)
        _refuse_no_certificates(ca)
        return cls(
            url.rstrip("/"), golden, tag, contract, headers or {}, client, disturb, waivers, ca, mask,
            without_golden=without_golden, retries=retries, wait=wait,
        )  # fmt: skip

    @classmethod
    def from_service(
        cls,
        service: str,
        *,
        model: str | Sequence[str] = (),
        store: Path | str | None = None,
        golden: Path | str | GoldenRows | None = None,
        port: Port = Port(0),
        startup_timeout: float = 30.0,
        events: EventLog | None = None,
        workspace: Workspace | None = None,
        disturb: Disturbance = "load",
        **how: Any,
    ) -> Deployment:
        """Start a BentoML service of your own, in its folder, with a BentoML home that holds the models that are named, and no others.

        `close` it, or use it in a ``with`` statement.

        Args:
            service: ``path/to/file.py:Class``.
            model: a tag, or several: the first one holds the golden rows. Without any, the service sees the whole store.
            store: the BentoML home that has them; it is only read.
            golden: golden rows, or a file of them.
            port: to serve on.
            startup_timeout: seconds until it must be ready.
            events: where its phases are told.
            workspace: the folder in which it runs; one of its own by default.
            disturb: see `from_url`; it is ours, so load is allowed by default.
            how: ``contract``, ``headers``, ``client``, ``waivers``, ``mask``, ``without_golden``, ``retries`` and ``wait`` as in `from_url`.

        Raises:
            Tier0Error: the file, a model or another part cannot be read.
            ServerError: it did not become ready; with the end of its log.
        """
        tags = [model] if isinstance(model, str) else list(model)
        home = Path(store or default_store()).absolute()
        found = [find_entry(tag, home) for tag in tags]
        first = found[0][0] if found else None
        described = cls.from_url(
            "http://127.0.0.1", golden=golden, model=first, store=home, disturb=disturb, **how
        )
        path, name = _service_file(service)
        place = workspace or Workspace.create()
        own = place if workspace is None else None
        server = Server(
            place.folder("s"),
            port,
            events or EventLog(),
            workspace=own,
            service=f"{path.stem}:{name}",
            project=path.parent,
        )
        try:
            for tag, _ in found:
                server.link(tag, home)
            if not found:
                server.link_all(home)
            server.launch()
            server.wait_until_ready(ready_probe, startup_timeout)
        except BaseException:
            server.stop()
            raise
        return replace(described, url=server.url, server=server)

    def close(self) -> None:
        """Stop what was started for it; a service that was running already is left alone."""
        if self.server is not None:
            self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def judging_options(settings: Settings) -> dict[str, Any]:
    """Return what the settings say about any deployment, as arguments; what they leave open is left out."""
    how: dict[str, Any] = {
        "client": settings.client,
        "disturb": settings.disturb,
        "mask": settings.mask,
        "without_golden": settings.without_golden,
    }
    given = {name: value for name, value in how.items() if value}
    return {
        **given,
        "retries": settings.retries,
        "wait": settings.wait,
        "waivers": read_waivers(settings.waivers) if settings.waivers else (),
    }


def _refuse_no_certificates(ca: Path | None) -> None:
    try:
        if ca is not None:
            ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as problem:
        raise Tier0Error(
            f"cannot read certificates from --ca {str(ca)!r}: {problem}. Expected a PEM file"
        ) from problem


def default_store() -> Path:
    """Return the BentoML home of the user."""
    return Path(os.environ.get("BENTOML_HOME", "~/bentoml")).expanduser()


def golden_rows_in(path: Path) -> GoldenRows | None:
    """Return the golden rows of a store's entry; None where it was saved without Tier0."""
    return Entry.read(path).golden_rows() if (path / GOLDEN_FILE).exists() else None


def _service_file(service: str) -> tuple[Path, str]:
    file, _, name = service.rpartition(":")
    path = Path(file).expanduser().absolute()
    if path.suffix != ".py" or not name.isidentifier():
        raise Tier0Error(f"invalid service {service!r}: expected path/to/file.py:Class")
    if not path.is_file():
        raise Tier0Error(f"service {service!r}: file {path} not found")
    if not path.stem.isidentifier():
        raise Tier0Error(
            f"service {service!r}: {path.name} is not a valid module name in Python; rename the file"
        )
    return path, name


def ready_probe(url: str, timeout: float) -> Mapping[str, Any]:
    """Wait until the service at *url* says that it is ready; whether it answers right is what the checks ask."""
    deadline = time.monotonic() + timeout
    with httpx.Client(trust_env=False) as http:
        while (left := deadline - time.monotonic()) > 0:
            with suppress(httpx.TransportError):
                if http.get(f"{url}/readyz", timeout=left).status_code == httpx.codes.OK:
                    return {}
            time.sleep(POLL)
    raise Tier0Error(f"{url}/readyz did not return 200 within {timeout:.0f} s")


@dataclass(frozen=True)
class OwnDeployment(Deployment):
    """A deployment whose model was registered, and whose server was started, by this run.

    Attributes:
        model: the registered model.
    """

    model: RegisteredModel = field(kw_only=True)
    server: Server = field(kw_only=True)

    @classmethod
    def of(cls, server: Server, model: RegisteredModel, **how: Any) -> OwnDeployment:
        """Describe what *server* serves; it may be loaded, and is asked through our own client unless *how* says otherwise."""
        how = {"contract": Contract(), "client": BentoMLClient, "disturb": "load", **how}
        return cls(server.url, model.golden, model.tag, model=model, server=server, **how)

    def explain(self, mismatch: Mismatch, golden: GoldenRows) -> str:
        """Return what was expected, what came, and how to see it again, with the one row that proves it."""
        return f"{self.model.tag} at {self.url}: {mismatch}\nReproduce with: {curl(self.url, golden.take([mismatch.row]))}"


def curl(url: str, golden: GoldenRows) -> str:
    """Return the command that asks the service at *url* for *golden* from a shell."""
    return f"curl -sS {url}/predict -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(golden.body()))}"


def golden_probe(model: RegisteredModel, nonce: str, route: str | None = None) -> Probe:
    """Return what a server asks itself ready with: all golden rows at once, then who it is.

    Args:
        model: what must answer.
        nonce: of the server that must answer.
        route: the model's name in the path, where the server has several.
    """

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        async def ask(client: BentoMLClient) -> Mapping[str, Any]:
            golden = model.golden.examples
            answer = await client.predict(golden.body(), model=route)
            health = await client.health_check(route)
            mismatch = golden.compare(
                answer, tolerance=model.golden.tolerances(same_arithmetic=True, same_batch=True)
            )
            if health["status"] != "healthy":
                raise PredictionMismatchError(
                    f"{url} predicts, and says that it is not well: {health['reason']}"
                )
            if answer.get("model_tag") != model.tag or health.get("run") != nonce:
                raise PredictionMismatchError(
                    f"{url} answers as {answer.get('model_tag')!r} of run {health.get('run')!r}, "
                    f"and {model.tag!r} of run {nonce!r} was started: it is another server"
                )
            if mismatch is not None:
                row = golden.take([mismatch.row])
                raise PredictionMismatchError(
                    f"{url} serves {model.tag} wrong: {mismatch}\nReproduce with: {curl(url, row)}", answer
                )
            return answer

        return with_client(url, ask, timeout=timeout, attempt_timeout=timeout, max_attempts=1)

    return probe


def with_client(url: str, use: Callable[[BentoMLClient], Awaitable[Result]], **options: Any) -> Result:
    """Call *use* with a new client of the service at *url*, on a private event loop in a thread.

    `asyncio.run` would take the event loop away that the calling thread has set.
    """

    async def call() -> Result:
        async with BentoMLClient(url, **options) as client:
            return await use(client)

    loop = BackgroundLoop("tier0-client")
    try:
        return loop.run(call(), timeout=None)
    finally:
        loop.close()
