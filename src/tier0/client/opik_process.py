"""The process that hands traces to Opik: run as a script by `tier0.client.opik_tracer`, it imports Opik and the standard library only.

Each line of its input is a JSON object, ``{"trace": …, "spans": […]}`` or ``{"number": n, "flush": seconds}``. It says ``ready`` once
Opik is imported, ``n flushed`` or ``n not flushed`` after a flush, and ends, with what it has sent within a moment, when its input does.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
from typing import Any

END_TIMEOUT = 0.7
"""Seconds; Opik spends them twice, for its messages and for its threads."""
TIMES = ("start_time", "end_time")


def main() -> None:
    """Read lines until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is none of the answers
    try:
        import opik  # noqa: PLC0415 - seconds, of which the application spends none
    except ModuleNotFoundError:
        answers.write("missing\n")
        return
    client = opik.Opik(project_name=sys.argv[1] or None)
    answers.write("ready\n")
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "flush" in message:
                done = client.flush(timeout=message["flush"])
                answers.write(f"{message['number']} {'flushed' if done else 'not flushed'}\n")
                continue
            client.trace(**_with_times(message["trace"]))
            for span in message["spans"]:
                client.span(**_with_times(span))
        except Exception:  # one trace that Opik does not take must not end those to come
            logging.getLogger("tier0").exception("a call could not be traced in Opik")
    client.end(timeout=END_TIMEOUT)


def _with_times(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: dt.datetime.fromtimestamp(value, tz=dt.UTC) if name in TIMES else value
        for name, value in content.items()
    }


if __name__ == "__main__":
    main()
