"""Every algorithm on every data set, served by one server and compared with the model in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tier0
from tier0.contract.contract import Contract
from tier0.core.settings import ALGORITHMS, DATASETS, merge_settings
from tier0.golden.rows import ROW_ALONE_TOLERANCE
from tier0.runs.deployment import Deployment, golden_probe, with_client
from tier0.serving.registration import EntryWriter, ModelSaver, RegisteredModel
from tier0.serving.server import Server
from tier0.serving.workspace import Workspace

if TYPE_CHECKING:
    from tier0.client import BentoMLClient
    from tier0.golden.rows import GoldenRows

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]
CASES = [
    pytest.param(
        f"{dataset}-{algorithm}",
        id=f"{dataset}-{algorithm}",
        marks=[] if dataset == "patients" else pytest.mark.slow,
    )
    for dataset in DATASETS
    for algorithm in ALGORITHMS
]


@dataclass(frozen=True)
class Gateway:
    """One server with all the models."""

    server: Server
    models: dict[str, RegisteredModel]


@pytest.fixture(scope="module")
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    selected = {
        str(item.callspec.params["case"])
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    workspace = Workspace.create()
    server = Server(workspace.folder("s"))
    try:
        server.launch()
        models = {case: registered(workspace, *case.split("-")) for case in sorted(selected)}
        server.announce({case: model.tag for case, model in models.items()}, workspace.store)
        server.wait_until_ready(golden_probe(next(iter(models.values())), server.nonce), 60)
        yield Gateway(server, models)
    finally:
        server.stop()
        workspace.close()


def registered(workspace: Workspace, dataset_name: str, algorithm: str) -> RegisteredModel:
    from tier0.pipeline.candidates import candidates_for
    from tier0.pipeline.data import load_dataset, split

    settings = merge_settings({"dataset": dataset_name}, {})
    dataset = load_dataset(settings)
    parts = split(dataset, settings.seed)
    model = candidates_for(dataset, (algorithm,), settings.seed)[0].build().fit(*dataset.take(parts["train"]))
    examples = dataset.take(parts["holdout"])[0]
    threshold = 0.37 if len(np.unique(dataset.target)) == 2 else None
    save = ModelSaver(
        model, f"{dataset_name}_{algorithm}", {"feature_names": dataset.names}, examples, threshold=threshold
    )
    return save(workspace, EntryWriter(workspace, workspace.store), prove=False)


@pytest.mark.parametrize("case", CASES)
def test_served_model_is_the_model_in_memory(gateway: Gateway, case: str) -> None:
    model = gateway.models[case]
    golden = model.golden.examples
    backwards = golden.take(range(len(golden))[::-1])

    between_batches = ROW_ALONE_TOLERANCE if "linear" in case else 0.0

    async def ask(client: BentoMLClient) -> None:
        together = await client.predict(golden.body(), model=case)
        check(golden, together, 0.0)
        assert together["model_tag"] == model.tag
        check(backwards, await client.predict(backwards.body(), model=case), between_batches)
        check(golden, await client.predict_batch(golden.records(), model=case), 0.0)
        for index in range(len(golden)):
            alone = golden.take([index])
            check(alone, await client.predict(alone.body(), model=case), between_batches)

    def check(expected: GoldenRows, answer: object, tolerance: float) -> None:
        mismatch = expected.compare(answer, tolerance=tolerance)  # type: ignore[arg-type]
        assert mismatch is None, f"{model.tag} at {gateway.server.url}/{case}/predict: {mismatch}"

    with_client(gateway.server.url, ask)


@pytest.mark.parametrize("case", CASES)
def test_golden_rows_differ_from_those_of_the_other_models(gateway: Gateway, case: str) -> None:
    """Otherwise the comparison could not tell one model from another."""
    dataset = case.partition("-")[0]
    answers = {
        name: str(model.golden.probabilities or model.golden.predictions)
        for name, model in gateway.models.items()
        if name.startswith(f"{dataset}-")
    }
    own = answers.pop(case)
    assert own not in answers.values()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_check_accuses_it(gateway: Gateway, case: str) -> None:
    model = gateway.models[case]
    contract = Contract(route=f"/{case}/predict", health=f"/{case}/health")
    deployment = Deployment(
        gateway.server.url, model.golden, model.tag, contract, disturb="malformed", server=gateway.server
    )

    for _ in range(3):
        tier0.check_serving(deployment)
