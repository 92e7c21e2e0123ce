"""The SDK of OpenAI, for servers that speak its protocol."""

from openai import AsyncOpenAI


class Client:
    def __init__(self, url, *, timeout):
        self.api = AsyncOpenAI(
            base_url=url.rstrip("/") + "/v1", api_key="key", timeout=timeout, max_retries=2
        )

    async def predict(self, data, *, model="m"):
        completion = await self.api.chat.completions.create(model=model, **data)
        return completion.choices[0].message.content

    async def close(self):
        await self.api.close()
