"""Asks one engine directly, with k and temperature pinned, for its own account of each answer."""

from dataclasses import dataclass, replace
from typing import Self

import aiohttp

from engines.contract import SPEC_K, SPEC_TASK, EngineMetrics, parse_metrics


class MeasurementError(Exception):
    """The engine could not be measured; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class EngineClient:
    """An engine to ask, with the name of its model; `opened` makes one."""

    session: aiohttp.ClientSession
    url: str
    model: str
    headers: dict[str, str]

    @classmethod
    async def opened(cls, session: aiohttp.ClientSession, url: str, model: str | None, api_key: str | None) -> Self:
        """A client of the engine at `url`; without a model's name, of the first that it lists."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        client = cls(session, url.rstrip("/").removesuffix("/v1"), model or "", headers)
        return client if model else replace(client, model=await client.model_served())

    async def ask(
        self,
        prompt: str,
        *,
        k: int,
        tokens: int,
        temperature: float,
        exact: bool = False,
        task: str = "",
        chat: bool = False,
    ) -> EngineMetrics:
        """The metrics of one answer of at most `tokens` tokens (`exact`: of so many); `chat` asks as a user message.

        MeasurementError where there is no answer, or none with metrics.
        """
        path = "/v1/chat/completions" if chat else "/v1/completions"
        asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        body: dict[str, object] = {"model": self.model, "max_tokens": tokens, **asked}
        body |= {"temperature": temperature, "vllm_xargs": {SPEC_K: k, **({SPEC_TASK: task} if task else {})}}
        body |= {"min_tokens": tokens, "ignore_eos": True} if exact else {}
        try:
            async with self.session.post(f"{self.url}{path}", json=body, headers=self.headers) as response:
                if response.status != 200:
                    raise MeasurementError(f"{response.url}: {response.status}: {(await response.text())[:300]}")
                metrics = parse_metrics(await response.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise MeasurementError(f"{self.url} did not answer: {error!r}") from None
        if metrics is None:
            raise MeasurementError(
                f"the answer of {self.url} carries no metrics: start the engine with --enable-per-request-metrics"
            )
        return metrics

    async def model_served(self) -> str:
        """The first model that the engine lists; MeasurementError where it lists none."""
        try:
            async with self.session.get(f"{self.url}/v1/models", headers=self.headers) as response:
                listed = await response.json()
            return str(listed["data"][0]["id"])
        except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error) or "it took too long"
            raise MeasurementError(f"No engine answers at {self.url}: {why}. Check the URL.") from None
        except (aiohttp.ClientError, ValueError, KeyError, IndexError, TypeError):
            message = f"{self.url} answers, but lists no model: name it with --model, or check URL and key"
            raise MeasurementError(message) from None
