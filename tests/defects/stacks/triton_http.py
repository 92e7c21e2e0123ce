"""The asynchronous HTTP client of Triton, for servers that speak version 2 of the protocol."""

import numpy as np
from tritonclient.http import InferInput
from tritonclient.http.aio import InferenceServerClient


class Client:
    def __init__(self, client):
        self.client = client

    async def predict(self, rows, *, model="m"):
        values = np.array(rows, dtype="float64")
        tensor = InferInput("input-0", list(values.shape), "FP64").set_data_from_numpy(values)
        result = await self.client.infer(model, [tensor])
        return result.as_numpy("predict").tolist()

    async def health(self):
        return await self.client.is_server_ready()

    async def close(self):
        await self.client.close()


async def make_client(url, *, timeout):
    return Client(InferenceServerClient(url.removeprefix("http://"), conn_limit=20, conn_timeout=timeout))
