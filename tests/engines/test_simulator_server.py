"""The simulator over HTTP where it goes beyond the engine contract, and as a process."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.contract import parse_metrics
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings

SQL = "[task:sql_generation] list the orders"
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look_up", "book")]


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """A speculative simulator that does not wait."""
    chosen = SimulatorSettings(model="sim", method="draft_model", time_scale=0, max_model_len=512)
    async with SimulatorServer(SimulatedEngine(chosen)) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One HTTP client per test."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client:
        yield client


async def _post(server: SimulatorServer, session: aiohttp.ClientSession, path: str, body: object) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    async with session.post(server.url + path, data=data, headers=headers) as response:
        text = await response.text()
    return json.loads(text) if text.startswith("{") else text


async def _until_running(server: SimulatorServer) -> None:
    deadline = time.monotonic() + 10
    while not server.engine.batch.running:
        assert time.monotonic() < deadline, "the request never ran"
        await asyncio.sleep(0.001)


async def _chat(server: SimulatorServer, session: aiohttp.ClientSession, **fields: Any) -> Any:
    body = {"messages": [{"role": "user", "content": SQL}], "temperature": 0, "max_tokens": 16, "ignore_eos": True}
    return await _post(server, session, "/v1/chat/completions", body | fields)


async def test_metrics_are_exact_in_virtual_time(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """16 tokens at k = 0 are 15 decode steps of T(1, 0): an oracle for whoever estimates costs."""
    metrics = parse_metrics(await _chat(server, session, vllm_xargs={"spec_k": 0}))
    assert metrics is not None
    cost = server.engine.calibration.cost
    assert metrics.generation_ms == pytest.approx(
        15 * (cost.base_ms + cost.per_sequence_ms + cost.per_token_ms + cost.drafter_ms)
    )
    assert metrics.queue_ms == 0


@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({}, "sql_generation"),
        ({"vllm_xargs": {"sim_task": "translation"}}, "translation"),
        (
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Tell me a story"}]},
            "creative_writing",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Summarize this"}]}]}, "summarization"),
    ],
)
async def test_the_state_tells_what_each_request_was(
    server: SimulatorServer, session: aiohttp.ClientSession, fields: dict[str, Any], task: str
) -> None:
    """Tests of a router see which k and task arrived."""
    await _chat(server, session, **fields)
    async with session.get(f"{server.url}/simulator/state") as response:
        state = await response.json()
    assert (state["served"], state["running"], state["waiting"], state["aborted"]) == (1, 0, 0, 0)
    (record,) = state["recent"]
    assert (record["task"], record["k"], record["output_tokens"], record["outcome"]) == (task, 4, 16, "served")


async def test_acceptance_can_be_changed_while_it_runs(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """Drift on demand: one task's drafter goes stale, the others' does not, and the text stays."""
    fields = {"max_tokens": 200, "vllm_xargs": {"spec_k": 4}}
    before = await _chat(server, session, **fields)
    await _post(server, session, "/simulator/acceptance", {"scale": 0.1, "task": "sql_generation"})
    after = await _chat(server, session, **fields)
    rate = [answer["metrics"]["speculative_decoding"]["draft_acceptance_rate"] for answer in (before, after)]
    assert rate[1] < 0.2 < rate[0]
    assert before["choices"][0]["message"] == after["choices"][0]["message"]


async def test_a_forced_tool_is_called_with_json(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """`required` and a named tool give a call; `auto` gives text."""
    required = (await _chat(server, session, tools=TOOLS, tool_choice="required", ignore_eos=False, max_tokens=400))[
        "choices"
    ][0]
    named = {"type": "function", "function": {"name": "book"}}
    chosen = (await _chat(server, session, tools=TOOLS, tool_choice=named, ignore_eos=False, max_tokens=400))[
        "choices"
    ][0]
    auto = (await _chat(server, session, tools=TOOLS))["choices"][0]
    (call,) = required["message"]["tool_calls"]
    assert (required["finish_reason"], call["function"]["name"]) == ("tool_calls", "look_up")
    assert json.loads(call["function"]["arguments"])["input"]
    assert chosen["finish_reason"] == "stop"
    assert chosen["message"]["tool_calls"][0]["function"]["name"] == "book"
    assert "tool_calls" not in auto["message"]


async def test_a_streamed_tool_call_joins_to_the_whole_one(
    server: SimulatorServer, session: aiohttp.ClientSession
) -> None:
    """Name and id come first, then the arguments in pieces."""
    fields = {"tools": TOOLS, "tool_choice": "required", "ignore_eos": False, "max_tokens": 400}
    whole = (await _chat(server, session, **fields))["choices"][0]["message"]["tool_calls"][0]["function"]
    text = await _chat(server, session, stream=True, **fields)
    chunks = [
        json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event and "[DONE]" not in event
    ]
    calls = [call for c in chunks for choice in c["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert calls[0]["id"]
    assert calls[0]["function"]["name"] == whole["name"]
    assert "".join(call["function"]["arguments"] for call in calls) == whole["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_logprobs_have_one_entry_per_token(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """In both dialects' shapes."""
    choice = (await _chat(server, session, logprobs=True, top_logprobs=1))["choices"][0]
    tokens = [entry["token"] for entry in choice["logprobs"]["content"]]
    assert (len(tokens), "".join(tokens)) == (16, choice["message"]["content"])
    body = {"prompt": SQL, "max_tokens": 4, "ignore_eos": True, "logprobs": 1}
    completion = (await _post(server, session, "/v1/completions", body))["choices"][0]
    assert "".join(completion["logprobs"]["tokens"]) == completion["text"]


async def test_every_prompt_of_a_list_gets_n_choices(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """Texts and token ids alike, in the order of the prompts."""
    body = {"prompt": ["a", "b"], "n": 2, "max_tokens": 3, "ignore_eos": True, "seed": 1}
    choices = (await _post(server, session, "/v1/completions", body))["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert len({choice["text"] for choice in choices}) == 4
    ids = (await _post(server, session, "/tokenize", {"prompt": "a"}))["tokens"]
    by_ids = (await _post(server, session, "/v1/completions", body | {"prompt": [ids], "n": 1}))["choices"]
    assert by_ids[0]["text"] == choices[0]["text"]


async def test_echo_puts_the_prompt_first(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """As completions do."""
    body = {"prompt": 'say "é"', "max_tokens": 2, "echo": True}
    assert (await _post(server, session, "/v1/completions", body))["choices"][0]["text"].startswith('say "é"')


async def test_usage_in_every_chunk_on_request(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """`continuous_usage_stats` counts up."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"prompt": "x", "max_tokens": 9, "ignore_eos": True, "stream": True, "stream_options": options}
    text = await _post(server, session, "/v1/completions", body)
    counts = [json.loads(e[6:])["usage"]["completion_tokens"] for e in text.split("\n\n") if e and "[DONE]" not in e]
    assert counts == sorted(counts)
    assert counts[-2:] == [9, 9]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "x" * 2100}, "This model's maximum context length is 512 tokens."),
        ({"prompt": "x", "max_tokens": 513}, "max_tokens=513 cannot be greater than max_model_len=512."),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
        ({"prompt": "x", "stop": ""}, "stop cannot contain an empty string."),
        ({"prompt": "x", "stop": ["a"] * 5}, "List should have at most 4 items"),
        ({"prompt": []}, "You must pass at least one prompt"),
        ({"prompt": "x", "seed": 2**63}, "less than or equal to 9223372036854775807"),
        (b'{"prompt": "\xff"}', "JSON decode error"),
        (b"[" * 100_000, "JSON decode error"),
        (b'{"prompt": "x", "temperature": NaN}', "temperature must be"),
    ],
)
async def test_bad_values_are_named(
    server: SimulatorServer, session: aiohttp.ClientSession, body: object, message: str
) -> None:
    """In vLLM's words, as a 400 and never as a 500."""
    error = (await _post(server, session, "/v1/completions", body))["error"]
    assert error["code"] == 400
    assert message in error["message"]


async def test_unencodable_text_is_no_reason_to_fail(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """A lone surrogate passes JSON and has no UTF-8."""
    answer = await _post(server, session, "/v1/completions", b'{"prompt": "\\ud800", "max_tokens": 2, "echo": true}')
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/completions", 405), ("POST", "/v1/nothing", 404)])
async def test_unknown_routes_answer_as_fastapi_does(
    server: SimulatorServer, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """`detail`, not an OpenAI error: vLLM leaves these to its framework."""
    async with session.request(method, server.url + path) as response:
        assert response.status == status
        assert "detail" in await response.json()


async def test_an_engine_without_metrics_flags_reports_none(session: aiohttp.ClientSession) -> None:
    """Engines by URL may have been started without them."""
    chosen = SimulatorSettings(method="ngram", time_scale=0, request_metrics=False, spec_metrics="none")
    async with SimulatorServer(SimulatedEngine(chosen)) as server:
        assert (await _chat(server, session))["metrics"] is None


async def test_the_admin_routes_want_the_key_too(session: aiohttp.ClientSession) -> None:
    """Nobody but its owner makes an engine fail."""
    async with (
        SimulatorServer(SimulatedEngine(SimulatorSettings(api_key="k"))) as server,
        session.get(f"{server.url}/simulator/state") as stranger,
        session.get(f"{server.url}/simulator/state", headers={"authorization": "Bearer k"}) as owner,
    ):
        assert (stranger.status, owner.status) == (401, 200)
        assert await stranger.json() == {"error": "Unauthorized"}


async def test_stop_lets_running_requests_finish(session: aiohttp.ClientSession) -> None:
    """Within the limit: no new connections, and the old one gets its answer."""
    server = SimulatorServer(SimulatedEngine(SimulatorSettings(time_scale=20)))
    await server.start()
    answer = asyncio.create_task(_chat(server, session))
    await _until_running(server)
    await server.stop(drain_s=10)
    assert (await answer)["usage"]["completion_tokens"] == 16
    with pytest.raises(aiohttp.ClientConnectorError):
        await _chat(server, session)


async def test_stop_cuts_off_what_outlasts_the_limit(session: aiohttp.ClientSession) -> None:
    """A request that would take minutes does not hold the process."""
    server = SimulatorServer(SimulatedEngine(SimulatorSettings(time_scale=0.01)))
    await server.start()
    answer = asyncio.create_task(_chat(server, session))
    await _until_running(server)
    await server.stop(drain_s=0.05)
    with pytest.raises(aiohttp.ClientError):
        await answer


@pytest.mark.parametrize(
    "fields",
    [{"max_model_len": 900, "kv_capacity_tokens": 800}, {"drafter": "d"}, {"k": 3}, {"method": "ngram", "k_max": 0}],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    """At start, by name."""
    with pytest.raises(ValueError, match=next(reversed(fields))):
        SimulatorSettings.model_validate(fields)


def _run(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engines.simulator", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_the_process_prints_its_url_serves_and_ends_on_sigterm(session: aiohttp.ClientSession) -> None:
    """One JSON line when ready; SIGTERM drains and exits 0."""
    with _run(
        "--model", "m", "--method", "draft_model", "--drafter", "d", "--k-max", "3", "--time-scale", "0"
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        async with session.post(f"{url}/v1/completions", json={"prompt": "x", "max_tokens": 2}) as response:
            assert (await response.json())["metrics"]["speculative_decoding"]["num_spec_tokens"] == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


async def test_the_exit_failure_ends_the_process(session: aiohttp.ClientSession) -> None:
    """With the ordered code, at the request."""
    with _run("--failure", '{"kind": "exit", "exit_code": 7}') as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{url}/v1/completions", json={"prompt": "x"})
        assert process.wait(20) == 7


def test_wrong_options_end_with_one_reason() -> None:
    """The option is named, no traceback."""
    for options, named in (
        (["--k-max", "none"], "k_max"),
        (["--port", "99999"], "99999"),
        (["--calibration", "nowhere"], "nowhere"),
        (["--failure", "{}"], "kind"),
        (["--task-reader", "no.such:thing"], "no"),
    ):
        with _run(*options) as process:
            _, stderr = process.communicate(timeout=20)
        assert process.returncode == 2
        assert named in stderr
        assert stderr.count("\n") == 1


def test_a_port_in_use_is_an_error_not_a_hang() -> None:
    """The port is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with _run("--port", port) as process:
            _, stderr = process.communicate(timeout=20)
    assert process.returncode == 2
    assert port in stderr


async def test_paced_streams_take_the_calibrated_time(session: aiohttp.ClientSession) -> None:
    """41 vanilla tokens at 20x are 40 steps of 49 ms / 20 on the wall, whatever the timer's grain."""
    async with SimulatorServer(SimulatedEngine(SimulatorSettings(time_scale=20))) as server:
        start = time.monotonic()
        answer = await _chat(server, session, max_tokens=41)
        wall_ms = (time.monotonic() - start) * 1000
    assert answer["metrics"]["generation_time_ms"] >= 40 * 49 - 1
    assert wall_ms >= 40 * 49 / 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    [
        "model",
        "prompt",
        "messages",
        "n",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "vllm_xargs",
        "echo",
        "min_tokens",
        "ignore_eos",
        "tokens",
    ]
)


@given(
    path=st.sampled_from(
        ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/simulator/failures"]
    ),
    body=st.dictionaries(fields, json_values, max_size=4).map(
        lambda odd: {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2} | odd
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_body_is_answered_with_a_500(path: str, body: dict[str, object]) -> None:
    """Whatever the fields hold: 200 or a 4xx with an error object, never a stack trace."""

    async def ask() -> tuple[int, str]:
        engine = SimulatedEngine(SimulatorSettings(time_scale=0))
        async with (
            SimulatorServer(engine) as server,
            aiohttp.ClientSession() as session,
            session.post(server.url + path, json=body) as response,
        ):
            return response.status, await response.text()

    status, text = asyncio.run(ask())
    assert status == 200 or (
        400 <= status < 500 and set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
    )
