"""The repairs of vLLM's CPU build: faults shown before, absent after, untouched where there is none."""

import importlib.util
import warnings
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("vllm")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from vllm.platforms import current_platform
    from vllm.triton_utils import dispatcher
    from vllm.utils import cpu_triton_utils
    from vllm.v1.sample.ops import topk_topp_sampler

    from engines import vllm_plugin

if not current_platform.is_cpu():
    pytest.skip("the faults are those of vLLM's CPU build", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")


def untouched(module: ModuleType) -> Any:
    """A fresh copy of a vLLM module: the plugin may already have been loaded in this process."""
    assert module.__spec__ is not None
    assert module.__spec__.origin is not None
    spec = importlib.util.spec_from_file_location("untouched", module.__spec__.origin)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


@pytest.fixture
def as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM as it was installed, for the length of a test."""
    current_platform.import_kernels()
    kernels, sampler = untouched(cpu_triton_utils), untouched(topk_topp_sampler)
    monkeypatch.setattr(cpu_triton_utils, "_expand_kernel_impl", kernels._expand_kernel_impl)
    monkeypatch.setattr(topk_topp_sampler, "apply_top_k_only", sampler.apply_top_k_only)
    monkeypatch.setattr(dispatcher, "_registry", {})


@pytest.mark.usefixtures("as_shipped")
def test_both_faults_are_there_before_and_gone_after() -> None:
    """Should a release have neither any more, the repair has become superfluous: this test says so."""
    assert vllm_plugin.expand_is_faulty(cpu_triton_utils._expand_kernel_impl)
    assert vllm_plugin.top_k_is_faulty(topk_topp_sampler.apply_top_k_only)
    vllm_plugin.register()
    assert not vllm_plugin.expand_is_faulty(cpu_triton_utils._expand_kernel_impl)
    assert not vllm_plugin.top_k_is_faulty(topk_topp_sampler.apply_top_k_only)


@pytest.mark.usefixtures("as_shipped")
def test_registering_again_changes_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """vLLM loads plugins in each of its processes, and says that it may do so twice in one."""
    vllm_plugin.register()
    repaired = cpu_triton_utils._expand_kernel_impl, topk_topp_sampler.apply_top_k_only
    caplog.clear()
    vllm_plugin.register()
    assert (cpu_triton_utils._expand_kernel_impl, topk_topp_sampler.apply_top_k_only) == repaired
    assert not caplog.records


@pytest.mark.usefixtures("as_shipped")
def test_a_sound_build_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vLLM that was mended upstream keeps its own code."""

    def mended(
        output: Any, input_val: Any, cu_num_tokens: Any, *replace: int, MAX_NUM_TOKENS: int | None = None
    ) -> None:
        vllm_plugin.expand(output, input_val, cu_num_tokens, *replace)

    monkeypatch.setattr(cpu_triton_utils, "_expand_kernel_impl", mended)
    assert not vllm_plugin.repair_expand()
    assert cpu_triton_utils._expand_kernel_impl is mended


@pytest.mark.usefixtures("as_shipped")
def test_a_kernel_already_bound_is_replaced_too() -> None:
    """Where a worker bound the fallbacks before the plugin came, its rejection sampler gets the repaired one."""
    from vllm.v1.sample import rejection_sampler

    dispatcher.register_kernels({vllm_plugin.KERNEL: cpu_triton_utils._expand_kernel_impl})
    vllm_plugin.repair_expand()
    temperatures = torch.tensor([0.7, 0.0, 1.3])
    expanded = rejection_sampler.expand_batch_to_tokens(temperatures, torch.tensor([2, 3, 6]), 6, 0, 1)
    assert expanded.tolist() == pytest.approx([0.7, 0.7, 1.0, 1.3, 1.3, 1.3])


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_values_are_expanded_in_their_own_type(kind: torch.dtype) -> None:
    """Temperatures and top-p are floats, top-k integers; requests without drafts take no place."""
    output = torch.zeros(5, dtype=kind)
    vllm_plugin.expand(output, torch.tensor([3, 8, 0], dtype=kind), torch.tensor([2, 2, 5], dtype=torch.int32), 0, 1)
    assert output.tolist() == [3, 3, 1, 1, 1]


def test_top_k_of_some_rows_is_unchanged() -> None:
    """The wrapper only steps in where there is no row."""
    top_k = vllm_plugin.skip_no_rows(topk_topp_sampler.apply_top_k_only)
    kept = top_k(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2], dtype=torch.int32))
    assert kept.tolist() == [[-float("inf"), 3.0, 2.0]]
    assert top_k(torch.empty((0, 3)), torch.empty(0, dtype=torch.int32)).shape == (0, 3)
