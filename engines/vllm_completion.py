"""One request to an engine with everything pinned, for checking and measuring it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from engines.contract import SPEC_K, EngineMetrics, parse_metrics

_LOGIN = re.compile(r"(?<=://).*@")

PLAIN_SAMPLING: Mapping[str, object] = {
    "n": 1,
    "stream": False,
    "ignore_eos": True,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Every default a model's generation_config.json could change, set to no effect."""


class UnnamedTokenError(ValueError):
    """An engine that tells tokens by their text: different ones print alike, so that answers cannot be compared."""


@dataclass(frozen=True, slots=True)
class Position:
    """One output token: its id, its log-probability, and the likeliest tokens there, likeliest first."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's answer; `metrics` is None where the engine reports none."""

    positions: tuple[Position, ...]
    metrics: EngineMetrics | None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The output's token ids."""
        return tuple(position.token for position in self.positions)


class Completer:
    """Sends /v1/completions to one engine; raises aiohttp.ClientError where it does not answer 200."""

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key: str | None, model: str) -> None:
        self.session = session
        self.url = url
        self.model = model
        self.headers = {"authorization": f"Bearer {api_key}"} if api_key else {}

    async def __call__(
        self, prompt: str, *, k: int, max_tokens: int, temperature: float, top_k: int = 0, logprobs: int | None = None
    ) -> Completion:
        """Generate exactly `max_tokens` tokens with `k` drafts per step (sent also where 0)."""
        body = {
            **PLAIN_SAMPLING,
            "model": self.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "vllm_xargs": {SPEC_K: k},
            **({"logprobs": logprobs, "return_tokens_as_token_ids": True} if logprobs is not None else {}),
        }
        async with self.session.post(f"{self.url}/v1/completions", json=body, headers=self.headers) as answer:
            if answer.status != 200:
                text = (await answer.text())[:500]
                raise aiohttp.ClientError(f"{without_login(self.url)}/v1/completions answered {answer.status}: {text}")
            content = await answer.json()
        return Completion(_positions(content["choices"][0].get("logprobs")), parse_metrics(content))


def without_login(url: str) -> str:
    """A server's URL as it may be shown: without the name and password that it may hold."""
    return _LOGIN.sub("", url)


def _positions(logprobs: Mapping[str, Sequence[Any]] | None) -> tuple[Position, ...]:
    if not logprobs:
        return ()
    return tuple(
        Position(_token_id(token), float(logprob), _likeliest(top))
        for token, logprob, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
        )
    )


def _likeliest(top: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    ranked = sorted(top.items(), key=lambda item: -item[1])
    return tuple((_token_id(token), float(logprob)) for token, logprob in ranked)


def _token_id(name: str) -> int:
    """The number in vLLM's `token_id:NUMBER`: text would not do, for different tokens print alike."""
    marked, _, number = name.partition("token_id:")
    if marked or not number.isdecimal():
        raise UnnamedTokenError(
            f"The engine names a token {name!r} where its id was asked for: it does not honour the request's "
            "return_tokens_as_token_ids, without which it cannot be checked. Start it with "
            "--return-tokens-as-token-ids where it has that flag, or set the pool's self_check: false."
        )
    return int(number)
