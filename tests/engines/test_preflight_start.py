"""The check before an engine starts: what refuses it, what is told, which weights are announced."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from models_on_disk import folder_of, safetensors

from engines.engine import SimulatorEngine
from engines.member import Announcing, Member
from engines.pool import PoolSettings
from engines.preflight.errors import PreflightError
from engines.preflight.quantization import ONLINE
from engines.preflight.revision import revision_of
from engines.preflight.starting import LONGER, check_pool, gpu_memory_bytes, plan_of, refuse_unfit
from engines.registry import Heartbeat
from engines.vllm_errors import EngineSettingsError
from engines.vllm_flags import argument
from router.state.store import MemoryRegistry

GIB = 1024**3


def _pool(target: Path, drafter: Path | None = None, **fields: Any) -> PoolSettings:
    method = {"drafter": str(drafter), "method": "draft_model", "k_max": 4} if drafter else {}
    vllm = {"device": "gpu", "max_model_len": 2048, **fields.pop("vllm", {})}
    return PoolSettings.model_validate(
        {"name": "p", "target": str(target), "gpus": 1, **method, "vllm": vllm, **fields}
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Qwen2.5-7B and 0.5B: one tokenizer, vocabularies of unequal size, which vLLM does not start."""
    return folder_of(tmp_path, "qwen2.5-7b", "7b"), folder_of(tmp_path, "qwen2.5-0.5b", "05b")


def test_what_cannot_start_is_refused(pair: tuple[Path, Path]) -> None:
    """With the pool, the check and what to do; told only where the pool says so; not at all where it is off."""
    with pytest.raises(EngineSettingsError, match=r"pool 'p': preflight: vocabulary size: .*use_heterogeneous_vocab"):
        refuse_unfit(_pool(*pair))
    assert any("vocabulary size" in line for line in refuse_unfit(_pool(*pair, preflight="warn")))
    assert refuse_unfit(_pool(*pair, preflight="off")) == ()
    assert not check_pool(_pool(*pair, vllm={"speculative": {"use_heterogeneous_vocab": True}}), 80 * GIB).refusals


def test_weights_that_exceed_the_gpu_are_refused(tmp_path: Path) -> None:
    """Certain, whatever the rest needs; with a GPU that nobody knows of, nothing is said of memory."""
    pool = _pool(folder_of(tmp_path, "llama-3.1-70b"))
    assert "memory: the weights alone take 131.4 GiB" in check_pool(pool, 80 * GIB).refusals[0]
    smaller = pool.model_copy(update={"vllm": pool.vllm.model_copy(update={"args": ("--quantization", "fp8")})})
    assert "memory: the weights alone take 67.7 GiB" in check_pool(smaller, 40 * GIB).refusals[0]
    assert check_pool(pool, None).refusals == ()


@pytest.mark.parametrize(
    ("args", "refused"),
    [
        (["--cpu-offload-gb", "90"], False),
        (["--offload_group_size=8"], False),
        (["--quantization", "mxfp8"], False),  # 66 GiB fit
        (["-q=fp8_per_channel"], False),
        (["--quantization", "nvfp4_per_token"], False),  # of its experts alone: not counted here
        (["--quantization", "bitsandbytes"], False),  # not vLLM 0.32's own: a plugin's at most
        (["--quantization-config", '{"linear": "mxfp4"}'], False),
        (["--tensor_parallel_size", "2"], False),
        (["--kv-cache-dtype", "fp8"], True),
    ],
)
def test_weights_that_may_take_less_are_told(tmp_path: Path, args: list[str], refused: bool) -> None:
    """Offloaded, quantized or spread, however that is written: what cannot be known to fail is not refused."""
    found = check_pool(_pool(folder_of(tmp_path, "llama-3.1-70b"), vllm={"args": args}), 80 * GIB)
    assert bool(found.refusals) is refused, found
    assert not [line for line in found.warnings if line.startswith("not checked")]


@pytest.mark.filterwarnings("ignore")
def test_vllm_makes_these_quantizations_as_it_loads() -> None:
    """By the names of its own list; fp8 it takes for fp8_per_tensor, and says that this will end."""
    shorthands = pytest.importorskip("vllm.config.quantization", exc_type=ImportError)._ONLINE_SHORTHANDS
    assert ONLINE.keys() - {"fp8"} == {name for name, made in shorthands.items() if made.linear is not None}


def test_a_drafter_quantized_in_a_way_not_counted_is_told(tmp_path: Path) -> None:
    """The two are too much for the GPU only if the drafter is as large as its files."""
    pair = folder_of(tmp_path, "llama-3.1-8b", "t"), folder_of(tmp_path, "llama-3.2-1b", "d")
    for kind, refused in (("fp8", True), ("experts_int8", False)):
        pool = _pool(*pair, vllm={"speculative": {"quantization": kind}})
        assert bool(check_pool(pool, 15 * GIB).refusals) is refused


def test_too_little_room_is_told(tmp_path: Path) -> None:
    """One request of the full context must fit: an estimate, so it warns."""
    pool = _pool(folder_of(tmp_path, "llama-3.1-8b"), vllm={"max_model_len": 131_072})
    found = check_pool(pool, 24 * GIB)
    assert found.refusals == ()
    assert "does not fit: 0 requests of 131,072 tokens" in found.warnings[0]


def test_a_drafter_that_eats_the_cache_is_told(tmp_path: Path) -> None:
    """Llama-2-7B keeps more per token than its 70 B target: of 8 GPUs' room, less than half is left for requests."""
    pair = folder_of(tmp_path, "llama-2-70b", "t"), folder_of(tmp_path, "llama-2-7b", "d")
    pool = _pool(*pair, gpus=4, placement={"tensor_parallel": 4}, vllm={"max_num_seqs": 200})
    (told,) = check_pool(pool, 80 * GIB).warnings
    assert "fit beside the drafter" in told


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    """Before a minute is spent on loading them."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    path = safetensors(folder / "model.safetensors", {"a.weight": ("BF16", (64, 64))})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(EngineSettingsError, match="truncated"):
        refuse_unfit(_pool(folder))


def test_what_cannot_be_examined_is_left_to_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub id that is not cached: vLLM fetches it, or says why not."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    (told,) = refuse_unfit(_pool(Path("org/model")))
    assert told.startswith("not checked: 'org/model' is not in")


def test_a_context_that_vllm_was_told_to_take_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused as vLLM does; a warning where its variable allows more, or its arguments change the configuration."""
    folder = folder_of(tmp_path, "llama-2-7b")
    long = {"max_model_len": 8192}
    assert "made for 4,096" in check_pool(_pool(folder, vllm=long), None).refusals[0]
    overrides = ["--hf-overrides", '{"max_position_embeddings": 8192}']
    for changed in ({"args": overrides}, {"env": {LONGER: "1"}}):
        found = check_pool(_pool(folder, vllm={**long, **changed}), None)
        assert found.refusals == ()
        assert "made for 4,096" in found.warnings[0]
    monkeypatch.setenv(LONGER, "1")
    assert not check_pool(_pool(folder, vllm=long), None).refusals


def test_the_plan_follows_settings_and_arguments(pair: tuple[Path, Path]) -> None:
    """Parallelism, memory and types as vLLM is told them."""
    args = ["-tp", "4", "--gpu-memory-utilization=0.5", "--kv_cache_dtype", "fp8", "--max-num-batched-tokens=4096"]
    pool = _pool(
        *pair, gpus=4, vllm={"args": args, "max_num_seqs": 17, "speculative": {"draft_tensor_parallel_size": 1}}
    )
    plan = plan_of(pool, 80 * GIB)
    assert (plan.tensor_parallel, plan.draft_tensor_parallel, plan.utilization) == (4, 1, 0.5)
    assert (plan.kv_dtype, plan.step_tokens, plan.max_num_seqs, plan.context) == ("fp8", 4096, 17, 2048)
    assert plan_of(_pool(*pair, vllm={"max_model_len": None}), None).context == 32_768, "the target's own"


@pytest.mark.parametrize(
    ("written", "tokens"), [("8k", 8000), ("8K", 8192), ("25.6k", 25_600), ("1M", 2**20), (" 512 ", 512)]
)
def test_numbers_are_read_as_vllm_reads_them(pair: tuple[Path, Path], written: str, tokens: int) -> None:
    """With its suffixes: small ones are decimal."""
    pool = _pool(*pair, vllm={"args": ["--max-num-batched-tokens", written]})
    assert plan_of(pool, 80 * GIB).step_tokens == tokens


@pytest.mark.parametrize("argument", ["--max-num-batched-tokens=many", "-tp=-1", "--gpu-memory-utilization=nan"])
def test_what_is_no_number_is_left_to_vllm(tmp_path: Path, argument: str) -> None:
    """It says so itself when it starts; here it is told with the flag."""
    pool = _pool(folder_of(tmp_path, "llama-3.2-1b"), vllm={"args": [argument]})
    with pytest.raises(PreflightError, match=r"vllm\.args: --.* must be a number"):
        plan_of(pool, None)
    assert check_pool(pool, 80 * GIB).warnings[0].startswith("not checked: vllm.args")


def test_arguments_are_found_in_every_form() -> None:
    """With a space or an equals sign, in short, with underscores; the last counts, and one without value is none."""
    assert argument(["--a", "1", "--b=2"], "--a") == "1"
    assert argument(["--a", "1", "--b=2"], "--b") == "2"
    assert argument(["--a"], "--a") is argument([], "--a") is None
    for written in (["-tp", "2"], ["--tensor_parallel_size=2"], ["--tensor-par", "2"], ["-tp=4", "-tp", "2"]):
        assert argument(written, "--tensor-parallel-size") == "2"


def test_the_driver_is_asked_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest of the GPUs this process may use; None where there is no driver."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_bytes() is None
    asked = tmp_path / "nvidia-smi"
    asked.write_text("#!/bin/sh\n[ \"$3 $4\" = '-i 0,1' ] && echo 81559 && echo 40960\n")
    asked.chmod(0o755)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpu_memory_bytes() == 40_960 * 1024**2


def test_a_revision_changes_with_the_weights(tmp_path: Path) -> None:
    """Equal configuration and header, other numbers: another revision; the same folder twice: the same."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    path = safetensors(folder / "model.safetensors", {"a.weight": ("BF16", (512, 512))})
    before = revision_of(str(folder))
    assert before == revision_of(str(folder))
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"trained" * 500)
    after = revision_of(str(folder))
    assert before is not None
    assert after not in (None, before)
    assert revision_of(str(tmp_path / "nothing")) is None


def test_a_snapshot_s_revision_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a branch was asked for."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--org--m"
    (home / "snapshots").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123456789abcdef")
    folder_of(home / "snapshots", "llama-3.2-1b", "0123456789abcdef")
    assert revision_of("org/m@main") == revision_of("org/m") == "0123456789ab"


def test_acceptance_is_kept_by_revision() -> None:
    """The found commit in place of the branch that was asked for; nothing where none was found."""
    beat = Heartbeat(replica="r", pool="p", model="m", target="org/m@main", drafter="d", url="u", target_revision="abc")
    assert (beat.target_id, beat.drafter_id) == ("org/m@abc", "d")
    assert Heartbeat(replica="r", pool="p", model="m", target="t", url="u").drafter_id is None


class _Named(SimulatorEngine):
    """A simulator that stands for the vLLM of a pool."""


async def test_a_member_checks_before_it_starts_and_says_so(pair: tuple[Path, Path]) -> None:
    """Refused before the engine is touched; a warning is in the phase while it starts, the revisions in the end."""
    registry = MemoryRegistry(time.monotonic)
    often = Announcing(every_s=0.02, ttl_s=0.5, read_s=0.02)
    simulated = PoolSettings.model_validate({"name": "p", "engine": "simulator", "probe": False})

    def member(pool: PoolSettings) -> Member:
        return Member("p-1", pool, _Named(simulated, "127.0.0.1", "key"), registry, often)

    with pytest.raises(EngineSettingsError, match="vocabulary size"):
        await member(_pool(*pair)).join()
    told = member(_pool(*pair, preflight="warn", self_check=False, probe=False, model="demo"))
    await told.join()
    try:
        deadline = time.monotonic() + 10
        while not (beats := [beat for beat in await registry.replicas() if beat.state == "ready"]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert beats[0].target_revision == revision_of(str(pair[0]))
        assert beats[0].drafter_revision == revision_of(str(pair[1]))
        assert beats[0].phase == ""
    finally:
        await told.leave(drain_s=0)
