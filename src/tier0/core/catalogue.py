"""Every check there is: its question, what it needs and how far it disturbs. The bodies are imported when they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Disturbance = Literal["none", "malformed", "load", "faults"]
LEVELS: tuple[Disturbance, ...] = ("none", "malformed", "load", "faults")
"""How far a deployment may be disturbed; each level includes those before it."""
GROUPS = ("health", "identity", "contract", "parity", "concurrency", "observability", "performance", "security")


@dataclass(frozen=True)
class Check:
    """One named question.

    Attributes:
        id: its group, a dot, and its function in ``tier0.checks.serving.<group>``.
        question: on one line.
        needs: ``golden`` rows, or nothing.
        disturb: what the user must allow: nothing, badly formed requests, load, faults and kills.
    """

    id: str
    question: str
    needs: tuple[Literal["golden"], ...] = ()
    disturb: Disturbance = "none"

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


CATALOGUE: tuple[Check, ...] = (
    Check("health.ready", "Does it say that it is ready?"),
    Check("health.body_agrees", "Does the body of its health route say the same as the status?"),
    Check("health.can_predict", "Does it predict while it says that it is healthy?", ("golden",)),
    Check("identity.expected_model", "Is the model that answers the one that was asked for?", ("golden",)),
    Check("identity.always_the_same", "Do all answers come from one model?", ("golden",)),
    Check("contract.one_answer_a_row", "Does every row get one answer, finite and of the right shape?", ("golden",)),
    Check("contract.probabilities", "Are the probabilities a distribution over all classes, in which the prediction makes sense?", ("golden",)),
    Check("contract.refuses_empty_body", "Is an empty body refused?", (), "malformed"),
    Check("contract.refuses_no_json", "Is a body that is no JSON refused?", (), "malformed"),
    Check("contract.refuses_wrong_key", "Is a body without the input refused?", ("golden",), "malformed"),
    Check("contract.refuses_unknown_field", "Is a misspelled or unknown field refused?", ("golden",), "malformed"),
    Check("contract.refuses_wrong_width", "Are rows with a value too many, or too few, refused?", ("golden",), "malformed"),
    Check("contract.refuses_unknown_column", "Is a misspelled column refused?", ("golden",), "malformed"),
    Check("contract.refuses_text_for_number", "Are text and true refused where a number belongs?", ("golden",), "malformed"),
    Check("contract.refuses_infinity", "Is infinity refused?", ("golden",), "malformed"),
    Check("contract.refuses_other_content", "Is a body of another content type refused?", ("golden",), "malformed"),
    Check("parity.golden_rows", "Do the golden rows together give what the model in memory gave?", ("golden",)),
    Check("parity.rows_alone", "Does each golden row alone give the same?", ("golden",)),
    Check("parity.shuffled", "Do rows in another order give their own answers?", ("golden",)),
    Check("parity.repeated", "Does a row give the same beside copies of itself?", ("golden",)),
    Check("parity.columns_by_name", "Do columns in another order, with their names, give the same?", ("golden",)),
    Check("parity.inputs_matter", "Do rows that the model tells apart get different answers?", ("golden",)),
    Check("parity.no_memory", "Does an answer not depend on what was asked before?", ("golden",)),
    Check("concurrency.own_answer", "Does every caller get the answer to its own row, beside strangers?", ("golden",)),
    Check("concurrency.alive_under_load", "Does it still say that it lives while many rows are asked?", ("golden",), "load"),
    Check("observability.counts_requests", "Do its metrics count the requests, and can they be read?", ("golden",)),
    Check("performance.latency", "How long does a row take, alone and with 32 callers?", ("golden",), "load"),
    Check("security.refuses_pickle", "Is a pickled body refused?", (), "malformed"),
)
