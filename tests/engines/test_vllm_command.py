"""Command lines for vLLM: what is asked of it, what is refused before it starts, where the key goes."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engines.placement import FLAGS
from engines.pool import PoolSettings, VllmOptions
from engines.preflight.sampling import OPTION
from engines.preflight.starting import OFFLOADS
from engines.vllm_command import OWN_FLAGS, Command, build_command, check_settings, max_running, schedules_async
from engines.vllm_errors import EngineSettingsError, ModelNotFoundError
from engines.vllm_flags import NO_ASYNC, SHORT, flag_of, given
from engines.vllm_methods import METHODS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a Hugging Face model."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def pool(target: Path | str, vllm: dict[str, Any] | None = None, **fields: Any) -> PoolSettings:
    """A pool on the CPU unless told otherwise."""
    return PoolSettings(name="p", target=str(target), vllm=VllmOptions(**{"device": "cpu", **(vllm or {})}), **fields)


def command(settings: PoolSettings) -> Command:
    """Its command line at a fixed place."""
    return build_command(settings, host="127.0.0.1", port=8123, api_key="sk-secret")


def speculation(settings: PoolSettings) -> dict[str, Any]:
    """The speculative config of its command line."""
    argv = command(settings).argv
    return dict(json.loads(argv[argv.index("--speculative-config") + 1]))


def test_a_vanilla_pool_asks_for_metrics_and_nothing_speculative(folder: Path) -> None:
    """The flag for speculative metrics is an error without a speculative config."""
    argv = command(pool(folder)).argv
    assert "--enable-per-request-metrics" in argv
    assert not [flag for flag in argv if "spec" in flag or "scheduler" in flag]


def test_a_speculative_pool_gets_its_method_k_drafter_and_scheduler(folder: Path) -> None:
    """k_max becomes num_speculative_tokens; further fields pass through."""
    settings = pool(
        folder, {"speculative": {"draft_tensor_parallel_size": 1}}, method="draft_model", drafter=str(folder), k_max=3
    )
    assert speculation(settings) == {
        "method": "draft_model",
        "model": str(folder),
        "num_speculative_tokens": 3,
        "draft_tensor_parallel_size": 1,
    }
    argv = command(settings).argv
    assert argv[argv.index("--scheduler-cls") + 1] == "engines.vllm_scheduler.SpecKScheduler"
    assert "--no-async-scheduling" in argv


@pytest.mark.parametrize(("method", "kind"), [("eagle3", "AsyncSpecKScheduler"), ("ngram", "SpecKScheduler")])
def test_on_a_gpu_scheduling_is_asynchronous_where_vllm_can(folder: Path, method: str, kind: str) -> None:
    """And synchronous for the methods whose drafts need the tokens on the host."""
    drafter = str(folder) if METHODS[method].drafter == "needed" else None
    settings = pool(folder, {"device": "gpu"}, method=method, drafter=drafter, k_max=3)
    assert f"engines.vllm_scheduler.{kind}" in command(settings).argv
    assert schedules_async(settings) is (kind == "AsyncSpecKScheduler")
    for told in (
        {"args": ["--no-async-scheduling"]},
        {"args": ["--no_async_scheduling"]},
        {"speculative": {"disable_padded_drafter_batch": True}},  # which vLLM refuses with --async-scheduling
    ):
        off = pool(folder, {"device": "gpu", **told}, method=method, drafter=drafter, k_max=3)
        assert "engines.vllm_scheduler.SpecKScheduler" in command(off).argv
        assert "--async-scheduling" not in command(off).argv


@pytest.mark.parametrize(("k_max", "batch"), [(1, 1), (4, 2), (4, 256), (32, 64)])
def test_on_a_gpu_graphs_are_captured_for_every_k(folder: Path, k_max: int, batch: int) -> None:
    """vLLM's own expansion of the table holds k_max for nearly all batches, and every k where batches are enough."""
    pytest.importorskip("vllm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup

    settings = pool(folder, {"device": "gpu", "max_num_seqs": batch}, method="eagle", drafter=str(folder), k_max=k_max)
    table = speculation(settings)["num_speculative_tokens_per_batch_size"]
    by_batch = build_dynamic_sd_schedule_lookup(table, batch, k_max)[1:]
    assert by_batch[0] == k_max
    assert set(by_batch) == set(range(max(0, k_max - batch + 1), k_max + 1))


def test_the_key_is_in_the_environment_alone(folder: Path) -> None:
    """Arguments of a process are for every user to read."""
    built = command(pool(folder))
    assert "sk-secret" not in " ".join(built.argv)
    assert built.env["VLLM_API_KEY"] == "sk-secret"


def test_cpu_engines_keep_to_their_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings win over the surrounding environment, and a pool's own variables over both."""
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert command(pool(folder, {"cpu_threads": 2})).env["OMP_NUM_THREADS"] == "2"
    assert command(pool(folder, {"env": {"OMP_NUM_THREADS": "3"}})).env["OMP_NUM_THREADS"] == "3"
    assert command(pool(folder, {"device": "gpu"})).env["OMP_NUM_THREADS"] == "64"


def test_local_models_never_ask_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hub id for either, the hub must be reachable; a revision is passed on."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert command(pool(folder)).env["HF_HUB_OFFLINE"] == "1"
    online = command(pool("org/model@abc123"))
    assert "HF_HUB_OFFLINE" not in online.env
    assert online.argv[online.argv.index("--model") + 1] == "org/model"
    assert online.argv[online.argv.index("--revision") + 1] == "abc123"
    assert speculation(pool(folder, method="eagle", drafter="org/d@v2", k_max=1))["revision"] == "v2"


def test_vllm_can_import_this_project(folder: Path) -> None:
    """The scheduler and the middleware are loaded by name in vLLM's processes, wherever they start."""
    first = command(pool(folder)).env["PYTHONPATH"].split(os.pathsep)[0]
    assert (Path(first) / "engines" / "vllm_scheduler.py").is_file()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "ngram_gpu", "k_max": 3}, "'ngram_gpu' needs a GPU"),
        ({"vllm": {"args": ["--port=1", "--scheduler-cls", "x"]}}, r"vllm\.args may not hold --port, --scheduler-cls"),
        ({"vllm": {"args": ["--api_key", "x"]}}, "may not hold --api-key"),
        ({"vllm": {"args": ["--api-k=x"]}}, "may not hold --api-key"),
        ({"vllm": {"args": ["--speculative_config.method", "ngram"]}}, "may not hold --speculative-config"),
        ({"vllm": {"args": ["-sc", "{}"]}}, "may not hold --speculative-config"),
        ({"vllm": {"args": ["-s={}"]}}, "may not hold --speculative-config"),
        ({"vllm": {"args": ["-dp", "2"]}}, "may not hold --data-parallel-size"),
        ({"vllm": {"args": ["--disable_log_stats"]}}, "may not hold --disable-log-stats"),
        ({"vllm": {"args": ["--no-enable-per-request-metrics"]}}, "may not hold --no-enable-per-request-metrics"),
        (
            {"method": "ensemble", "k_max": 2, "vllm": {"args": ["--worker_extension_cls=x"]}},
            "may not hold --worker-extension-cls",
        ),
        ({"vllm": {"args": ["--hf-token=x"]}}, r"--hf-token: .* set HF_TOKEN in vllm\.env"),
        ({"vllm": {"args": ["--config", "x.yaml"]}}, r"--config: .* write its options into vllm\.args"),
        ({"vllm": {"args": ["--hf_token", "x"]}}, r"--hf-token: .* set HF_TOKEN in vllm\.env"),
        ({"vllm": {"env": {"VLLM_API_KEY": "x"}}}, r"vllm\.env may not hold VLLM_API_KEY"),
        (
            {"method": "ngram", "k_max": 2, "vllm": {"speculative": {"rejection_sample_method": "synthetic"}}},
            "the CPU build of vLLM has no 'synthetic'",
        ),
    ],
)
def test_settings_vllm_could_not_run_are_refused(folder: Path, fields: dict[str, Any], said: str) -> None:
    """The message names the pool, the field, the value and what is allowed."""
    with pytest.raises(EngineSettingsError, match=f"pool 'p': .*{said}"):
        check_settings(pool(folder, **fields))


def test_values_and_other_flags_are_not_taken_for_reserved_ones(folder: Path) -> None:
    """Negative numbers, JSON, dashes, and flags that only begin alike."""
    args = ["--seed", "-1", "--override-generation-config", '{"temperature": 0.5}', "--chat-template", "-", "--", ""]
    check_settings(pool(folder, {"args": [*args, "--hostile", "--model-impl=vllm", "--max-num-batched-tokens=8k"]}))


def test_secrets_in_the_environment_reach_vllm_alone(folder: Path) -> None:
    """Neither settings nor command nor a refusal shows a value; a number without quotes is one, too."""
    settings = pool(folder, {"env": {"HF_TOKEN": "hf_secret", "PORT_BASE": 8123}})
    built = command(settings)
    assert (built.env["HF_TOKEN"], built.env["PORT_BASE"]) == ("hf_secret", "8123")
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(built), str(built)):
        assert "hf_secret" not in shown
    with pytest.raises(ValidationError) as refused:
        PoolSettings.model_validate({"name": "p", "k_max": 1, "vllm": {"env": {"HF_TOKEN": ["hf_secret"]}}})
    assert "hf_secret" not in str(refused.value)


def test_folders_without_a_model_are_told(folder: Path, tmp_path: Path) -> None:
    """A missing folder, and one with something else in it, for target and drafter alike."""
    with pytest.raises(ModelNotFoundError, match="target '/no/such' is not a folder"):
        check_settings(pool("/no/such"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelNotFoundError, match=r"drafter '.*empty' holds no config\.json"):
        check_settings(pool(folder, method="draft_model", drafter=str(empty), k_max=2))


def test_largest_batch(folder: Path) -> None:
    """As set, else by the kind of machine."""
    assert max_running(pool(folder)) == 8
    assert max_running(pool(folder, {"device": "gpu"})) == 256
    assert max_running(pool(folder, {"max_num_seqs": 3})) == 3


def vllm_parser() -> Any:
    """The parser of vLLM's own server."""
    pytest.importorskip("vllm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser())


@pytest.mark.filterwarnings("ignore")
def test_flags_are_read_as_vllm_reads_them() -> None:
    """Its short names are these, and no flag of its own is the beginning of one that is looked for here."""
    flags = vllm_parser()._option_string_actions
    assert all(flags[short] is flags[flag] for short, flag in SHORT.items())
    looked_for = {
        *(*OWN_FLAGS, *FLAGS.values(), *OFFLOADS, NO_ASYNC, OPTION, "--worker-extension-cls", "--additional-config"),
        *("--config", "--hf-token", "--hf-overrides", "--hf-config-path", "--quantization", "--gpu-memory-utilization"),
        *("--kv-cache-dtype", "--max-num-batched-tokens"),
    }
    assert looked_for <= flags.keys()
    for name, action in flags.items():
        assert given([name], looked_for) == looked_for.intersection(action.option_strings) & {flag_of(name)}, name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_vllm_knows_every_flag(folder: Path, device: str) -> None:
    """Its own parser takes the command line; a flag it dropped would stop every engine."""
    parser = vllm_parser()
    settings = pool(folder, {"device": device, "max_model_len": 64}, method="draft_model", drafter=str(folder), k_max=2)
    argv = list(command(settings).argv[3:])
    parsed = parser.parse_args(argv)
    assert parsed.speculative_config["num_speculative_tokens"] == 2
    assert parsed.middleware == ["engines.vllm_auth.RequireKey"]


def test_adapters_are_served_under_their_names(folder: Path) -> None:
    """Every adapter may be in one batch; JSON carries places that hold an equals sign."""
    argv = command(pool(folder, loras={"legal": "org/legal-lora", "sql": "/models/a=b"})).argv
    assert argv[argv.index("--max-loras") + 1] == "2"
    at = argv.index("--lora-modules")
    assert [json.loads(module) for module in argv[at + 1 : at + 3]] == [
        {"name": "legal", "path": "org/legal-lora"},
        {"name": "sql", "path": "/models/a=b"},
    ]
    assert "--enable-lora" not in command(pool(folder)).argv
