"""Services with a malformed description: its path is reported, and a complete contract does without it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tier0
from tests.support.hostile_server import HostileServer, hostile_server
from tier0.cli import app
from tier0.client import BentoMLClient
from tier0.client.errors import ClientError
from tier0.contract.contract import ContractError
from tier0.golden.rows import GoldenRows
from tier0.runs.deployment import Deployment

GOLDEN = GoldenRows(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], [0, 1], None, [0, 1])
ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
INPUT = {"type": "object", "properties": {"features": ROWS}, "required": ["features"]}
OUTPUT = {"type": "object", "properties": {"predictions": {"type": "array", "items": {"type": "integer"}}}}
SCHEMA = {"routes": [{"route": "/predict", "input": INPUT, "output": OUTPUT}], "paths": {"/predict": {}}}
COMPLETE = {"route": "/predict", "features": "features", "style": "rows", "predictions": "predictions"}


def with_value(place: str, value: Any) -> bytes:
    """Return the description with a value at a dotted path below its only route."""
    document: dict[str, Any] = copy.deepcopy(SCHEMA)
    *names, last = place.split(".")
    part = document["routes"][0]
    for name in names:
        part = part[name]
    part[last] = value
    return json.dumps(document).encode()


MALFORMED = {
    "undecodable": (b'{"routes": "\x80\xff"}', "not JSON"),
    "nested": (b"[" * 200_000, "nested"),
    "deep": (b'{"a":' * 2000 + b"1" + b"}" * 2000, "too deeply"),
    "levels": (b'{"a":' * 200 + b"1" + b"}" * 200, "levels deep"),
    "cut off": (json.dumps(SCHEMA).encode()[:-5], "not JSON"),
    "empty": (b"", "not JSON"),
    "null": (b"null", "the document must be an object, got None"),
    "list": (b"[]", "the document must be an object, got []"),
    "no routes": (b"{}", "routes is missing"),
    "routes": (b'{"routes": {"route": "/predict"}}', "routes must be a list"),
    "route": (b'{"routes": [["/predict"]]}', "routes[0] must be an object"),
    "path": (with_value("route", {}), "routes[0].route must be text"),
    "input": (with_value("input", [INPUT]), "routes[0].input must be an object"),
    "properties": (with_value("input.properties", ["features"]), "routes[0].input.properties must be"),
    "property": (with_value("input.properties.features", 7), "routes[0].input.properties.features must be"),
    "type": (with_value("input.properties.features.type", {}), "routes[0].input.properties.features.type"),
    "required": (with_value("input.required", "features"), "routes[0].input.required must be a list"),
    "name": (with_value("input.required", [["features"]]), "routes[0].input.required[0] must be text"),
    "choices": (with_value("input.properties.features.anyOf", 3), "features.anyOf must be a list"),
    "shape": (
        with_value("input.properties.features", {"type": "tensor", "shape": 4}),
        "features.shape must be a list",
    ),
    "constant": (with_value("input.properties.k", {"const": float("nan")}), "properties.k.const must be"),
    "output": (with_value("output", "numbers"), "routes[0].output must be an object"),
    "stream": (with_value("output.is_stream", "no"), "routes[0].output.is_stream must be"),
    "fields": (with_value("output.properties", [1]), "routes[0].output.properties must be an object"),
}
HARMLESS = {
    "as it is": json.dumps(SCHEMA).encode(),
    "null": with_value("input.properties.features.maxItems", None),
    "earlier drafts": with_value(place="input.properties.features.required", value=True),
    "several types": with_value("input.properties.features.type", ["array", "null"]),
    "examples by name": with_value("input.properties.features.examples", {"one": [[1, 2]]}),
    "additions": with_value("input.properties.features.x-unit", [{"type": 5, "required": 7}]),
    "another route": json.dumps(
        {**SCHEMA, "routes": [*SCHEMA["routes"], {"route": "/x", "input": 5}]}
    ).encode(),
}


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        for path in ("/readyz", "/livez"):
            server.json(path, {})
        server.json("/predict", {"predictions": [0, 1]})
        yield server


def verify(server: HostileServer, *arguments: str) -> tuple[int, str]:
    golden = Path("golden.json")
    GOLDEN.write(golden)
    done = CliRunner().invoke(
        app, ["verify", server.url, "--golden", str(golden), "--groups", "parity.golden_rows", *arguments]
    )
    return done.exit_code, done.output


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_description_is_reported_with_its_path(
    name: str, server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body, says = MALFORMED[name]
    server.body("/schema.json", body)

    status, said = verify(server)
    assert (status, says in said) == (2, True), said
    (contract := tmp_path / "contract.toml").write_text('schema = 1\nhealth = "/livez"\n', encoding="utf-8")
    status, said = verify(server, "--contract", str(contract))
    assert (status, says in said) == (2, True), "what is declared does not make the description unnecessary"
    drafted = CliRunner().invoke(app, ["contract", server.url, "--golden", "golden.json"])
    assert (drafted.exit_code, says in drafted.output) == (2, True), drafted.output
    assert all("internal error" not in text for text in (said, drafted.output))

    lines = [f'{key} = "{value}"' for key, value in COMPLETE.items()]
    contract.write_text("\n".join(["schema = 1", *lines]), encoding="utf-8")
    status, said = verify(server, "--contract", str(contract))
    assert status == 0, said


@pytest.mark.asyncio
@pytest.mark.parametrize("name", MALFORMED)
async def test_a_client_for_a_service_with_a_malformed_description(name: str, server: HostileServer) -> None:
    server.body("/schema.json", MALFORMED[name][0])

    with pytest.raises((ContractError, ClientError)):
        await BentoMLClient.for_service(server.url, max_attempts=1)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_description_with_harmless_habits_is_used(name: str, server: HostileServer) -> None:
    server.body("/schema.json", HARMLESS[name])

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["pass"]


@pytest.mark.parametrize("charset", ["utf-16", "hex", "undefined", "idna", "rot13", "none"])
def test_a_charset_that_cannot_decode_the_body_is_not_used(charset: str, server: HostileServer) -> None:
    server.body("/schema.json", HARMLESS["as it is"], Content_Type=f"application/json; charset={charset}")
    answer = b'{"predictions": [0, 1], "by": "\xc3\xa9"}'
    server.body("/predict", answer, Content_Type=f"application/json; charset={charset}")

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["pass"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"predictions": ["\x80\xff"]}', "codec can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"predictions":' + b"[" * 200 + b"]" * 200 + b"}", "levels deep"),
        (b'{"predictions": [0, 1]', "Expecting"),
        (b"", "Expecting"),
    ],
)
def test_a_response_that_cannot_be_read_is_a_failure_of_the_service(
    body: bytes, says: str, server: HostileServer
) -> None:
    server.body("/schema.json", HARMLESS["as it is"])
    server.body("/predict", body)

    verdict = tier0.check_serving(
        Deployment.from_url(server.url, golden=GOLDEN), groups=["parity.golden_rows"], on_fail="return"
    )

    assert [check.status for check in verdict.checks] == ["fail"]
    assert says in verdict.checks[0].message
