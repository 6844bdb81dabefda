"""Which methods a pool may name: those of the installed vLLM that this project knows, with what each needs."""

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from engines.pool import PoolSettings
from engines.vllm_methods import (
    ENSEMBLE,
    METHODS,
    OPTION_METHODS,
    OWN_OPTIONS,
    UNSUPPORTED,
    machine_problem,
    unknown_method,
)
from engines.vllm_source import forget, offered_methods, speculative_fields


@pytest.fixture
def fresh() -> Iterator[None]:
    """What is installed is looked up anew."""
    forget()
    yield
    forget()


def _installed(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str | None) -> None:
    """Have a vLLM installed whose settings read so; None: none."""
    if source is not None:
        (folder / "vllm" / "config").mkdir(parents=True)
        (folder / "vllm" / "__init__.py").touch()
        (folder / "vllm" / "config" / "speculative.py").write_text(source)

    def find_spec(name: str) -> object:
        return Spec() if source is not None else None

    class Spec:
        submodule_search_locations = (str(folder / "vllm"),)

    monkeypatch.setattr("engines.vllm_source.importlib.util.find_spec", find_spec)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_the_source_is_read_as_vllm_means_it() -> None:
    """The same names as its own type has, all of them accounted for."""
    pytest.importorskip("vllm", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.config.speculative import MTPModelTypes, SpeculativeConfig, SpeculativeMethod

    def flat(literal: object) -> set[str]:
        return {name for part in get_args(literal) for name in ({part} if isinstance(part, str) else flat(part))}

    assert offered_methods() == flat(SpeculativeMethod)
    assert speculative_fields() == {field.name for field in dataclasses.fields(SpeculativeConfig)}
    assert speculative_fields() > OPTION_METHODS.keys() | OWN_OPTIONS
    assert offered_methods() == (METHODS.keys() - {ENSEMBLE}) | UNSUPPORTED.keys() | set(get_args(MTPModelTypes))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "mlp_speculator"}, "'mlp_speculator' is not supported .*no longer.*; there are: ngram, .*eagle3"),
        ({"method": "deepseek_mtp"}, "under this name: it is 'mtp'"),
        ({"method": "extract_hidden_states"}, "it drafts nothing"),
        ({"method": "lookahead"}, "'lookahead' is not supported; there are: ngram"),
        ({"method": "ngram", "drafter": "/d"}, "takes no drafter, got '/d'"),
        ({"method": "dflash"}, "'dflash' needs a drafter"),
        ({"method": None, "k_max": 0, "drafter": "/d"}, "drafter '/d' is given without a method"),
    ],
)
def test_a_pool_that_could_not_run_is_refused(fields: dict[str, object], said: str) -> None:
    """With the settings, long before an engine starts; a server by url may run what it likes."""
    with pytest.raises(ValidationError, match=f"pool 'p': .*{said}"):
        PoolSettings.model_validate({"name": "p", "k_max": 3, **fields})
    if fields["method"]:
        PoolSettings.model_validate({"name": "p", "k_max": 3, "engine": "url", "urls": ["http://x"], **fields})


@pytest.mark.skipif(not speculative_fields(), reason="no vLLM is installed")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_speculative_tokens": 9}, "may not hold num_speculative_tokens"),
        ({"num_speculative_tokens_per_batch_size": [[1, 8, 2]]}, "may not hold num_speculative_tokens_per_batch_size"),
        ({"prompt_lookup_maximum": 4}, "has no 'prompt_lookup_maximum', did you mean 'prompt_lookup_max'"),
        ({"use_heterogeneous_vocab": True}, "'use_heterogeneous_vocab' is for draft_model, the method is 'ngram'"),
        ({"enable_adaptive_verification": True}, "is for dspark"),
        ({"suffix_decoding_max_tree_depth": 8}, "is for suffix"),
        ({"quantization": "fp8"}, "is for dflash, draft_model"),
    ],
)
def test_options_that_do_not_fit_the_method_are_refused(options: dict[str, object], said: str) -> None:
    """vLLM says so minutes later, or never."""
    pool: dict[str, object] = {"name": "p", "method": "ngram", "k_max": 3}
    with pytest.raises(ValidationError, match=f"pool 'p': vllm.speculative.*{said}"):
        PoolSettings.model_validate({**pool, "vllm": {"speculative": options}})
    PoolSettings.model_validate({**pool, "vllm": {"speculative": {"prompt_lookup_max": 4}}})


def test_a_target_may_bring_its_drafter() -> None:
    """As layers for multi-token prediction, or as DSpark's stages; one of their own is taken too."""
    for method in ("mtp", "dspark"):
        for drafter in (None, "org/d"):
            PoolSettings.model_validate({"name": "p", "method": method, "k_max": 2, "drafter": drafter})


def test_options_need_a_method() -> None:
    """A vanilla pool has nothing to configure."""
    with pytest.raises(ValidationError, match=r"prompt_lookup_max.* is given without a method"):
        PoolSettings.model_validate({"name": "p", "vllm": {"speculative": {"prompt_lookup_max": 4}}})


@pytest.mark.usefixtures("fresh")
def test_a_method_that_this_vllm_has_lost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer one without medusa offers the others."""
    source = 'Models = Literal["eagle"]\nSpeculativeMethod = Literal["ngram", "draft_model", Models]\n'
    _installed(tmp_path, monkeypatch, source)
    assert unknown_method("eagle") is None
    assert unknown_method("medusa") == (
        "method 'medusa' is not in the installed vLLM; there are: ngram, draft_model, eagle"
    )


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("source", [None, "SpeculativeMethod = object()\n", "def ("], ids=["none", "other", "broken"])
def test_where_nothing_can_be_read_all_known_methods_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None
) -> None:
    """The router's machine need not have vLLM; the engine's own start decides."""
    _installed(tmp_path, monkeypatch, source)
    assert all(unknown_method(method) is None for method in METHODS)


def test_what_a_machine_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine is to run, not where its settings are read."""
    assert "needs a GPU; on a CPU use 'ngram'" in (machine_problem("ngram_gpu", {}, on_cpu=True) or "")
    assert machine_problem("ngram_gpu", {}, on_cpu=False) is None
    monkeypatch.setattr("engines.vllm_methods.importlib.util.find_spec", lambda _: None)
    assert "pip install arctic-inference" in (machine_problem("suffix", {}, on_cpu=True) or "")
