"""The events of a run: one class per event, with its facts as fields.

The plugin loads this module when the first event happens: creating thirty classes takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from tier0.core.verdict import CheckResult, Code


class Event:
    """Base class of events; the first line of a class's docstring is its line in docs/events.md.

    The fields are recorded as JSON types, so a tuple becomes a list.

    Attributes:
        name: name of the event in JSON and between processes.
        kinds: classes of events, by name.
    """

    kinds: ClassVar[dict[str, type[Event]]] = {}
    __test__ = False  # pytest would collect classes whose names begin with Test

    name: str

    def __init_subclass__(cls, *, name: str = "") -> None:
        if name:
            cls.name = name
            cls.kinds[name] = cls

    @property
    def facts(self) -> Mapping[str, Any]:
        """The values of the fields, by name."""
        return dict(vars(self))

    def cleaned(self, clean: Callable[[Any], Any]) -> Self:
        """Return a copy of the event, with *clean* applied to every field."""
        return replace(self, **{name: clean(value) for name, value in vars(self).items()})  # type: ignore[type-var]  # all are dataclasses


def event_from(name: str, facts: Mapping[str, Any]) -> Event:
    """Return the event with this name and these facts; a `Custom` event if Tier0 has none with this name."""
    kind = Event.kinds.get(name)
    return Custom(name, facts) if kind is None else kind(**facts)


@dataclass(frozen=True)
class Custom(Event):
    """A user-defined event.

    Attributes:
        name: name of the event, which must not be the name of an event of Tier0.
        data: facts of any type; types that JSON does not have are recorded as text.

    Raises:
        ValueError: Tier0 has an event with this name.
    """

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name in self.kinds:
            kind = self.kinds[self.name].__name__
            raise ValueError(
                f"{self.name!r} is an event of Tier0: use tier0.core.events.{kind} or choose another name"
            )

    @property
    def facts(self) -> Mapping[str, Any]:
        """The value of *data*."""
        return self.data


@dataclass(frozen=True)
class RunStarted(Event, name="run.started"):
    """The run began."""

    command: str
    settings: str
    started: str
    python: str
    versions: dict[str, str]
    commit: str | None
    branch: str | None = None
    ci: dict[str, str] | None = None


@dataclass(frozen=True)
class RunFailed(Event, name="run.failed"):
    """A command ended with an error before its checks were complete."""

    what: str
    message: str
    status: Literal["fail", "error"]
    next_step: str = ""
    code: Code = ""


@dataclass(frozen=True)
class TargetDescribed(Event, name="target.described"):
    """A command has described what it checked: a service, a client, or a run of the eight steps."""

    target: dict[str, Any]


@dataclass(frozen=True)
class RunKept(Event, name="run.kept"):
    """The run's folder will not be deleted."""

    path: str


@dataclass(frozen=True)
class DataNoted(Event, name="data.noted"):
    """A column of a file was read in a way that may not be the intended one."""

    note: str


@dataclass(frozen=True)
class LeakSuspected(Event, name="data.leak"):
    """A column may give the target away; the run fails until a person accepts the column, or drops it."""

    column: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class SelectionStart(Event, name="selection.start"):
    """Step 4 began to compare algorithms."""


@dataclass(frozen=True)
class SelectionSampled(Event, name="selection.sampled"):
    """Step 4 compares the algorithms on a sample of the rows."""


@dataclass(frozen=True)
class SelectionScore(Event, name="selection.score"):
    """One algorithm was cross-validated."""

    algorithm: str
    mean: float


@dataclass(frozen=True)
class SelectionDone(Event, name="selection.done"):
    """Step 4 chose an algorithm."""

    algorithm: str
    score: float
    reason: str
    metric: str


@dataclass(frozen=True)
class TrainingOwn(Event, name="training.own"):
    """The user's training function is being called."""


@dataclass(frozen=True)
class TrainingTrial(Event, name="training.trial"):
    """One trial of the hyperparameter search ended."""

    number: int
    score: float


@dataclass(frozen=True)
class TrainingDone(Event, name="training.done"):
    """Step 5 trained a model and evaluated it on the test split."""

    metrics: dict[str, float]
    spread: dict[str, float]
    threshold: float | None
    seconds: float
    algorithm: str
    dataset: str
    target: str
    task: str
    rows: dict[str, int]
    features: int
    evaluation: dict[str, Any] = field(default_factory=dict)
    peers: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrackingNoted(Event, name="training.noted"):
    """Environment variables of MLflow are set that do not affect the logging of this run."""

    notes: list[str]


@dataclass(frozen=True)
class TrainingLogged(Event, name="training.logged"):
    """The model was logged to MLflow, to a store that may be deleted with the run."""

    model_uri: str
    tracking_uri: str
    is_kept: bool


@dataclass(frozen=True)
class RegistrationDone(Event, name="registration.done"):
    """The model was saved to the BentoML model store."""

    tag: str
    golden_rows: int
    power: str | None = None
    edge_cases: int = 0


@dataclass(frozen=True)
class ServerLaunched(Event, name="server.launched"):
    """`bentoml serve` was started and is not ready yet."""

    port: int
    nonce: str
    start: str = ""
    service: str = ""


@dataclass(frozen=True)
class ServerVariablesWithheld(Event, name="server.variables_withheld"):
    """Variables of the environment were not passed on to the server, or only in part, each for a reason."""

    reasons: Mapping[str, str]
    nonce: str


@dataclass(frozen=True)
class ServerPortTaken(Event, name="server.port_taken"):
    """Another process uses the requested port, so the server uses another one."""

    wanted: int
    taken: int | None = None


@dataclass(frozen=True)
class ServerReady(Event, name="server.ready"):
    """This server returned the expected prediction for a golden row."""

    url: str
    nonce: str


@dataclass(frozen=True)
class ServerNamesMissing(Event, name="server.names_missing"):
    """The installed BentoML lacks private names that Tier0 uses, so its own middleware is used."""

    names: Sequence[str]
    nonce: str


@dataclass(frozen=True)
class ServerKilled(Event, name="server.killed"):
    """Processes of the server were killed on purpose; with all of them, the server has ended."""

    part: Literal["all", "worker", "supervisor"]
    nonce: str


@dataclass(frozen=True)
class ServerStopped(Event, name="server.stopped"):
    """The server was stopped; its processes have ended and its port is free."""

    seconds: float
    nonce: str


@dataclass(frozen=True)
class DeploymentDescribed(Event, name="deployment.described"):
    """A deployment is about to be checked, at a level of allowed disturbance."""

    url: str
    model: str | None
    golden_rows: int
    disturb: str
    power: str | None = None
    edge_cases: int = 0


@dataclass(frozen=True)
class DeploymentVerified(Event, name="deployment.verified"):
    """The served predictions of all golden rows equal the trained model's."""

    url: str
    tag: str
    predictions: list[Any]
    probabilities: list[Any]
    rows: int
    latency_ms: float


@dataclass(frozen=True)
class ParityCompared(Event, name="parity.compared"):
    """The served predictions of the golden rows were compared with the trained model's."""

    part: str
    what: str
    expected: list[float | None]
    served: list[float | None]
    worst: list[dict[str, Any]]


@dataclass(frozen=True)
class LatencyMeasured(Event, name="latency.measured"):
    """The latency of single rows was measured, served and in memory."""

    served_ms: list[float]
    in_memory_ms: float | None


@dataclass(frozen=True)
class HealthChecked(Event, name="health.checked"):
    """The service's health route was requested."""

    status: str


@dataclass(frozen=True)
class ClientCalls(Event, name="client.calls"):
    """A test called the service through `tier0_client`: start, end, outcome and circuit of each call."""

    calls: Sequence[tuple[float, float, str, str]]


@dataclass(frozen=True)
class BreakerState(Event, name="breaker.state"):
    """The circuit breaker of the application's client was observed in this state."""

    state: str


@dataclass(frozen=True)
class BreakerMeasured(Event, name="breaker.measured"):
    """A test recorded the states of a circuit breaker, and the requests that reached a stopped server."""

    states: list[str]
    reached: int


@dataclass(frozen=True)
class FaultInjected(Event, name="fault.injected"):
    """A fault server or proxy injected a fault."""

    what: str
    at: float


@dataclass(frozen=True)
class CheckDone(Event, name="check.done"):
    """A check ended, or could not be run."""

    id: str
    group: str
    status: Literal["pass", "fail", "not_judged", "error"]
    message: str
    evidence: dict[str, Any]
    causes: list[str]
    reproduce: str
    seconds: float
    nodeid: str
    asked: bool
    question: str
    requests: Sequence[tuple[float, bool]]
    log: str
    code: Code = ""
    retried: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        result: CheckResult,
        question: str,
        requests: Sequence[tuple[float, bool]] = (),
        retried: Mapping[str, int] | None = None,
    ) -> Self:
        """Return the event of a check that a command ran, outside of pytest.

        Args:
            result: result of the check.
            question: question of the check in its catalogue.
            requests: start of each request, in seconds since the log was opened, and whether it was answered.
            retried: number of requests that were sent again, by reason.
        """
        return cls(
            **result.as_dict(),
            nodeid=result.id,
            asked=True,
            question=question,
            requests=requests,
            log="",
            retried=retried or {},
        )


@dataclass(frozen=True)
class TestDone(Event, name="test.done"):
    """A test marked tier0_bentoml ended."""

    nodeid: str
    check: str | None
    message: str
    details: str
    exit_status: int | None
    log: str
    when: str
    outcome: str
    seconds: float
    part: bool


@dataclass(frozen=True)
class TestCrashed(Event, name="test.crashed"):
    """A test process crashed."""

    nodeid: str
    message: str


@dataclass(frozen=True)
class CollectionFailed(Event, name="collection.failed"):
    """Tests could not be collected."""

    nodeid: str
    message: str


@dataclass(frozen=True)
class BentoBuilding(Event, name="bento.building"):
    """A Bento is being built."""


@dataclass(frozen=True)
class BentoBuilt(Event, name="bento.built"):
    """A Bento was built and started, and served the golden rows of its models."""

    tag: str
