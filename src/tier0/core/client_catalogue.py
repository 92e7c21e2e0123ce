"""Catalogue of the checks of a client: the question, the required declarations and methods of each check."""

from __future__ import annotations

from typing import NamedTuple


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
        judges: declared fields of which the check detects that they are not kept, even if all others are.
    """

    id: str
    question: str
    declared: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    alone: bool = False
    judges: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


BREAKER = ("threshold", "reset")
HANGS = ("threshold", "attempt_timeout")
CLIENT_CATALOGUE: tuple[ClientCheck, ...] = (
    ClientCheck("wire.one_request", "Does a successful call send exactly one request, with a JSON body?"),
    ClientCheck(
        "wire.no_prediction",
        "Does the client raise an error for a response with status 200 that contains no prediction?",
    ),
    ClientCheck(
        "wire.bare_answers",
        "Does the client accept a bare list and a bare number as predictions?",
        ("bare_answers",),
        judges=("bare_answers",),
    ),
    ClientCheck("wire.one_id", "Do all requests of a call carry the same request id?", ("attempts",)),
    ClientCheck(
        "wire.own_context",
        "Does the service receive the caller's OpenTelemetry trace context?",
        ("traceparent",),
        judges=("traceparent",),
    ),
    ClientCheck(
        "wire.contexts_apart",
        "Does every call, also a concurrent one, send the trace context of its own caller?",
        ("traceparent",),
        judges=("traceparent",),
    ),
    ClientCheck("wire.own_id", "Does every call carry a request id of its own, if the client sends ids?"),
    ClientCheck("wire.own_answers", "Does every concurrent call return the response to its own request?"),
    ClientCheck(
        "wire.same_request", "Does a retry send the same method, path and body again?", ("attempts",)
    ),
    ClientCheck("wire.whole_body", "Is the length of a body with text beyond ASCII declared correctly?"),
    ClientCheck("wire.redirects", "Are redirects to another host left alone?"),
    ClientCheck(
        "retry.at_most_attempts",
        "Does a failing call send at most the declared number of requests, and more than one if declared?",
        ("attempts",),
        judges=("attempts",),
    ),
    ClientCheck(
        "retry.no_sleep_at_the_end",
        "Does a call end without another backoff after its last attempt has failed?",
        ("attempts",),
    ),
    ClientCheck(
        "retry.retry_after",
        "Does a call either wait as long as Retry-After requires or end early, whatever the header's value?",
        ("retry_after", "timeout"),
        judges=("retry_after",),
    ),
    ClientCheck(
        "retry.callers_mistakes",
        "Is a request that gets a 4xx response sent only once, and not counted as a failure of the service?",
    ),
    ClientCheck(
        "retry.batch",
        "Does predict_batch retry failed requests, as predict does?",
        ("attempts",),
        ("predict_batch",),
    ),
    ClientCheck(
        "retry.broken_connections",
        "Are requests retried after a broken connection, or on a stale one?",
        ("attempts",),
    ),
    ClientCheck(
        "retry.budget",
        "Does the number of retries stay within the declared budget?",
        ("budget", "attempts"),
        judges=("budget",),
    ),
    ClientCheck(
        "retry.spread",
        "Are the retries of clients that failed at the same time spread over time?",
        ("attempts",),
        alone=True,
    ),
    ClientCheck(
        "retry.ends_with_its_caller",
        "Does a cancelled call stop sending requests?",
        ("attempts",),
        ("asynchronous",),
    ),
    ClientCheck(
        "retry.asked_once",
        "Is a request that the service may have received sent only once, if retries are declared unsafe?",
        ("idempotent",),
        judges=("idempotent",),
    ),
    ClientCheck(
        "retry.rate_limited",
        "Is a request that gets status 429 sent again, if that is declared?",
        ("retries_429",),
        judges=("retries_429",),
    ),
    ClientCheck(
        "deadline.hang",
        "Does a call to a service that never responds end within the declared timeout?",
        ("timeout",),
        judges=("timeout", "timeout_is"),
    ),
    ClientCheck(
        "deadline.dripping_body",
        "Does a call end within the declared timeout if the response body arrives byte by byte?",
        ("timeout",),
        judges=("timeout", "timeout_is"),
    ),
    ClientCheck(
        "deadline.attempt",
        "Does an attempt end within its declared timeout, so that it can be retried?",
        ("attempt_timeout",),
        judges=("attempt_timeout",),
    ),
    ClientCheck(
        "deadline.last_attempt",
        "Does an attempt that begins late end with the call's timeout?",
        ("timeout", "attempts"),
        judges=("timeout",),
    ),
    ClientCheck(
        "deadline.own_queue",
        "Does the wait for one of the client's own connections count towards the timeout?",
        ("timeout", "connections"),
        alone=True,
        judges=("timeout_is",),
    ),
    ClientCheck(
        "breaker.opens",
        "Does the circuit open after the declared number of failures?",
        ("threshold",),
        judges=("threshold",),
    ),
    ClientCheck(
        "breaker.counts_bodies",
        "Do truncated and invalid responses with status 200 open the circuit?",
        ("threshold",),
    ),
    ClientCheck(
        "breaker.counts_hangs",
        "Does a service that never responds open the circuit even if callers give up first?",
        HANGS,
        ("asynchronous",),
    ),
    ClientCheck(
        "breaker.one_probe",
        "Does the half-open circuit send at most the declared number of concurrent probes?",
        (*BREAKER, "probes"),
        judges=("probes",),
    ),
    ClientCheck(
        "breaker.failing_probe",
        "Does a failed half-open probe re-open the circuit immediately?",
        BREAKER,
        judges=("reset",),
    ),
    ClientCheck(
        "breaker.lost_probe",
        "After a cancelled or hanging half-open probe, does the circuit allow another one, and nothing else?",
        BREAKER,
    ),
    ClientCheck(
        "breaker.closes",
        "Does a half-open probe that gets a response, even status 400, close the circuit?",
        BREAKER,
    ),
    ClientCheck(
        "breaker.stragglers",
        "Does the circuit stay open when a request from before its opening succeeds?",
        BREAKER,
        alone=True,
    ),
    ClientCheck(
        "breaker.burst",
        "After a burst of failures, are only in-flight requests still sent?",
        BREAKER,
        alone=True,
    ),
    ClientCheck(
        "breaker.no_way_round",
        "Does an open circuit also block predict_batch?",
        ("threshold",),
        ("predict_batch",),
    ),
    ClientCheck(
        "breaker.clock_steps",
        "Is the circuit unaffected by changes of the system clock?",
        BREAKER,
        alone=True,
    ),
    ClientCheck(
        "breaker.price_of_a_rejection",
        "Does an open circuit reject a call within 5 ms?",
        ("threshold",),
        alone=True,
    ),
    ClientCheck(
        "breaker.slow_calls",
        "Do responses slower than the declared limit open the circuit?",
        ("slow_after", "threshold"),
        judges=("slow_after",),
    ),
    ClientCheck(
        "breaker.other_models",
        "Can other models still be called while the circuit of a failing model is open?",
        ("threshold",),
        ("model",),
    ),
    ClientCheck(
        "breaker.counts_failures",
        "Does each kind of failure open the circuit, and re-open it when it is half-open?",
        BREAKER,
        judges=("threshold",),
    ),
    ClientCheck(
        "breaker.forgives",
        "Does a success between failures set their number back to 0?",
        BREAKER,
        judges=("threshold",),
    ),
    ClientCheck(
        "breaker.recovers",
        "Does a circuit that has closed again tolerate as many failures as before?",
        BREAKER,
        judges=("threshold", "reset"),
    ),
    ClientCheck(
        "breaker.rate_limits",
        "Does status 429 open the circuit only if that is declared?",
        BREAKER,
        judges=("counts_429",),
    ),
    ClientCheck(
        "breaker.late_results",
        "Are results of requests from before the opening ignored after it?",
        BREAKER,
        judges=("reset",),
    ),
    ClientCheck(
        "breaker.sequences",
        "Do random sequences of responses lead only to requests that the declared breaker permits?",
        BREAKER,
        judges=("threshold", "reset"),
    ),
    ClientCheck(
        "pool.cancelled_calls",
        "Do cancelled calls release their connections and their places in the pool?",
        (),
        ("asynchronous",),
    ),
    ClientCheck(
        "pool.own_queue",
        "Does the circuit stay closed when calls time out in the queue for the client's own connections?",
        ("connections",),
        alone=True,
    ),
    ClientCheck(
        "pool.bounded",
        "Does the number of open connections stay within the declared limit?",
        ("connections",),
        judges=("connections",),
    ),
    ClientCheck(
        "pool.reused",
        "Are connections of the declared pool used for more than one request?",
        ("connections",),
    ),
    ClientCheck("pool.failed_calls", "Do failed calls release their places in the pool?"),
    ClientCheck(
        "health.never_raises",
        "Does a health check return in time and without an exception, whatever the service's response?",
        (),
        ("health",),
        judges=("health_timeout",),
    ),
    ClientCheck(
        "health.while_saturated",
        "Does a health check return within 0.5 s while predictions occupy all connections?",
        ("connections",),
        ("health",),
        alone=True,
    ),
    ClientCheck(
        "health.tells",
        "Does a health check report a failing service as unhealthy?",
        (),
        ("health",),
    ),
    ClientCheck(
        "batch.deadline",
        "Does predict_batch end within the declared timeout?",
        ("timeout",),
        ("predict_batch",),
    ),
    ClientCheck(
        "batch.attempts",
        "Does predict_batch send at most the declared number of requests?",
        ("attempts",),
        ("predict_batch",),
    ),
    ClientCheck(
        "batch.callers_mistakes",
        "Is a request of predict_batch that gets a 4xx response sent only once?",
        (),
        ("predict_batch",),
    ),
    ClientCheck(
        "batch.counts_failures",
        "Do failures of predict_batch open the circuit?",
        BREAKER,
        ("predict_batch",),
    ),
    ClientCheck(
        "batch.no_prediction",
        "Does predict_batch raise an error for a response with status 200 that contains no prediction?",
        (),
        ("predict_batch",),
    ),
    ClientCheck(
        "tracing.one_trace_a_call",
        "Does Opik receive one complete trace per call, with one span per request?",
        ("opik",),
        ("importable",),
        judges=("opik",),
    ),
    ClientCheck(
        "tracing.costs_nothing",
        "Do calls stay fast if the Opik server never responds?",
        ("opik",),
        ("importable",),
        alone=True,
    ),
    ClientCheck(
        "hygiene.quoted_models",
        "Does a model name with special characters stay within its path segment?",
        (),
        ("model",),
    ),
    ClientCheck("hygiene.one_slash", "Is the path free of double slashes if the base URL ends with a slash?"),
    ClientCheck(
        "hygiene.proxy_environment",
        "Does the client ignore HTTP_PROXY and the other proxy variables?",
        alone=True,
    ),
    ClientCheck(
        "hygiene.closed",
        "Does a closed client close all connections, and reject further calls with a clear error?",
        (),
        ("close",),
    ),
    ClientCheck(
        "hygiene.another_loop",
        "Does a call from another event loop end, with a response or an error?",
        (),
        ("asynchronous",),
    ),
    ClientCheck(
        "hygiene.cancelled_at_once",
        "Does a cancelled call end at once?",
        (),
        ("asynchronous",),
    ),
    ClientCheck("hygiene.memory", "Does memory use stay flat under repeated calls?", alone=True),
    ClientCheck(
        "hygiene.free_loop",
        "Does the event loop stay responsive while the client waits?",
        (),
        ("coroutines",),
        alone=True,
    ),
)
CLIENT_GROUPS = tuple(dict.fromkeys(check.group for check in CLIENT_CATALOGUE))
JUDGED_BY: dict[str, tuple[str, ...]] = {
    promise: tuple(check.id for check in CLIENT_CATALOGUE if promise in check.judges)
    for check in CLIENT_CATALOGUE
    for promise in check.judges
}
"""Declared field to the ids of the checks that detect a client which breaks only that promise."""
