"""Finding out how a service is asked: from its own schema, from what the user declared, and from one answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx

from tier0.checks.serving.sender import HOW_TO_AUTHORIZE, UNAUTHORIZED, UnansweredError
from tier0.core.contract import Contract, ContractError, OpenAnswerError, find_contract, how_to_declare

if TYPE_CHECKING:
    from tier0.checks.serving.sender import Sender
    from tier0.runs.deployment import Deployment


async def discover(deployment: Deployment, sender: Sender) -> Contract:
    """Return the contract of a deployment.

    Raises:
        UnansweredError: nothing answers.
        ContractError: the contract is not clear; the message says what to declare.
    """
    if isinstance(deployment.contract, Contract):
        return deployment.contract
    return await _from_service(deployment, sender)


async def _from_service(deployment: Deployment, sender: Sender) -> Contract:
    url, declared = deployment.url, dict(deployment.contract or {})  # type: ignore[arg-type]  # it is no Contract
    try:
        response = await sender.send("GET", "/schema.json")
    except UnansweredError as problem:
        raise UnansweredError(f"nothing answers at {url}: {problem}. Is the service running, and is that its URL?") from problem
    try:
        schema = response.raise_for_status().json()
    except (httpx.HTTPStatusError, ValueError) as problem:
        if declared:
            return find_contract({}, declared)
        if response.status_code in UNAUTHORIZED:
            raise ContractError(f"{url}/schema.json returned {response.status_code}: {HOW_TO_AUTHORIZE}") from problem
        what = f"answers {response.status_code}" if response.is_error else "is no JSON"
        raise ContractError(f"{url}/schema.json {what}: it is hidden, or this is no BentoML service. {how_to_declare(route='/predict')}") from problem
    try:
        return find_contract(schema, declared)
    except OpenAnswerError as problem:
        asked = problem.contract
        unanswered = replace(asked, predictions="predictions")  # where nothing answers, it matters no more
        if deployment.golden is None:
            return unanswered
        try:
            body = json.dumps(asked.body(deployment.golden.columns, deployment.golden.rows[:1])).encode()
            answer = (await sender.send("POST", asked.route, body, {"Content-Type": "application/json"})).raise_for_status().json()
        except (UnansweredError, httpx.HTTPError, ValueError):
            return unanswered
        return find_contract(schema, declared, answer, classes=len(deployment.golden.classes))
