"""Script that makes fifty traced calls while Opik is down, hangs or has an invalid URL, and then ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

from tier0.client import BentoMLClient
from tier0.client.opik_tracer import OpikTracer
from tier0.faults import FaultServer, Reply

opik = socket.create_server(("127.0.0.1", 0))  # accepts connections and never responds
host = f"http://127.0.0.1:{opik.getsockname()[1]}/api"
if sys.argv[1] == "down":
    opik.close()
os.environ["OPIK_URL_OVERRIDE"] = "not a URL" if sys.argv[1] == "misconfigured" else host


async def main() -> int:
    tracer, predictions = OpikTracer(), 0
    with FaultServer(Reply(200, {"predictions": [1]})) as server:
        client = BentoMLClient(server.url, tracer=tracer)
        for _ in range(50):
            predictions += (await client.predict([[1.0]]))["predictions"] == [1]
    return predictions


sys.stdout.write(f"{asyncio.run(main())} {time.time()}\n")
