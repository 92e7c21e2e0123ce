"""Catalogue of the checks of a served model: the question, the needs and the disturbance of each check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from tier0.core.errors import UnknownCheckError

Disturbance = Literal["none", "malformed", "load", "faults"]
LEVELS: tuple[Disturbance, ...] = ("none", "malformed", "load", "faults")
"""How far a deployment may be disturbed; each level includes the levels before it."""
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
    Check("health.ready", "Does the readiness route return status 200?"),
    Check("health.body_agrees", "Does the body of the health response agree with its status code?"),
    Check(
        "health.can_predict",
        "Does the service return predictions while its health route returns 200?",
        GOLDEN,
    ),
    Check(
        "health.probes_leak_nothing",
        "Does the number of open files and connections stay flat under repeated health probes?",
        ("process",),
        "load",
    ),
    Check("identity.expected_model", "Do responses name the expected model?", GOLDEN),
    Check(
        "identity.always_the_same",
        "Do repeated requests with the same rows get the same predictions, from the same model?",
        GOLDEN,
    ),
    Check(
        "identity.this_run", "Is the service's port owned by a process that this run started?", ("process",)
    ),
    Check(
        "contract.one_answer_a_row",
        "Does every golden row get exactly one output, with finite values?",
        GOLDEN,
    ),
    Check(
        "contract.probabilities", "Does each row get one probability per class, and do they sum to 1?", GOLDEN
    ),
    Check(
        "contract.intervals",
        "Does each interval have a lower and an upper bound around its prediction?",
        GOLDEN,
    ),
    Check("contract.refuses_empty_body", "Is an empty request body refused?", (), "malformed"),
    Check("contract.refuses_no_json", "Is a request body that is not valid JSON refused?", (), "malformed"),
    Check(
        "contract.refuses_wrong_key",
        "Is a request body without the input field refused?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.refuses_unknown_field",
        "Is a request with a misspelled optional field refused?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.refuses_wrong_width",
        "Are rows with too many or too few values refused?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.empty_rows",
        "Is an empty list of rows refused, or answered without predictions?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.refuses_unknown_column", "Is a row with a misspelled column refused?", GOLDEN, "malformed"
    ),
    Check(
        "contract.refuses_missing_column",
        "Is a row without one of its columns refused, or predicted like a row with a missing value?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.refuses_text_for_number",
        "Are text, quoted numbers and booleans refused in place of a number?",
        GOLDEN,
        "malformed",
    ),
    Check("contract.refuses_infinity", "Is an infinite value refused?", GOLDEN, "malformed"),
    Check(
        "contract.refuses_misspelled_category",
        "Is a known category with different case or extra blanks refused, or recognised?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "contract.refuses_other_content",
        "Is a request body with content type text/csv refused?",
        GOLDEN,
        "malformed",
    ),
    Check("parity.golden_rows", "Do golden rows sent together get the trained model's outputs?", GOLDEN),
    Check("parity.rows_alone", "Does a golden row sent alone get the trained model's output?", GOLDEN),
    Check(
        "parity.shuffled",
        "Does each golden row get its own output when the rows are sent in another order?",
        GOLDEN,
    ),
    Check(
        "parity.repeated",
        "Does a row get the trained model's output if the request also contains copies of it?",
        GOLDEN,
    ),
    Check(
        "parity.columns_by_name",
        "Do outputs stay the same when named columns are sent in another order?",
        GOLDEN,
    ),
    Check("parity.by_position", "Do outputs stay the same when rows are sent without column names?", GOLDEN),
    Check(
        "parity.keys_in_any_order",
        "Do outputs stay the same when the keys of the request body are in another order?",
        GOLDEN,
    ),
    Check("parity.missing_values", "Do rows with missing values get the trained model's outputs?", GOLDEN),
    Check(
        "parity.unseen_categories", "Do rows with unseen categories get the trained model's outputs?", GOLDEN
    ),
    Check(
        "parity.boundaries",
        "Do rows just below and just above the model's boundaries get the trained model's outputs?",
        GOLDEN,
    ),
    Check(
        "parity.decisions",
        "Do rows close to the decision threshold get the trained model's labels?",
        GOLDEN,
    ),
    Check(
        "parity.large_integers",
        "Do rows with integers that a float cannot represent get the trained model's outputs?",
        GOLDEN,
    ),
    Check(
        "parity.inputs_matter",
        "Do rows with different trained-model outputs get different outputs from the service?",
        GOLDEN,
    ),
    Check(
        "parity.no_memory",
        "Does a row get the same output before and after requests with other rows?",
        GOLDEN,
    ),
    Check(
        "parity.through_client",
        "Do the golden rows get the trained model's outputs through the application's client?",
        ("golden", "client"),
    ),
    Check(
        "parity.batch_through_client",
        "Do the golden rows get the trained model's outputs through the client's predict_batch?",
        ("golden", "client"),
    ),
    Check(
        "concurrency.own_answer",
        "Does each concurrent caller get the output for its own row?",
        GOLDEN,
    ),
    Check(
        "concurrency.own_context",
        "Does each concurrent caller get back its own request id, and no other caller's?",
        GOLDEN,
    ),
    Check(
        "concurrency.strangers_mistakes",
        "Do valid requests get the right outputs while other callers send malformed ones?",
        GOLDEN,
        "malformed",
    ),
    Check(
        "concurrency.alive_under_load",
        "Does the liveness route respond within a second while large requests are being processed?",
        GOLDEN,
        "load",
    ),
    Check(
        "resilience.half_sent_requests",
        "Does the service respond while other callers never finish sending their requests?",
        GOLDEN,
        "load",
    ),
    Check(
        "resilience.worker_is_replaced",
        "After a worker is killed, does the service return correct outputs again within a minute?",
        PROCESS,
        "faults",
    ),
    Check("observability.counts_requests", "Do the metrics count successful requests?", GOLDEN),
    Check(
        "observability.counts_refusals", "Do the metrics count refused requests as errors?", (), "malformed"
    ),
    Check("observability.metrics_can_be_read", "Are the metrics valid in the Prometheus text format?"),
    Check(
        "performance.latency",
        "Is single-row latency at most ten times that of the model in memory, plus 100 ms?",
        GOLDEN,
        "load",
    ),
    Check(
        "performance.many_callers",
        "Do 32 concurrent callers together get at least a tenth of one caller's rows per second?",
        GOLDEN,
        "load",
    ),
    Check("performance.memory", "Does memory use stay flat under repeated requests?", PROCESS, "load"),
    Check(
        "teardown.stops",
        "Do all processes end, and the port close, when the server is stopped?",
        PROCESS,
        "faults",
    ),
    Check(
        "teardown.ends_with_its_supervisor",
        "Do all processes end, and the port close, when the supervisor is killed?",
        PROCESS,
        "faults",
    ),
    Check(
        "security.refuses_pickle",
        "Is a pickled request body refused without being unpickled?",
        (),
        "malformed",
    ),
    Check(
        "security.loopback_only",
        "Do the processes started by this run listen only on loopback addresses?",
        ("process",),
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
                f"unknown group or check {name!r}{_did_you_mean(name, known)}. "
                f"Groups: {', '.join(groups)}; tier0 verify --list and check-client --list print the checks"
            )
    return [check for check in catalogue if not names or check.group in names or check.id in names]


def _did_you_mean(name: str, known: set[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    similar = get_close_matches(str(name), sorted(known), n=1)
    return f" (did you mean {similar[0]!r}?)" if similar else ""
