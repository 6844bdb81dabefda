"""The engine contract: what the router relies upon, asserted of every implementation of an engine.

The simulator always; real vLLM where it may be started (marker `vllm`), from session fixtures that give the URLs and
the keys of a vanilla and of a speculative server (k_max 4) of one model: `vllm_vanilla_url`, `vllm_vanilla_key`,
`vllm_speculative_url`, `vllm_speculative_key`.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines.contract import VerifySteps, parse_metrics

Json = dict[str, Any]

PROMPT = "Write a query: [task:sql_generation] all orders of one customer"
KEY = "contract-key"
DEADLINE_S = 20.0
TOKENS = 24


@dataclass(frozen=True)
class Deployment:
    """A vanilla and a speculative engine of one model."""

    vanilla_url: str
    vanilla_key: str
    speculative_url: str
    speculative_key: str


class Client:
    """Calls one engine with its key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None) -> None:
        self.url = url
        self._session = session
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    async def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded body; GET without a body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        merged = (
            {"content-type": "application/json"} | self._headers | {k.replace("_", "-"): v for k, v in headers.items()}
        )
        method = "GET" if body is None else "POST"
        async with self._session.request(
            method, self.url + path, data=data if body is not None else None, headers=merged
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text

    async def generate(self, path: str = "/v1/completions", **fields: Any) -> Json:
        """A whole answer to a request that must succeed."""
        status, answer = await self.ask(path, _body(path, fields))
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    async def events(self, path: str = "/v1/completions", **fields: Any) -> list[str]:
        """The data of every event of a stream that must succeed."""
        async with self.open(path, **fields) as response:
            assert response.status == 200
            text = await response.text()
        assert text.endswith("\n\n")
        return [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]

    def open(self, path: str = "/v1/completions", **fields: Any) -> Any:
        """A stream as it comes."""
        body = _body(path, fields | {"stream": True})
        return self._session.post(self.url + path, json=body, headers=self._headers)

    async def sample(self, name: str) -> float:
        """The sum of one metric of /metrics over its labels."""
        _, page = await self.ask("/metrics")
        families = text_string_to_metric_families(page)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, f"{name} is not on /metrics"
        return sum(sample.value for sample in samples)


def _body(path: str, fields: Json) -> Json:
    prompt = {"prompt": PROMPT} if path == "/v1/completions" else {"messages": [{"role": "user", "content": PROMPT}]}
    return {**prompt, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True} | fields


def _spec(k: int) -> Json:
    return {"vllm_xargs": {"spec_k": k}}


def _start(*options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "engines.simulator", "--model", "contract", "--time-scale", "50", "--api-key", KEY]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


@pytest.fixture(scope="session")
def simulated_deployment() -> Iterator[Deployment]:
    """Two simulators in processes of their own, as users start them."""
    vanilla, vanilla_url = _start()
    speculative, speculative_url = _start("--method", "draft_model", "--drafter", "draft", "--k-max", "4")
    yield Deployment(vanilla_url, KEY, speculative_url, KEY)
    for process in (vanilla, speculative):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(params=["simulator", pytest.param("vllm", marks=pytest.mark.vllm)])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Each implementation in turn."""
    if request.param == "simulator":
        simulated: Deployment = request.getfixturevalue("simulated_deployment")
        return simulated
    return Deployment(
        request.getfixturevalue("vllm_vanilla_url"),
        request.getfixturevalue("vllm_vanilla_key"),
        request.getfixturevalue("vllm_speculative_url"),
        request.getfixturevalue("vllm_speculative_key"),
    )


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One HTTP client per test."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as client:
        yield client


@pytest.fixture
def vanilla(deployment: Deployment, session: aiohttp.ClientSession) -> Client:
    """The engine without a drafter."""
    return Client(session, deployment.vanilla_url, deployment.vanilla_key)


@pytest.fixture
def speculative(deployment: Deployment, session: aiohttp.ClientSession) -> Client:
    """The engine with one."""
    return Client(session, deployment.speculative_url, deployment.speculative_key)


async def test_vanilla_reports_times_and_no_speculation(vanilla: Client) -> None:
    """The cost of k = 0 is learnt from an answer without `speculative_decoding`."""
    answer = await vanilla.generate()
    metrics = parse_metrics(answer)
    assert metrics is not None
    assert metrics.steps is None
    assert metrics.output_tokens == answer["usage"]["completion_tokens"] == TOKENS
    assert metrics.time_to_first_token_ms > 0
    assert metrics.generation_ms > 0
    assert metrics.queue_ms >= 0
    assert answer["metrics"].get("speculative_decoding") is None
    assert answer["metrics"]["mean_itl_ms"] == pytest.approx(metrics.generation_ms / (TOKENS - 1))


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("k", [1, 2, 4])
async def test_k_is_honoured_exactly(speculative: Client, path: str, k: int) -> None:
    """Every verify step drafts the k the request asked for, neither the configured one nor a neighbour's."""
    metrics = parse_metrics(await speculative.generate(path, **_spec(k)))
    assert metrics is not None
    assert metrics.steps is not None
    assert set(metrics.steps.drafted) == {k}


async def test_k_zero_drafts_nothing(speculative: Client) -> None:
    """k = 0 on a speculative engine is reported with times and no steps: the sample is not lost."""
    before = await speculative.sample("vllm:spec_decode_num_draft_tokens_total")
    answer = await speculative.generate(**_spec(0))
    assert answer["metrics"]["speculative_decoding"]["num_draft_tokens"] == 0
    metrics = parse_metrics(answer)
    assert metrics is not None
    assert metrics.steps == VerifySteps((), ())
    assert metrics.output_tokens == TOKENS
    assert await speculative.sample("vllm:spec_decode_num_draft_tokens_total") == before


@pytest.mark.parametrize(("asked", "drafted"), [({}, 4), (_spec(99), 4), (_spec(-1), 0)])
async def test_k_is_clamped_and_defaults_to_the_configured_one(speculative: Client, asked: Json, drafted: int) -> None:
    """A router that sends too much, too little or nothing gets drafts the engine can do, not an error."""
    report = (await speculative.generate(**asked))["metrics"]["speculative_decoding"]
    assert report["num_spec_tokens"] == 4
    assert report["num_draft_tokens"] == drafted * report["num_spec_steps"]


async def test_requests_of_one_batch_keep_their_own_k(speculative: Client) -> None:
    """k belongs to the request, though the batch drafts together."""
    answers = await asyncio.gather(*(speculative.generate(**_spec(k)) for k in (1, 4, 2, 0)))
    reports = [answer["metrics"]["speculative_decoding"] for answer in answers]
    assert [set(report.get("per_step_drafted") or ()) for report in reports] == [{1}, {4}, {2}, set()]


async def test_steps_account_for_every_output_token(speculative: Client) -> None:
    """The prefill gives one token and each verify step 1 + accepted; only the last step may overshoot the limit."""
    for k in (1, 3):
        metrics = parse_metrics(await speculative.generate(**_spec(k)))
        assert metrics is not None
        assert metrics.steps is not None
        produced = 1 + sum(1 + j for j in metrics.steps.accepted)
        assert metrics.output_tokens <= produced <= metrics.output_tokens + metrics.steps.accepted[-1]


async def test_the_summary_agrees_with_the_steps(speculative: Client) -> None:
    """Totals, rate, length and histogram are those of the per-step arrays."""
    report = (await speculative.generate(**_spec(3)))["metrics"]["speculative_decoding"]
    accepted, drafted = report["per_step_accepted"], report["per_step_drafted"]
    assert report["num_spec_steps"] == len(accepted) == len(drafted)
    assert report["num_accepted_draft_tokens"] == sum(accepted)
    assert report["num_draft_tokens"] == sum(drafted)
    assert report["acceptance_histogram"] == [accepted.count(j) for j in range(report["num_spec_tokens"] + 1)]
    assert report["draft_acceptance_rate"] == pytest.approx(sum(accepted) / sum(drafted))
    assert report["mean_acceptance_length"] == pytest.approx(1 + sum(accepted) / len(accepted))


async def test_one_token_is_a_sample_without_steps(speculative: Client) -> None:
    """The shortest answer has no verify step, no decode time and still parses."""
    metrics = parse_metrics(await speculative.generate(max_tokens=1, **_spec(4)))
    assert metrics is not None
    assert metrics.steps == VerifySteps((), ())
    assert (metrics.output_tokens, metrics.generation_ms) == (1, 0.0)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_greedy_text_does_not_depend_on_speculation(vanilla: Client, speculative: Client, path: str) -> None:
    """Routing is invisible in greedy output: vanilla and every k say the same."""
    texts = {
        _text(await vanilla.generate(path)),
        *[_text(await speculative.generate(path, **_spec(k))) for k in range(5)],
    }
    assert len(texts) == 1


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_stream_says_what_the_whole_answer_says(speculative: Client, path: str) -> None:
    """Chunks join to the text, the last one gives the reason, and [DONE] ends the stream."""
    whole = await speculative.generate(path, **_spec(2))
    events = await speculative.events(path, **_spec(2))
    assert events[-1] == "[DONE]"
    assert _joined(events[:-1]) == _text(whole)
    chunks = [json.loads(event) for event in events[:-1]]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


async def test_speculation_sends_several_tokens_in_one_chunk(speculative: Client) -> None:
    """A chunk holds one or more verify steps: time per token cannot be read off the gaps between chunks."""
    events = await speculative.events(stream_options={"include_usage": True}, **_spec(4))
    metrics = parse_metrics(json.loads(events[-2]))
    assert metrics is not None
    assert metrics.steps is not None
    assert len(events) - 2 <= 1 + len(metrics.steps.accepted)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_usage_and_metrics_come_last_and_only_when_asked(speculative: Client, path: str) -> None:
    """The router adds include_usage to learn, and must be able to drop exactly one event for a client that did not."""
    unasked = await speculative.events(path, **_spec(2))
    assert not any('"usage"' in event or '"metrics"' in event for event in unasked)
    *chunks, usage, done = await speculative.events(path, stream_options={"include_usage": True}, **_spec(2))
    assert done == "[DONE]"
    assert not any('"usage":{' in event or '"metrics"' in event for event in chunks)
    # Not chunk by chunk: vLLM joins the outputs of two steps when its front end falls behind.
    assert _joined(chunks) == _joined(unasked[:-1])
    last = json.loads(usage)
    assert last["choices"] == []
    metrics = parse_metrics(last)
    assert metrics is not None
    assert metrics.steps is not None
    assert metrics.output_tokens == TOKENS
    assert set(metrics.steps.drafted) == {2}


async def test_a_stream_at_k_zero_is_a_sample_too(speculative: Client) -> None:
    """The last chunk leaves out what is null; the sample must survive that."""
    events = await speculative.events(stream_options={"include_usage": True}, **_spec(0))
    metrics = parse_metrics(json.loads(events[-2]))
    assert metrics is not None
    assert metrics.steps == VerifySteps((), ())
    assert metrics.output_tokens == TOKENS


@pytest.mark.parametrize("fields", [{"n": 2, "temperature": 0.7}, {"prompt": [PROMPT, PROMPT]}])
async def test_several_choices_have_no_metrics(speculative: Client, fields: Json) -> None:
    """Figures of several sequences could not be attributed: the router learns nothing from these requests."""
    answer = await speculative.generate(**fields)
    assert len(answer["choices"]) == 2
    assert answer.get("metrics") is None
    assert answer["usage"]["completion_tokens"] == 2 * TOKENS


async def test_a_stop_string_ends_the_text_and_the_steps_are_told(speculative: Client) -> None:
    """vLLM finds stop strings outside its core, which would keep the steps to itself: the scheduler tells them."""
    text = _text(await speculative.generate())
    stop = text[len(text) // 2 : len(text) // 2 + 4]
    answer = await speculative.generate(stop=[stop], **_spec(2))
    assert _text(answer) == text[: text.find(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["stop_reason"] == stop
    metrics = parse_metrics(answer)
    assert metrics is not None
    assert metrics.output_tokens < TOKENS
    assert metrics.steps is not None
    # The first token is the prefill's; the last step may have accepted more than the stop string left.
    told = 1 + len(metrics.steps.drafted) + sum(metrics.steps.accepted)
    assert metrics.output_tokens <= told <= metrics.output_tokens + 2


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{not json", 400, "body.1"),
        (b"", 400, "body"),
        (b"[]", 400, "body"),
        ({}, 400, "prompt"),
        ({"prompt": 5}, 400, "body.prompt"),
        ({"prompt": "x", "temperature": "hot"}, 400, "body.temperature"),
        ({"prompt": "x", "temperature": 3}, 400, "temperature"),
        ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        ({"prompt": "x", "stop": 5}, 400, "body.stop"),
        ({"prompt": "x", "stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"prompt": "x", "model": "somebody-else"}, 404, "model"),
        ({"prompt": "x", "temperature": 0, "n": 2}, 400, None),
        ({"prompt": "x", "vllm_xargs": {"spec_k": None}}, 400, "body.vllm_xargs.spec_k"),
    ],
)
async def test_wrong_requests_get_openai_errors(
    speculative: Client, body: object, status: int, param: str | None
) -> None:
    """An error object with message, type, param and code: the router passes it on as it is."""
    got, answer = await speculative.ask("/v1/completions", body)
    assert got == status
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert (error["code"], error["param"]) == (status, param)
    assert error["type"] == {400: error["type"], 404: "NotFoundError"}[status]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "body.messages"),
        ({"messages": "x"}, "body.messages"),
        ({"messages": [{"role": "user"}], "top_logprobs": 1}, "top_logprobs"),
    ],
)
async def test_wrong_chats_get_openai_errors(speculative: Client, body: Json, param: str) -> None:
    """The same for chat."""
    status, answer = await speculative.ask("/v1/chat/completions", body)
    assert (status, answer["error"]["param"]) == (400, param)


async def test_a_body_not_declared_as_json_is_refused(speculative: Client) -> None:
    """So the router has to send the header."""
    status, answer = await speculative.ask("/v1/completions", {"prompt": "x"}, content_type="text/plain")
    assert status == 400
    assert "application/json" in answer["error"]["message"]


async def test_the_key_guards_generation_and_not_health(deployment: Deployment, session: aiohttp.ClientSession) -> None:
    """Only the router holds the key; probes need none."""
    for key in (None, "wrong"):
        stranger = Client(session, deployment.speculative_url, key)
        status, answer = await stranger.ask("/v1/completions", {"prompt": "x"})
        assert status == 401
        assert "error" in answer
        assert (await stranger.ask("/v1/models"))[0] == 401
        assert (await stranger.ask("/health"))[0] == 200
        assert (await stranger.ask("/metrics"))[0] == 200


async def test_models_names_the_model_and_its_context(speculative: Client) -> None:
    """Preflight reads both."""
    _, models = await speculative.ask("/v1/models")
    (card,) = models["data"]
    assert card["max_model_len"] > 0
    answer = await speculative.generate(model=card["id"])
    assert answer["model"] == card["id"]


async def test_tokenize_and_detokenize_are_inverse(speculative: Client) -> None:
    """Lengths and texts can be had without generating."""
    _, tokens = await speculative.ask("/tokenize", {"prompt": "SELECT name FROM orders", "add_special_tokens": False})
    assert tokens["count"] == len(tokens["tokens"]) > 0
    _, text = await speculative.ask("/detokenize", {"tokens": tokens["tokens"]})
    assert text["prompt"] == "SELECT name FROM orders"


async def test_a_client_that_leaves_frees_its_slot(speculative: Client) -> None:
    """The router passes a disconnect on by closing its stream; the engine must notice and stop generating."""
    async with speculative.open(max_tokens=400, **_spec(0)) as response:
        await response.content.readany()
        await _until(speculative, "vllm:num_requests_running", 1)
        response.close()
    await _until(speculative, "vllm:num_requests_running", 0)


async def test_counters_grow_by_what_the_answer_reports(speculative: Client) -> None:
    """Aborted streams carry no metrics: the router checks its sums against these counters."""
    names = ("drafts", "draft_tokens", "accepted_tokens")
    before = [await speculative.sample(f"vllm:spec_decode_num_{name}_total") for name in names]
    report = (await speculative.generate(**_spec(3)))["metrics"]["speculative_decoding"]
    grown = (report["num_spec_steps"], report["num_draft_tokens"], report["num_accepted_draft_tokens"])
    for name, start, more in zip(names, before, grown, strict=True):
        await _until(speculative, f"vllm:spec_decode_num_{name}_total", start + more)


async def test_counters_per_position_sum_to_the_accepted(speculative: Client) -> None:
    """Acceptance by position can be read off the counters alone, and it falls with the position."""
    await speculative.generate(**_spec(4))
    _, page = await speculative.ask("/metrics")
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples if s.name == name]
    counts = [sample.value for sample in sorted(samples, key=lambda sample: int(sample.labels["position"]))]
    assert len(counts) == 4
    assert all(first >= second for first, second in pairwise(counts))
    assert sum(counts) == await speculative.sample("vllm:spec_decode_num_accepted_tokens_total")


@pytest.mark.parametrize(
    "name",
    [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
    ],
)
async def test_metrics_page_has_the_load(vanilla: Client, name: str) -> None:
    """The names that heartbeats and dashboards read."""
    assert await vanilla.sample(name) >= 0


async def _until(client: Client, name: str, value: float) -> None:
    """Wait for a metric to reach a value; counters are exported a moment after the answer."""
    deadline = time.monotonic() + DEADLINE_S
    while (seen := await client.sample(name)) != value:
        assert time.monotonic() < deadline, f"{name} is {seen}, not {value}"


def _text(answer: Json) -> str:
    (choice,) = answer["choices"]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def _joined(events: list[str]) -> str:
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices)
