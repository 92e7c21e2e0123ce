"""Catalogue of the checks of a served model: the question, the needs and the disturbance of each check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from tier0.core.errors import UnknownCheckError
from tier0.core.near_names import did_you_mean

Disturbance = Literal["none", "malformed", "load", "faults"]
LEVELS: tuple[Disturbance, ...] = ("none", "malformed", "load", "faults")
"""How far a deployment may be disturbed; each level includes the levels before it."""
Severity = Literal["critical", "major", "minor"]
SEVERITIES: tuple[Severity, ...] = ("critical", "major", "minor")
"""How bad a failure is, the worst first.

- ``critical``: wrong predictions, the wrong model, or a service or client that is not safe.
- ``major``: requests that fail, hang or are accepted although they are malformed; failures that spread.
- ``minor``: what only operators see, such as a metric or a header, and the status of a refusal.
"""
GROUPS = (
    "health", "identity", "contract", "parity", "concurrency", "resilience", "observability", "performance",
    "teardown", "security",
)  # fmt: skip
Need = Literal["golden", "client", "process"]


class Check(NamedTuple):
    """One named check of a served model.

    Attributes:
        id: ``<group>.<name>``; its function is ``<name>`` in ``tier0.checks.serving.<group>``, imported when
            it runs.
        question: yes/no question on one line; yes is good.
        needs: prerequisites: ``golden`` rows, the application's ``client``, a ``process`` that this run
            started.
        disturb: level of disturbance that the user must allow: none, malformed requests, load, or faults
            (killed processes).
        title: the failure in a few words.
        remedy: next step after the failure, as an imperative.
        severity: how bad the failure is.
        explained_by: checks whose failure is a reason for this one to fail, the first reason first.
    """

    id: str
    question: str
    needs: tuple[Need, ...] = ()
    disturb: Disturbance = "none"
    title: str = ""
    remedy: str = ""
    severity: Severity = "major"
    explained_by: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


GOLDEN: tuple[Need, ...] = ("golden",)
PROCESS: tuple[Need, ...] = ("golden", "process")
CATALOGUE: tuple[Check, ...] = (
    Check(
        "health.ready",
        "Does the readiness route return status 200?",
        title="Service not ready",
        remedy="open the readiness route, and the server's log at that time",
    ),
    Check(
        "health.body_agrees",
        "Does the body of the health response agree with its status code?",
        title="Health route hides a problem",
        remedy="let the health route return 503 while its body reports a problem",
        explained_by=("health.ready",),
    ),
    Check(
        "health.can_predict",
        "Does the service return predictions while its health route returns 200?",
        GOLDEN,
        title="No predictions",
        remedy="send the request below, and read the server's log at that time",
        severity="critical",
    ),
    Check(
        "health.probes_leak_nothing",
        "Does the number of open files and connections stay flat under repeated health probes?",
        ("process",),
        "load",
        title="Health probes leak connections",
        remedy="close what the health route opens, or keep one client for all probes",
    ),
    Check(
        "identity.expected_model",
        "Do responses name the expected model?",
        GOLDEN,
        title="Wrong model served",
        remedy="deploy the expected model, and pin its exact version",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "identity.this_run",
        ),
    ),
    Check(
        "identity.always_the_same",
        "Do all callers, on new connections too, get the same predictions for the same rows each time?",
        GOLDEN,
        title="Same rows, different predictions",
        remedy="compare the models and versions of all replicas",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "identity.this_run",
        ),
    ),
    Check(
        "identity.this_run",
        "Is the service's port owned by a process that this run started?",
        ("process",),
        title="Port of another process",
        remedy="stop the process that owns the port, or use another port",
        severity="critical",
    ),
    Check(
        "contract.one_answer_a_row",
        "Does every golden row get exactly one output, with finite values?",
        GOLDEN,
        title="Outputs missing or not finite",
        remedy="find the rows without an output in the handler",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "contract.probabilities",
        "Does each row get one probability per class, and do they sum to 1?",
        GOLDEN,
        title="Invalid probabilities",
        remedy="return the model's probabilities unchanged, one per class",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "contract.one_answer_a_row",
        ),
    ),
    Check(
        "contract.intervals",
        "Does each interval have a lower and an upper bound around its prediction?",
        GOLDEN,
        title="Invalid intervals",
        remedy="return the model's bounds unchanged, lower before upper",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "contract.one_answer_a_row",
        ),
    ),
    Check(
        "contract.other_fields",
        "Do all other fields of a response agree with the trained model and with the request?",
        GOLDEN,
        title="Response contradicts the model",
        remedy="compute the field from the same model and request as the prediction",
        explained_by=(
            "health.can_predict",
            "identity.expected_model",
            "parity.golden_rows",
        ),
    ),
    Check(
        "contract.refuses_empty_body",
        "Is an empty request body refused?",
        (),
        "malformed",
        title="Empty body not refused",
        remedy="validate the body before it reaches the model, and return a 4xx",
        severity="minor",
    ),
    Check(
        "contract.refuses_no_json",
        "Is a request body that is not valid JSON refused?",
        (),
        "malformed",
        title="Invalid JSON not refused",
        remedy="validate the body before it reaches the model, and return a 4xx",
        severity="minor",
    ),
    Check(
        "contract.refuses_wrong_key",
        "Is a request body without the input field refused?",
        GOLDEN,
        "malformed",
        title="Missing input field not refused",
        remedy="make the input field required, and return a 4xx without it",
    ),
    Check(
        "contract.refuses_unknown_field",
        "Is a request with a misspelled optional field refused?",
        GOLDEN,
        "malformed",
        title="Misspelled field ignored",
        remedy="forbid unknown fields of the request",
    ),
    Check(
        "contract.refuses_wrong_width",
        "Are rows with too many or too few values refused?",
        GOLDEN,
        "malformed",
        title="Rows of the wrong length accepted",
        remedy="check the number of values of each row, and return a 4xx",
    ),
    Check(
        "contract.empty_rows",
        "Is an empty list of rows refused, or answered without predictions?",
        GOLDEN,
        "malformed",
        title="Empty list of rows not handled",
        remedy="answer a request without rows before the model is called",
        severity="minor",
    ),
    Check(
        "contract.refuses_unknown_column",
        "Is a row with a misspelled column refused?",
        GOLDEN,
        "malformed",
        title="Misspelled column accepted",
        remedy="compare the column names with the model's, and return a 4xx",
    ),
    Check(
        "contract.refuses_missing_column",
        "Is a row without one of its columns refused, or predicted like a row with a missing value?",
        GOLDEN,
        "malformed",
        title="Missing column accepted",
        remedy="require all columns of the model, and return a 4xx",
    ),
    Check(
        "contract.refuses_text_for_number",
        "Are text, quoted numbers and booleans refused in place of a number?",
        GOLDEN,
        "malformed",
        title="Text accepted as a number",
        remedy="validate the types of values strictly, and return a 4xx",
    ),
    Check(
        "contract.refuses_infinity",
        "Is an infinite value refused?",
        GOLDEN,
        "malformed",
        title="Infinity accepted",
        remedy="refuse values that are not finite with a 4xx",
    ),
    Check(
        "contract.refuses_misspelled_category",
        "Is a known category with different case or extra blanks refused, or recognised?",
        GOLDEN,
        "malformed",
        title="Misspelled category accepted",
        remedy="compare categories with those of the training, and return a 4xx",
    ),
    Check(
        "contract.refuses_other_content",
        "Is a request body with content type text/csv refused?",
        GOLDEN,
        "malformed",
        title="Wrong content type accepted",
        remedy="accept application/json only, and return 415 otherwise",
        severity="minor",
    ),
    Check(
        "parity.golden_rows",
        "Do golden rows sent together get the trained model's outputs?",
        GOLDEN,
        title="Wrong predictions",
        remedy="follow the row below through the service, and compare each step with the training",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "identity.this_run",
            "identity.expected_model",
            "identity.always_the_same",
        ),
    ),
    Check(
        "parity.rows_alone",
        "Does a golden row sent alone get the trained model's output?",
        GOLDEN,
        title="Rows alone predicted differently",
        remedy="find what the service computes from all rows of a request",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.shuffled",
        "Does each golden row get its own output when the rows are sent in another order?",
        GOLDEN,
        title="Outputs depend on the order of rows",
        remedy="keep the order of the rows through the whole handler",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
        ),
    ),
    Check(
        "parity.small_batches",
        "Do a few rows get the trained model's outputs, also if they are as many as the columns?",
        GOLDEN,
        title="Small batches predicted differently",
        remedy="read rows and columns by the form of the request, not by their number",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
            "parity.shuffled",
        ),
    ),
    Check(
        "parity.repeated",
        "Does a row get the trained model's output if the request also contains copies of it?",
        GOLDEN,
        title="Duplicate rows predicted differently",
        remedy="keep duplicate rows, and compute nothing from the whole request",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
            "parity.shuffled",
        ),
    ),
    Check(
        "parity.columns_by_name",
        "Do outputs stay the same when named columns are sent in another order?",
        GOLDEN,
        title="Column names ignored",
        remedy="select the columns by name, in the model's order",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.by_position",
        "Do outputs stay the same when rows are sent without column names?",
        GOLDEN,
        title="Values read in the wrong column order",
        remedy="read rows without names in the column order of the training",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.keys_in_any_order",
        "Do outputs stay the same when the keys of the request body are in another order?",
        GOLDEN,
        title="Order of keys changes predictions",
        remedy="read the values of the request body by name",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.columns_by_name",
        ),
    ),
    Check(
        "parity.other_spelling",
        "Do outputs stay the same when the same JSON is written with other spaces, escapes and numbers?",
        GOLDEN,
        title="Spelling of the JSON changes predictions",
        remedy="read the body with a JSON parser, and convert numbers to the model's types",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.missing_values",
        "Do rows with missing values get the trained model's outputs?",
        GOLDEN,
        title="Missing values predicted differently",
        remedy="pass missing values to the model as they are",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.unseen_categories",
        "Do rows with unseen categories get the trained model's outputs?",
        GOLDEN,
        title="Unseen categories predicted differently",
        remedy="deploy the encoder that was fitted in the training",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.boundaries",
        "Do rows just below and just above the model's boundaries get the trained model's outputs?",
        GOLDEN,
        title="Values near boundaries predicted differently",
        remedy="pass numbers to the model in the dtype of the training, unrounded",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.decisions",
        "Do rows close to the decision threshold get the trained model's labels?",
        GOLDEN,
        title="Wrong labels near the threshold",
        remedy="deploy the model's decision threshold",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.large_integers",
        "Do rows with integers that a float cannot represent get the trained model's outputs?",
        GOLDEN,
        title="Large integers predicted differently",
        remedy="keep integers as integers up to the model",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.boundaries",
        ),
    ),
    Check(
        "parity.other_values",
        "Do rows with one other value, in a column's range or outside, get the trained model's outputs?",
        GOLDEN,
        title="Rows with another value predicted differently",
        remedy="find where the changed column is lost, limited or cached",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.unusual_texts",
        "Do rows with unusual texts get the trained model's outputs?",
        GOLDEN,
        title="Unusual texts predicted differently",
        remedy="pass texts to the model unchanged",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.mixed_rows",
        "Do edge cases and ordinary rows in one request get the trained model's outputs?",
        GOLDEN,
        title="Mixed rows predicted differently",
        remedy="set the types of the columns from the model, not from the request",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
            "parity.shuffled",
            "parity.missing_values",
            "parity.unseen_categories",
            "parity.boundaries",
            "parity.decisions",
            "parity.large_integers",
            "parity.unusual_texts",
        ),
    ),
    Check(
        "parity.large_batches",
        "Do requests of 257, 1,025 and 2,049 rows get the trained model's outputs?",
        GOLDEN,
        "load",
        title="Large batches predicted differently",
        remedy="join the outputs of chunks in the order of their rows",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
            "parity.shuffled",
            "parity.repeated",
        ),
    ),
    Check(
        "parity.inputs_matter",
        "Do rows with different trained-model outputs get different outputs from the service?",
        GOLDEN,
        title="Same output for all rows",
        remedy="look for a fallback or an exception handler that returns a constant",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "parity.no_memory",
        "Does a row get the same output before and after requests with other rows?",
        GOLDEN,
        title="Earlier requests change predictions",
        remedy="keep no state of a request in the service",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
        ),
    ),
    Check(
        "parity.through_client",
        "Do the golden rows get the trained model's outputs through the application's client?",
        ("golden", "client"),
        title="Client returns other predictions",
        remedy="compare the client's request with the one below",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
        ),
    ),
    Check(
        "parity.batch_through_client",
        "Do the golden rows get the trained model's outputs through the client's predict_batch?",
        ("golden", "client"),
        title="predict_batch returns other predictions",
        remedy="compare the client's request with the one below",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.through_client",
        ),
    ),
    Check(
        "concurrency.own_answer",
        "Does each concurrent caller get the output for its own row?",
        GOLDEN,
        title="Callers get wrong outputs",
        remedy="find the state that concurrent requests share",
        severity="critical",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
        ),
    ),
    Check(
        "concurrency.own_context",
        "Does each concurrent caller get back its own request id, and no other caller's?",
        GOLDEN,
        title="Callers get another caller's request id",
        remedy="keep the request context in a context variable, not in shared state",
        severity="critical",
    ),
    Check(
        "concurrency.strangers_mistakes",
        "Do valid requests get the right outputs while other callers send rows that are refused?",
        GOLDEN,
        "malformed",
        title="Bad requests break good ones",
        remedy="validate each request before it joins a batch",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
            "parity.rows_alone",
            "concurrency.own_answer",
        ),
    ),
    Check(
        "concurrency.alive_under_load",
        "Do liveness and health routes respond in time, as at rest, while large requests are processed?",
        GOLDEN,
        "load",
        title="Health routes blocked under load",
        remedy="run the prediction outside of the event loop",
    ),
    Check(
        "resilience.half_sent_requests",
        "Does the service respond while other callers never finish sending their requests?",
        GOLDEN,
        "load",
        title="Incomplete requests block the service",
        remedy="set a timeout for reading requests",
        explained_by=("concurrency.alive_under_load",),
    ),
    Check(
        "resilience.worker_is_replaced",
        "After a worker is killed, does the service return correct outputs again within a minute?",
        PROCESS,
        "faults",
        title="Worker not replaced",
        remedy="run the service under a supervisor that starts new workers",
        explained_by=(
            "health.can_predict",
            "parity.golden_rows",
        ),
    ),
    Check(
        "observability.counts_requests",
        "Do the metrics count successful requests?",
        GOLDEN,
        title="Requests not counted",
        remedy="find out why the counters in /metrics do not grow with each request",
        severity="minor",
        explained_by=("observability.metrics_can_be_read",),
    ),
    Check(
        "observability.counts_refusals",
        "Do the metrics count refused requests as errors?",
        (),
        "malformed",
        title="Refusals not counted",
        remedy="count requests with a 4xx in the service's metrics",
        severity="minor",
        explained_by=(
            "observability.metrics_can_be_read",
            "observability.counts_requests",
        ),
    ),
    Check(
        "observability.metrics_can_be_read",
        "Are the metrics valid in the Prometheus text format?",
        title="Metrics cannot be read",
        remedy="return the metrics in the Prometheus text format",
        severity="minor",
    ),
    Check(
        "performance.latency",
        "Is single-row latency at most ten times that of the trained model and a probe, plus 100 ms?",
        GOLDEN,
        "load",
        title="Slow predictions",
        remedy="profile one request, and find what takes time besides the model",
    ),
    Check(
        "performance.many_callers",
        "Do 32 concurrent callers together get at least a tenth of one caller's rows per second?",
        GOLDEN,
        "load",
        title="Throughput collapses under load",
        remedy="find the lock or the queue that concurrent requests wait for",
        explained_by=(
            "concurrency.alive_under_load",
            "performance.latency",
        ),
    ),
    Check(
        "performance.memory",
        "Does memory use stay flat under repeated requests?",
        PROCESS,
        "load",
        title="Memory grows",
        remedy="find what the service keeps of each request",
    ),
    Check(
        "teardown.stops",
        "Do all processes end, and the port close, when the server is stopped?",
        PROCESS,
        "faults",
        title="Service does not stop",
        remedy="end all child processes on SIGTERM",
    ),
    Check(
        "teardown.ends_with_its_supervisor",
        "Do all processes end, and the port close, when the supervisor is killed?",
        PROCESS,
        "faults",
        title="Processes outlive their supervisor",
        remedy="let the workers end with their supervisor",
        explained_by=("teardown.stops",),
    ),
    Check(
        "security.refuses_pickle",
        "Is a pickled request body refused without being unpickled?",
        (),
        "malformed",
        title="Pickled requests are executed",
        remedy="remove the pickle content type from the service at once",
        severity="critical",
    ),
    Check(
        "security.fetches_nothing",
        "Is a URL in a text field of a row left alone?",
        PROCESS,
        "malformed",
        title="Service fetches URLs from requests",
        remedy="do not open URLs that come from a request",
        severity="critical",
    ),
    Check(
        "security.keeps_secrets",
        "Are the variables of the service's environment absent from all its responses?",
        ("process",),
        title="Secrets in responses",
        remedy="remove environment variables and tracebacks from responses, and replace the secret",
        severity="critical",
    ),
    Check(
        "security.loopback_only",
        "Do the processes started by this run listen only on loopback addresses?",
        ("process",),
        title="Service listens on all interfaces",
        remedy="bind the processes to 127.0.0.1",
    ),
)


class Named(Protocol):
    """A check of either catalogue."""

    @property
    def id(self) -> str:
        """The id: group, dot, name."""

    @property
    def group(self) -> str:
        """The part of the id before the dot."""


AnyCheck = TypeVar("AnyCheck", bound=Named)


def select_checks(catalogue: Sequence[AnyCheck], names: Sequence[str]) -> list[AnyCheck]:
    """Return the checks of *catalogue* whose id or group is in *names*, in the order of the catalogue.

    Args:
        catalogue: checks to select from.
        names: ids and groups; with none, all checks are selected.

    Raises:
        UnknownCheckError: a name is neither a group nor a check.
    """
    groups = list(dict.fromkeys(check.group for check in catalogue))
    known = {*groups, *(check.id for check in catalogue)}
    for name in names:
        if not isinstance(name, str) or name not in known:  # a value in a waiver file may have any type
            raise UnknownCheckError(
                f"unknown group or check {name!r}{did_you_mean(name, known)}. "
                f"Groups: {', '.join(groups)}; tier0 verify --list and check-client --list print the checks"
            )
    return [check for check in catalogue if not names or check.group in names or check.id in names]
