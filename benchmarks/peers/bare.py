"""Application without a model: it reads a request's body, and sends as many bytes as a prediction has."""

from __future__ import annotations

from typing import Any

ANSWER = b" " * 300
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Respond to a request; uvicorn runs this application without lifespan events."""
    del scope
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
