"""What preflight reads of models on disk, what it says of a pair, and what it refuses to read."""

import json
from pathlib import Path

import pytest
from models_on_disk import folder_of, public_config, safetensors, tokenizer

from engines.preflight.advice import DRAFT
from engines.preflight.errors import PreflightError
from engines.preflight.findings import Finding, Level
from engines.preflight.headers import read_tensors
from engines.preflight.memory import Plan
from engines.preflight.places import find_model
from engines.preflight.report import Report, Wanted, examine

PLAN = Plan(80 * 1024**3, batch=4, context=2048)
WORDS = ["<unk>", "SELECT", "name", "FROM", "users", "def", "return"]


def _report(
    target: Path,
    draft: Path | None = None,
    method: str | None = None,
    *,
    heterogeneous: bool = False,
    training: bool = False,
    repetitive: bool = False,
) -> Report:
    wanted = Wanted(
        str(target),
        None if draft is None else str(draft),
        method,
        heterogeneous=heterogeneous,
        training=training,
        repetitive=repetitive,
    )
    return examine(wanted, PLAN)


def _found(report: Report, check: str) -> Finding:
    return next(finding for finding in report.findings if finding.check == check)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Llama-3.1-8B's configuration."""
    return folder_of(tmp_path, "llama-3.1-8b", "target")


def test_headers_are_read_instead_of_weights(tmp_path: Path) -> None:
    """A sparse file of 2 GB: tensors that vLLM does not load are left out, fp8 ones stay a byte each."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    safetensors(
        folder / "model.safetensors",
        {
            "model.embed_tokens.weight": ("F32", (128_256, 2048)),
            "lm_head.weight": ("F32", (128_256, 2048)),  # tied: not loaded
            "model.layers.0.mlp.up_proj.weight": ("F8_E4M3", (8192, 2048)),
            "model.layers.16.mlp.up_proj.weight": ("BF16", (8192, 2048)),  # beyond the 16 layers: for drafting
        },
    )
    report = _report(folder)
    assert report.account.weights == 2 * 128_256 * 2048 + 8192 * 2048
    assert report.target.weights == "headers"


def test_shards_are_those_of_the_index(tmp_path: Path) -> None:
    """Two files named by the index are read, a third beside them is not; one that is missing is named."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    index = {"weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("1", "2", "other"):
        safetensors(folder / f"model-{name}.safetensors", {f"{name}.weight": ("BF16", (4, 4))})
    assert {tensor.name for tensor in read_tensors(folder)} == {"1.weight", "2.weight"}
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(PreflightError, match=r"lacks model-2\.safetensors.*download"):
        read_tensors(folder)


@pytest.mark.parametrize("kept", [4, 60, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int) -> None:
    """Cut within its length, its header or its tensors: said with the sizes."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    path = safetensors(folder / "model.safetensors", {"a.weight": ("BF16", (64, 64))})
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with pytest.raises(PreflightError, match=r"model\.safetensors is truncated.*download it again"):
        read_tensors(folder)


def test_a_damaged_header_is_named(tmp_path: Path) -> None:
    """Neither JSON nor a description of tensors."""
    path = folder_of(tmp_path, "llama-3.2-1b") / "model.safetensors"
    path.write_bytes((5).to_bytes(8, "little") + b"{bad}")
    with pytest.raises(PreflightError, match="damaged"):
        read_tensors(path.parent)
    text = json.dumps({"a": {"dtype": "BF16"}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(PreflightError, match="'a' is not described"):
        read_tensors(path.parent)


def test_an_unknown_dtype_is_named(tmp_path: Path, target: Path) -> None:
    """Of a tensor, of config.json, of the command line: each with those that are known."""
    folder = folder_of(tmp_path, "llama-3.2-1b", torch_dtype="float7")
    with pytest.raises(PreflightError, match=r"unknown dtype 'float7'; known are bfloat16"):
        _report(folder)
    with pytest.raises(PreflightError, match="unknown dtype 'fp99'"):
        examine(Wanted(str(target), dtype="fp99"), PLAN)
    safetensors(target / "model.safetensors", {"a.weight": ("Q9", (4, 4))})
    with pytest.raises(PreflightError, match=r"'a\.weight' has the unknown dtype 'Q9'"):
        _report(target)


def test_gguf_is_refused(tmp_path: Path) -> None:
    """A file by its name, a folder by its content; the model it was made from is asked for."""
    with pytest.raises(PreflightError, match=r"is a GGUF file: give the folder or hub id"):
        find_model("/models/llama-Q4_K_M.gguf")
    (tmp_path / "model-Q4.gguf").touch()
    with pytest.raises(PreflightError, match="holds GGUF files"):
        find_model(str(tmp_path))


def test_missing_files_are_named(tmp_path: Path) -> None:
    """No folder, no config.json, a config.json that is none."""
    with pytest.raises(PreflightError, match="is not a folder"):
        find_model(str(tmp_path / "nothing"))
    with pytest.raises(PreflightError, match=r"holds no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PreflightError, match=r"config\.json is not JSON"):
        _report(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PreflightError, match="has no hidden_size"):
        _report(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**public_config("llama-2-7b"), "num_hidden_layers": "many"}))
    with pytest.raises(PreflightError, match="num_hidden_layers is 'many'"):
        _report(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 0),
        ("num_hidden_layers", 10**30),
        ("vocab_size", -1),
        ("hidden_size", "wide"),
        ("num_key_value_heads", 1.5),
        ("quantization_config", "yes"),
    ],
)
def test_a_field_that_cannot_be_is_named(tmp_path: Path, field: str, value: object) -> None:
    """Zero heads, more layers than any model, text for a number: the field and its value, no traceback."""
    with pytest.raises(PreflightError, match=field):
        _report(folder_of(tmp_path, "llama-3.1-8b", "odd", **{field: value}))


@pytest.mark.parametrize("content", ['{"model": "x"}', '{"model": {"vocab": {"a": "b"}}}', '{"added_tokens": 3}'])
def test_a_tokenizer_of_another_form_is_damaged(tmp_path: Path, target: Path, content: str) -> None:
    """JSON that describes no tokenizer: the folder and what to do."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    tokenizer(target, WORDS)
    (draft / "tokenizer.json").write_text(content)
    with pytest.raises(PreflightError, match="damaged; download"):
        _report(target, draft, "draft_model")


def test_what_may_not_be_read_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, and what to do; root may read all, so the system's answer is played."""

    def forbidden(path: Path, *_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(PreflightError, match=r"config\.json cannot be read: Permission denied; make it readable"):
        _report(target)


def test_a_hub_id_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By branch through its reference, and by commit."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--org--small"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("c0ffee")
    (home / "snapshots").mkdir()
    snapshot = folder_of(home / "snapshots", "llama-3.2-1b", "c0ffee")
    assert find_model("org/small") == find_model("org/small@c0ffee") == snapshot


def test_a_hub_id_that_is_nowhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not cached, and no network to fetch it: one line with the command that does."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PreflightError, match=r"cannot be fetched .*hf download org/absent") as refused:
        find_model("org/absent")
    assert "\n" not in str(refused.value)
    with pytest.raises(PreflightError, match="neither a folder nor a hub id"):
        find_model("what is this")


def test_a_larger_drafter_is_refused(tmp_path: Path, target: Path) -> None:
    """Most likely the two were swapped."""
    larger = folder_of(tmp_path, "llama-3.1-70b", "draft")
    with pytest.raises(PreflightError, match=r"drafter has 70\.55 B parameters, the target 8\.03 B.*swapped"):
        _report(target, larger, "draft_model")


@pytest.mark.parametrize(
    ("big", "small", "changes", "level", "said"),
    [
        ("llama-2-70b", "llama-2-7b", {}, Level.OK, "1/10.2"),
        ("llama-3.1-8b", "llama-3.2-1b", {}, Level.OK, "1/6.5"),
        ("llama-3.1-8b", "llama-3.2-1b", {"num_hidden_layers": 40}, Level.WARNING, "above 30%"),
        ("llama-3.1-8b", "llama-3.2-1b", {"num_hidden_layers": 24}, Level.NOTE, "above the 1/5"),
        ("llama-3.1-70b", "llama-3.2-1b", {}, Level.NOTE, "below 1/20"),
        ("llama-3.1-8b", "llama-3.2-1b", {"hidden_size": 128, "intermediate_size": 512}, Level.WARNING, "below 50 M"),
        ("mixtral-8x7b", "llama-2-7b", {}, Level.WARNING, "12.9 B (used per token): 1/1.9"),
    ],
)
def test_the_size_of_the_drafter(
    tmp_path: Path, big: str, small: str, changes: dict[str, int], level: Level, said: str
) -> None:
    """5-20 times smaller is the sweet spot, above 30 % too large, below 50 M too small; experts count as used."""
    report = _report(folder_of(tmp_path, big, "big"), folder_of(tmp_path, small, "small", **changes), "draft_model")
    found = _found(report, "size")
    assert (found.level, said in found.text) == (level, True), found


def test_vocabularies_of_unequal_size_are_refused(tmp_path: Path) -> None:
    """Qwen2.5-7B and 0.5B share a tokenizer and pad it differently: vLLM does not start them without its option."""
    pair = folder_of(tmp_path, "qwen2.5-7b", "7b"), folder_of(tmp_path, "qwen2.5-0.5b", "05b")
    refused = _found(_report(*pair, "draft_model"), "vocabulary size")
    assert refused.level is Level.REFUSAL
    assert "152,064 for the target, 151,936 for the drafter" in refused.text
    assert "use_heterogeneous_vocab" in refused.text
    assert not _report(*pair, "draft_model", heterogeneous=True).refusals


def test_a_short_drafter_is_told(tmp_path: Path) -> None:
    """Beyond its context nothing is drafted."""
    pair = (
        folder_of(tmp_path, "llama-3.1-8b", "t"),
        folder_of(tmp_path, "llama-3.2-1b", "d", max_position_embeddings=1024),
    )
    found = _found(_report(*pair, "draft_model"), "context")
    assert found.level is Level.WARNING
    assert "1,024 tokens, 2,048 are wanted" in found.text


def test_the_target_s_own_limit_is_vllm_s(tmp_path: Path) -> None:
    """More than the target was made for is refused."""
    found = _found(_report(folder_of(tmp_path, "llama-3.1-8b", max_position_embeddings=512)), "context")
    assert found.level is Level.REFUSAL


def test_another_family_is_a_note(tmp_path: Path, target: Path) -> None:
    """It is the tokenizer that decides."""
    found = _found(
        _report(target, folder_of(tmp_path, "qwen2.5-0.5b", "d", vocab_size=128_256), "draft_model"), "family"
    )
    assert found.level is Level.NOTE


@pytest.mark.parametrize(
    ("method", "architecture", "refused"),
    [
        ("draft_model", "EagleLlamaForCausalLM", "the method is 'eagle'"),
        ("draft_model", "LlamaForCausalLMEagle3", "the method is 'eagle3'"),
        ("eagle", "LlamaForCausalLM", None),  # published heads name the architecture of their layer
        ("eagle3", "EagleLlamaForCausalLM", "needs such a head"),
        ("medusa", "LlamaForCausalLM", "needs such a head"),
        ("eagle", "EagleLlamaForCausalLM", None),
        ("eagle3", "LlamaForCausalLMEagle3", None),
    ],
)
def test_a_head_goes_with_its_method(
    tmp_path: Path, target: Path, method: str, architecture: str, refused: str | None
) -> None:
    """A head as a draft model, a model as a head: refused with the method that fits."""
    head = folder_of(tmp_path, "llama-3.1-8b", "head", architectures=[architecture], num_hidden_layers=1)
    report = _report(target, head, method)
    assert [refused in finding.text for finding in report.refusals] == [True] if refused else not report.refusals


@pytest.mark.parametrize(
    ("kind", "method", "refused"),
    [
        ("eagle3", "eagle3", None),
        ("peagle", "eagle3", None),
        ("eagle3", "medusa", "needs such a head"),
        ("eagle3", "draft_model", "the method is 'eagle3'"),
        ("dflash", "dflash", None),
    ],
)
def test_a_head_in_the_speculators_format_is_read(
    tmp_path: Path, target: Path, kind: str, method: str, refused: str | None
) -> None:
    """Its layers are a configuration within, and its kind has a field of its own."""
    layer = {**public_config("llama-3.1-8b"), "num_hidden_layers": 1}
    del layer["architectures"]
    config = {
        "architectures": ["SomeDraftModel"],
        "draft_vocab_size": 32_000,
        "speculators_config": {"algorithm": kind},
        "speculators_model_type": kind,
        "torch_dtype": "bfloat16",
        "transformer_layer_config": layer,
    }
    report = _report(target, folder_of(tmp_path, config, "head"), method)
    assert [refused in finding.text for finding in report.refusals] == [True] if refused else not report.refusals
    assert report.draft is not None
    assert (report.draft.family, report.draft.layers, report.draft.context) == ("llama", 1, 131_072)


def test_a_whole_model_is_no_head(tmp_path: Path, target: Path) -> None:
    """Its layers tell, where the architecture's name does not."""
    model = folder_of(tmp_path, "llama-3.1-8b", "model", num_hidden_layers=16)
    assert "needs such a head" in _found(_report(target, model, "eagle"), "method").text


def test_scaled_positions_of_llama_3_stretch_nothing(tmp_path: Path) -> None:
    """As vLLM derives it: their length is the scaled one."""
    llama3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    assert _report(folder_of(tmp_path, "llama-3.1-8b", "b", rope_scaling=llama3)).target.context == 131_072


def test_a_head_costs_the_same_whatever_its_configuration_names(tmp_path: Path, target: Path) -> None:
    """Named after its layer, as published ones are, or as a head: a layer and a projection, and the target's output
    matrix that each draft reads; not an embedding."""
    reports = [
        _report(target, folder_of(tmp_path, "llama-3.1-8b", name, architectures=[name], num_hidden_layers=1), "eagle")
        for name in ("LlamaForCausalLM", "EagleLlamaForCausalLM")
    ]
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336 + 2 * 4096
    for report in reports:
        assert report.draft is not None
        assert report.draft.parameters == layer + 2 * 4096**2
        assert report.cost == pytest.approx((layer + 2 * 4096**2 + 128_256 * 4096) / 8_030_261_248)
        assert "251.7 M beside" in _found(report, "size").text
    assert reports[0].payoffs == reports[1].payoffs


def test_a_head_made_for_another_width_is_refused(tmp_path: Path, target: Path) -> None:
    """It reads hidden states that this target does not have."""
    head = folder_of(tmp_path, "llama-2-70b", "head", architectures=["EagleLlamaForCausalLM"], num_hidden_layers=1)
    assert "made for another one" in _found(_report(target, head, "eagle"), "method").text


def test_medusa_heads_are_counted_from_their_own_configuration(tmp_path: Path, target: Path) -> None:
    """Four heads of one block and an output matrix each; no keys, no values."""
    config = {"medusa_num_heads": 4, "medusa_num_layers": 1, "hidden_size": 4096, "vocab_size": 128_256}
    report = _report(target, folder_of(tmp_path, config, "heads"), "medusa")
    assert report.draft is not None
    assert report.draft.parameters == 4 * (4096 * 4097 + 4096 * 128_256)
    assert report.account.draft_kv_per_request == 0


def test_multi_token_prediction_needs_its_layers(tmp_path: Path, target: Path) -> None:
    """DeepSeek-V3 brings one, Llama none: told, for some bring them under names of their own."""
    assert "no layers for multi-token" in _found(_report(target, method="mtp"), "method").text
    deepseek = examine(
        Wanted(str(folder_of(tmp_path, "deepseek-v3")), method="mtp"), Plan(140 * 2**30, tensor_parallel=8)
    )
    assert not deepseek.refusals
    assert deepseek.cost == pytest.approx(0.017, abs=0.001)


def test_heads_that_do_not_spread_are_refused(tmp_path: Path) -> None:
    """28 attention heads on 8 GPUs; 4 key-value heads on 7 are each kept more than once."""
    folder = folder_of(tmp_path, "qwen2.5-7b")
    refused = examine(Wanted(str(folder)), Plan(80 * 2**30, tensor_parallel=8))
    assert "28 attention heads cannot be spread over 8 GPUs" in refused.refusals[0].text
    copied = examine(Wanted(str(folder)), Plan(80 * 2**30, tensor_parallel=7))
    assert _found(copied, "tensor parallel").level is Level.NOTE


def test_equal_tokenizers_are_equal(tmp_path: Path, target: Path) -> None:
    """The vocabulary and a probe text, cut by both."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    for folder in (target, draft):
        tokenizer(folder, WORDS)
    report = _report(target, draft, "draft_model")
    assert _found(report, "vocabulary").text == "identical, 8 tokens"
    assert not report.warnings
    assert not [finding for finding in report.findings if finding.level is Level.NOTE]


def test_other_numbers_for_the_same_words_are_told(tmp_path: Path, target: Path) -> None:
    """What is shared by number and by text, and what a mismatch does; with vLLM's option it is a note."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    tokenizer(target, WORDS)
    tokenizer(draft, [WORDS[0], *reversed(WORDS[1:]), "extra"])
    found = _found(_report(target, draft, "draft_model"), "vocabulary")
    assert found.level is Level.WARNING
    assert "1 of the drafter's 9 tokens have the target's number, 8 its text" in found.text
    assert "nearly all are rejected" in found.text
    mapped = _found(_report(target, draft, "draft_model", heterogeneous=True), "vocabulary")
    assert mapped.level is Level.NOTE
    assert "maps those with equal text" in mapped.text


def test_another_end_token_and_template_are_told(tmp_path: Path, target: Path) -> None:
    """A drafter with another end token never drafts the end; another template only costs acceptance."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    tokenizer(target, [*WORDS, "<|im_end|>"], template="{{ a }}")
    tokenizer(draft, [*WORDS, "<|im_end|>"], eos="</s>", template="{{ b }}")
    settings = draft / "tokenizer_config.json"
    settings.write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}, "chat_template": "{{ b }}"}))
    report = _report(target, draft, "draft_model")
    assert _found(report, "special tokens").level is Level.WARNING
    assert "eos_token is '</s>' in the target, '<|im_end|>' in the drafter" in _found(report, "special tokens").text
    assert _found(report, "chat template").level is Level.NOTE


def test_equal_words_cut_differently_are_told(tmp_path: Path, target: Path) -> None:
    """The same vocabulary with other rules of cutting gives other tokens: only text shows it."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    for folder in (target, draft):
        tokenizer(folder, WORDS)
    content = json.loads((draft / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (draft / "tokenizer.json").write_text(json.dumps(content))
    found = _found(_report(target, draft, "draft_model"), "probe text")
    assert found.level is Level.WARNING


def test_a_damaged_tokenizer_is_named(tmp_path: Path, target: Path) -> None:
    """Not JSON: the file and what to do."""
    draft = folder_of(tmp_path, "llama-3.2-1b", "d")
    tokenizer(target, WORDS)
    (draft / "tokenizer.json").write_text("{")
    with pytest.raises(PreflightError, match=r"tokenizer\.json is not JSON; download"):
        _report(target, draft, "draft_model")


def test_a_method_without_its_drafter_is_refused(target: Path) -> None:
    """As a pool's settings refuse it."""
    with pytest.raises(PreflightError, match="method 'draft_model' needs a drafter"):
        _report(target, None, "draft_model")


def test_advice_follows_what_is_at_hand(tmp_path: Path, target: Path) -> None:
    """Nothing: n-gram; repetition: lookup first; training: heads; a sibling: a draft model; MTP layers: those."""

    def first(report: Report) -> str:
        return report.suggestions[0].method

    assert first(_report(target)) == "ngram"
    assert first(_report(target, repetitive=True)) == "ngram"
    assert first(_report(target, training=True)) == "eagle3"
    assert first(_report(target, folder_of(tmp_path, "llama-3.2-1b", "d"), "draft_model")) == "draft_model"
    plan = Plan(140 * 2**30, tensor_parallel=8)
    assert first(examine(Wanted(str(folder_of(tmp_path, "deepseek-v3", "v3"))), plan)) == "mtp"


def test_what_it_says_was_measured_is_in_the_results() -> None:
    """The figures of a draft model on the demo pair are those of the file that the command wrote."""
    results = Path(__file__).parents[2] / "bench" / "results" / "lengths" / "demo.json"
    lengths = json.loads(results.read_text())["tokens_per_step"]["draft_model"]
    over_all = lengths.pop("all")
    by_task = f"{min(lengths.values()):.2f}-{max(lengths.values()):.2f} by task"
    assert f"k = 4: {over_all:.2f} tokens per step over all tasks, {by_task}" in DRAFT
