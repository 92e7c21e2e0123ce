"""No model: a request's body is read and thrown away, and bytes come back that are as long as an answer."""

from __future__ import annotations

from typing import Any

ANSWER = b" " * 300
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a request; uvicorn is told that there is no lifespan."""
    del scope
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
