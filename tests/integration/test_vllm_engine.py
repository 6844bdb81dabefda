"""Real vLLM on this machine's CPU, with a random pair of models: everything the engine side promises, end to end."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr
from tiny_pair import VOCABULARY, tiny_pair

from engines.http import engine_session
from engines.pool import PoolSettings, VllmOptions
from engines.stall import StillWatch, generates
from engines.vllm_completion import Completer
from engines.vllm_probe import probe
from engines.vllm_selfcheck import self_check
from engines.vllm_server import EngineServer

pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

K_MAX = 4
PROMPT = "one two one two"
FALSE_ALARM = 1e-6
ASYNC_ON_CPU = Path(__file__).parent.parent / "support" / "async_on_cpu.py"


def pool(method: str | None, env: dict[str, str] | None = None) -> PoolSettings:
    """A pool of the tiny pair."""
    pair = tiny_pair()
    return PoolSettings(
        name=method.replace("_", "-") if method else "vanilla",
        model="tiny",
        target=str(pair.target),
        drafter=str(pair.drafter) if method == "draft_model" else None,
        method=method,
        k_max=K_MAX if method else 0,
        vllm=VllmOptions(
            device="cpu",
            dtype="float32",
            max_model_len=256,
            env={name: SecretStr(value) for name, value in (env or {}).items()},
            # A random model hardly ever repeats more than one token.
            speculative={"prompt_lookup_min": 1, "prompt_lookup_max": 3} if method == "ngram" else {},
        ),
    )


@dataclass(frozen=True)
class Running:
    """A live engine and a way to ask it."""

    server: EngineServer
    complete: Completer


async def running(settings: PoolSettings, log: Path) -> AsyncIterator[Running]:
    """The pool's engine for as long as it is needed."""
    async with EngineServer(settings, log_file=log) as server, engine_session() as session:
        yield Running(server, Completer(session, server.url, server.api_key, settings.model))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drafting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An engine with a draft model."""
    async for engine in running(pool("draft_model"), tmp_path_factory.mktemp("logs") / "draft.log"):
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matching(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An engine that drafts by n-gram."""
    async for engine in running(pool("ngram"), tmp_path_factory.mktemp("logs") / "ngram.log"):
        yield engine


async def test_requests_of_one_batch_each_draft_their_own_k(drafting: Running) -> None:
    """k = 0, 2 and 4 side by side: nothing, exactly two and exactly four drafts in every step, and equal text."""
    answers = await asyncio.gather(
        *(drafting.complete(PROMPT, k=k, max_tokens=40, temperature=0.0, logprobs=0) for k in (0, 2, 4))
    )
    steps = [a.metrics.steps.drafted if a.metrics and a.metrics.steps else None for a in answers]
    assert steps[0] == ()
    assert steps[1] is not None
    assert steps[2] is not None
    assert set(steps[1]) == {2}
    assert set(steps[2]) == {4}
    assert len({a.tokens for a in answers}) == 1


@pytest.mark.parametrize("nonsense", [-1, 99, "three", 1.5, [2], 2**63])
async def test_a_senseless_k_harms_nobody(drafting: Running, nonsense: object) -> None:
    """The request is answered and so is the next one."""
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 8, "vllm_xargs": {"spec_k": nonsense}}
    async with drafting.complete.session.post(
        f"{drafting.server.url}/v1/completions", json=body, headers=drafting.complete.headers
    ) as answer:
        assert answer.status == 200
    assert (await drafting.complete(PROMPT, k=1, max_tokens=4, temperature=0.0)).metrics is not None


async def test_a_connection_that_idled_while_the_loop_stood_still_loses_nothing(drafting: Running) -> None:
    """vLLM closes an idle connection after 5 s, and a POST written into a closed one is lost."""
    await drafting.complete(PROMPT, k=1, max_tokens=4, temperature=0.0)
    time.sleep(5.5)  # noqa: ASYNC251 - a loop that stands still is what is tested
    assert (await drafting.complete(PROMPT, k=1, max_tokens=4, temperature=0.0)).metrics is not None


async def test_the_self_check_passes_a_repaired_engine(drafting: Running) -> None:
    """With the plugin, on both methods this CPU runs (the other in its own test)."""
    server = drafting.server
    assert (
        await self_check(server.url, server.api_key, model="tiny", k_max=K_MAX, method="draft_model")
    ).problems == ()


async def test_the_self_check_passes_an_ngram_engine(matching: Running) -> None:
    """Drafts come only where the text repeats itself."""
    server = matching.server
    assert (await self_check(server.url, server.api_key, model="tiny", k_max=K_MAX, method="ngram")).problems == ()


async def test_ngram_drafts_at_most_k(matching: Running) -> None:
    """And nothing for k = 0, in one batch."""
    prompt = "one two three " * 6
    none, two = await asyncio.gather(
        *(matching.complete(prompt, k=k, max_tokens=60, temperature=0.0, logprobs=0) for k in (0, 2))
    )
    assert none.tokens == two.tokens
    assert none.metrics is not None
    assert two.metrics is not None
    assert none.metrics.steps is not None
    assert two.metrics.steps is not None
    assert none.metrics.steps.drafted == ()
    assert max(two.metrics.steps.drafted) == 2


@pytest.mark.parametrize("temperature", [0.7, 1.0])
async def test_sampled_tokens_have_the_models_own_distribution(drafting: Running, temperature: float) -> None:
    """The second token, first to be drafted, against the exact probabilities of the same weights in transformers."""
    from scipy.stats import chisquare

    asked = 600
    answers = await asyncio.gather(
        *(drafting.complete(PROMPT, k=K_MAX, max_tokens=3, temperature=temperature, logprobs=0) for _ in range(asked))
    )
    accepted = sum(sum(a.metrics.steps.accepted) for a in answers if a.metrics and a.metrics.steps)
    assert accepted > asked / 10, "with hardly a draft accepted this would test little"
    first = Counter(answer.tokens[0] for answer in answers)
    probabilities = exact_second_token(first, temperature)
    seen = Counter(answer.tokens[1] for answer in answers)
    large = [token for token in range(VOCABULARY) if probabilities[token] * asked >= 5]
    observed = [seen[token] for token in large] + [asked - sum(seen[token] for token in large)]
    expected = [probabilities[token] * asked for token in large]
    expected.append(asked - sum(expected))
    assert chisquare(observed, expected).pvalue > FALSE_ALARM


def exact_second_token(first: Counter[int], temperature: float) -> list[float]:
    """Chances of each second token, given how often each first one came."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_pair().target
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = AutoTokenizer.from_pretrained(folder)(PROMPT)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, token] for token in first])).logits[:, -1]
    shares = torch.tensor(list(first.values()), dtype=torch.float64) / first.total()
    return [float(p) for p in shares @ torch.softmax(logits.double() / temperature, dim=-1)]


async def test_a_top_k_alone_does_not_kill_a_speculative_engine(drafting: Running) -> None:
    """vLLM 0.32's CPU build dies of it without the plugin."""
    for k in (0, K_MAX):
        answer = await drafting.complete(PROMPT, k=k, max_tokens=6, temperature=1.0, top_k=3, logprobs=0)
        assert len(answer.tokens) == 6


async def test_step_times_are_measured_for_every_k(drafting: Running) -> None:
    """A point per batch size and k, of plausible size."""
    server = drafting.server
    points = await probe(server.url, server.api_key, model="tiny", k_max=K_MAX, batches=(1, 4))
    assert {(p.batch, p.k) for p in points} == {(b, k) for b in (1, 4) for k in range(K_MAX + 1)}
    assert all(0.1 < p.step_ms < 5000 for p in points)


async def test_the_key_is_wanted_everywhere(drafting: Running) -> None:
    """Also where vLLM itself would not ask for it."""
    url, session = drafting.server.url, drafting.complete.session
    for path in ("/v1/models", "/v1/completions", "/invocations", "/tokenize", "/scale_elastic_ep"):
        async with session.post(f"{url}{path}", json={}) as answer:
            assert answer.status == 401, path
    async with session.get(f"{url}/health") as answer:
        assert answer.status == 200


async def test_the_load_follows_the_requests_and_draining_waits_for_them(drafting: Running) -> None:
    """Running while generating, drained once done."""
    server = drafting.server
    request = asyncio.create_task(drafting.complete(PROMPT, k=1, max_tokens=200, temperature=0.0))
    deadline_s = time.monotonic() + 30
    while (await server.load()).running == 0:
        assert time.monotonic() < deadline_s, "never seen running"
        assert not request.done(), "finished before it was seen"
        await asyncio.sleep(0.005)
    assert not await server.drain(limit_s=0)
    assert await server.drain(limit_s=60)
    await asyncio.wait_for(request, 5)


async def test_an_engine_that_hangs_is_found_out_and_one_that_is_idle_is_not(matching: Running) -> None:
    """Its core is stopped, so that nothing comes of a request, while its server goes on answering /metrics."""
    server, still = matching.server, StillWatch()
    key, limit_s = server.api_key, 2.0
    assert await generates(server.url, key, "tiny", limit_s=60)
    assert server.group is not None
    family = [psutil.Process(pid) for pid in of_group(server.group)]
    (core,) = [one for one in family if "EngineCore" in " ".join(one.cmdline())]
    core.suspend()
    try:
        asked = asyncio.create_task(matching.complete(PROMPT, k=2, max_tokens=4, temperature=0.0))
        still.observe(await server.load())
        assert not await generates(server.url, key, "tiny", limit_s)
        still.observe(await server.load())
        assert still.still_s >= limit_s
    finally:
        core.resume()
    assert (await asked).metrics is not None
    before = (await server.load()).tokens
    assert await generates(server.url, key, "tiny", limit_s=60)
    assert (await server.load()).tokens > before


@pytest.mark.slow
async def test_an_unrepaired_engine_is_caught_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    """Without the plugin sampled speculation is garbage and the self-check says so; then the API server is killed."""
    settings = pool("draft_model", env={"VLLM_PLUGINS": "none"})
    async with EngineServer(settings, log_file=tmp_path / "log") as server:
        check = await self_check(server.url, server.api_key, model="tiny", k_max=K_MAX, method="draft_model")
        assert check.greedy_identical
        assert check.k_honoured
        assert not check.sampled_ok
        assert "sampling at temperature 1" in check.problems[0]
        group = server.group
        assert group is not None
        members = of_group(group)
        assert len(members) >= 2, "an API server and an engine"
        os.kill(group, signal.SIGKILL)  # the leader: vLLM's API server
        died = await asyncio.wait_for(server.died(), 20)
        assert died.exit_code == 128 + signal.SIGKILL
        deadline_s = time.monotonic() + 10
        while of_group(group):
            assert time.monotonic() < deadline_s, f"still there: {of_group(group)}"
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_asynchronous_scheduling_drafts_each_requests_k() -> None:
    """GPUs schedule asynchronously: with two steps in flight each request drafts its own k and says the same text."""
    pair = tiny_pair()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ASYNC_ON_CPU), str(pair.target), str(pair.drafter)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-3000:]
    report = json.loads(next(line for line in reversed(output.splitlines()) if line.startswith(b'{"in_flight')))
    assert report["in_flight"] == 2
    for request in report["requests"]:
        first, *further = request["drafted"]
        assert first == 0
        assert set(further) == {request["k"]}
    texts = {(request["prompt"], tuple(request["tokens"])) for request in report["requests"]}
    assert len(texts) == len({prompt for prompt, _ in texts})


def of_group(group: int) -> list[int]:
    """Living processes of a process group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            members.append(int(stat.parent.name))
    return members
