"""Every check there is: its question, what it needs and how far it disturbs. The bodies are imported when they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from tier0.core.errors import UnknownCheckError

Disturbance = Literal["none", "malformed", "load", "faults"]
LEVELS: tuple[Disturbance, ...] = ("none", "malformed", "load", "faults")
"""How far a deployment may be disturbed; each level includes those before it."""
GROUPS = (
    "health", "identity", "contract", "parity", "concurrency", "resilience", "observability", "performance", "teardown", "security",
)  # fmt: skip
Need = Literal["golden", "client", "process"]


class Check(NamedTuple):
    """One named question.

    Attributes:
        id: its group, a dot, and its function in ``tier0.checks.serving.<group>``.
        question: on one line.
        needs: ``golden`` rows, the application's ``client``, a ``process`` that we started; or nothing.
        disturb: what the user must allow: nothing, badly formed requests, load, faults and kills.
    """

    id: str
    question: str
    needs: tuple[Need, ...] = ()
    disturb: Disturbance = "none"

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


GOLDEN: tuple[Need, ...] = ("golden",)
PROCESS: tuple[Need, ...] = ("golden", "process")
CATALOGUE: tuple[Check, ...] = (
    Check("health.ready", "Does it say that it is ready?"),
    Check("health.body_agrees", "Does the body of its health route say the same as the status?"),
    Check("health.can_predict", "Does it predict while it says that it is healthy?", GOLDEN),
    Check("health.probes_leak_nothing", "Do health probes leave no file or connection open?", ("process",), "load"),
    Check("identity.expected_model", "Is the model that answers the one that was asked for?", GOLDEN),
    Check("identity.always_the_same", "Do all answers come from one model?", GOLDEN),
    Check("identity.this_run", "Does what this run started answer, and nobody else?", ("process",)),
    Check("contract.one_answer_a_row", "Does every row get one answer, finite and of the right shape?", GOLDEN),
    Check("contract.probabilities", "Are the probabilities a distribution over all classes?", GOLDEN),
    Check("contract.intervals", "Is each prediction within its interval, the lower bound before the upper?", GOLDEN),
    Check("contract.refuses_empty_body", "Is an empty body refused?", (), "malformed"),
    Check("contract.refuses_no_json", "Is a body that is no JSON refused?", (), "malformed"),
    Check("contract.refuses_wrong_key", "Is a body without the input refused?", GOLDEN, "malformed"),
    Check("contract.refuses_unknown_field", "Is a misspelled optional field refused?", GOLDEN, "malformed"),
    Check("contract.refuses_wrong_width", "Are rows with a value too many, or too few, refused?", GOLDEN, "malformed"),
    Check("contract.empty_rows", "Is an empty list of rows refused, or answered with no prediction?", GOLDEN, "malformed"),
    Check("contract.refuses_unknown_column", "Is a misspelled column refused?", GOLDEN, "malformed"),
    Check("contract.refuses_missing_column", "Is a row without one of its columns refused?", GOLDEN, "malformed"),
    Check("contract.refuses_text_for_number", "Are text and true refused where a number belongs?", GOLDEN, "malformed"),
    Check("contract.refuses_infinity", "Is infinity refused?", GOLDEN, "malformed"),
    Check("contract.refuses_misspelled_category", "Is a category with other case or blanks refused, or understood?", GOLDEN, "malformed"),
    Check("contract.refuses_other_content", "Is content of another type refused?", GOLDEN, "malformed"),
    Check("parity.golden_rows", "Do the golden rows together give what the model in memory gave?", GOLDEN),
    Check("parity.rows_alone", "Does each golden row alone give the same?", GOLDEN),
    Check("parity.shuffled", "Do rows in another order give their own answers?", GOLDEN),
    Check("parity.repeated", "Does a row give the same beside copies of itself?", GOLDEN),
    Check("parity.columns_by_name", "Do columns in another order, with their names, give the same?", GOLDEN),
    Check("parity.by_position", "Do rows without names give the same?", GOLDEN),
    Check("parity.keys_in_any_order", "Do the keys of the body mean the same in any order?", GOLDEN),
    Check("parity.missing_values", "Do missing values get the answers that the model has for them?", GOLDEN),
    Check("parity.unseen_categories", "Do categories that were never seen get the model's answers?", GOLDEN),
    Check("parity.boundaries", "Do values on both sides of the model's boundaries get their own answers?", GOLDEN),
    Check("parity.decisions", "Do rows on both sides of the decision get their own labels?", GOLDEN),
    Check("parity.large_integers", "Do whole numbers beyond what a float holds arrive as they are?", GOLDEN),
    Check("parity.inputs_matter", "Do rows that the model tells apart get different answers?", GOLDEN),
    Check("parity.no_memory", "Does an answer not depend on what was asked before?", GOLDEN),
    Check("parity.through_client", "Do the golden rows come back right through the application's client?", ("golden", "client")),
    Check("parity.batch_through_client", "Do they through the client's own way to ask for many?", ("golden", "client")),
    Check("concurrency.own_answer", "Does every caller get the answer to its own row, beside strangers?", GOLDEN),
    Check("concurrency.own_context", "Does every caller get its own request id back, if any?", GOLDEN),
    Check("concurrency.strangers_mistakes", "Does a stranger's bad request harm nobody else's?", GOLDEN, "malformed"),
    Check("concurrency.alive_under_load", "Does it still say that it lives while many rows are asked?", GOLDEN, "load"),
    Check("resilience.half_sent_requests", "Does it answer while others never finish sending?", GOLDEN, "load"),
    Check("resilience.worker_is_replaced", "Does it answer right again after a worker was killed?", PROCESS, "faults"),
    Check("observability.counts_requests", "Do its metrics count the requests?", GOLDEN),
    Check("observability.counts_refusals", "Do its metrics count what it refuses?", (), "malformed"),
    Check("observability.metrics_can_be_read", "Can a strict reader read its metrics?"),
    Check("performance.latency", "How long does a row take, beside what the model alone takes?", GOLDEN, "load"),
    Check("performance.many_callers", "How many rows a second do 32 callers get, beside one?", GOLDEN, "load"),
    Check("performance.memory", "Does its memory not grow with the requests?", PROCESS, "load"),
    Check("teardown.stops", "Is nothing left when it is stopped?", PROCESS, "faults"),
    Check("teardown.ends_with_its_supervisor", "Is nothing left when its supervisor is killed?", PROCESS, "faults"),
    Check("security.refuses_pickle", "Is a pickled body refused?", (), "malformed"),
    Check("security.loopback_only", "Does what we started listen on loopback only?", ("process",)),
)


class Named(Protocol):
    """A check of any catalogue."""

    @property
    def id(self) -> str:
        """Its group, a dot, and its name."""

    @property
    def group(self) -> str:
        """The part of the id before the dot."""


AnyCheck = TypeVar("AnyCheck", bound=Named)


def select_checks(catalogue: Sequence[AnyCheck], names: Sequence[str]) -> list[AnyCheck]:
    """Return the checks of *catalogue* whose id or group is in *names*, in the catalogue's order; all of them if *names* is empty.

    Raises:
        UnknownCheckError: a name is neither a group nor a check.
    """
    groups = list(dict.fromkeys(check.group for check in catalogue))
    known = {*groups, *(check.id for check in catalogue)}
    for name in names:
        if not isinstance(name, str) or name not in known:  # a file of waivers may hold anything
            raise UnknownCheckError(f"unknown group or check {name!r}{_similar(name, known)}. Groups: {', '.join(groups)}; --list prints the checks")
    return [check for check in catalogue if not names or check.group in names or check.id in names]


def _similar(name: str, known: set[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    found = get_close_matches(str(name), sorted(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
