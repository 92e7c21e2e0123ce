"""Strategies of files, responses, requests and clients. All inputs are JSON types, and can be kept in a file."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tier0.golden.simulations import Simulation, compressed

KEYS = st.text(max_size=6) | st.sampled_from(
    ["0", "9" * 5000, "*", "a.b", "predictions", "lower", "upper", "\ud800"]
)
Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**400, -(10**30), 1e308, -0.0, 0, 1, "", "a", "b", "x", "\ud800", "\x1b[31m", "é" * 300]
    )
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
"""JSON of any form, with what Python's reader accepts beyond the standard."""

TOML_VALUES = [
    "1", "-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "9" * 400, "true", '""', '"a"', '"é\\u0000"', "'''x\ny'''",
    "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "[]", "[1, 'a']", "[[], [{}]]", "{}", "{a = 1}", '{"" = {}}',
    "[" * 3000, "{a=" * 3000, "[" * 60 + "]" * 60, "", "nothing", '"/a"', '"@127.0.0.2"', '{"/a" = [1]}',
]  # fmt: skip

DESCRIPTION: dict[str, Any] = {
    "routes": [
        {
            "name": "predict",
            "route": "/predict",
            "input": {
                "type": "object",
                "properties": {
                    "features": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
                },
                "required": ["features"],
            },
            "output": {"type": "object", "properties": {"predictions": {"type": "array", "items": {}}}},
        }
    ]
}
VALID: dict[str, Any] = {
    "description": DESCRIPTION,
    "golden": {
        "schema": 3,
        "columns": ["x", "y"],
        "rows": [[1.0, "a"], [2.0, None]],
        "outputs": {
            "predictions": {"values": ["a", "b"], "dtype": None, "spread": None},
            "probabilities": {"values": [[0.9, 0.1], [0.2, 0.8]], "dtype": "float64", "spread": {"absolute": 1e-9, "relative": 1e-9}},
        },
        "classes": ["a", "b"],
        "tag": "m:v1",
        "origins": [{"kind": "example"}] * 2,
        "categories": {"y": ["a", "b"]},
        "distinguishes": {"x": [0, 1]},
        "simulations": {
            "of": 1,
            "distinguished": 1,
            "outputs": compressed([Simulation("swapped_columns", "x", "x", ["b", "b"], is_distinguished=True)]),
        },
    },
    "report": {
        "schema": 2,
        "verdict": "pass",
        "exit_status": 0,
        "run": {"versions": {"numpy": "2"}, "commit": "abc"},
        "checks": [{"id": "health.live", "group": "health", "status": "pass", "message": "", "seconds": 0.1}],
        "target": {"url": "http://127.0.0.1:3000", "model": "m:v1"},
        "model": {"metrics": {"auc_roc": {"value": 0.9, "spread": 0.01}}, "algorithm": "xgboost"},
        "latency": {"p50_ms": 1.0, "p95_ms": 2.0},
    },
    "record": {
        "schema": 3,
        "run": "r",
        "verdict": "pass",
        "problem": "",
        "options": {"seed": "1"},
        "study": {},
        "steps": ["scope", "data"],
        "serve": False,
        "done": {
            "scope": {"facts": {}, "lines": [], "problems": [], "status": 0, "seconds": 0.1, "started": 1.0},
            "training": {
                "facts": {"metrics": {"auc_roc": 0.9}},
                "lines": ["a"], "problems": [], "status": 0, "seconds": 1, "started": 2.0,
            },
        },
    },
    "entry": {
        "signature": {
            "schema": 2,
            "features": [{"name": "x", "kind": "number", "dtype": "float64"}],
            "container": "ndarray",
            "task": "regression",
        },
        "framework": "sklearn",
        "versions": {"numpy": "2"},
        "sha256": "0",
        "metadata": {},
    },
    "contract": 'schema = 1\nroute = "/predict"\nfeatures = "rows"\nstyle = "rows"\nmax_rows = 3\n'
    'predictions = "p"\nscale = 0.5\ndecimals = 2\nlabels = {a = "A", b = "B"}\nnames = {x = "X"}\n'
    'fields = {"k" = 1}\nhealth = "/h"\nprobability_of = "a"\n',
    "waivers": 'schema = 1\n[[waive]]\ncheck = "contract.refuses_infinity"\nreason = "r"\nuntil = 2099-03-31\n'
    '[[tolerate]]\ncheck = "parity.golden_rows"\nrelative = 1e-9\nreason = "r"\nuntil = 2099-03-31\n',
    "declaration": 'schema = 1\ntimeout = 1.0\nattempts = 3\nthreshold = 5\nreset = 1\n'
    'budget = 0.2\ntimeout_is = "total"\n[options]\na = 1\n[setup]\n"/schema.json" = {}\n',
    "study": 'schema = 1\n[scope]\nmetric = "auc_roc"\nsuccess = 0.6\ntarget = "y"\n'
    '[data]\nmissing_texts = ["-"]\n[data.columns.x]\nleast = 0\nmost = 9\n[data.columns.z]\nallowed = ["a"]\n[[cohort]]\ncolumn = "v"\nat_least = 1\n',
    "build": '[tool.bentoml.build]\nservice = "service:A"\n',
    "latest": "v1",
    "csv": 'x,y,when\n1.5,"a, b",2020-01-31\n,NA,\n-1e3,c,2020-02-30T10:00:00Z\n',
}  # fmt: skip
"""A file of each kind, from which others are made."""

PREDICTION = {
    "predictions": [0, 1, 0, 1],
    "probabilities": [[1, 0], [0, 1]] * 2,
    "classes": [0, 1],
    "model_tag": "m:v",
}
SECRET = "a-secret-that-must-not-be-printed"
OTHER = "{other}"
"""Placeholder of the address of another host, which must not get a request."""
ROUTES: list[Any] = [
    f"@{OTHER}/predict", f"x@{OTHER}/", f"http://{OTHER}/p", f"//{OTHER}/p", f"\\\\{OTHER}/p", f"/\t@{OTHER}/", "",
    "predict", "/predict\r\nX-A: b", "/predict HTTP/1.1\r\n\r\n", "/é\u2028", "/\ud800", "/" + "a" * 70_000, "/..//../p",
    "/p?x=1#y", "/p%00", ":80/", ".example/p", "0/p", " /p", "/{a}", None, 1, ["/p"], {},
]  # fmt: skip


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*place, key)
        yield from _places(item, (*place, key))


LONGEST = 2_000_000
"""Characters of a document; longer ones are made by `FILLINGS`, of any size."""


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """*document* with up to three values replaced, removed or repeated; as it is if that is too long."""
    original, document = document, copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(document))
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        inner = document
        for key in way:
            inner = inner[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "repeat", "deepen"])):
            case "replace":
                # A copy, since a later change in the value would change ROUTES, too.
                inner[last] = copy.deepcopy(draw(Json | st.sampled_from(ROUTES)))
            case "remove":
                del inner[last]
            case "repeat":
                inner[last] = [inner[last]] * draw(st.sampled_from([0, 2, 1000]))
            case "deepen":
                inner[last] = {"a": [inner[last]]}
        if len(encoded(document)) > LONGEST:
            return original
    return document


@st.composite
def damaged(draw: st.DrawFn, content: str) -> str:
    """*content* as it is, or cut off, with a part repeated, or with other characters in it."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, len(content)))
    other = st.text(st.characters(max_codepoint=255), max_size=5)
    match draw(st.sampled_from(["as it is", "as it is", "cut off", "repeat", "insert", "overwrite"])):
        case "cut off":
            return content[:start]
        case "repeat":
            return content[:end] + content[start:]
        case "insert":
            return content[:start] + draw(other) + content[end:]
        case "overwrite":
            text = draw(other)
            return content[:start] + text + content[start + len(text) :]
    return content


def encoded(value: Any) -> str:
    """JSON in UTF-8, one character per byte; half a surrogate pair becomes an escape."""
    return json.dumps(value).encode().decode("latin-1")


@st.composite
def toml(draw: st.DrawFn, valid: str) -> str:
    """A TOML file with up to three values replaced."""
    lines = valid.splitlines()
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        key, separator, _ = lines[index].partition(" = ")
        if separator:
            lines[index] = f"{key} = {draw(st.sampled_from(TOML_VALUES))}"
        elif draw(st.booleans()):
            lines[index] = lines[index].replace("[", "", 1).replace("]", "", 1) + " = 1"
    return "\n".join(lines)


NO_FILE = st.binary(max_size=40).map(lambda content: content.decode("latin-1")) | st.sampled_from(
    [
        "",
        "[" * 100_000,
        '{"a":' * 100_000,
        "\xef\xbb\xbf{}",
        "\xff\xfe{\x00}\x00",
        "null",
        "1" * 5000,
        '"\\ud800"',
        "{" * 9,
    ]
)


def _parquet() -> str:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1.0, None], "y": ["a", "b"]}), file)
    return file.getvalue().decode("latin-1")


VALID["parquet"] = _parquet()
UNSTRUCTURED = {"csv", "parquet", "latest"}


def content_of(kind: str) -> str:
    """The valid file of a kind, one character per byte."""
    valid = VALID[kind]
    if isinstance(valid, dict):
        return encoded(valid)
    return str(valid) if kind == "parquet" else str(valid).encode().decode("latin-1")


@st.composite
def files(draw: st.DrawFn) -> dict[str, str]:
    """The kind and the content of a file; the content has one character per byte."""
    kind = draw(st.sampled_from(sorted(VALID)))
    valid = VALID[kind]
    content = changed(valid).map(encoded) if isinstance(valid, dict) else toml(content_of(kind))
    if kind in UNSTRUCTURED:
        content = st.just(content_of(kind))
    return {"kind": kind, "content": draw(content.flatmap(damaged) if draw(st.integers(0, 9)) else NO_FILE)}


STATUSES = [f"HTTP/1.1 {status} X" for status in (200, 201, 204, 206, 301, 302, 304, 307, 400, 401, 404, 405, 413, 415,
                                                  422, 429, 500, 502, 503, 504, 599, 999)]  # fmt: skip
STATUS_LINES = [
    "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 101 Switching", "HTTP/2 200",
    "HTTP/1.1  200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 -1 OK", "HTTP/1.1 abc OK", "HTTP/1.1", "", "\x00" * 9,
    "HTTP/1.1 200 " + "x" * 200_000, "HTTP/1.1 200 \xff\x1b[31m", "SSH-2.0-x", "\x16\x03\x01", "ICY 200 OK", "http/1.1 200 ok",
    "HTTP/1.1 103 Early\r\n\r\n" * 2000 + "HTTP/1.1 200 OK",
]  # fmt: skip
HEADERS = [
    f"Location: http://{OTHER}/p", f"Location: //{OTHER}", "Location: \xff", "Retry-After: 1e999", "Retry-After: nan",
    "Retry-After: -1", "Retry-After: x", "Retry-After: 1", "Retry-After: Mon, 01 Jan 0001 00:00:00 -2359",
    "Retry-After: Fri, 31 Dec 9999 23:59:59 -1200", "Retry-After: 99999999999 Jan 1 1", "Retry-After: inf", "Set-Cookie: a=b; Domain=127.0.0.2", "Connection: close", "Connection: upgrade",
    "Content-Type: text/plain", "Content-Type: text/plain; version=0.0.4", "Content-Type: application/json; charset=utf-99", "Content-Type: \xff", "Content-Type:",
    "Content-Type: application/json; charset=utf-16", "Content-Type: application/json; charset=rot13",
    "Content-Type: text/plain; charset=zlib", "Content-Type: text/plain; charset=undefined", "Content-Type: text/plain; charset=idna",
    "Content-Type: text/plain; charset*=x''y", 'Content-Type: text/plain; charset="a\x00"', "Content-Type: text/plain; charset=utf-7", "X-Request-ID: \x01",
    "Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: deflate, gzip", "Content-Encoding: x", "Date: x",
    "Content-Encoding: zstd", "Content-Length: 1", "Content-Length: -1", "Content-Length: 99999999999999999999",
    "Content-Length: 1, 2", "Content-Length: +5", "Content-Length: x", "Transfer-Encoding: chunked", "Transfer-Encoding: x",
    "Transfer-Encoding: gzip, chunked", "no colon", " folded", "\x00: \x00", ": empty", "A: " + "b" * 70_000, f"Refresh: 0; url=http://{OTHER}",
    f'Alt-Svc: h2="{OTHER}"', "Server: \x1b]0;x\x07", "Link: <x>; rel=preload",
]  # fmt: skip
FRAMINGS = ["length", "none", "short", "long", "chunked", "bad chunk", "unfinished chunk", "endless chunk"]
FILLINGS = [
    ["[{fill}0]", "0,"], ["[{fill}0]", "[],"], ['["{fill}"]', "a"], ["{fill}", "["], ["{fill}", "9"], ["{fill}", " "],
    ['{"predictions": [{fill}0]}', "0,"], ['{"error": {"message": "{fill}"}}', "\\u001b"], ['{"error": [{fill}0]}', "[],"],
    ["{fill}", 'a_total{b="c"} 1\n'], ['{"routes": [{fill}0]}', "{},"],
    ["a{{fill}} 1", "a"], ['a{b="{fill}} 1', "a"], ["a {fill}x", " "], ["a 1{fill}x", "\t"], ["<{fill}", "//"],
    ['{"predictions": ["{fill}", 0, 0, 0]}', "a"], ['{"predictions": [[{fill}0], 0, 0, 0]}', '"a",'],
    ['{"predictions": [0, 1, 0, 1], "model_tag": "{fill}"}', "a"], ['{"status": "{fill}"}', "a"], ['{"message": "{fill}"}', "a"],
    ["{fill}", SECRET[:20]], ["{fill}", SECRET[-20:]],
]  # fmt: skip
"""Bodies of megabytes: a text, and the part of it that is repeated in place of ``{fill}``."""


def _description_of(route: Any) -> str:
    described = copy.deepcopy(DESCRIPTION)
    described["routes"][0]["route"] = route
    return encoded(described)


@st.composite
def replies(draw: st.DrawFn, document: Any) -> dict[str, Any]:
    """How one route responds, see `tests.fuzz.wire`."""
    ok = st.just("HTTP/1.1 200 OK")
    body = changed(document).map(encoded)
    if document is DESCRIPTION and draw(st.integers(0, 3)) == 0:
        body = st.sampled_from(ROUTES).map(_description_of)
    reply = {
        "status": draw(
            draw(st.sampled_from([ok, ok, ok, st.sampled_from(STATUSES), st.sampled_from(STATUS_LINES)]))
        ),
        "headers": draw(st.lists(st.sampled_from(HEADERS), max_size=3)) if draw(st.booleans()) else [],
        "body": draw(
            draw(st.sampled_from([*[body] * 4, body.flatmap(damaged), Json.map(encoded) | NO_FILE]))
        ),
        "coding": draw(st.sampled_from(["", "", "", "", "gzip", "deflate", "broken gzip", "bomb"])),
        "framing": draw(st.sampled_from(["length"] * 4 + FRAMINGS)),
        "pieces": draw(st.sampled_from([1, 1, 1, 2, 20])),
        "end": draw(st.sampled_from(["keep"] * 7 + ["close", "reset", "hold", "drip"])),
    }
    if draw(st.integers(0, 39)) == 0:
        reply["body"], unit = draw(st.sampled_from(FILLINGS))
        reply |= {"fill": [unit, draw(st.sampled_from([10**5, 10**6, 10**7, 3 * 10**7]))], "coding": ""}
    return reply


def services() -> st.SearchStrategy[dict[str, Any]]:
    """How a service responds: its description, its predictions, and everything else."""
    documents = {"schema": DESCRIPTION, "predict": PREDICTION, "other": {"status": "healthy"}}
    return st.fixed_dictionaries(
        {name: st.just(HEALTHY[name]) | replies(document) for name, document in documents.items()}
    )


PLAIN: dict[str, Any] = {
    "status": "HTTP/1.1 200 OK", "headers": [], "coding": "", "framing": "length", "pieces": 1, "end": "keep",
}  # fmt: skip
HEALTHY = {
    "schema": {**PLAIN, "body": encoded(DESCRIPTION)},
    "predict": {**PLAIN, "body": encoded(PREDICTION)},
    "other": {**PLAIN, "body": '{"status": "healthy"}'},
}
"""A healthy service, in the form of `services`."""
CONTRACTS = [
    "",
    "schema = 1\n",
    'schema = 1\nroute = "/predict"\nfeatures = "features"\npredictions = "predictions"\n',
]


def verifications() -> st.SearchStrategy[dict[str, Any]]:
    """A command that asks a service, and how the service responds."""
    return st.fixed_dictionaries(
        {
            "command": st.sampled_from(["verify"] * 4 + ["contract"]),
            "groups": st.sampled_from(
                [
                    "",
                    "parity",
                    "parity.golden_rows",
                    "contract",
                    "health,identity",
                    "observability",
                    "concurrency",
                ]
            ),
            "disturb": st.sampled_from(["none", "malformed", "load"]),
            "contract": st.sampled_from(CONTRACTS),
            "replies": services(),
        }
    )


ROW = {"f": 1.0, "i": 2, "t": "a", "c": "x"}
ROWS = {"features": [[1.0, 2, "a", "x"], [None, 3, "b", "y"]], "columns": ["f", "i", "t", "c"]}
BODIES = st.one_of(
    changed(ROWS).map(encoded).flatmap(damaged),
    changed([ROW]).map(encoded).flatmap(damaged),
    changed({"features": [ROW] * 2}).map(encoded).flatmap(damaged),
    NO_FILE,
)
"""Bodies of requests to the service that Tier0 serves."""
REQUEST_LINES = [
    "POST /predict HTTP/1.0", "post /predict HTTP/1.1", "GET /predict HTTP/1.1", "PUT /predict HTTP/1.1", "POST //predict HTTP/1.1",
    "POST /m/predict HTTP/1.1", "POST /%00/predict HTTP/1.1", "POST /\xff/predict HTTP/1.1", "POST /../predict HTTP/1.1",
    "POST http://{other}/predict HTTP/1.1", "POST * HTTP/1.1", "GET /health HTTP/1.1", "HEAD /health HTTP/1.1", "GET /metrics HTTP/1.1",
    "GET /model_info HTTP/1.1", "GET /schema.json HTTP/1.1", "GET /docs.json HTTP/1.1", "OPTIONS /predict HTTP/1.1", "CONNECT a:1 HTTP/1.1",
    "TRACE / HTTP/1.1", "POST /predict", "POST /predict HTTP/9.9", "PRI * HTTP/2.0", "\x16\x03\x01", "", "\x00", "POST /" + "a" * 70_000 + " HTTP/1.1",
    "POST /predict?a=%zz#b HTTP/1.1", "POST /a/b/c/predict HTTP/1.1", "POST /predict/ HTTP/1.1",
]  # fmt: skip
REQUEST_HEADERS = [
    *HEADERS, "Host: \x00", "Expect: 100-continue", "Expect: x", "Upgrade: websocket", "Upgrade: h2c", "traceparent: 00-x",
    "traceparent: 00-" + "0" * 32 + "-" + "0" * 16 + "-00", "Origin: null", "Accept: x", "Accept-Encoding: x", "X-Request-ID: " + "é" * 9,
    "Authorization: x", "Content-Type: application/json;", "Content-Type: multipart/form-data", "Sec-WebSocket-Key: x",
]  # fmt: skip


USUAL = ["Host: a", "Content-Type: application/json"]


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """A request in bytes, see `tests.fuzz.wire`."""
    return st.fixed_dictionaries(
        {
            "status": st.just("POST /predict HTTP/1.1") | st.sampled_from(REQUEST_LINES),
            "headers": st.lists(st.sampled_from(REQUEST_HEADERS), max_size=2).map(
                lambda more: [*USUAL, *more]
            ),
            "body": BODIES,
            "coding": st.sampled_from(["", "", "", "", "gzip", "bomb"]),
            "framing": st.sampled_from(["length"] * 4 + FRAMINGS),
            "pieces": st.sampled_from([1, 1, 2, 20]),
            "end": st.sampled_from(["keep", "keep", "keep", "reset"]),
        }
    )


DECLARED = [
    "attempts = 2", "threshold = 3", "reset = 0.2", "timeout = 0.3", 'timeout_is = "total"', 'timeout_is = "attempt"', "budget = 0.2",
    "retry_after = true", "retries_429 = true", "idempotent = false", "connections = 2", "slow_after = 0.1", "bare_answers = true",
    "health_timeout = 0.2", "probes = 1", "traceparent = true", "answer = 1", "answer = []", "data = {}", "data = 1",
    "attempts = 9999999", "timeout = 1e-9", "reset = 1e300", "budget = 0", "connections = 99999999", "threshold = 99999",
    "options = {a = 1}", 'setup = {"/" = 1}',
]  # fmt: skip
ACTS = st.fixed_dictionaries(
    {
        "does": st.sampled_from(["ask", "ask", "return", "raise", "hang", "burst", "odd"]),
        "value": Json,
        "error": st.sampled_from(
            ["ValueError", "KeyError", "SystemExit", "CancelledError", "MemoryError", "RecursionError", "TimeoutError", "Odd"]
        ),
    }
)  # fmt: skip


def clients(checks: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A client that behaves in its own way, what it declares, and the checks to run."""
    return st.fixed_dictionaries(
        {
            "asynchronous": st.booleans(),
            "created": ACTS,
            "predict": st.lists(ACTS, min_size=1, max_size=4),
            "others": st.dictionaries(st.sampled_from(["predict_batch", "health", "close"]), ACTS),
            "declared": st.lists(
                st.sampled_from(DECLARED), max_size=6, unique_by=lambda line: line.split()[0]
            ),
            "only": st.lists(st.sampled_from(checks), min_size=1, max_size=2),
        }
    )
