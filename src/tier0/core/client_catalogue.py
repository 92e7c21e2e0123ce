"""Every question that a client is asked, and what it must have declared for it. The bodies are imported when they are asked."""

from __future__ import annotations

from typing import NamedTuple


class ClientCheck(NamedTuple):
    """One named question about a client.

    Attributes:
        id: its group, a dot, and its function in ``tier0.checks.client.<group>``.
        question: on one line.
        declared: what the client must have promised, fields of `tier0.core.declaration.Declaration`; else it is not judged.
        methods: what it must have beside ``predict``: ``predict_batch``, ``health``, ``close``, ``model`` (predict takes one), or be
            ``asynchronous``, be ``importable`` by another process, or have ``coroutines``, be they asynchronous or block the event loop.
        alone: whether it is asked while nothing else is: it measures small times, needs many calls at once, or changes the process.
    """

    id: str
    question: str
    declared: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    alone: bool = False

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


BREAKER = ("threshold", "reset")
HANGS = ("threshold", "attempt_timeout")
CLIENT_CATALOGUE: tuple[ClientCheck, ...] = (
    ClientCheck("wire.one_request", "Does a call that is answered send one request, in JSON?"),
    ClientCheck("wire.no_prediction", "Is a 200 that is no prediction an error?"),
    ClientCheck("wire.bare_answers", "Are a bare list and a bare number predictions?", ("bare_answers",)),
    ClientCheck("wire.one_id", "Do all requests of a call carry the same id?", ("attempts",)),
    ClientCheck("wire.own_context", "Does the caller's own trace context reach the service?", ("traceparent",)),
    ClientCheck("retry.at_most_attempts", "Does a call send no more requests than declared, and more than one if so declared?", ("attempts",)),
    ClientCheck("retry.no_sleep_at_the_end", "Does a call end when its last attempt has failed, without sleeping once more?", ("attempts",)),
    ClientCheck("retry.retry_after", "Is Retry-After honoured, or the call ended at once, whatever it says?", ("retry_after", "timeout")),
    ClientCheck("retry.callers_mistakes", "Is a 4xx asked once, and never held against the service?"),
    ClientCheck("retry.batch", "Is a batch retried as a prediction is?", ("attempts",), ("predict_batch",)),
    ClientCheck("retry.broken_connections", "Is a connection that breaks, or was dead already, retried?", ("attempts",)),
    ClientCheck("retry.budget", "Do retries stay within the declared budget?", ("budget", "attempts")),
    ClientCheck("retry.spread", "Do clients that failed together not come back in step?", ("attempts",), alone=True),
    ClientCheck("retry.ends_with_its_caller", "Does a call that was cancelled send nothing more?", ("attempts",), ("asynchronous",)),
    ClientCheck("retry.asked_once", "Is what may have been received not sent again, if it was declared not to be?", ("idempotent",)),
    ClientCheck("deadline.hang", "Does a call to a service that hangs end in time?", ("timeout",)),
    ClientCheck("deadline.dripping_body", "Does a call end in time when the body comes byte by byte?", ("timeout",)),
    ClientCheck("breaker.opens", "Is nothing sent any more after as many failures as declared?", ("threshold",)),
    ClientCheck("breaker.counts_bodies", "Does it open on answers that break off, or are no predictions, with status 200?", ("threshold",)),
    ClientCheck("breaker.counts_hangs", "Does it open when callers of a service that hangs give up first?", HANGS, ("asynchronous",)),
    ClientCheck("breaker.one_probe", "Are no more probes sent after the reset than declared?", (*BREAKER, "probes")),
    ClientCheck("breaker.failing_probe", "Does a failing probe close the door again at once?", BREAKER),
    ClientCheck("breaker.lost_probe", "Does a probe that hangs, or is cancelled, give its place back, and no more?", BREAKER),
    ClientCheck("breaker.closes", "Is everything sent again after a probe that was answered, be it with 400?", BREAKER),
    ClientCheck("breaker.stragglers", "Does an answer from before it opened leave it open?", BREAKER, alone=True),
    ClientCheck("breaker.burst", "Is nothing let out after a burst of failures but what was on its way?", BREAKER, alone=True),
    ClientCheck("breaker.no_way_round", "Does an open circuit hold for every method?", ("threshold",), ("predict_batch",)),
    ClientCheck("breaker.clock_steps", "Does a step of the wall clock neither open nor close the door?", BREAKER, alone=True),
    ClientCheck("breaker.price_of_a_rejection", "Does a rejection cost next to nothing?", ("threshold",), alone=True),
    ClientCheck("breaker.slow_calls", "Does it open on answers that come too slowly?", ("slow_after", "threshold")),
    ClientCheck("breaker.other_models", "Do calls to one model not suffer from another that is dead?", ("threshold",), ("model",)),
    ClientCheck("pool.cancelled_calls", "Do cancelled calls leave no connection, and no place taken?", (), ("asynchronous",)),
    ClientCheck("pool.own_queue", "Is the client's own full pool not taken for a sick service?", ("connections",), alone=True),
    ClientCheck("pool.bounded", "Are no more connections open than declared?", ("connections",)),
    ClientCheck("health.never_raises", "Does a health check end in time, whatever comes back?", (), ("health",)),
    ClientCheck("health.while_saturated", "Is health answered while all connections are busy?", ("connections",), ("health",), alone=True),
    ClientCheck("tracing.one_trace_a_call", "Does each call become one complete trace in Opik, with a span a request?", ("opik",), ("importable",)),
    ClientCheck("tracing.costs_nothing", "Does an Opik that hangs cost calls nothing?", ("opik",), ("importable",), alone=True),
    ClientCheck("hygiene.quoted_models", "Does a model's name stay within its segment of the path?", (), ("model",)),
    ClientCheck("hygiene.one_slash", "Is there no double slash when the URL ends in one?"),
    ClientCheck("hygiene.proxy_environment", "Are proxies of the environment left aside?", alone=True),
    ClientCheck("hygiene.closed", "Does a closed client send nothing, and leave no connection?", (), ("close",)),
    ClientCheck("hygiene.another_loop", "Does it work from another event loop, or say that it does not?", (), ("asynchronous",)),
    ClientCheck("hygiene.memory", "Does memory not grow with the calls?", alone=True),
    ClientCheck("hygiene.free_loop", "Does the event loop go on while it waits?", (), ("coroutines",), alone=True),
)  # fmt: skip
CLIENT_GROUPS = tuple(dict.fromkeys(check.group for check in CLIENT_CATALOGUE))
