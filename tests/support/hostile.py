"""Hostile requests, drawn with a seed: the bytes that a client sends, from the first line to the body."""

# ruff: noqa: ARG005  # all makers of bodies have the same arguments

from __future__ import annotations

import gzip
import json
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any
from urllib.parse import urlsplit

MODELS = ("", "/churn", "/nobody", "/%2e%2e", "/a/b")
ROUTES = ("/predict", "/health", "/model_info", "/livez", "/readyz", "/schema.json", "/docs.json", "/")
CLIENTS = 8
HANGS_UP = 0.05
"""The share of clients that close the connection without reading the response."""
ANSWER_WITHIN = 0.5
"""Seconds until a client that has announced more than it sends hangs up."""


def hostile_request(draw: Random, good: dict[str, Any]) -> bytes:
    """Return a request that differs from a good one in some way; a few are still valid.

    Args:
        draw: source of the choices.
        good: body of a valid request.
    """
    return draw.choice((_with_bad_body, _with_bad_body, _with_bad_body, _with_bad_head, _with_bad_target))(
        draw, good
    )


def status_of(address: tuple[str, int], request: bytes, *, hangs_up: bool = False) -> int | None:
    """Send a request on a connection of its own, and read the beginning of the response.

    Args:
        address: the server's.
        request: what is sent.
        hangs_up: whether the client closes the connection at once.

    Returns:
        The status of the response; None if the connection ended without one, on either side.
    """
    received = b""
    with socket.create_connection(address, timeout=ANSWER_WITHIN) as connection, suppress(OSError):
        connection.sendall(request)
        while not hangs_up and b"\r\n" not in received and (piece := connection.recv(65536)):
            received += piece
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/") else None


def attack(
    url: str, good: dict[str, Any], *, seed: int, number: int
) -> tuple[Counter[int | None], list[bytes]]:
    """Send a *number* of hostile requests, on some connections at once.

    Returns:
        How often each status came, and the requests to which the server responded that it had failed.
    """
    draw, parts = Random(seed), urlsplit(url)
    address = parts.hostname or "", parts.port or 80
    drawn = [(hostile_request(draw, good), draw.random() < HANGS_UP) for _ in range(number)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = [*pool.map(lambda one: status_of(address, one[0], hangs_up=one[1]), drawn)]
    answered = zip(drawn, statuses, strict=True)
    failed = [request for (request, _), status in answered if status is not None and status >= 500]
    return Counter(statuses), failed


def post(
    body: bytes, *headers: tuple[str, str], target: str = "/predict", length: str | None = None
) -> bytes:
    """Return a request with a body, as JSON unless the headers have another content type."""
    names = {name.lower() for name, _ in headers}
    lines = [f"POST {target} HTTP/1.1", "Host: hostile"]
    if "content-type" not in names:
        lines.append("Content-Type: application/json")
    if not names & {"transfer-encoding", "content-length"}:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _value(draw: Random, depth: int = 0) -> Any:
    """Return a JSON value that is hardly ever a valid one."""
    simple = [
        None, True, draw.randint(-9, 9), 10 ** draw.choice((9, 18, 19, 20, 40, 308, 309, 400, 4000)),
        -(10 ** draw.choice((19, 38, 39, 309))), draw.choice((1e308, -1e308, 1e39, 5e-324, float("nan"))),
        float("inf"), "", "3", "\x00", "\ud800", "ÿ\u202e", "x" * draw.choice((1, 1000, 50_000)),
    ]  # fmt: skip
    if depth > 3 or draw.random() < 0.6:
        return draw.choice(simple)
    inner = [_value(draw, depth + 1) for _ in range(draw.randint(0, 4))]
    if draw.random() < 0.5:
        return inner
    keys = ("features", "columns", "plan", "tenure_months", "", "\ud800", "__class__", "\x00")
    return {draw.choice(keys): each for each in inner}


def _with_bad_body(draw: Random, good: dict[str, Any]) -> bytes:
    body = draw.choice(_BODIES)(draw, good)
    for _ in range(draw.choice((0, 0, 0, 1, 3))):  # bytes that no encoding has
        at = draw.randint(0, len(body))
        body = body[:at] + draw.randbytes(draw.randint(1, 3)) + body[at + draw.randint(0, 2) :]
    types = ("application/json", "application/json; charset=utf-16", "text/plain", "", "application/x-ndjson")
    headers = [("Content-Type", draw.choice((*types[:1] * 8, *types)))]
    if draw.random() < 0.1:
        headers.append(("Content-Encoding", draw.choice(("gzip", "br", "identity", "\xff", "gzip, gzip"))))
    lengths = (None, None, None, None, str(len(body) + 5), str(max(len(body) - 5, 0)), "9" * 30, "0" * 30)
    return post(body, *headers, target=draw.choice(MODELS[:2]) + "/predict", length=draw.choice(lengths))


def _rows(value: Callable[[Random], Any]) -> Callable[[Random, dict[str, Any]], bytes]:
    """Return a maker of bodies whose rows are the good ones with one value replaced."""

    def make(draw: Random, good: dict[str, Any]) -> bytes:
        rows = [list(row) for row in good["features"]]
        row = draw.choice(rows)
        row[draw.randrange(len(row))] = value(draw)
        return _json({**good, "features": rows})

    return make


def _doubled(draw: Random, good: dict[str, Any]) -> bytes:
    rows = _json(good["features"]).decode()
    return draw.choice((
        f'{{"features": {rows}, "features": {rows}}}',
        f'{{"features": 1, "features": {rows}}}',
        '{"features": [{"plan": "basic", "plan": "family"}]}',
    )).encode()  # fmt: skip


_BODIES: tuple[Callable[[Random, dict[str, Any]], bytes], ...] = (
    _rows(_value),
    _rows(_value),
    _rows(lambda draw: draw.choice((1e308, -1e308, 3.5e38, 10**300, 1e39, 5e-324))),
    _doubled,
    lambda draw, good: _json(_value(draw)),
    lambda draw, good: _json({"features": _value(draw), "columns": _value(draw)}),
    lambda draw, good: _json({**good, "columns": _value(draw)}),
    lambda draw, good: _json([{"plan": _value(draw), "tenure_months": _value(draw)}]),
    lambda draw, good: _json(good).decode().encode(draw.choice(("utf-16", "utf-32", "utf-7", "utf-8-sig"))),
    lambda draw, good: gzip.compress(_json(good)),
    lambda draw, good: _json(good)[: draw.randint(0, 200)],
    lambda draw, good: _json(good) + draw.choice((b"\x00", b"}", b"\xff", _json(good))),
    lambda draw, good: b'{"features": ' + draw.choice((b"[", b'{"a":')) * draw.choice((900, 1100, 100_000)),
    lambda draw, good: b"[" * (depth := draw.choice((500, 990, 1030, 50_000))) + b"]" * depth,
    lambda draw, good: b'{"features": [[' + b"9" * draw.choice((20, 400, 5000, 200_000)) + b"]]}",
    lambda draw, good: b'{"features": [[%s]]}' % draw.choice((b"NaN", b"-Infinity", b"1e999", b"0x1", b"01")),
    lambda draw, good: b'{"features": [["%s"]]}' % draw.choice((b"\xff", b"\xed\xa0\x80", b"\\ud800")),
    lambda draw, good: draw.randbytes(draw.randint(0, 300)),
)  # fmt: skip


def _with_bad_head(draw: Random, good: dict[str, Any]) -> bytes:
    body = _json(good)
    return draw.choice((
        post(body, ("Content-Length", "-1")),
        post(body, ("Content-Length", "1e3")),
        post(body, ("Content-Length", "5"), ("Content-Length", "6")),
        post(body, ("Content-Length", "4"), ("Transfer-Encoding", "chunked")),
        post(b'5\r\n{"fea\r\n-1\r\n', ("Transfer-Encoding", "chunked")),
        post(b"ffffffffffffffffff\r\nx", ("Transfer-Encoding", "chunked")),
        post(b"zz\r\n{}\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked")),
        post(b"2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", ("Transfer-Encoding", "chunked")),
        post(b'2;ext="\x00"\r\n{}\r\n0\r\n\r\n', ("Transfer-Encoding", "chunked")),
        post(body, ("Transfer-Encoding", "gzip, chunked")),
        post(body, ("Transfer-Encoding", "identity")),
        post(body, ("Content-Type", "\xff\xfe")),
        post(body, ("Content-Type", "application/json\x00")),
        post(body, ("X-Long", "x" * draw.choice((1000, 60_000, 200_000)))),
        post(body, *[(f"X-{number}", "x") for number in range(3000)]),
        post(body, (draw.choice(("", " ", "a b", "a\x00", "ü", ":")), "x")),
        post(body, ("Expect", draw.choice(("100-continue", "200-ok")))),
        post(body, ("traceparent", draw.randbytes(30).hex()), ("tracestate", "=" * 600)),
        post(body, ("traceparent", f"00-{'0' * 32}-{'0' * 16}-01"), ("baggage", "%ff=\x85," * 50)),
        post(body, ("X-Forwarded-For", draw.choice(("", "\xff", "1\t2", ",,,", "[::1", "x" * 9000)))),
        post(body, ("X-Forwarded-Proto", "javascript"), ("Host", "other")),
        post(body, ("Connection", "upgrade"), ("Upgrade", draw.choice(("websocket", "h2c", "\xff")))),
        body,
        draw.randbytes(draw.randint(1, 500)),
        b"\r\n" * draw.choice((1, 50_000)),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.randbytes(300),  # a client that speaks TLS
    ))  # fmt: skip


def _with_bad_target(draw: Random, good: dict[str, Any]) -> bytes:
    methods = (
        "GET",
        "PUT",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PATCH",
        "get",
        "M" * 3000,
        "M\x00",
    )
    path = draw.choice(MODELS) + draw.choice(ROUTES)
    target = draw.choice((
        path, path + "/", "/" + path, path + "%00", path + "%0a%0d%1b[31m", path + "?a=%ff&&=", path + "#x",
        f"http://other{path}", "http://[::1", "*", "", "//", "/..", "/" + "../" * 50, "/%ff%fe/predict",
        "/static_content/%00", "/static_content/../../etc/passwd", "/static_content/" + "x" * 5000,
        "/static_content/..%2f..%2fetc/passwd", "/" + "%41" * 10_000, "/ü", "/%ed%a0%80/predict", "predict",
    ))  # fmt: skip
    version = draw.choice(("1.1", "1.1", "1.1", "1.0", "0.9", "3.0", "1.1.1", ""))
    more = draw.choice(("", "", "Range: bytes=9-1,0-,-\r\n", "Accept: \xff\r\n", "If-None-Match: \x85\r\n"))
    head = f"{draw.choice(methods)} {target} HTTP/{version}\r\nHost: hostile\r\n{more}\r\n"
    return head.encode("latin-1", "replace")
