"""Discovery of a contract: from the schema of a service, declared keys, and a response to the golden rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from tier0.checks.serving.harness.sender import (
    HOW_TO_AUTHORIZE,
    UNAUTHORIZED,
    OversizedError,
    UnansweredError,
    decode_json,
)
from tier0.checks.serving.harness.target import NoPredictionError, RefusedError, Target
from tier0.checks.serving.health import READINESS, remember_readiness
from tier0.contract.answers import find_parts
from tier0.contract.assumptions import Assumption, assumed_request
from tier0.contract.contract import CSV_STYLES, Contract, ContractError, check_declared, how_to_declare
from tier0.contract.delimited import CONTENT_TYPE
from tier0.contract.openapi import is_openapi, routes_for
from tier0.contract.protocols import V2_MODELS, Page, Server, find_protocol, split_route
from tier0.contract.route_names import describes
from tier0.contract.service_schema import (
    BENTOML_HEALTH,
    DRAFT,
    EXAMPLE,
    Described,
    Form,
    describe,
    listed_names,
    malformed,
    needs_description,
    path_prefixes,
    routes_in,
    undescribed,
    why_fields_are_open,
)
from tier0.contract.tensors import ROUNDING, holds, shape_of
from tier0.core.fields import InvalidFieldError, read_object, shown
from tier0.core.outputs import PARTS
from tier0.core.protocols import PROTOCOLS
from tier0.core.verdict import CheckFailedError
from tier0.golden.rows import GoldenRows
from tier0.golden.tolerance import largest_magnitude

NO_ROUTE = {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED}
FORM = {"features", "style", "columns", "max_rows", "names", "fields"}
"""Keys of a contract that declare the body of a request."""
BENTOML = "bentoml"
PAGES = "pages"
"""Key of the memo of a target for the pages that describe the service."""
ROUTED = {"openapi", "v1", "v2"}
"""Protocols whose servers describe their routes, or name them by a rule."""
MAX_ROUNDS = 4
"""Rounds of declaring what was recognised in the response, and discovering the rest with it."""
SCHEMA_KEYS = {"routes", "paths"}
"""Keys of /schema.json without which it is not the description of a BentoML service."""


class UndescribedError(ContractError):
    """The service has no schema of BentoML's, but may be described in another way."""


async def discover(target: Target, contract: Contract | Mapping[str, Any] | None) -> Target:
    """Return the target with its contract.

    Args:
        target: target with connections and golden rows.
        contract: complete contract, or the declared part of it.

    Raises:
        UnansweredError: the service does not respond.
        ContractError: the request, or the place of the predictions in the response, is not clear; the message
            names what to declare.
    """
    if isinstance(contract, Contract):
        contract = _fitting(contract, target.rows)
        _require_known_labels(contract, target.rows)
        found = replace(target, contract=contract)
        await remember_readiness(found)
        return found
    target, contract = await without_route_in_url(target, contract or {})
    declared = check_declared(contract)
    wanted = declared.pop("protocol", None)
    columns = target.rows.columns if target.rows is not None else ()
    schema, described = await description(target, wanted, declared, columns)
    if described is None:
        found = replace(target, contract=undescribed(declared, is_bentoml=schema is not None))
    else:
        found = replace(target, contract=_with_draft_command(described.contract, target))
    found = await _with_prefix(found, schema, declared)
    _require_known_labels(found.contract, target.rows)
    await remember_readiness(found)
    if target.rows is None:
        return found
    if described is not None and described.required and not found.contract.why_not_asked:
        reason = why_fields_are_open(found.contract.route, described.required)
        unasked = replace(found.contract, why_not_asked=reason)
        found = replace(found, contract=_with_draft_command(unasked, target))
    if not found.contract.why_not_asked:
        found = _in_precision_of_tensors(found)
        return await _discover_form(found, described, declared, routes_in(schema))
    missing = None if described is None else assumed_request(described, declared, columns)
    confirmed = None if missing is None else await _confirmed_request(target, contract, missing)
    return confirmed or found


async def without_route_in_url(
    target: Target, declared: Mapping[str, Any]
) -> tuple[Target, Mapping[str, Any]]:
    """Return the target and the declared part of its contract, with the route that its URL ends with.

    That is the declared route, or one that is described below the rest of the URL, while nothing is below all
    of it.

    Raises:
        UnansweredError: the service does not respond.
        ContractError: a declared key or value is invalid.
    """
    path, route = urlsplit(target.url).path, declared.get("route")
    if not path:
        return target, declared
    place, named = split_route(path)
    elsewhere = _at(target, target.url.removesuffix(path) + place)
    if route is not None and path.endswith(route):
        return _at(target, target.url.removesuffix(route)), declared
    if route is not None:
        is_elsewhere = named == route or (named is None and route.startswith(V2_MODELS))
        return (elsewhere if is_elsewhere else target), declared
    checked = check_declared(declared)
    wanted = checked.pop("protocol", None)
    columns = target.rows.columns if target.rows is not None else ()
    try:
        await description(target, wanted, checked, columns)
    except UndescribedError:
        more = {} if named is None else {"route": named}
        with suppress(ContractError):
            schema, described = await description(elsewhere, wanted, {**checked, **more}, columns)
            protocol = None if described is None else described.contract.protocol
            if described is not None and (schema is not None or protocol in {*ROUTED, *_guessed_at(named)}):
                return elsewhere, {**declared, **more}
    except ContractError:  # which is raised where the contract is derived
        pass
    return target, declared


def _in_precision_of_tensors(target: Target) -> Target:
    """Return the target for tensors that round the golden rows, as the metadata of the model state.

    Numbers may differ accordingly, and edge cases that would be rounded are left out: they can get to the
    other side of a threshold.
    """
    contract, rows = target.contract, target.rows
    if rows is None or rows.form != "table" or contract.style not in {"tensor", "tensors"}:
        return target
    names = [
        contract.tensor if contract.style == "tensor" else contract.names.get(column, column)
        for column in rows.columns
    ]
    datatypes = [contract.datatypes.get(name) for name in names]
    are_held = [all(map(holds, datatypes, row)) for row in rows.rows]
    if all(are_held):
        return target
    kept = [
        place
        for place, is_held in enumerate(are_held)
        if is_held or not rows.origins or not rows.origins[place].is_edge_case
    ]
    largest = largest_magnitude(rows.probabilities or rows.predictions)
    rounding = max(ROUNDING.get(datatype or "", 0.0) for datatype in datatypes) * largest
    contract = replace(contract, absolute=max(contract.absolute, rounding))
    return replace(target, contract=contract, rows=rows.take(kept))


def _guessed_at(route: str | None) -> tuple[str, ...]:
    """Return the protocols that do not describe their routes, and have a usual one."""
    return ("mlflow", "sagemaker") if route == "/invocations" else ()


def _at(target: Target, url: str) -> Target:
    return replace(target, sender=replace(target.sender, url=url))


def _with_draft_command(contract: Contract, target: Target) -> Contract:
    """Return the contract; if no request can be made, with the command that drafts one for this service."""
    return replace(contract, why_not_asked=contract.why_not_asked.replace(DRAFT, target.draft_command))


async def _confirmed_request(
    target: Target, declared: Mapping[str, Any], missing: Assumption
) -> Target | None:
    """Return the target with what is missing for a request, if that is certain and the golden rows match."""
    if not missing.is_certain:
        return None
    try:
        found = await discover(target, {**declared, **missing.declare})
    except ContractError:
        return None
    return replace(found, assumed=(missing, *found.assumed)) if found.matches else None


async def description(
    target: Target, wanted: str | None, declared: Mapping[str, Any], columns: Sequence[str]
) -> tuple[Any, Described | None]:
    """Return BentoML's schema of the service, if it has one, and how predictions are requested.

    Args:
        target: target with connections and golden rows.
        wanted: the declared protocol; None to find it.
        declared: declared part of the contract.
        columns: the model's columns.

    Raises:
        UnansweredError: the service does not respond.
        ContractError: the service is not described, and too little is declared.
    """
    problem: ContractError | None = None
    schema = None
    if wanted in {None, BENTOML}:
        try:
            schema = await _schema(target, declared)
        except UndescribedError as undescribed_:
            problem = undescribed_
        if schema is not None or wanted == BENTOML:
            if problem is not None:
                raise problem
            return schema, describe(schema, declared, columns)
        if problem is None and not needs_description(declared):
            return None, None
    path = urlsplit(target.url).path
    server = Server(
        partial(_fetch, target),
        declared,
        columns,
        model=(target.tag or "").partition(":")[0],
        path=path,
        fetch_from_host=partial(_fetch, _at(target, target.url.removesuffix(path))),
    )
    try:
        described = await find_protocol(server, wanted)
        if described is None and problem is not None:
            raise await _without_usable_route(target, problem)
    except ContractError:
        await _require_described_route(target, declared)
        raise
    return None, described


async def _require_described_route(target: Target, declared: Mapping[str, Any]) -> None:
    """Check that a declared route without a description is in that of OpenAPI, if the service has one.

    Raises:
        ContractError: it is not.
    """
    route = declared.get("route")
    routes = [] if route is None else await _openapi_routes(target, declared.get("method", "POST"))
    if route is not None and routes and not any(describes(path, route) for path in routes):
        raise ContractError(
            f"the route that the contract declares, {shown(route)}, is not in {target.url}/openapi.json, "
            f"which describes {listed_names(routes)}. Correct the route, or do without the description. "
            f"{how_to_declare({**EXAMPLE, 'route': route})}"
        )


async def _without_usable_route(target: Target, problem: ContractError) -> ContractError:
    """Return the problem of a service without a protocol, with the routes that it describes, if it does."""
    routes = await _openapi_routes(target, "POST")
    if not routes:
        return problem
    return UndescribedError(
        f"{target.url}/openapi.json describes {listed_names(routes)}, of which none takes rows. If an "
        "application that does is mounted below a path, pass the URL with that path. Or declare the route: "
        f"{how_to_declare(EXAMPLE)}"
    )


async def _openapi_routes(target: Target, method: str) -> list[str]:
    """Return the paths of the service's description in OpenAPI for a method; none without a description."""
    document = (await _fetch(target, "GET", "/openapi.json")).document
    return routes_for(document, method) if document is not None and is_openapi(document) else []


async def _fetch(target: Target, method: str, route: str) -> Page:
    """Return a page of the service, which is requested once."""
    pages = target.memo.setdefault(PAGES, {})
    key = (target.url, method, route)
    if key not in pages:
        pages[key] = await _fetched(target, method, route)
    page: Page = pages[key]
    return page


async def _fetched(target: Target, method: str, route: str) -> Page:
    body, headers = (b"{}", {"Content-Type": "application/json"}) if method == "POST" else (None, None)
    try:
        response = await target.sender.send(method, route, body, headers)
    except (UnansweredError, OversizedError):
        return Page(0, None)
    try:
        return Page(response.status_code, decode_json(response))
    except ValueError:
        return Page(response.status_code, response.text)


async def _schema(target: Target, declared: Mapping[str, Any]) -> Any:
    """Return the schema of the service; None if it has none that can be read, and the declared part suffices.

    Raises:
        UnansweredError: the service does not respond.
        ContractError: the service has no schema that can be read, and too little is declared.
    """
    try:
        response = await target.get("/schema.json")
    except UnansweredError as problem:
        raise UnansweredError(
            f"nothing responds at {target.url}: {problem}. Is the service running, and is this its URL?"
        ) from problem
    except OversizedError as problem:
        if not needs_description(declared):
            return None
        raise ContractError(
            f"{problem}. It cannot be the schema of a BentoML service. {how_to_declare(EXAMPLE)}"
        ) from problem
    is_hidden = not response.is_success or "html" in response.headers.get("content-type", "")
    if declared and (is_hidden or not needs_description(declared)):
        with suppress(ValueError, httpx.HTTPStatusError):
            return read_object(decode_json(response.raise_for_status()), "the document")
        return None
    if response.status_code in UNAUTHORIZED:
        raise ContractError(f"{target.url}/schema.json returned {response.status_code}: {HOW_TO_AUTHORIZE}")
    try:
        document = read_object(decode_json(response.raise_for_status()), "the document")
    except httpx.HTTPStatusError:
        what = f"returned {response.status_code}"
    except InvalidFieldError as problem:
        raise malformed((str(problem),)) from problem
    except ValueError as problem:
        what = f"is not JSON ({problem})"
    else:  # a route for any path may have responded, which does not matter if the user named the route
        return None if "route" in declared and not SCHEMA_KEYS & document.keys() else document
    raise UndescribedError(
        f"{target.url}/schema.json {what}: the schema is hidden, or this is not a BentoML service, and no "
        f"other protocol was recognised ({', '.join(PROTOCOLS[1:])}), so the format of its requests and "
        f"responses is not known.{_path_in_url(target.url)} {how_to_declare(EXAMPLE)}"
    )


def _path_in_url(url: str) -> str:
    """Return the remedy for a URL that may contain a route; empty for one without a path."""
    path = urlsplit(url).path
    return f" If {path} is a route of the service, leave it out of the URL." if path else ""


async def _with_prefix(target: Target, schema: Any, declared: Mapping[str, Any]) -> Target:
    """Return the target with the path below which BentoML's own routes are, if the service has one."""
    if not target.contract.is_bentoml or "ready" in declared:
        return target
    for prefix in path_prefixes(schema):
        if (await target.get(f"{prefix}{BENTOML_HEALTH}")).status_code not in NO_ROUTE:
            health = target.contract.health if "health" in declared else f"{prefix}{BENTOML_HEALTH}"
            return replace(target, contract=replace(target.contract, prefix=prefix, health=health))
    return target


def _require_known_labels(contract: Contract, golden: GoldenRows | None) -> None:
    """Check that the classes in the contract are classes of the model.

    Raises:
        ContractError: one is not.
    """
    names = [str(label) for label in golden.classes] if golden is not None else []
    if not names:
        return
    if contract.probability_of is not None and contract.probability_of not in {*names, "@predicted"}:
        raise ContractError(
            f"probability_of = {contract.probability_of!r} in the contract is not a class of the model: "
            + ", ".join(names)
        )
    for label in contract.labels:
        if label not in names:
            raise ContractError(
                f"label {label!r} in the contract is not a class of the model: {', '.join(names)}"
            )


async def _discover_form(
    target: Target, described: Described | None, declared: Mapping[str, Any], routes: Sequence[str]
) -> Target:
    """Return the target with the first form whose predictions match the model's, or else can be read."""
    forms = _forms_of(target, described, declared)
    readable: Target | None = None
    failures: list[CheckFailedError | UnansweredError] = []
    for form in forms:
        candidate = await _send_golden_rows(target, form, declared)
        answer = candidate.memo["golden"]
        if isinstance(answer, (CheckFailedError, UnansweredError)):
            failures.append(answer)
            continue
        found = _with_meanings(_read(candidate, described, declared), described, declared)
        if found.contract.parts and (len(forms) == 1 or _agrees(found)):
            return found
        readable = readable or found
    if readable is not None:
        _require_parts(readable)
        return readable
    failure = next(iter(failures), None)
    if isinstance(failure, CheckFailedError) and failure.evidence.get("status") in NO_ROUTE:
        routes = routes or await _openapi_routes(target, target.contract.method)
    found = _without_answer(target, failure, described, declared, routes)
    _require_described_form(target.contract, [form for form in forms if form is not None], failures)
    return found


def _require_described_form(
    contract: Contract, forms: Sequence[Form], failures: Sequence[CheckFailedError | UnansweredError]
) -> None:
    """Check that requests which the service refused had the form that it describes, and not only a usual one.

    Raises:
        ContractError: it may take rows in another form.
    """
    is_refused = any(isinstance(failure, RefusedError) for failure in failures)
    if len(forms) == 1 or contract.is_bentoml or not (is_refused or contract.protocol == "sagemaker"):
        return
    places = dict.fromkeys(form.features or "the entire body" for form in forms)
    raise ContractError(
        f"{contract.route} does not describe the form of its requests, and got no usual one right (rows as "
        f"{listed_names(list(places))}): {failures[0]}. "
        + how_to_declare({"route": contract.route, "features": "path.of.the.rows", "style": "rows"})
    )


def _forms_of(target: Target, described: Described | None, declared: Mapping[str, Any]) -> list[Form]:
    """Return the forms to try: those of the schema, or the contract's.

    A list in the schema can also be a single row that is an array, and a missing number in CSV an empty cell.
    """
    contract = target.contract
    forms = [Form(contract.features, contract.style, contract.max_rows)]
    if described is not None:
        forms = list(described.forms)
        if target.golden.form != "table":
            forms += [form._replace(style="value") for form in forms if form.style == "rows"]
    if "missing" not in declared and any(None in row for row in target.golden.rows):
        with_lines = [form for form in forms if form.style in CSV_STYLES]
        forms += [form._replace(others={**form.others, "missing": ""}) for form in with_lines]
    return forms


def _fitting(contract: Contract, golden: GoldenRows | None) -> Contract:
    """Return the contract for the form that the golden rows have.

    Raises:
        ContractError: requests are tensors, which the rows cannot be.
    """
    if golden is None or golden.form == "table":
        return contract
    if contract.style in {"tensor", "tensors"} and shape_of(golden.inputs) is None:
        raise ContractError(
            "the golden rows are objects, or lists of different lengths, which no tensor can have: an "
            "adapter writes them. " + how_to_declare({"adapter": "module:Class"})
        )
    return contract.of_values(are_objects=golden.form == "json")


async def _send_golden_rows(target: Target, form: Form, declared: Mapping[str, Any]) -> Target:
    """Return the target with the response to the golden rows in its memo.

    The rows are sent in one form, together, or one by one if the service accepts a single row only.
    """
    max_rows = declared.get("max_rows", form.max_rows)
    others = {name: value for name, value in form.others.items() if name not in declared}
    stated = {"features": form.features, "style": form.style, "max_rows": max_rows, **others}
    contract = _fitting(replace(target.contract, **stated), target.rows)
    together = replace(target, contract=contract, memo=_before_rows(target))
    await _remember(together)
    is_refused = isinstance(together.memo["golden"], RefusedError)
    if not is_refused or contract.one_row or "max_rows" in declared:
        return together
    one_by_one = replace(together, contract=replace(contract, max_rows=1), memo=_before_rows(target))
    try:
        await one_by_one.ask_raw(one_by_one.golden.take([0]))
    except (CheckFailedError, UnansweredError):
        return together
    await _remember(one_by_one)
    return one_by_one


def _before_rows(target: Target) -> dict[str, Any]:
    """Return what the memo had before any row was sent."""
    return {READINESS: target.memo[READINESS]} if READINESS in target.memo else {}


async def _remember(target: Target) -> None:
    """Send the golden rows, and put the response, or the error, into the memo of the target."""
    try:
        target.memo["golden"] = await target.ask_raw(target.golden)
    except (NoPredictionError, UnansweredError) as problem:
        target.memo["golden"] = problem


def _read(target: Target, described: Described | None, declared: Mapping[str, Any]) -> Target:
    """Return the target with the places of predictions and other parts in its responses."""
    contract, responses = target.contract, target.memo["golden"]
    promises = described is not None and _promises_numbers(described.output)
    found = find_parts(responses, target.model_rows, contract, declared, promises_numbers=promises)
    contract = contract.with_paths(found.paths)
    if len(target.golden) == 1 and not contract.one_row and "max_rows" not in declared:
        predictions = contract.read(responses[0])["predictions"]
        if found.paths["predictions"] is not None and not isinstance(predictions, list):
            # A single value in place of a list: the service accepts one row only.
            one_row = replace(target, contract=replace(target.contract, max_rows=1))
            return _read(one_row, described, declared)
    return replace(target, contract=contract, undeclared=found.undeclared)


def _with_meanings(target: Target, described: Described | None, declared: Mapping[str, Any]) -> Target:
    """Return the target with the meanings of its responses, if all are certain and the golden rows match."""
    found = target
    for _ in range(MAX_ROUNDS):
        if not found.undeclared or not all(undeclared.is_certain for undeclared in found.undeclared):
            break
        assumed = tuple(undeclared.as_assumption for undeclared in found.undeclared)
        for assumption in assumed:
            declared = {**declared, **assumption.declare}
        if declared.keys() & set(PARTS):  # as in a file, which declares the others to be absent
            found = replace(found, contract=found.contract.with_paths(dict.fromkeys(PARTS)))
        contract = replace(found.contract, **declared)
        found = replace(
            _read(replace(found, contract=contract), described, declared), assumed=found.assumed + assumed
        )
    return found if found.assumed and found.matches else target


def _promises_numbers(output: Mapping[str, Any]) -> bool:
    return "number" in {output.get("type"), output.get("items", {}).get("type")}


def _agrees(target: Target) -> bool:
    """Return True if the predictions match the model's, or cannot be compared before more is declared."""
    if target.undeclared:
        return True
    golden = target.golden
    answer = {**target.parts_of(target.memo["golden"], golden), "classes": None}
    return golden.compare(answer, tolerance=1e-6, parts=target.parts) is None


def _require_parts(target: Target) -> None:
    """Check that the predictions were found in the response.

    Raises:
        ContractError: they were not.
    """
    if target.contract.parts:
        return
    first = target.memo["golden"][0]
    first = first[0] if isinstance(first, list) and first else first
    fields = f" (its fields: {', '.join(map(str, first))})" if isinstance(first, Mapping) and first else ""
    raise ContractError(
        f"cannot find the predictions in the response of {target.contract.route}{fields}. "
        + how_to_declare({"predictions": "path.of.the.predictions"})
    )


def _without_answer(
    target: Target,
    failure: CheckFailedError | UnansweredError | None,
    described: Described | None,
    declared: Mapping[str, Any],
    routes: Sequence[str],
) -> Target:
    """Return the target although no form of request got a prediction, so that the checks report the failure.

    Raises:
        ContractError: the cause is the contract: the route does not exist, redirects or does not return JSON,
            credentials are missing, or the service refuses the declared body.
    """
    if isinstance(failure, CheckFailedError):
        _require_usable_route(target.contract, failure.evidence, declared, routes)
    if isinstance(failure, RefusedError) and described is not None and described.open_headers:
        headers = dict.fromkeys(described.open_headers, "value")
        raise ContractError(
            f"{failure.message}. {target.contract.route} needs a header ({', '.join(headers)}): pass it with "
            f"--header. {how_to_declare({'headers': headers})}"
        )
    if isinstance(failure, RefusedError) and FORM & declared.keys():
        keys = ", ".join(sorted(FORM & declared.keys()))
        raise ContractError(
            f"{failure.message}. The request body follows the contract ({keys}): correct that, "
            f"or run `{target.draft_command}` to draft a contract"
        )
    if (
        isinstance(failure, RefusedError)
        and target.contract.style == "tensor"
        and target.contract.protocol is None
    ):
        raise ContractError(
            f"{failure.message}. The service's schema does not state which name and datatype its tensor has. "
            + how_to_declare({"tensor": "name", "datatypes": {"name": "FP32"}})
        )
    contract = target.contract if target.contract.parts else replace(target.contract, predictions=PARTS[0])
    outcome = {} if failure is None else {"golden": failure}
    return replace(target, contract=contract, memo={**_before_rows(target), **outcome})


def _require_usable_route(
    contract: Contract, evidence: Mapping[str, Any], declared: Mapping[str, Any], routes: Sequence[str]
) -> None:
    """Check that a route that returned no prediction is a route for predictions.

    Args:
        contract: contract of the service.
        evidence: evidence of the failed request.
        declared: declared part of the contract.
        routes: routes that the service describes, if it does.

    Raises:
        ContractError: it is not, or requires credentials.
    """
    route, method = contract.route, contract.method
    status, content_type = evidence.get("status"), evidence.get("content_type") or ""
    if status in UNAUTHORIZED:
        raise ContractError(f"{route} returned {status}: {HOW_TO_AUTHORIZE}")
    if status in NO_ROUTE and "route" in declared:
        known = f"; the service describes {listed_names(routes)}" if routes else ""
        raise ContractError(
            f"{route} returned {status}: the route that the contract declares does not exist for {method}"
            f"{known}. Correct the route, or its method, in the contract"
        )
    if status in NO_ROUTE:
        raise ContractError(
            f"{route} returned {status}: there is no such route for {method}. Declare the route, and its "
            "method, in the contract"
        )
    if status is not None and httpx.codes.is_redirect(status):
        location = f" to {evidence['location']}" if evidence.get("location") else ""
        raise ContractError(
            f"{route} returned {status}, a redirect{location}, which is not followed. "
            "Declare the final route in the contract"
        )
    if content_type and not any(known in content_type for known in ("json", "html", CONTENT_TYPE)):
        raise ContractError(f"{route} responds with {content_type}, but predictions must be JSON or CSV")
