"""Tests of other tools for the same deployment: each returns whether its test fails."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import httpx

from tier0.contract.answers import find_parts
from tier0.contract.contract import Contract
from tier0.contract.service_schema import OpenAnswerError, find_contract

if TYPE_CHECKING:
    from tests.defects.mutants import Case
    from tests.support.zoo_server import Trained
    from tier0.golden.rows import GoldenRows
    from tier0.runs.deployment import Deployment

TIMEOUT = 15.0


def ask_peers(deployment: Deployment, zoo: Trained, case: Case) -> dict[str, bool]:
    """Run the tests of the other tools for one deployment of the zoo."""
    golden = zoo.golden(case.golden)
    schema = httpx.get(f"{deployment.url}/schema.json").json()
    contract = _contract(schema, case, golden)
    described = next(route for route in schema["routes"] if route["route"] == contract.route)
    body = contract.body(golden.columns, golden.rows[:1] if contract.one_row else golden.rows)
    return {
        "plain": _fails(plain, deployment.url, contract.route, body),
        "bentoml": _fails(
            bentoml_documented, deployment.url, described, body, 1 if contract.one_row else len(golden)
        ),
        "mlflow": _fails(mlflow_style, deployment.url, contract, case, body, golden),
    }


def _contract(schema: Any, case: Case, golden: GoldenRows) -> Contract:
    """Return the contract; without the paths of the response if the schema does not show them."""
    try:
        return find_contract(schema, case.declared, golden.columns)
    except OpenAnswerError as problem:
        return problem.contract


def _fails(test: Any, *arguments: Any) -> bool:
    try:
        test(*arguments)
    except Exception:  # noqa: BLE001 - any exception fails the test
        return True
    return False


def plain(url: str, route: str, body: Any) -> None:
    """Test that the health route and a prediction return 200."""
    assert httpx.get(f"{url}/healthz", timeout=TIMEOUT).status_code == 200
    assert httpx.post(f"{url}{route}", json=body, timeout=TIMEOUT).status_code == 200


def bentoml_documented(url: str, route: dict[str, Any], body: Any, rows: int) -> None:
    """Test type and length of the result with BentoML's own client, as its documentation shows."""
    import bentoml

    with bentoml.SyncHTTPClient(url, timeout=TIMEOUT) as client:
        assert client.is_ready()
        call = getattr(client, route["name"])
        result = call(body) if route["input"].get("root_input") else call(**body)
    assert result is not None
    if hasattr(result, "__len__") and not isinstance(result, (dict, str)):
        assert len(result) == rows


def mlflow_style(url: str, contract: Contract, case: Case, body: Any, golden: GoldenRows) -> None:
    """Test input example and inferred signature, as `mlflow.models.validate_serving_input` does."""
    from mlflow.models import infer_signature

    answer = httpx.post(f"{url}{case.declared['route']}", json=body, timeout=TIMEOUT)
    answer.raise_for_status()
    sent = golden.take([0]) if contract.one_row else golden
    contract = contract.with_paths(find_parts([answer.json()], sent, contract, case.declared).paths)
    part = contract.parts[0]
    predictions, expected = contract.read(answer.json())[part], getattr(golden, part)
    if contract.probability_of is not None and part == "probabilities":
        expected = [[0.5] for _ in expected]
    inferred = infer_signature(golden.rows, {"outputs": expected[: len(predictions)]}).outputs
    assert infer_signature(golden.rows, {"outputs": predictions}).outputs == inferred


def run_schemathesis(url: str) -> dict[str, bool]:
    """Run schemathesis on ``/docs.json`` of the zoo, and return for each route whether it failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            os.environ["TIER0_SCHEMATHESIS"], "run", f"{url}/docs.json", "--max-examples", "15",
            "--request-timeout", "3", "--seed", "7", "--continue-on-failure",
            "--exclude-path-regex", "^/(livez|readyz|healthz|metrics|bat06|slow|hlt06|hlt08_health)",
            "--checks", "not_a_server_error,response_schema_conformance,content_type_conformance",
            "--report", "junit", "--report-junit-path", str(report),
        ]  # fmt: skip
        subprocess.run(
            command, cwd=folder, capture_output=True, check=False
        )  # it leaves a cache in its working directory
        cases = ET.fromstring(report.read_text(encoding="utf-8")).iter("testcase")
        return {case.get("name", "").rpartition(" ")[2]: case.find("failure") is not None for case in cases}
