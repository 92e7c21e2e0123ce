"""`tier0 verify` and its doors on our own deployment, which is not accused; mutants are in tests/defects."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tier0
from tests.support.command_line import run_cli
from tier0.client import BentoMLClient, ClientError
from tier0.core.errors import PredictionMismatchError
from tier0.core.verdict import HOW_TO_GET_GOLDEN_ROWS

if TYPE_CHECKING:
    from tier0.runs.deployment import OwnDeployment

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
NOT_OF_THIS_MODEL = {
    "parity.boundaries",
    "parity.decisions",
    "parity.large_integers",
    "parity.other_values",
    "parity.unusual_texts",
    "contract.refuses_misspelled_category",
}
"""What a model may lack: a linear one has no boundaries."""


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_our_own_deployment_holds_in_every_check(tier0_deployment: OwnDeployment, times: int) -> None:
    for _ in range(times):
        verdict = tier0.check_serving(tier0_deployment, disturb="load")

        assert verdict.verdict == "pass"
        unjudged = {result.id: result.message for result in verdict.with_status("not_judged")}
        kills = {"resilience.worker_is_replaced", "teardown.stops", "teardown.ends_with_its_supervisor"}
        assert (
            kills | {"concurrency.own_context", "contract.intervals"} == unjudged.keys() - NOT_OF_THIS_MODEL
        ), unjudged


def test_command_line_by_model_and_store(tier0_deployment: OwnDeployment, tmp_path: Path) -> None:
    model, report = tier0_deployment.model, tmp_path / "verdict.json"

    done = run_cli(
        "verify",
        tier0_deployment.url,
        "--model",
        f"{model.name}:latest",
        "--store",
        str(model.store),
        "--json",
        str(report),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    document = json.loads(report.read_text(encoding="utf-8"))
    assert (document["schema"], document["verdict"], document["target"]["model"]) == (2, "pass", model.tag)
    statuses = {check["id"]: check["status"] for check in document["checks"]}
    assert statuses["parity.golden_rows"] == statuses["identity.expected_model"] == "pass"
    assert statuses["contract.refuses_empty_body"] == "not_judged", (
        "nothing malformed is sent unless it is allowed"
    )


def test_command_line_without_golden_rows_judges_what_it_can(tier0_deployment: OwnDeployment) -> None:
    accepted, inconclusive = (
        run_cli("verify", tier0_deployment.url, "--without-golden", "--verbose"),
        run_cli("verify", tier0_deployment.url),
    )

    assert (accepted.returncode, inconclusive.returncode) == (0, 2), accepted.stdout + accepted.stderr
    assert "parity.golden_rows" in accepted.stdout
    assert HOW_TO_GET_GOLDEN_ROWS in inconclusive.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify"], "no URL given"),
        (["verify", "localhost:3000"], "invalid service URL 'localhost:3000'"),
        (["verify", "http://127.0.0.1:9"], "nothing responds at http://127.0.0.1:9"),
        (
            ["verify", "http://127.0.0.1:9", "--golden", "nowhere.json"],
            "invalid value 'nowhere.json' for --golden: file not found",
        ),
        (
            ["verify", "http://127.0.0.1:9", "--model", "m:1", "--store", "/dev/null"],
            "invalid value '/dev/null' for --store",
        ),
        (
            ["verify", "http://127.0.0.1:9", "--contract", "nowhere.toml"],
            "invalid value 'nowhere.toml' for --contract: file not found",
        ),
        (["verify", "http://127.0.0.1:9", "--header", "secret"], "invalid value (hidden) for --header"),
        (
            ["verify", "http://127.0.0.1:9", "--waivers", "nowhere.toml"],
            "invalid value 'nowhere.toml' for --waivers: file not found",
        ),
        (["verify", "http://127.0.0.1:9", "--client", "nowhere"], "expected module:name"),
        (["verify", "http://127.0.0.1:9", "--client", "nowhere:make"], "module 'nowhere' was not found"),
        (
            ["verify", "http://127.0.0.1:9", "--json", "/nowhere/verdict.json"],
            "directory not found: /nowhere",
        ),
        (["verify", "http://127.0.0.1:9/?a=b"], "remove the query or fragment"),
        (["golden", "nowhere", "rows.csv"], "expected module:name"),
        (["golden", "json:loads", "nowhere.csv"], "cannot read nowhere.csv"),
        (["golden", "json:JSONDecoder", "nowhere.csv"], "JSONDecoder, which has no predict"),
        (["verify", "http://127.0.0.1:9", "--groups", "magic"], "unknown group or check 'magic'"),
        (
            ["verify", "http://127.0.0.1:9", "--disturb", "everything"],
            "invalid value 'everything' for --disturb",
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_status_2(arguments: list[str], says: str) -> None:
    done = run_cli(*arguments)

    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stdout + done.stderr


def test_catalogue_page_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")

    assert run_cli("verify", "--list").stdout.strip() in page


def test_masked_evidence_shows_no_values(tier0_deployment: OwnDeployment) -> None:
    golden = tier0_deployment.model.golden.examples
    wrong = replace(golden, predictions=[f"not {label}" for label in golden.predictions])

    verdict = tier0.check_serving(
        replace(tier0_deployment, golden=wrong, mask=True), groups=["parity.golden_rows"], on_fail="return"
    )

    shown = json.dumps(verdict.as_dict(), ensure_ascii=False)
    assert verdict.verdict == "fail"
    assert json.dumps(golden.rows[0])[1:-1] not in shown
    assert '"row": "…"' in shown


@pytest.mark.asyncio
async def test_the_caller_gets_the_response_that_was_verified(tier0_deployment: OwnDeployment) -> None:
    async with BentoMLClient(tier0_deployment.url) as client:
        response = await tier0.verify_bentoml_predictions(client, tier0_deployment)

    assert tier0_deployment.model.golden.examples.compare(response) is None


@pytest.mark.parametrize("wrong", ["examples", "edge cases"])
@pytest.mark.asyncio
async def test_a_wrong_prediction_is_a_mismatch(tier0_deployment: OwnDeployment, wrong: str) -> None:
    golden = tier0_deployment.model.golden
    predictions = [
        "another label" if origin.is_edge_case == (wrong == "edge cases") else label
        for label, origin in zip(golden.predictions, golden.origins, strict=True)
    ]
    deployment = replace(tier0_deployment, golden=replace(golden, predictions=predictions))

    async with BentoMLClient(tier0_deployment.url) as client:
        with pytest.raises(PredictionMismatchError, match="another label") as failed:
            await tier0.verify_bentoml_predictions(client, deployment)

    assert "curl " in str(failed.value)
    assert failed.value.answer["model_tag"] == tier0_deployment.tag


@pytest.mark.asyncio
async def test_a_request_without_a_prediction_is_an_error_of_the_client(
    tier0_deployment: OwnDeployment,
) -> None:
    async with BentoMLClient("http://127.0.0.1:9", max_attempts=1) as client:
        with pytest.raises(ClientError):
            await tier0.verify_bentoml_predictions(client, tier0_deployment)
