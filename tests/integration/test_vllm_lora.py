"""A LoRA adapter on real vLLM, asked for by its name through the router: with speculation and without."""

import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import yaml
from deployed import Deployed, deployed

from engines.demo.build import build_demo_pair, default_folder

pytest.importorskip("vllm", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(1200)]

ADAPTER = "demo-dialect"
RANK, LAYERS = 4, 4
"""Of the adapter; the demo target's layers behind these add nothing to what they are given."""
PROMPTS = ("Write a SQL query: names of all users", "Tell a story about a fox.", "Compute 12 plus 30 step by step.")

ASKED = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 32, "temperature": 0}


def _write_adapter(folder: Path, hidden: int) -> None:
    """Random low-rank matrices, large enough to change what is said, in the layout that PEFT writes."""
    from safetensors.numpy import save_file

    draws, weights = np.random.default_rng(7), {}
    for layer in range(LAYERS):
        for module in ("q_proj", "o_proj"):
            place = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{place}.lora_A.weight"] = draws.normal(0, 0.1, (RANK, hidden)).astype(np.float32)
            weights[f"{place}.lora_B.weight"] = draws.normal(0, 0.1, (hidden, RANK)).astype(np.float32)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "demo",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["q_proj", "o_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A vanilla and a speculative pool over the demo pair, both with the adapter."""
    pair, folder = build_demo_pair(default_folder()), tmp_path_factory.mktemp("lora")
    adapter = folder / "adapter"
    adapter.mkdir()
    _write_adapter(adapter, json.loads((pair.target / "config.json").read_text())["hidden_size"])
    vllm = {"max_model_len": 512, "max_num_seqs": 4}
    shared = {"model": "demo", "target": str(pair.target), "loras": {ADAPTER: str(adapter)}, "vllm": vllm}
    drafting = {"name": "draft", "method": "draft_model", "drafter": str(pair.draft), "k_max": 3}
    settings = folder / "alpharoute.yaml"
    settings.write_text(yaml.safe_dump({"pools": [{"name": "vanilla", **shared}, {**drafting, **shared}]}))
    with deployed(redis_url, folder, "--config", str(settings)) as running:
        yield running


async def _said(url: str, model: str, prompt: str, key: str | None = None, **asked: str) -> tuple[str, dict[str, str]]:
    """The greedy answer and the head it came with."""
    body = {**ASKED, "model": model, "messages": [{"role": "user", "content": prompt}]}
    headers = {**asked, **({"authorization": f"Bearer {key}"} if key else {})}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        data = await answer.json()
        assert answer.status == 200, data
        assert data["model"] == model
        return str(data["choices"][0]["message"]["content"]), dict(answer.headers)


async def test_an_adapter_answers_under_its_name(service: Deployed) -> None:
    """Each pool says through the router what its engine says when asked itself: as the other pool, not as the base."""
    beats = {beat.pool: beat for beat in await service.heartbeats()}
    changed = 0
    for prompt in PROMPTS:
        base, _ = await _said(service.url, "demo", prompt)
        answers = set()
        for pool, speculation in (("vanilla", "off"), ("draft", "on")):
            asked = {"x-alpharoute-speculation": speculation}
            answer, head = await _said(service.url, ADAPTER, prompt, **asked)
            assert head["x-alpharoute-pool"] == pool
            assert (int(head["x-alpharoute-k"]) > 0) is (pool == "draft")
            direct, _ = await _said(beats[pool].url, ADAPTER, prompt, beats[pool].api_key)
            assert answer == direct, (pool, prompt)
            answers.add(answer)
        assert len(answers) == 1, answers
        changed += answers != {base}
    assert changed > len(PROMPTS) / 2, "the adapter changes too little to be told from the base"


async def test_an_adapter_is_listed_with_its_base(service: Deployed) -> None:
    """Clients find it where they look for models; an unknown name is a 404 that lists both."""
    async with aiohttp.ClientSession(service.url) as session:
        async with session.get("/v1/models") as answer:
            parents = {card["id"]: card["parent"] for card in (await answer.json())["data"]}
        async with session.post("/v1/chat/completions", json={**ASKED, "model": "other"}) as answer:
            refused = (await answer.json())["error"]
    assert parents == {"demo": None, ADAPTER: "demo"}
    assert refused["code"] == "model_not_found"
    assert ADAPTER in refused["message"]
