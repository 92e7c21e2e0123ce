"""Deployments to check, running or started for the purpose, and the probes that tell when one is ready."""

from __future__ import annotations

import asyncio
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
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from tier0.checks.serving.harness.sender import DEFAULT_RETRIES, HOW_TO_AUTHORIZE, UNAUTHORIZED
from tier0.checks.serving.harness.target import ANY_ROWS
from tier0.client import BentoMLClient
from tier0.client.transport import ACCEPTED_CODINGS, MIB, BoundedTransport
from tier0.contract.contract import Contract, read_contract
from tier0.contract.service_schema import BENTOML_HEALTH, path_prefixes
from tier0.core.address import address
from tier0.core.catalogue import Disturbance
from tier0.core.errors import PredictionMismatchError, Tier0Error, reading, reason_of
from tier0.core.event_log import EventLog
from tier0.core.events import DeploymentDescribed
from tier0.core.named_file import require_regular
from tier0.core.setting_parsers import parse_command
from tier0.core.settings import Port, Settings
from tier0.core.waivers import Waiver, read_waivers
from tier0.faults.background import BackgroundLoop
from tier0.golden.differences.diagnosis import diagnose
from tier0.golden.rows import GoldenRows, Mismatch
from tier0.serving.certificate import fetch_certificate, trust_only
from tier0.serving.entry import GOLDEN_FILE, Entry, find_entry
from tier0.serving.metadata import origin_in
from tier0.serving.server import Probe, Server
from tier0.serving.service_source import ServiceSource
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.serving.registration import RegisteredModel  # needs cloudpickle, not in the base install

SUSPICIONS = "suspicions"
"""Key of a model's metadata: why it may be worthless although it is served well."""
POLL = 0.05
"""Seconds between two requests of the ready probe."""
MAX_READINESS_BYTES = 4 * MIB
MAX_CA_BYTES = 16 * MIB
CLOSE_TIMEOUT = 2.0
LOOPBACK = "http://127.0.0.1"
READINESS_ROUTES = ("/v2/health/ready", "/readyz", "/ready", "/healthz", "/health", "/ping")
"""Usual readiness routes of servers other than BentoML's."""
NO_SUCH_ROUTE = {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}
NOT_HTTP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""Errors of a plain request to a server with TLS."""
Result = TypeVar("Result")


class _Place(NamedTuple):
    """Where and how a server of the user is started.

    Attributes:
        folder: folder in which it runs.
        program: attributes of `Server` that name the program.
        ready: candidates for its readiness route.
    """

    folder: Path
    program: Mapping[str, Any]
    ready: Sequence[str]


@dataclass(frozen=True)
class Deployment:
    """A deployment to check: its address, its golden rows, its contract, and how far it may be disturbed.

    Attributes:
        url: URL of the service.
        golden: golden rows; None without any.
        tag: exact tag that responses must have; None if it is unknown.
        contract: contract of the service, or the declared part of it; the rest is discovered.
        headers: headers of every request; they are never shown.
        client: factory of the application's client, called with a URL: a function, or ``module:function``.
        disturb: how far the deployment may be disturbed.
        waivers: checks that are not counted, and tolerances that are widened.
        ca: PEM file of the certificate authorities to trust; the system's by default.
        mask: whether evidence and commands leave out the values of golden rows.
        server: server that this run started; None for a service that was running already.
        without_golden: whether a run without golden rows is accepted.
        retries: how often a request is sent again after a reset, a timeout, or status 429, 502, 503 or 504.
        wait: seconds to wait for a service that does not respond yet.
        rate: requests per second that all checks together may send; None for no limit.
        suspicions: why the model may be worthless although it is served well, from its store entry.
        origin: where a model of MLflow comes from, from its store entry; empty for other models.
        rows_option: option of a command that reads the same golden rows.
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
    rate: float | None = field(default=None, kw_only=True)
    suspicions: tuple[str, ...] = field(default=(), kw_only=True)
    origin: str = field(default="", kw_only=True)
    rows_option: str = field(default=ANY_ROWS, kw_only=True)

    def described(self) -> DeploymentDescribed:
        """Return the event that describes the deployment in a report."""
        return DeploymentDescribed(
            url=self.url,
            model=self.tag,
            golden_rows=len(self.golden or []),
            disturb=self.disturb,
            power=None if self.golden is None else self.golden.power,
            edge_cases=0 if self.golden is None else len(self.golden.edge_cases),
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        golden: Path | str | GoldenRows | None = None,
        model: str | None = None,
        store: Path | str | None = None,
        protocol: str | None = None,
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
        rate: float | None = None,
    ) -> Deployment:
        """Return the deployment of a running service.

        Args:
            url: URL of the service.
            golden: golden rows, or a file with them.
            model: tag that responses must have: ``name:version``, or ``name:latest`` of *store*. If Tier0
                registered the model, its store entry has the golden rows.
            store: BentoML home to read; by default ``BENTOML_HOME``, or ``~/bentoml``.
            protocol: protocol of the service, one of `tier0.core.protocols.PROTOCOLS`; found by itself by
                default.
            contract: contract of the service, the declared part of it, or a file with either.
            headers: headers of every request.
            client: factory of the application's client, called with a URL.
            disturb: ``none`` allows a few well-formed requests, ``malformed`` also requests that must be
                refused, ``load`` also many requests at once, ``faults`` also killing processes.
            waivers: waivers, or a file with them.
            ca: PEM file of the certificate authorities to trust instead of the system's.
            mask: leave out the values of golden rows in evidence and commands.
            without_golden: accept a run without golden rows.
            retries: how often a request is sent again after a reset, a timeout, or status 429, 502, 503
                or 504.
            wait: seconds to wait for a service that does not respond yet.
            rate: requests per second that all checks together may send.

        Raises:
            Tier0Error: the URL is invalid, or a file or the model cannot be read.
        """
        _validate_url(url)
        rows_option = _rows_option(golden, model, store)
        if isinstance(golden, (str, Path)):
            golden = GoldenRows.read(golden)
        tag = golden.tag if golden is not None else None
        suspicions: tuple[str, ...] = ()
        origin = ""
        if model is not None and golden is not None and ":" in model and not model.endswith(":latest"):
            tag = model
        elif model is not None:
            tag, path = find_entry(model, Path(store or default_store()))
            golden, suspicions = golden or golden_rows_in(path), suspicions_in(path)
            origin = origin_in(Entry.read(path).metadata) if (path / GOLDEN_FILE).exists() else ""
        if isinstance(contract, (str, Path)):
            contract = read_contract(Path(contract))
        if protocol is not None:
            contract = _with_protocol(contract, protocol)
        if isinstance(waivers, (str, Path)):
            with reading(waivers):
                waivers = read_waivers(Path(waivers))
        ca = None if ca is None else Path(ca)
        _require_readable_ca(ca)
        return cls(
            url.rstrip("/"), golden, tag, contract, headers or {}, client, disturb, waivers, ca, mask,
            without_golden=without_golden, retries=retries, wait=wait, rate=rate,
            suspicions=suspicions, origin=origin, rows_option=rows_option,
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
        **options: Any,
    ) -> Deployment:
        """Start a BentoML service from its source, and return its deployment.

        The service runs in the folder of its file, with a BentoML home that has only the models in *model*.
        A file inside a package runs in the folder that contains the package, or if that is called ``src``, in
        the folder around it. Call `close` at the end, or use the deployment in a ``with`` statement.

        Args:
            service: ``path/to/file.py:Class``; ``package.module:Class``, which runs in the working directory;
                or a folder with a ``bentofile.yaml``, a ``pyproject.toml`` for BentoML, or a ``service.py``.
            model: tags of its models; the golden rows are those of the first one. Without any, the service
                gets all models of *store*.
            store: BentoML home with the models; it is only read. By default ``BENTOML_HOME``, or
                ``~/bentoml``.
            golden: golden rows, or a file with them.
            port: port to serve on.
            startup_timeout: seconds until the service must be ready.
            events: log that receives the events of the server.
            workspace: folder for the server's files; a new one by default.
            disturb: see `from_url`. The service belongs to this run, so load is allowed by default.
            options: ``protocol``, ``contract``, ``headers``, ``client``, ``waivers``, ``mask``,
                ``without_golden``, ``retries``, ``wait`` and ``rate``, as in `from_url`.

        Raises:
            Tier0Error: the file, a model or an option cannot be used.
            ServerError: the service did not become ready; the message has the end of its log.
        """
        source = ServiceSource.find(service)
        program = {"service": source.name, "import_path": source.import_path, "source": service}
        place = _Place(source.folder, program, (BENTOML_HEALTH,))
        return cls._start(
            place, model, store, golden, port, startup_timeout, events, workspace, disturb, options
        )

    @classmethod
    def from_command(
        cls,
        command: str | Sequence[str],
        *,
        folder: Path | str = ".",
        model: str | Sequence[str] = (),
        store: Path | str | None = None,
        golden: Path | str | GoldenRows | None = None,
        port: Port = Port(0),
        startup_timeout: float = 30.0,
        events: EventLog | None = None,
        workspace: Workspace | None = None,
        disturb: Disturbance = "load",
        **options: Any,
    ) -> Deployment:
        """Start a server of any kind by its command, and return its deployment.

        Its processes are ended together, also those that it has started in turn. It is ready when its
        readiness route, or else one with a usual name, returns 200. Call `close` at the end, or use the
        deployment in a ``with`` statement.

        Args:
            command: command with ``{port}`` in place of the port, such as ``uvicorn app:app --port {port}``;
                text is split into words as in a shell, but no shell runs it.
            folder: folder in which it runs.
            model: see `from_service`.
            store: see `from_service`.
            golden: golden rows, or a file with them.
            port: port to serve on.
            startup_timeout: seconds until the server must be ready.
            events: log that receives the events of the server.
            workspace: folder for the server's files; a new one by default.
            disturb: see `from_url`. The server belongs to this run, so load is allowed by default.
            options: as for `from_service`.

        Raises:
            Tier0Error: the command, a model or an option cannot be used.
            ServerError: the server did not become ready; the message has the end of its log.
        """
        try:
            words = parse_command(command if isinstance(command, str) else shlex.join(command))
        except ValueError as problem:
            raise Tier0Error(f"invalid command {command!r}: {problem}") from problem
        if not words:
            raise Tier0Error("the command is empty: pass one such as 'uvicorn app:app --port {port}'")
        program = {"command": words, "source": shlex.join(words)}
        place = _Place(Path(folder).absolute(), program, READINESS_ROUTES)
        return cls._start(
            place, model, store, golden, port, startup_timeout, events, workspace, disturb, options
        )

    @classmethod
    def _start(
        cls,
        place: _Place,
        model: str | Sequence[str],
        store: Path | str | None,
        golden: Path | str | GoldenRows | None,
        port: Port,
        startup_timeout: float,
        events: EventLog | None,
        workspace: Workspace | None,
        disturb: Disturbance,
        options: Mapping[str, Any],
    ) -> Deployment:
        """Start a server of the user and wait until it is ready; see `from_service`."""
        tags = [model] if isinstance(model, str) else list(model)
        home = Path(store or default_store()).absolute()
        found = [find_entry(tag, home) for tag in tags]
        first = found[0][0] if found else None
        described = cls.from_url(LOOPBACK, golden=golden, model=first, store=home, disturb=disturb, **options)
        files = workspace or Workspace.create()
        server = Server(
            files.folder("s"),
            port,
            events or EventLog(),
            workspace=files if workspace is None else None,
            project=place.folder,
            is_users=True,
            **place.program,
        )
        try:
            for tag, _ in found:
                server.link(tag, home)
            if not found:
                server.link_all(home)
            server.launch()
            server.wait_until_ready(users_probe(server, described, place.ready), startup_timeout)
        except BaseException:
            server.stop()
            raise
        return replace(described, url=server.url, server=server)

    def close(self) -> None:
        """Stop the service if this run started it."""
        if self.server is not None:
            self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def judging_options(settings: Settings) -> dict[str, Any]:
    """Return the options that *settings* give for any deployment, as arguments of `Deployment.from_url`."""
    options: dict[str, Any] = {
        "client": settings.client,
        "disturb": settings.disturb,
        "mask": settings.mask,
        "without_golden": settings.without_golden,
    }
    return {
        **{name: value for name, value in options.items() if value},
        "retries": settings.retries,
        "wait": settings.wait,
        "rate": _share_of(settings.rate, os.environ),
        "waivers": read_waivers(settings.waivers) if settings.waivers else (),
    }


def _share_of(rate: float | None, environ: Mapping[str, str]) -> float | None:
    """Return the part of a rate that this process may use: workers of pytest-xdist share it."""
    workers = environ.get("PYTEST_XDIST_WORKER_COUNT", "")
    return rate / int(workers) if rate is not None and workers.isdecimal() and int(workers) else rate


def _validate_url(url: str) -> None:
    """Check the URL of a service.

    Raises:
        Tier0Error: it is not an http(s) URL, or contains credentials, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise Tier0Error(
            f"invalid service URL {url!r}: expected an http(s) URL such as http://127.0.0.1:3000"
        )
    if parts.username or parts.password:
        raise Tier0Error(
            "the service URL contains a user name or a password, which reports would show: "
            "pass credentials with --header 'Authorization: @FILE'"
        )
    if parts.query or parts.fragment:
        raise Tier0Error(f"invalid service URL {url!r}: remove the query or fragment (the part after ? or #)")


def _with_protocol(
    contract: Contract | Mapping[str, Any] | None, protocol: str
) -> Contract | Mapping[str, Any]:
    """Return the declared part of a contract with a protocol; a complete contract needs none."""
    return contract if isinstance(contract, Contract) else {**(contract or {}), "protocol": protocol}


def _require_readable_ca(ca: Path | None) -> None:
    """Check that the file of certificate authorities can be used.

    Raises:
        Tier0Error: it cannot.
    """
    if ca is None:
        return
    try:
        require_regular(ca, max_bytes=MAX_CA_BYTES)
        ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as problem:  # an SSLError is an OSError
        raise Tier0Error(
            f"cannot read certificates from --ca {str(ca)!r}: {reason_of(problem)}. Expected a PEM file"
        ) from problem


def _rows_option(golden: Path | str | GoldenRows | None, model: str | None, store: Path | str | None) -> str:
    """Return the option of a command that reads the same golden rows, from a file or a store."""
    if isinstance(golden, (str, Path)):
        return f"--golden {shlex.quote(_from_here(golden))}"
    if golden is not None or model is None:
        return ANY_ROWS
    in_store = "" if store is None else f" --store {shlex.quote(_from_here(store))}"
    return f"--model {shlex.quote(model)}{in_store}"


def _from_here(path: Path | str) -> str:
    """Return a path as it is written in the working directory: settings have absolute paths."""
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def default_store() -> Path:
    """Return the BentoML home of the user: ``BENTOML_HOME``, or ``~/bentoml``.

    Raises:
        Tier0Error: the user has no home directory.
    """
    home = os.environ.get("BENTOML_HOME") or "~/bentoml"
    try:
        return Path(home).expanduser()
    except RuntimeError as problem:
        raise Tier0Error(
            f"cannot expand {home!r}: {problem} Set BENTOML_HOME, or --store, to an absolute path"
        ) from problem


def golden_rows_in(path: Path) -> GoldenRows | None:
    """Return the golden rows of a store entry; None if Tier0 did not register the model."""
    return Entry.read(path).golden_rows() if (path / GOLDEN_FILE).exists() else None


def suspicions_in(path: Path) -> tuple[str, ...]:
    """Return what a store entry says about columns that may give the target away."""
    found = Entry.read(path).metadata.get(SUSPICIONS, ()) if (path / GOLDEN_FILE).exists() else ()
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def users_probe(server: Server, described: Deployment, usual: Sequence[str] = (BENTOML_HEALTH,)) -> Probe:
    """Return the probe that tells when a user's service is ready: its readiness route returns 200.

    It also finds out whether the service has TLS of its own, and changes the server's URL accordingly.

    Args:
        server: server of the service.
        described: deployment with the headers and the contract of the service.
        usual: candidates for the readiness route, if the contract does not name it.
    """
    declared = described.contract.ready if isinstance(described.contract, Contract) else None
    if isinstance(described.contract, Mapping):
        declared = described.contract.get("ready")

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        routes = [declared] if declared else usual
        ready = _Readiness(url, dict(described.headers), routes, server.note_response)
        ready.needs_route = bool(declared) or not server.command
        ready.wait(timeout)
        server.url, server.certificate = ready.url, ready.certificate
        return {}

    return probe


def ready_probe(url: str, timeout: float) -> Mapping[str, Any]:
    """Wait until /readyz of the service at *url* returns 200.

    Raises:
        Tier0Error: it did not within *timeout* seconds.
    """
    _Readiness(url, {}, [BENTOML_HEALTH], lambda _: None).wait(timeout)
    return {}


@dataclass
class _Readiness:
    """Requests to the readiness route of a server on loopback, until it returns 200.

    Attributes:
        url: URL of the server, which gets the scheme https if the server has TLS.
        headers: headers of the requests.
        routes: candidates for the readiness route.
        note: called with the outcome of each request other than 200.
        needs_route: whether one of the routes must exist; otherwise, a server without any is ready as well.
        certificate: certificate of the server, in PEM; empty without TLS.
        has_schema: whether the schema of the service has been read.
        has_responded: whether there was a response, which says more than that there was no time for the last.
    """

    url: str
    headers: Mapping[str, str]
    routes: Sequence[str]
    note: Callable[[str], None]
    certificate: str = ""
    has_schema: bool = False
    has_responded: bool = False
    needs_route: bool = True

    def wait(self, timeout: float) -> None:
        """Wait until the readiness route returns 200.

        Raises:
            Tier0Error: it did not within *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        loop = BackgroundLoop("tier0-readiness")
        try:
            while (left := deadline - time.monotonic()) > 0:
                try:
                    if loop.run(self._is_ready(left), timeout=None):
                        return
                except (httpx.TransportError, httpx.DecodingError, TimeoutError) as problem:
                    is_late = isinstance(problem, (TimeoutError, httpx.TimeoutException))
                    if not (is_late and self.has_responded):
                        self.note(f"{self.url}: {type(problem).__name__}: {problem}".rstrip(": "))
                    if isinstance(problem, NOT_HTTP) and not self.certificate:
                        self._find_tls(left)
                time.sleep(POLL)
        finally:
            loop.close(timeout=CLOSE_TIMEOUT)
        route = " or ".join(self.routes)
        raise Tier0Error(f"{self.url}{route} did not return 200 within {timeout:.0f} s")

    async def _is_ready(self, timeout: float) -> bool:
        trust = trust_only(self.certificate) if self.certificate else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = BoundedTransport([self.url], MAX_READINESS_BYTES, trust=trust, limits=httpx.Limits())
        headers = {"Accept-Encoding": ACCEPTED_CODINGS, **self.headers}
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(transport=transport, headers=headers, timeout=timeout) as http,
        ):
            absent = 0
            for route in self.routes:
                response = await http.get(address(self.url, route))
                absent += response.status_code in NO_SUCH_ROUTE
                if response.status_code == httpx.codes.OK:
                    return True
                self.has_responded = True
                remedy = f": {HOW_TO_AUTHORIZE}" if response.status_code in UNAUTHORIZED else ""
                self.note(f"{route} returned {response.status_code}{remedy}")
            if not self.needs_route:
                return absent == len(self.routes)
            if response.status_code == httpx.codes.NOT_FOUND and not self.has_schema:
                await self._find_prefix(http)
        return False

    async def _find_prefix(self, http: httpx.AsyncClient) -> None:
        """Add the readiness routes below the path prefixes that the schema of the service suggests."""
        response = await http.get(address(self.url, "/schema.json"))
        with suppress(ValueError, RecursionError):
            prefixes = path_prefixes(response.json()) if response.is_success else []
            self.routes = [*self.routes, *(f"{prefix}{BENTOML_HEALTH}" for prefix in prefixes)]
        self.has_schema = True

    def _find_tls(self, timeout: float) -> None:
        """Use https if the server, which did not answer a plain request, presents a certificate."""
        parts = urlsplit(self.url)
        with suppress(OSError):
            self.certificate = fetch_certificate(parts.hostname or "", parts.port or 0, timeout)
            self.url = parts._replace(scheme="https").geturl()


@dataclass(frozen=True)
class OwnDeployment(Deployment):
    """A deployment whose model was registered, and whose server was started, by this run.

    Attributes:
        model: registered model.
        server: server that serves it.
    """

    model: RegisteredModel = field(kw_only=True)
    server: Server = field(kw_only=True)

    @classmethod
    def from_server(cls, server: Server, model: RegisteredModel, **options: Any) -> OwnDeployment:
        """Return the deployment of *model* on *server*.

        Args:
            server: server of this run.
            model: registered model that the server serves.
            options: attributes of the deployment; by default Tier0's client, its service's contract, and
                ``disturb="load"``.
        """
        options = {"contract": Contract(), "client": BentoMLClient, "disturb": "load", **options}
        return cls(server.url, model.golden, model.tag, model=model, server=server, **options)

    def explain(self, mismatch: Mismatch, golden: GoldenRows) -> str:
        """Return a mismatch in words, with the command that reproduces it with the one row that differs."""
        command = curl(self.url, golden.take([mismatch.row]))
        return f"{self.model.tag} at {self.url}: {mismatch}\nReproduce with: {command}"


def curl(url: str, golden: GoldenRows) -> str:
    """Return the shell command that sends *golden* to the service at *url*."""
    body = shlex.quote(json.dumps(golden.body()))
    return f"curl -sS {url}/predict -H 'Content-Type: application/json' -d {body}"


def golden_probe(model: RegisteredModel, nonce: str, route: str | None = None) -> Probe:
    """Return the probe that tells when a server is ready: it sends all examples, then asks for its health.

    Args:
        model: model that must respond.
        nonce: nonce of the server that must respond.
        route: name of the model in the path, for a server with several models.
    """
    golden = model.golden.examples
    tolerance = model.golden.tolerances(same_arithmetic=True, same_batch=True)

    def probe(url: str, timeout: float) -> Mapping[str, Any]:
        async def compare(client: BentoMLClient) -> Mapping[str, Any]:
            answer = await client.predict(golden.body(), model=route)
            health = await client.health_check(route)
            if health["status"] != "healthy":
                raise PredictionMismatchError(
                    f"{url} returns predictions, but its health check reports: {health['reason']}"
                )
            if answer.get("model_tag") != model.tag or health.get("run") != nonce:
                raise PredictionMismatchError(
                    f"{url} belongs to another server: expected model {model.tag!r} of run {nonce!r}, "
                    f"got {answer.get('model_tag')!r} of run {health.get('run')!r}"
                )
            mismatch = golden.compare(answer, tolerance=tolerance)
            if mismatch is not None:
                command = curl(url, golden.take([mismatch.row]))
                diagnosis = diagnose(golden, answer, tolerance=tolerance)
                raise PredictionMismatchError(
                    f"served predictions of {model.tag} at {url}: "
                    f"{diagnosis.in_words(mismatch.describe_row())}\n"
                    f"Reproduce with: {command}",
                    answer,
                )
            return answer

        return with_client(url, compare, timeout=timeout, attempt_timeout=timeout, max_attempts=1)

    return probe


def with_client(url: str, use: Callable[[BentoMLClient], Awaitable[Result]], **options: Any) -> Result:
    """Call *use* with a new client of the service at *url*, on a private event loop in a thread.

    `asyncio.run` would remove the event loop that the calling thread has set.
    """

    async def call() -> Result:
        async with BentoMLClient(url, **options) as client:
            return await use(client)

    loop = BackgroundLoop("tier0-client")
    try:
        return loop.run(call(), timeout=None)
    finally:
        loop.close()
