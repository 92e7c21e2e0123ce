"""Catalogue of the checks of a client: the question, the required declarations and methods of each check."""

from __future__ import annotations

from typing import NamedTuple

from tier0.core.catalogue import Severity


class ClientCheck(NamedTuple):
    """One named check of a client.

    Attributes:
        id: ``<group>.<name>``; its function is ``<name>`` in ``tier0.checks.client.<group>``, imported when
            it runs.
        question: yes/no question on one line; yes is good.
        declared: required fields of `tier0.core.declaration.Declaration`; without them, the check does not
            run.
        methods: what the client must have in addition to ``predict``: ``predict_batch``, ``health``,
            ``close``, ``model`` (a parameter of ``predict``), ``asynchronous`` (a ``predict`` that does not
            block the event loop), ``coroutines`` (a ``predict`` that is a coroutine function, even if it
            blocks the event loop) or ``importable`` (a name by which another process can import the factory).
        alone: whether the check runs alone: it measures short times, makes many concurrent calls, or changes
            the process.
        waits: whether it spends most of that time waiting, so that others which do may run at the same time.
        own_process: whether it runs in a process of its own, and then not alone, if another process can
            import the client.
        judges: declared fields of which the check detects that they are not kept, even if all others are.
        title: the failure in a few words.
        remedy: next step after the failure, as an imperative.
        severity: how bad the failure is.
        explained_by: checks whose failure is a reason for this one to fail, the first reason first.
    """

    id: str
    question: str
    declared: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    alone: bool = False
    waits: bool = False
    own_process: bool = False
    judges: tuple[str, ...] = ()
    title: str = ""
    remedy: str = ""
    severity: Severity = "major"
    explained_by: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


BREAKER = ("threshold", "reset")
HANGS = ("threshold", "attempt_timeout")
CLIENT_CATALOGUE: tuple[ClientCheck, ...] = (
    ClientCheck(
        "wire.one_request",
        "Does a successful call send exactly one request, with a JSON body?",
        title="No valid request",
        remedy="let one call send one POST request with a JSON body",
        severity="critical",
    ),
    ClientCheck(
        "wire.no_prediction",
        "Does the client raise an error for a response with status 200 that contains no prediction?",
        title="Error taken for a prediction",
        remedy="raise an error when a 200 response has no prediction",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.bare_answers",
        "Does the client accept a bare list and a bare number as predictions?",
        ("bare_answers",),
        judges=("bare_answers",),
        title="Bare predictions rejected",
        remedy="accept a list and a number as the response body, or do not declare it",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.one_id",
        "Do all requests of a call carry the same request id?",
        ("attempts",),
        title="Request id changes between attempts",
        remedy="set the request id once per call, before the first attempt",
        severity="minor",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "wire.own_context",
        "Does the service receive the caller's OpenTelemetry trace context?",
        ("traceparent",),
        judges=("traceparent",),
        title="Trace context lost",
        remedy="send the caller's traceparent header",
        severity="minor",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.contexts_apart",
        "Does every call, also a concurrent one, send the trace context of its own caller?",
        ("traceparent",),
        judges=("traceparent",),
        title="Trace contexts mixed up",
        remedy="read the trace context in the caller's task, not in a shared one",
        explained_by=(
            "wire.one_request",
            "wire.own_context",
        ),
    ),
    ClientCheck(
        "wire.own_id",
        "Does every call carry a request id of its own, if the client sends ids?",
        title="Request ids reused",
        remedy="create a new request id for each call",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.own_answers",
        "Does every concurrent call return the response to its own request?",
        title="Calls get other calls' responses",
        remedy="keep no response in state that calls share",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.same_request",
        "Does a retry send the same method, path and body again?",
        ("attempts",),
        title="Retry sends another request",
        remedy="build the request once, and send the same one again",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.whole_body",
        "Is the length of a body with text beyond ASCII declared correctly?",
        title="Wrong length of the body",
        remedy="compute Content-Length from the encoded bytes",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.redirects",
        "Are redirects to another host left alone, and never followed with a GET request?",
        title="Redirects followed",
        remedy="do not follow redirects to other hosts",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "wire.no_stand_in",
        "Does a call that got no prediction return none: no earlier one and no default, unless declared?",
        title="Invented predictions",
        remedy="raise an error when there is no prediction, or declare the fallback",
        severity="critical",
        explained_by=(
            "wire.one_request",
            "wire.no_prediction",
        ),
    ),
    ClientCheck(
        "retry.at_most_attempts",
        "Does a failing call send at most the declared number of requests, and more than one if declared?",
        ("attempts",),
        judges=("attempts",),
        title="Wrong number of attempts",
        remedy="limit the attempts of a call to the declared number",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "retry.no_sleep_at_the_end",
        "Does a call end without another backoff after its last attempt has failed?",
        ("attempts",),
        title="Waits after the last attempt",
        remedy="raise the error without another backoff",
        severity="minor",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.retry_after",
        "Does a call either wait as long as Retry-After requires or end early, whatever the header's value?",
        ("retry_after", "timeout"),
        judges=("retry_after",),
        title="Retry-After ignored",
        remedy="wait as long as Retry-After requires, or end the call",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "retry.callers_mistakes",
        "Is a request that gets a 4xx response sent only once, and not counted as a failure of the service?",
        title="Caller's mistakes retried",
        remedy="do not retry 4xx responses, nor count them as failures",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "retry.batch",
        "Does predict_batch retry failed requests, as predict does?",
        ("attempts",),
        ("predict_batch",),
        title="predict_batch does not retry",
        remedy="let predict_batch use the retries of predict",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.broken_connections",
        "Are requests retried after a broken connection, or on a stale one?",
        ("attempts",),
        title="Broken connections not retried",
        remedy="retry on errors of the connection, too",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.budget",
        "Does the number of retries stay within the declared budget?",
        ("budget", "attempts"),
        judges=("budget",),
        title="Retry budget exceeded",
        remedy="count retries of all calls against the budget",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.spread",
        "Are the retries of clients that failed at the same time spread over time?",
        ("attempts",),
        alone=True,
        title="Retries not spread",
        remedy="add full jitter to the backoff",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.ends_with_its_caller",
        "Does a cancelled call stop sending requests?",
        ("attempts",),
        ("asynchronous",),
        title="Cancelled calls go on",
        remedy="end the retries when the call is cancelled",
        explained_by=(
            "wire.one_request",
            "hygiene.cancelled_at_once",
        ),
    ),
    ClientCheck(
        "retry.asked_once",
        "Is a request that the service may have received sent only once, if retries are declared unsafe?",
        ("idempotent",),
        judges=("idempotent",),
        title="Unsafe request sent twice",
        remedy="do not retry requests that the service may have received",
        severity="critical",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "retry.rate_limited",
        "Is a request that gets status 429 sent again, if that is declared?",
        ("retries_429",),
        judges=("retries_429",),
        title="Status 429 not retried",
        remedy="retry status 429, or do not declare it",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "deadline.hang",
        "Does a call to a service that never responds end within the declared timeout?",
        ("timeout",),
        judges=("timeout", "timeout_is"),
        title="Call does not end",
        remedy="set a timeout for the whole call, with all attempts",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "deadline.dripping_body",
        "Does a call end within the declared timeout if the response body arrives byte by byte?",
        ("timeout",),
        judges=("timeout", "timeout_is"),
        title="Slow body outlasts the timeout",
        remedy="apply the timeout to the whole response, not to each read",
        explained_by=(
            "wire.one_request",
            "deadline.hang",
        ),
    ),
    ClientCheck(
        "deadline.attempt",
        "Does an attempt end within its declared timeout, so that it can be retried?",
        ("attempt_timeout",),
        judges=("attempt_timeout",),
        title="Attempt does not end",
        remedy="set a timeout for each attempt",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "deadline.last_attempt",
        "Does an attempt that begins late end with the call's timeout?",
        ("timeout", "attempts"),
        judges=("timeout",),
        title="Last attempt outlasts the timeout",
        remedy="limit each attempt to the time that is left",
        explained_by=(
            "wire.one_request",
            "deadline.hang",
        ),
    ),
    ClientCheck(
        "deadline.own_queue",
        "Does the wait for one of the client's own connections count towards the timeout?",
        ("timeout", "connections"),
        alone=True,
        waits=True,
        judges=("timeout_is",),
        title="Queueing outlasts the timeout",
        remedy="count the wait for a connection towards the timeout",
        explained_by=(
            "wire.one_request",
            "deadline.hang",
        ),
    ),
    ClientCheck(
        "breaker.opens",
        "Does the circuit open after the declared number of failures?",
        ("threshold",),
        judges=("threshold",),
        title="Circuit does not open",
        remedy="count consecutive failures, and open the circuit at the declared number",
        explained_by=(
            "wire.one_request",
            "breaker.other_services",
        ),
    ),
    ClientCheck(
        "breaker.counts_bodies",
        "Do truncated and invalid responses with status 200 open the circuit?",
        ("threshold",),
        title="Invalid responses do not open the circuit",
        remedy="count invalid 200 responses as failures",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "wire.no_prediction",
        ),
    ),
    ClientCheck(
        "breaker.counts_hangs",
        "Does a service that never responds open the circuit even if callers give up first?",
        HANGS,
        ("asynchronous",),
        title="Hanging requests do not open the circuit",
        remedy="count timeouts and cancelled calls as failures",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "deadline.attempt",
            "deadline.hang",
        ),
    ),
    ClientCheck(
        "breaker.one_probe",
        "Does the half-open circuit send at most the declared number of concurrent probes?",
        (*BREAKER, "probes"),
        judges=("probes",),
        title="Too many half-open probes",
        remedy="let the half-open circuit send the declared number of probes",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.no_way_round",
        ),
    ),
    ClientCheck(
        "breaker.failing_probe",
        "Does a failed half-open probe re-open the circuit immediately?",
        BREAKER,
        judges=("reset",),
        title="Failed probe does not re-open",
        remedy="re-open the circuit when a probe fails",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.one_probe",
        ),
    ),
    ClientCheck(
        "breaker.lost_probe",
        "After a half-open probe that was cancelled or failed, does the circuit allow another one?",
        BREAKER,
        title="Lost probe blocks the circuit",
        remedy="release the place of a probe however it ends",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.closes",
            "breaker.one_probe",
        ),
    ),
    ClientCheck(
        "breaker.closes",
        "Does a half-open probe that gets a response, even a 4xx one, close the circuit?",
        BREAKER,
        title="Circuit does not close",
        remedy="close the circuit when a probe gets a response",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.stragglers",
        "Does the circuit stay open when a request from before its opening succeeds?",
        BREAKER,
        alone=True,
        title="Old requests close the circuit",
        remedy="ignore results of requests from before the opening",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.late_results",
        ),
    ),
    ClientCheck(
        "breaker.burst",
        "After a burst of failures, are only in-flight requests still sent?",
        BREAKER,
        alone=True,
        title="Requests sent through an open circuit",
        remedy="check the circuit when the request is sent, not when the call begins",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.no_way_round",
        "Does an open circuit also block predict_batch?",
        ("threshold",),
        ("predict_batch",),
        title="predict_batch ignores the circuit",
        remedy="let predict_batch use the circuit of predict",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.clock_steps",
        "Are the circuit and the deadline of a call unaffected by changes of the system clock?",
        BREAKER,
        alone=True,
        own_process=True,
        title="System clock moves circuit or deadline",
        remedy="measure with a monotonic clock",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.closes",
        ),
    ),
    ClientCheck(
        "breaker.price_of_a_rejection",
        "Does an open circuit reject a call within 5 ms?",
        ("threshold",),
        alone=True,
        title="Slow rejections",
        remedy="reject a call before anything else is done",
        severity="minor",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.slow_calls",
        "Do responses slower than the declared limit open the circuit?",
        ("slow_after", "threshold"),
        judges=("slow_after",),
        title="Slow responses do not open the circuit",
        remedy="count responses slower than the declared limit as failures",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.other_models",
        "Can other models still be called while the circuit of a failing model is open?",
        ("threshold",),
        ("model",),
        title="Failing model blocks other models",
        remedy="keep one circuit per model",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.other_services",
        "Can other services still be called while the circuit of a failing service is open?",
        ("threshold",),
        alone=True,
        title="Failing service blocks other services",
        remedy="keep a circuit in each client, or one per service",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "breaker.counts_failures",
        "Does each kind of failure open the circuit, and re-open it when it is half-open?",
        BREAKER,
        judges=("threshold",),
        title="Some failures do not open the circuit",
        remedy="count each kind of failure",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.counts_bodies",
            "breaker.failing_probe",
        ),
    ),
    ClientCheck(
        "breaker.forgives",
        "Does a success between failures set their number back to 0?",
        BREAKER,
        judges=("threshold",),
        title="Success does not reset the count",
        remedy="set the number of failures back to 0 after a success",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.recovers",
        "Does a circuit that opens or closes again wait as long, and tolerate as many failures, as before?",
        BREAKER,
        judges=("threshold", "reset"),
        title="Circuit does not recover",
        remedy="start from 0 failures when the circuit closes, and keep the reset time after a failed probe",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.closes",
            "breaker.forgives",
        ),
    ),
    ClientCheck(
        "breaker.rate_limits",
        "Does status 429 open the circuit only if that is declared?",
        BREAKER,
        judges=("counts_429",),
        title="Status 429 counted wrongly",
        remedy="count status 429 as it is declared",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.late_results",
        "Are results of requests from before the opening ignored after it?",
        BREAKER,
        judges=("reset",),
        title="Late results change the circuit",
        remedy="ignore results of requests from before the opening",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "breaker.sequences",
        "Do random sequences of responses lead only to requests that the declared breaker permits?",
        BREAKER,
        judges=("threshold", "reset"),
        title="Requests against the declared breaker",
        remedy="read the shortest sequence below, request by request",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.closes",
            "breaker.one_probe",
            "breaker.failing_probe",
            "breaker.forgives",
            "breaker.recovers",
            "breaker.counts_failures",
            "breaker.late_results",
            "breaker.stragglers",
            "breaker.burst",
            "breaker.counts_bodies",
            "breaker.lost_probe",
            "breaker.rate_limits",
        ),
    ),
    ClientCheck(
        "pool.cancelled_calls",
        "Do cancelled calls release their connections and their places in the pool?",
        (),
        ("asynchronous",),
        title="Cancelled calls leak connections",
        remedy="release the connection when a call is cancelled",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "pool.own_queue",
        "Does the circuit stay closed when calls time out in the queue for the client's own connections?",
        ("connections",),
        alone=True,
        waits=True,
        title="Queueing opens the circuit",
        remedy="do not count timeouts in the client's own queue as failures",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
        ),
    ),
    ClientCheck(
        "pool.bounded",
        "Does the number of open connections stay within the declared limit?",
        ("connections",),
        judges=("connections",),
        title="Too many connections",
        remedy="limit the pool to the declared number of connections",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "pool.reused",
        "Are connections of the declared pool used for more than one request?",
        ("connections",),
        title="Connections not reused",
        remedy="keep one HTTP client for all calls",
        severity="minor",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "pool.crowd",
        "Do 300 overlapping calls to a healthy service all succeed, with one request each?",
        alone=True,
        title="Calls fail under concurrency",
        remedy="queue calls for a connection in place of rejecting them",
        explained_by=(
            "wire.one_request",
            "pool.bounded",
        ),
    ),
    ClientCheck(
        "pool.failed_calls",
        "Do failed calls release their places in the pool?",
        title="Failed calls leak connections",
        remedy="release the connection in a finally block",
        explained_by=(
            "wire.one_request",
            "pool.cancelled_calls",
        ),
    ),
    ClientCheck(
        "health.never_raises",
        "Does a health check return in time and without an exception, whatever the service's response?",
        (),
        ("health",),
        judges=("health_timeout",),
        title="Health check raises or hangs",
        remedy="catch all errors of the health check, and give it a timeout",
    ),
    ClientCheck(
        "health.while_saturated",
        "Does a health check return within 0.5 s while predictions occupy all connections?",
        ("connections",),
        ("health",),
        alone=True,
        title="Health check waits for predictions",
        remedy="use a connection of its own for health checks",
        explained_by=("health.never_raises",),
    ),
    ClientCheck(
        "health.tells",
        "Does a health check report a failing service as unhealthy?",
        (),
        ("health",),
        title="Failing service reported as healthy",
        remedy="report a status other than 2xx, or no response, as unhealthy",
        explained_by=("health.never_raises",),
    ),
    ClientCheck(
        "batch.deadline",
        "Does predict_batch end within the declared timeout?",
        ("timeout",),
        ("predict_batch",),
        title="predict_batch outlasts the timeout",
        remedy="apply the timeout of predict to predict_batch",
        explained_by=(
            "wire.one_request",
            "deadline.hang",
        ),
    ),
    ClientCheck(
        "batch.attempts",
        "Does predict_batch send at most the declared number of requests?",
        ("attempts",),
        ("predict_batch",),
        title="Too many attempts of predict_batch",
        remedy="apply the limit of attempts to predict_batch",
        explained_by=(
            "wire.one_request",
            "retry.at_most_attempts",
        ),
    ),
    ClientCheck(
        "batch.callers_mistakes",
        "Is a request of predict_batch that gets a 4xx response sent only once?",
        (),
        ("predict_batch",),
        title="predict_batch retries caller's mistakes",
        remedy="do not retry 4xx responses",
        explained_by=(
            "wire.one_request",
            "retry.callers_mistakes",
        ),
    ),
    ClientCheck(
        "batch.counts_failures",
        "Do failures of predict_batch open the circuit?",
        BREAKER,
        ("predict_batch",),
        title="predict_batch not counted by the circuit",
        remedy="count failures of predict_batch in the circuit of predict",
        explained_by=(
            "wire.one_request",
            "breaker.opens",
            "breaker.no_way_round",
        ),
    ),
    ClientCheck(
        "batch.own_rows",
        "Does predict_batch return one prediction for each row, in the order of the rows?",
        (),
        ("predict_batch",),
        title="Predictions of other rows",
        remedy="return the predictions in the order of the rows, also for equal rows",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "batch.no_prediction",
        "Does predict_batch raise an error for a response with status 200 that lacks predictions?",
        (),
        ("predict_batch",),
        title="predict_batch takes an error for a prediction",
        remedy="raise an error when a 200 response has no prediction for each row",
        severity="critical",
        explained_by=(
            "wire.one_request",
            "wire.no_prediction",
        ),
    ),
    ClientCheck(
        "tracing.one_trace_a_call",
        "Does Opik receive one complete trace per call, with one span per request?",
        ("opik",),
        ("importable",),
        judges=("opik",),
        title="Traces incomplete",
        remedy="end each span in a finally block, and flush on close",
        severity="minor",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "tracing.costs_nothing",
        "Do calls stay fast if the Opik server never responds?",
        ("opik",),
        ("importable",),
        alone=True,
        title="Tracing slows calls",
        remedy="send traces in the background",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.quoted_models",
        "Does a model name with special characters stay within its path segment?",
        (),
        ("model",),
        title="Model name changes the path",
        remedy="quote the name of the model as one path segment",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.one_slash",
        "Is the path free of double slashes if the base URL ends with a slash?",
        title="Double slash in the path",
        remedy="remove the trailing slash of the base URL",
        severity="minor",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.proxy_environment",
        "Does the client ignore HTTP_PROXY and the other proxy variables?",
        alone=True,
        title="Proxy variables obeyed",
        remedy="create the HTTP client with trust_env=False",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.keeps_secrets",
        "Do requests leave out secrets of the environment that are not for the service?",
        alone=True,
        title="Secrets sent to the service",
        remedy="send only the credentials of this service, never the environment",
        severity="critical",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.closed",
        "Does a closed client close all connections, and reject further calls with a clear error?",
        (),
        ("close",),
        title="Closed client still works",
        remedy="close all connections, and reject later calls with a clear error",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.another_loop",
        "Does a call from another event loop end, with a response or an error?",
        (),
        ("asynchronous",),
        title="Call from another event loop hangs",
        remedy="create connections in the event loop that uses them, or raise an error",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.cancelled_at_once",
        "Does a cancelled call end at once?",
        (),
        ("asynchronous",),
        title="Cancelled call goes on",
        remedy="let CancelledError through",
        explained_by=("wire.one_request",),
    ),
    ClientCheck(
        "hygiene.memory",
        "Does memory use stay flat under repeated calls?",
        alone=True,
        title="Memory grows",
        remedy="find what the client keeps of each call",
    ),
    ClientCheck(
        "hygiene.free_loop",
        "Does the event loop stay responsive while the client waits?",
        (),
        ("coroutines",),
        alone=True,
        title="Event loop blocked",
        remedy="use an asynchronous HTTP client, and asyncio.sleep",
    ),
)
CLIENT_GROUPS = tuple(dict.fromkeys(check.group for check in CLIENT_CATALOGUE))
JUDGED_BY: dict[str, tuple[str, ...]] = {
    promise: tuple(check.id for check in CLIENT_CATALOGUE if promise in check.judges)
    for check in CLIENT_CATALOGUE
    for promise in check.judges
}
"""Declared field to the ids of the checks that detect a client which breaks only that promise."""
