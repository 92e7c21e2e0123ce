"""The deployments in the zoo's server: healthy ones, and one for each defect that can be observed there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tier0.core.catalogue import Disturbance

LABELS = {"predictions": "", "probabilities": None}
PROBABILITIES = {"predictions": None, "probabilities": ""}
INTERVALS = {"intervals": "intervals"}
ANY = "parity.golden_rows"


@dataclass(frozen=True)
class Case:
    """One deployment: a route of the zoo, its expected outputs and its declared contract.

    Attributes:
        name: id of the defect in lower case, or another name; also the route, unless *contract* has one.
        golden: name of the file with the trained model's golden rows.
        caught_by: checks of which at least one must fail; none for a healthy deployment.
        contract: declared fields of the contract; the others are read from ``/schema.json``.
        tag: key, in ``saved.json``, of the expected model's tag.
        disturb: level of disturbance that the checks need.
        groups: groups of checks to run, if all of them would take too long.
    """

    name: str
    golden: str = "scaled"
    caught_by: tuple[str, ...] = ()
    contract: dict[str, Any] = field(default_factory=dict)
    tag: str | None = None
    disturb: Disturbance = "malformed"
    groups: tuple[str, ...] = ()

    @property
    def on_the_list(self) -> bool:
        """Whether the name is the id of a defect."""
        return self.name[-2:].isdigit()

    @property
    def declared(self) -> dict[str, Any]:
        """The declared contract, with the route."""
        return {"route": f"/{self.name}", **self.contract}


HEALTHY = (
    Case("numpy", contract=LABELS, disturb="load"),
    Case("numpy_proba", "tolerant", contract=PROBABILITIES),
    Case("pydantic", tag="scaled", disturb="load"),
    Case("root", tag="scaled"),
    Case("dataframe", "mixed", contract={"probability_of": "1"}),
    Case("frame_to_dict", "mixed_trees"),
    Case("frame_coded", "coded"),
    Case("batchable", contract=PROBABILITIES),
    Case("asynchronous", tag="scaled"),
    Case("in_async_strict", "several", contract={"route": "/in_async"}),
    Case("one_record", contract={"probability_of": "1"}),
    Case("regress", "regression"),
    Case("labels_as_text", "boosted"),
    Case("sentinels", "sentinel"),
    Case("early_stopped", "early"),
    Case("fine", "narrow", contract=PROBABILITIES),
    Case("calibrate", "calibrated"),
    Case("two_steps", "steps"),
    Case("churn", "churn"),
    Case("conversion", "conversion"),
    Case("ltv_90", "ltv_90", contract=INTERVALS),
    Case("ltv_365", "ltv_365", contract=INTERVALS),
    Case("training_effect", "training_effect", contract=INTERVALS),
    Case("tuned", "tuned"),
    Case("with_id"),
    Case("health_is_an_api", contract={"route": "/pydantic", "health": "/well"}),
)

MUTANTS = (
    Case("reg01", caught_by=(ANY,)),
    Case("reg02", caught_by=(ANY,)),
    Case("reg03", caught_by=(ANY,)),
    Case("reg05", "boosted", caught_by=(ANY,)),
    Case("reg06", "sentinel", caught_by=(ANY,)),
    Case("reg07", "new", caught_by=("identity.expected_model",), tag="reg07_new"),
    Case("reg10", "new", caught_by=("identity.expected_model",), tag="reg10_new"),
    Case("reg11", "new", caught_by=("identity.expected_model",), tag="reg11_new"),
    Case("reg12", "new", caught_by=(ANY,)),
    Case("reg13", "new", caught_by=(ANY,)),
    Case("reg16", "reg16", caught_by=("health.can_predict",)),
    Case("reg17", caught_by=(ANY,)),
    Case("reg24", caught_by=("contract.refuses_text_for_number",)),
    Case("pkg06", caught_by=(ANY,)),
    Case("pkg09", "tuned", caught_by=(ANY,)),
    Case("sta02", caught_by=("identity.expected_model",), tag="scaled"),
    Case("sta06", caught_by=(ANY,)),
    Case(
        "hlt03", caught_by=("health.body_agrees",), contract={"route": "/pydantic", "health": "/hlt03_health"}
    ),
    Case(
        "hlt04", caught_by=("health.body_agrees",), contract={"route": "/pydantic", "health": "/hlt04_health"}
    ),
    Case("hlt05", caught_by=("health.can_predict",), contract={"health": "/hlt05_health"}),
    Case(
        "hlt06",
        caught_by=("concurrency.alive_under_load",),
        disturb="load",
        groups=("health", "parity", "concurrency"),
    ),
    Case(
        "hlt08",
        caught_by=("health.probes_leak_nothing",),
        contract={"route": "/pydantic", "health": "/hlt08_health"},
        disturb="load",
    ),
    Case("hlt11", caught_by=("parity.inputs_matter",)),
    Case("hlt12", caught_by=("contract.refuses_wrong_key",), contract={"features": "features"}),
    Case("con02", "tuned", caught_by=("contract.refuses_unknown_field",)),
    Case("con03", caught_by=("contract.refuses_empty_body",)),
    Case("con05", caught_by=("contract.one_answer_a_row",)),
    Case("con06", caught_by=("health.can_predict",)),
    Case("con07", "several", caught_by=("health.can_predict",), contract=PROBABILITIES),
    Case("con10", caught_by=("contract.refuses_other_content",), contract={"route": "/con03"}),
    Case("con11", caught_by=("contract.refuses_text_for_number",)),
    Case("par01", caught_by=(ANY,), contract=PROBABILITIES),
    Case("par02", "boosted", caught_by=(ANY,)),
    Case("par04", caught_by=(ANY,), contract=PROBABILITIES),
    Case("par05", "mixed", caught_by=(ANY,)),
    Case("par06", "tolerant", caught_by=("parity.columns_by_name",)),
    Case(
        "columns_sorted", "mixed", caught_by=("parity.by_position",), contract={"predictions": "predictions"}
    ),
    Case("par07", caught_by=("contract.refuses_missing_column",)),
    Case("par08", "tolerant", caught_by=("parity.missing_values",), contract=PROBABILITIES),
    Case("par09", caught_by=("parity.inputs_matter",)),
    Case("par10", "early", caught_by=(ANY,)),
    Case("par12", "several", caught_by=("contract.probabilities",)),
    Case("par13", "tuned", caught_by=("parity.decisions", ANY)),
    Case("par14", "tuned", caught_by=("parity.decisions", ANY)),
    Case("par18", caught_by=(ANY,), contract=PROBABILITIES),
    Case("par19", "narrow", caught_by=("parity.boundaries",), contract=PROBABILITIES),
    Case("par21", caught_by=("contract.refuses_wrong_width",)),
    Case("par24", "tolerant", caught_by=("contract.refuses_unknown_column",), contract=PROBABILITIES),
    Case("par26", "coded", caught_by=("parity.rows_alone",)),
    Case("par27", "mixed", caught_by=("contract.refuses_misspelled_category",)),
    Case("par29", caught_by=("parity.rows_alone",)),
    Case("par32", "mixed", caught_by=(ANY,)),
    Case("par34", "calibrated", caught_by=(ANY,)),
    Case("par36", caught_by=("contract.probabilities", ANY)),
    Case("par37", caught_by=(ANY,), contract={"probability_of": "1"}),
    Case("par39", "steps", caught_by=(ANY,)),
    Case("par40", caught_by=("parity.inputs_matter",)),
    Case("bat01", caught_by=("concurrency.own_answer",), contract=PROBABILITIES),
    Case("bat03", caught_by=("concurrency.own_answer",), contract=PROBABILITIES),
    Case("bat04", caught_by=("concurrency.own_context",)),
    Case("bat06", caught_by=("health.can_predict",), groups=("health", "parity")),
    Case(
        "bat12",
        caught_by=("concurrency.strangers_mistakes",),
        contract={"features": "x", "style": "rows", **LABELS},
    ),
    Case("bat15", caught_by=("concurrency.own_answer",)),
    Case(
        "tdn07", "new", caught_by=("identity.expected_model",), contract={"route": "/tdn07"}, tag="tdn07_new"
    ),
    Case("prf06", caught_by=("performance.memory",), disturb="load"),
    Case(
        "slow",
        caught_by=("performance.latency",),
        disturb="load",
        groups=("health", "parity.golden_rows", "performance"),
    ),
    Case("canary", caught_by=("identity.always_the_same",), tag="scaled"),
    Case("remembers", caught_by=("parity.no_memory",)),
    Case("order_lost", caught_by=("parity.shuffled",)),
    Case("rounds", caught_by=(ANY,), contract={"decimals": 6}),
    Case("sorted_by_name", caught_by=("parity.keys_in_any_order",)),
    Case("another_outcome", "churn", caught_by=(ANY,)),
    Case("another_horizon", "ltv_90", caught_by=(ANY,), contract=INTERVALS),
    Case("bounds_swapped", "ltv_90", caught_by=("contract.intervals",), contract=INTERVALS),
    Case("half_widths", "ltv_90", caught_by=("contract.intervals",), contract=INTERVALS),
    Case("another_level", "ltv_90", caught_by=(ANY,), contract=INTERVALS),
    Case("intervals_of_another_row", "training_effect", caught_by=(ANY,), contract=INTERVALS),
    Case("sign_of_the_effect", "training_effect", caught_by=(ANY,), contract=INTERVALS),
)
