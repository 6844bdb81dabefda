"""The demo pair on real vLLM behind the deployed service: what the product promises, seen from outside."""

import asyncio
import os
import signal
import time
from collections import Counter, defaultdict
from itertools import islice

import aiohttp
import openai
import psutil
import pytest
from deployed import Deployed
from service import http_server
from tee import tee

from classifiers.label import Uninformed
from engines.demo.build import build_demo_pair, default_folder
from engines.demo.language.dice import PROMPT
from engines.demo.reading import load_pair, probabilities, prompt_tokens
from engines.demo.workload import ExampleRequest, load_workload
from engines.registry import Heartbeat
from policies.task import TASKS
from router.config.settings import Settings
from router.service import Application, running_ingress
from router.state.store import MemoryRegistry, MemoryStore

pytestmark = [pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(1200)]

Z_LIMIT = 5.0
"""Standard deviations; a right engine exceeds them about once in a million."""


def _examples(per_task: int) -> list[ExampleRequest]:
    workload = load_workload()
    tasks = dict.fromkeys(example.task for example in workload)
    return [example for task in tasks for example in islice((e for e in workload if e.task == task), per_task)]


def _body(prompt: str, **fields: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": prompt}], "max_tokens": 48, **fields}


async def _chat(url: str, body: dict[str, object], **headers: str) -> tuple[dict[str, object], dict[str, str]]:
    named = {f"x-alpharoute-{name}": value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers=named) as answer,
    ):
        data = await answer.json()
        assert answer.status == 200, data
        return data, {name.lower().removeprefix("x-alpharoute-"): value for name, value in answer.headers.items()}


async def test_the_engine_drafts_exactly_the_k_that_was_decided(vllm_service: Deployed) -> None:
    """Every verify step of an answer drafted the k of its header, and only a speculative pool drafts at all."""
    for example in _examples(per_task=2):
        data, said = await _chat(vllm_service.url, _body(example.prompt, temperature=0), task=example.task)
        metrics = data["metrics"]
        assert isinstance(metrics, dict)
        drafting = metrics.get("speculative_decoding")
        if said["pool"] == "vanilla":
            assert (said["k"], drafting) == ("0", None)
        else:
            assert drafting is not None
            assert set(drafting["per_step_drafted"]) == {int(said["k"])}


async def test_a_request_with_k_2_drafts_2_per_step(vllm_engines: dict[str, Heartbeat]) -> None:
    """The engine contract, asked for directly: two drafts in every verify step, beside a request with four."""
    engine = vllm_engines["draft"]
    drafted = {}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {engine.api_key}"}) as session:

        async def ask(k: int) -> None:
            body = _body(_examples(1)[0].prompt, temperature=0, ignore_eos=True, vllm_xargs={"spec_k": k})
            async with session.post(f"{engine.url}/v1/chat/completions", json=body) as answer:
                steps = (await answer.json())["metrics"]["speculative_decoding"]["per_step_drafted"]
                drafted[k] = set(steps)

        await asyncio.gather(ask(2), ask(4))
    assert drafted == {2: {2}, 4: {4}}


async def test_greedy_answers_do_not_depend_on_speculation(vllm_service: Deployed) -> None:
    """Token for token the same text from the vanilla and from the speculative pool, for every task."""
    for example in _examples(per_task=3):
        body = _body(example.prompt, temperature=0, logprobs=True)
        off, from_vanilla = await _chat(vllm_service.url, body, speculation="off")
        on, from_draft = await _chat(vllm_service.url, body, speculation="on")
        assert from_vanilla["pool"] == "vanilla", from_vanilla["decision"]
        assert from_draft["pool"] == "draft", from_draft["decision"]
        assert on["choices"] == off["choices"] or _tokens(on) == _tokens(off)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
async def test_speculation_leaves_the_sampled_distribution_as_it_is(vllm_service: Deployed, temperature: float) -> None:
    """Rolls of the loaded die: how often each face came, against the target's own probabilities along each answer."""
    pair = load_pair(build_demo_pair(default_folder()))
    prompt = prompt_tokens(pair, PROMPT)
    seen: Counter[int] = Counter()
    expected: defaultdict[int, float] = defaultdict(float)
    variance: defaultdict[int, float] = defaultdict(float)

    async def roll(seed: int) -> list[int]:
        body = _body(PROMPT, temperature=temperature, seed=seed, max_tokens=24, return_token_ids=True)
        data, said = await _chat(vllm_service.url, body, speculation="on", task="other")
        assert int(said["k"]) > 0
        choices = data["choices"]
        assert isinstance(choices, list)
        tokens: list[int] = choices[0]["token_ids"]
        return tokens

    for first in range(0, 96, 8):
        for answer in await asyncio.gather(*(roll(seed) for seed in range(first, first + 8))):
            # The first token is sampled before any draft: what follows is what speculation could spoil.
            shares = probabilities(pair.target, prompt + answer, len(prompt) + 1, temperature)
            for token, row in zip(answer[1:], shares, strict=False):
                seen[token] += 1
                for face in row.topk(6).indices.tolist():
                    share = float(row[face])
                    expected[face] += share
                    variance[face] += share * (1 - share)
    for face, count in expected.items():
        if variance[face] > 10:
            z = (seen[face] - count) / variance[face] ** 0.5
            assert abs(z) < Z_LIMIT, f"token {face}: {seen[face]} times, expected {count:.1f} (z = {z:.1f})"


async def test_a_stream_is_the_engine_s_less_the_usage_chunk(vllm_engines: dict[str, Heartbeat]) -> None:
    """Byte for byte, for a client that did not ask for usage; with it, for one that did."""
    draft = vllm_engines["draft"]
    registry = MemoryRegistry(time.monotonic)
    settings = Settings.model_validate({"router": {"sync_s": 0.02}})
    async with tee(draft.url) as recorded:
        await registry.announce(draft.model_copy(update={"url": recorded.url}), ttl_s=600)
        router = Application(running_ingress(settings, MemoryStore(), registry, Uninformed(TASKS)))
        async with http_server(router) as url, aiohttp.ClientSession(url) as session:
            for usage in (False, True):
                body = _body(
                    "Write a SQL query: names",
                    stream=True,
                    **({"stream_options": {"include_usage": True}} if usage else {}),
                )
                async with session.post("/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    got = await answer.read()
                events = recorded.bodies.pop().split(b"\n\n")
                kept = [event for event in events if usage or b'"choices":[]' not in event]
                assert len(kept) == len(events) - (not usage)
                assert got == b"\n\n".join(kept)


async def test_the_openai_client_streams(vllm_service: Deployed) -> None:
    """The SDK most applications use, unchanged but for its base URL."""
    client = openai.AsyncOpenAI(base_url=f"{vllm_service.url}/v1", api_key="unused")
    async with client:
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Write a SQL query: names"}], max_tokens=24, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.strip()


async def test_a_killed_vllm_is_replaced_and_no_request_fails(
    vllm_service: Deployed, vllm_engines: dict[str, Heartbeat]
) -> None:
    """Its engine process is killed under it: the other pool answers until Serve has brought a new one.

    Routers learn of the new one in their own time, each for itself: it ends when every answer for a while comes from
    there, so that the tests after it find the service whole.
    """
    victim = vllm_engines["draft"]
    os.kill(_listener(victim.url), signal.SIGKILL)
    deadline = time.monotonic() + 300
    in_a_row = 0
    while in_a_row < 8:
        body = _body("Write a SQL query: names", max_tokens=32)
        data, said = await _chat(vllm_service.url, body, task="sql_generation", speculation="on")
        assert data["choices"]
        in_a_row = in_a_row + 1 if said["pool"] == "draft" and said["replica"] != victim.replica else 0
        assert time.monotonic() < deadline, (
            f"no new engine came; the last came from {said['replica']}: {said['decision']}"
        )
        if not in_a_row:
            await asyncio.sleep(0.2)


def _tokens(data: dict[str, object]) -> list[str]:
    choices = data["choices"]
    assert isinstance(choices, list)
    return [item["token"] for item in choices[0]["logprobs"]["content"]]


def _listener(url: str) -> int:
    port = int(url.rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            assert connection.pid is not None
            return connection.pid
    raise AssertionError(f"nobody listens on {port}")
