"""What an engine that is asked directly says, and what it must be able to say."""

from typing import Any

import aiohttp
import pytest

from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.simulator.tokens import decode
from engines.vllm_completion import Completer, UnnamedTokenError, _positions


async def test_a_simulator_names_tokens_by_their_ids() -> None:
    """So that it may stand behind a URL of which a pool's self-check asks log-probabilities."""
    settings = SimulatorSettings(model="demo", calibration="instant", time_scale=0)
    async with SimulatorServer(SimulatedEngine(settings)) as server, aiohttp.ClientSession() as session:
        complete = Completer(session, server.url, None, "demo")
        found = await complete("hello", k=0, max_tokens=6, temperature=0, logprobs=1)
        body = {"model": "demo", "prompt": "hello", "max_tokens": 6, "temperature": 0, "ignore_eos": True}
        async with session.post(f"{server.url}/v1/completions", json=body) as answer:
            text = (await answer.json())["choices"][0]["text"]
    assert len(found.tokens) == 6
    assert decode(list(found.tokens)) == text


def test_an_engine_that_tells_tokens_by_their_text_is_told_what_it_lacks() -> None:
    """Not that some number has the wrong base."""
    said: dict[str, list[Any]] = {"tokens": [" the"], "token_logprobs": [0.0], "top_logprobs": [{" the": 0.0}]}
    with pytest.raises(UnnamedTokenError, match=r"names a token ' the'.*return_tokens_as_token_ids"):
        _positions(said)
