"""Finding out how a service is asked and read: from its schema, from what was declared, and from its response to the golden rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from tier0.checks.serving.harness.sender import HOW_TO_AUTHORIZE, UNAUTHORIZED, UnansweredError, decode_json
from tier0.checks.serving.harness.target import NoPredictionError, RefusedError, Target
from tier0.contract.answers import find_parts
from tier0.contract.contract import Contract, ContractError, check_declared, how_to_declare
from tier0.contract.service_schema import Described, Form, describe, undescribed, why_fields_are_open
from tier0.core.outputs import PARTS
from tier0.core.verdict import CheckFailedError
from tier0.golden.rows import GoldenRows

NO_ROUTE = {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}
FORM = {"features", "style", "columns", "max_rows", "names", "fields"}
"""What a person declares of the body of a request."""


async def discover(target: Target, contract: Contract | Mapping[str, Any] | None) -> Target:
    """Return the target with its contract, after one look at the service's schema and at its response to the golden rows.

    Args:
        target: with the connections and the golden rows.
        contract: the whole contract, or what is declared of it.

    Raises:
        UnansweredError: nothing answers.
        ContractError: how the service is asked, or where its predictions are, is not clear; the message says what to declare.
    """
    if isinstance(contract, Contract):
        _require_known_labels(contract, target.rows)
        return replace(target, contract=contract)
    declared = check_declared(contract or {})
    schema = await _schema(target, declared)
    columns = target.rows.columns if target.rows is not None else ()
    described = describe(schema, declared, columns)
    found = replace(
        target,
        contract=undescribed(declared, is_bentoml=schema is not None)
        if described is None
        else described.contract,
    )
    _require_known_labels(found.contract, target.rows)
    if found.contract.why_not_asked or target.rows is None:
        return found
    if described is not None and described.required:
        return replace(
            found,
            contract=replace(
                found.contract, why_not_asked=why_fields_are_open(found.contract.route, described.required)
            ),
        )
    return await _look_at_answers(found, described, declared)


async def _schema(target: Target, declared: Mapping[str, Any]) -> Any:
    """Return the service's own schema; None where it has none, and enough is declared to do without.

    Raises:
        UnansweredError: nothing answers.
        ContractError: there is none, and nothing is declared.
    """
    try:
        response = await target.get("/schema.json")
    except UnansweredError as problem:
        raise UnansweredError(
            f"nothing responds at {target.url}: {problem}. Is the service running, and is this its URL?"
        ) from problem
    try:
        schema = decode_json(response.raise_for_status())
    except (httpx.HTTPStatusError, ValueError) as problem:
        if declared:
            return None
        if response.status_code in UNAUTHORIZED:
            raise ContractError(
                f"{target.url}/schema.json returned {response.status_code}: {HOW_TO_AUTHORIZE}"
            ) from problem
        what = f"returned {response.status_code}" if response.is_error else "is not JSON"
        example = {
            "route": "/the-route-of-the-prediction",
            "features": "where.the.rows.go",
            "predictions": "where.they.are",
        }
        reason = f"{target.url}/schema.json {what}: it is hidden, or this is not a BentoML service"
        raise ContractError(f"{reason}. {how_to_declare(example)}") from problem
    return schema


def _require_known_labels(contract: Contract, golden: GoldenRows | None) -> None:
    """Refuse classes in the contract that the model does not have."""
    names = [str(label) for label in golden.classes] if golden is not None else []
    if not names:
        return
    if contract.probability_of is not None and contract.probability_of not in {*names, "@predicted"}:
        raise ContractError(
            f"probability_of = {contract.probability_of!r} in the contract is not a class of the model: {', '.join(names)}"
        )
    for label in contract.labels:
        if label not in names:
            raise ContractError(
                f"the contract has a label {label!r}, which is not a class of the model: {', '.join(names)}"
            )


async def _look_at_answers(
    target: Target, described: Described | None, declared: Mapping[str, Any]
) -> Target:
    """Ask for the golden rows in each form that the schema allows, and take the one whose predictions are the model's, or else can be read."""
    forms = [None] if described is None else list(described.forms)
    readable: Target | None = None
    failure: CheckFailedError | UnansweredError | None = None
    for form in forms:
        asked = await _asked(target, form, declared)
        problem = asked.memo["golden"]
        if isinstance(problem, (CheckFailedError, UnansweredError)):
            failure = failure or problem
            continue
        found = _read(asked, described, declared)
        if found.contract.parts and (len(forms) == 1 or _agrees(found)):
            return found
        readable = readable or found
    if readable is not None:
        _require_parts(readable)
        return readable
    return _without_answer(target, failure, declared)


async def _asked(target: Target, form: Form | None, declared: Mapping[str, Any]) -> Target:
    """Return the target after asking for the golden rows in one form; together, or one by one where the service takes only one row."""
    contract = target.contract
    if form is not None:
        contract = replace(
            contract,
            features=form.features,
            style=form.style,
            max_rows=declared.get("max_rows", form.max_rows),
        )
    asked = replace(target, contract=contract, memo={})
    await _remember(asked)
    if isinstance(asked.memo["golden"], RefusedError) and not contract.one_row and "max_rows" not in declared:
        alone = replace(asked, contract=replace(contract, max_rows=1), memo={})
        try:
            await alone.ask_raw(alone.golden.take([0]))
        except (CheckFailedError, UnansweredError):
            return asked
        await _remember(alone)
        return alone
    return asked


async def _remember(target: Target) -> None:
    try:
        target.memo["golden"] = await target.ask_raw(target.golden)
    except (NoPredictionError, UnansweredError) as problem:
        target.memo["golden"] = problem


def _read(target: Target, described: Described | None, declared: Mapping[str, Any]) -> Target:
    promises = described is not None and _promises_numbers(described.output)
    found = find_parts(
        target.memo["golden"], target.model_rows, target.contract, declared, promises_numbers=promises
    )
    if len(target.golden) == 1 and not target.contract.one_row and "max_rows" not in declared:
        read = target.contract.with_paths(found.paths).read(target.memo["golden"][0])
        if found.paths["predictions"] is not None and not isinstance(
            read["predictions"], list
        ):  # one value: it takes one row only
            return _read(replace(target, contract=replace(target.contract, max_rows=1)), described, declared)
    return replace(target, contract=target.contract.with_paths(found.paths), undeclared=found.undeclared)


def _promises_numbers(output: Mapping[str, Any]) -> bool:
    items = output.get("items")
    return "number" in {output.get("type"), items.get("type") if isinstance(items, Mapping) else None}


def _agrees(target: Target) -> bool:
    golden = target.golden
    answer = target.parts_of(target.memo["golden"], golden)
    return (
        bool(target.undeclared)
        or golden.compare({**answer, "classes": None}, tolerance=1e-6, parts=target.parts) is None
    )


def _require_parts(target: Target) -> None:
    if target.contract.parts:
        return
    first = target.memo["golden"][0]
    first = first[0] if isinstance(first, list) and first else first
    listed = f" (its fields: {', '.join(map(str, first))})" if isinstance(first, Mapping) and first else ""
    message = (
        f"it is not clear where the predictions are in the response of {target.contract.route}{listed}. "
    )
    raise ContractError(message + how_to_declare({"predictions": "where.they.are"}))


def _without_answer(
    target: Target, failure: CheckFailedError | UnansweredError | None, declared: Mapping[str, Any]
) -> Target:
    """Return the target where no form got a prediction: what is wrong with that is for the checks to say, unless it is the contract.

    Raises:
        ContractError: the route does not exist, credentials are missing, or the service refuses the body that was declared.
    """
    route = target.contract.route
    status = failure.evidence.get("status") if isinstance(failure, CheckFailedError) else None
    if status in UNAUTHORIZED:
        raise ContractError(f"{route} returned {status}: {HOW_TO_AUTHORIZE}")
    if status in NO_ROUTE:
        raise ContractError(
            f"{route} returned {status}: there is no such route for POST. Declare the right one as route in the contract"
        )
    if status is not None and httpx.codes.is_redirect(status):
        to = failure.evidence.get("location", "") if isinstance(failure, CheckFailedError) else ""
        raise ContractError(
            f"{route} returned {status}, a redirect{f' to {to}' if to else ''}, which is not followed. Declare the right route in the contract"
        )
    if (
        isinstance(failure, CheckFailedError)
        and (kind := failure.evidence.get("content_type"))
        and "json" not in kind
        and "html" not in kind
    ):
        raise ContractError(f"{route} responds with {kind}, which is not read: the predictions must be JSON")
    if isinstance(failure, RefusedError) and FORM & declared.keys():
        keys = ", ".join(sorted(FORM & declared.keys()))
        how = f"The request body follows the contract ({keys}): correct that, or run `tier0 contract {target.url} --golden FILE` to draft one"
        raise ContractError(f"{failure.message}. {how}")
    contract = target.contract if target.contract.parts else replace(target.contract, predictions=PARTS[0])
    return replace(target, contract=contract, memo={} if failure is None else {"golden": failure})
