"""Process that sends traces to Opik.

`tier0.client.opik_tracer` runs this module as a script, which imports only Opik and the standard library.
Each line of its input is a JSON object, either ``{"trace": …, "spans": […]}`` or ``{"number": n, "flush":
seconds}``. It prints ``ready`` once Opik is imported, or ``missing`` if it is not installed, and ``n
flushed`` or ``n not flushed`` after a flush. It ends when its input ends, after a short time for what is
still to be sent.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
from typing import Any

END_TIMEOUT = 0.7
"""Seconds that Opik may take, once for its messages and once for its threads."""
TIMES = ("start_time", "end_time")


def main() -> None:
    """Send each trace of the input until its end."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # other output goes to stderr, so that the parent reads only this protocol
    try:
        import opik  # noqa: PLC0415 - takes seconds, which the application must not spend
    except ModuleNotFoundError:
        output.write("missing\n")
        return
    client = opik.Opik(project_name=sys.argv[1] or None)
    output.write("ready\n")
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "flush" in message:
                done = client.flush(timeout=message["flush"])
                output.write(f"{message['number']} {'flushed' if done else 'not flushed'}\n")
                continue
            client.trace(**_with_times(message["trace"]))
            for span in message["spans"]:
                client.span(**_with_times(span))
        except Exception:  # a trace that Opik rejects must not stop later ones
            logging.getLogger("tier0").exception("Opik rejected the trace of a call")
    client.end(timeout=END_TIMEOUT)


def _with_times(content: dict[str, Any]) -> dict[str, Any]:
    return {
        name: dt.datetime.fromtimestamp(value, tz=dt.UTC) if name in TIMES else value
        for name, value in content.items()
    }


if __name__ == "__main__":
    main()
