"""Strategies for files and for responses. All inputs are JSON types, so that they can be kept in a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**400, -(10**30), 1e308, -0.0, 0, 1, "", "a", "b", "x", "\ud800", "\x1b[31m", "é" * 300]
    )
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
"""JSON of any form, with what Python's reader accepts beyond the standard."""

TOML_VALUES = [
    "1", "-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "9" * 400, "true", '""', '"a"', '"é\\u0000"', "'''x\ny'''",
    "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "[]", "[1, 'a']", "[[], [{}]]", "{}", "{a = 1}", '{"" = {}}',
    "[" * 3000, "{a=" * 3000, "[" * 60 + "]" * 60, "", "nothing", '"/a"', '"@127.0.0.2"', '{"/a" = [1]}',
]  # fmt: skip

VALID: dict[str, Any] = {
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
}  # fmt: skip
"""A file of each kind, from which others are made."""

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
PREDICTION = {
    "predictions": [0, 1, 0, 1],
    "probabilities": [[1, 0], [0, 1]] * 2,
    "classes": [0, 1],
    "model_tag": "m:v",
}
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


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """*document* with up to three values replaced, removed or repeated."""
    document = copy.deepcopy(document)
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
                inner[last] = draw(Json | st.sampled_from(ROUTES))
            case "remove":
                del inner[last]
            case "repeat":
                inner[last] = [inner[last]] * draw(st.sampled_from([0, 2, 1000]))
            case "deepen":
                inner[last] = {"a": [inner[last]]}
    return document


@st.composite
def damaged(draw: st.DrawFn, content: str) -> str:
    """*content* as it is, or cut off, with a part repeated, or with other characters in it."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, len(content)))
    match draw(st.sampled_from(["as it is", "as it is", "cut off", "repeat", "insert"])):
        case "cut off":
            return content[:start]
        case "repeat":
            return content[:end] + content[start:]
        case "insert":
            return (
                content[:start] + draw(st.text(st.characters(max_codepoint=255), max_size=5)) + content[end:]
            )
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


@st.composite
def files(draw: st.DrawFn) -> dict[str, str]:
    """The kind and the content of a file; the content has one character per byte."""
    kind = draw(st.sampled_from(sorted(VALID)))
    valid = VALID[kind]
    content = (
        toml(valid).map(lambda text: text.encode().decode("latin-1"))
        if isinstance(valid, str)
        else changed(valid).map(encoded)
    )
    return {"kind": kind, "content": draw(content.flatmap(damaged) if draw(st.integers(0, 9)) else NO_FILE)}


STATUSES = [f"HTTP/1.1 {status} X" for status in (200, 201, 204, 206, 301, 302, 304, 307, 400, 401, 404, 405, 413, 415,
                                                  422, 429, 500, 502, 503, 504, 599, 999)]  # fmt: skip
STATUS_LINES = [
    "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 101 Switching", "HTTP/2 200",
    "HTTP/1.1  200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 -1 OK", "HTTP/1.1 abc OK", "HTTP/1.1", "", "\x00" * 9,
    "HTTP/1.1 200 " + "x" * 200_000, "HTTP/1.1 200 \xff\x1b[31m", "SSH-2.0-x", "\x16\x03\x01", "ICY 200 OK", "http/1.1 200 ok",
]  # fmt: skip
HEADERS = [
    f"Location: http://{OTHER}/p", f"Location: //{OTHER}", "Location: \xff", "Retry-After: 1e999", "Retry-After: nan",
    "Retry-After: -1", "Retry-After: x", "Set-Cookie: a=b; Domain=127.0.0.2", "Connection: close", "Connection: upgrade",
    "Content-Type: text/plain", "Content-Type: application/json; charset=utf-99", "Content-Type: \xff", "Content-Type:",
    "Content-Type: application/json; charset=utf-16", "Content-Type: application/json; charset=rot13", "X-Request-ID: \x01",
    "Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: deflate, gzip", "Content-Encoding: x", "Date: x",
    "Content-Encoding: zstd", "Content-Length: 1", "Content-Length: -1", "Content-Length: 99999999999999999999",
    "Content-Length: 1, 2", "Content-Length: +5", "Content-Length: x", "Transfer-Encoding: chunked", "Transfer-Encoding: x",
    "Transfer-Encoding: gzip, chunked", "no colon", " folded", "\x00: \x00", ": empty", "A: " + "b" * 70_000, f"Refresh: 0; url=http://{OTHER}",
    f'Alt-Svc: h2="{OTHER}"', "Server: \x1b]0;x\x07", "Link: <x>; rel=preload",
]  # fmt: skip
FRAMINGS = [
    "length",
    "length",
    "length",
    "none",
    "short",
    "long",
    "chunked",
    "bad chunk",
    "unfinished chunk",
    "endless chunk",
]


def _description_of(route: Any) -> str:
    described = copy.deepcopy(DESCRIPTION)
    described["routes"][0]["route"] = route
    return encoded(described)


@st.composite
def replies(draw: st.DrawFn, document: Any) -> dict[str, Any]:
    """How one route responds, see `tests.fuzz.wire.Reply`."""
    anything = draw(st.integers(0, 9)) == 0
    body = Json.map(encoded) | NO_FILE if anything else changed(document).map(encoded)
    if document is DESCRIPTION and draw(st.integers(0, 3)) == 0:
        body = st.sampled_from(ROUTES).map(_description_of)
    return {
        "status": draw(
            st.just("HTTP/1.1 200 OK") | st.sampled_from(STATUSES) | st.sampled_from(STATUS_LINES)
            if draw(st.integers(0, 3)) == 0
            else st.just("HTTP/1.1 200 OK")
        ),
        "headers": draw(st.lists(st.sampled_from(HEADERS), max_size=3)) if draw(st.booleans()) else [],
        "body": draw(body if draw(st.integers(0, 5)) else body.flatmap(damaged)),
        "coding": draw(st.sampled_from(["", "", "", "", "gzip", "deflate", "broken gzip", "bomb"])),
        "framing": draw(st.sampled_from(FRAMINGS)),
        "pieces": draw(st.sampled_from([1, 1, 1, 2, 20])),
        "end": draw(st.sampled_from(["keep", "keep", "keep", "close", "reset", "hold"])),
    }


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """How a service responds: its description, its predictions, and everything else."""
    return {
        "schema": draw(replies(DESCRIPTION)),
        "predict": draw(replies(PREDICTION)),
        "other": draw(replies({"status": "healthy", "model": {"tag": "m:v"}})),
    }


REQUESTS = (
    changed({"features": [[1.0, 2, "a", "x"], [None, 3, "b", "y"]], "columns": ["f", "i", "t", "c"]}).map(encoded)
    | changed([{"f": 1.0, "i": 2, "t": "a", "c": "x"}]).map(encoded)
    | changed({"features": [{"f": 1.0, "i": 2, "t": "a", "c": "x"}] * 2}).map(encoded)
).flatmap(damaged) | NO_FILE  # fmt: skip
"""Bodies of requests to the service that Tier0 serves."""
