"""Reading a built pair back with transformers: exact probabilities, and texts sampled from the target."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from engines.demo.build import DemoPair
from engines.demo.tokenizer import END


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """Both models in memory; the target without its padding layers, which change nothing but the time."""

    target: LlamaForCausalLM
    draft: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast


def load_pair(pair: DemoPair) -> LoadedPair:
    """Load a built pair for reference computations, in float32."""
    disable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(pair.target)
    return LoadedPair(_load(pair.target), _load(pair.draft), tokenizer)


def _load(folder: Path) -> LlamaForCausalLM:
    full = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    working = [layer for layer in full.model.layers if layer.mlp.down_proj.weight.any()]
    full.model.layers = torch.nn.ModuleList(working)
    full.config.num_hidden_layers = len(working)
    return full


def prompt_tokens(pair: LoadedPair, prompt: str) -> list[int]:
    """The tokens an engine sees for `prompt` as a single user message."""
    message = [{"role": "user", "content": prompt}]
    tokens: list[int] = pair.tokenizer.apply_chat_template(message, return_dict=False)
    return tokens


def continue_text(pair: LoadedPair, prompt: list[int], temperature: float, limit: int) -> list[int]:
    """Tokens that the target writes after `prompt`, its end token included; temperature 0 takes the likeliest."""
    end = pair.tokenizer.convert_tokens_to_ids(END)
    written: list[int] = []
    unread, cache = prompt, None
    with torch.inference_mode():
        while len(written) < limit and end not in written[-1:]:
            output = pair.target(input_ids=torch.tensor([unread]), past_key_values=cache, use_cache=True)
            written.append(_choose(output.logits[0, -1], temperature))
            unread, cache = written[-1:], output.past_key_values
    return written


def _choose(logits: torch.Tensor, temperature: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1))


def probabilities(model: LlamaForCausalLM, tokens: list[int], first: int, temperature: float) -> torch.Tensor:
    """The model's distribution of each of `tokens[first:]` given those before it; float64 [len − first, vocabulary]."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([tokens])).logits[0, first - 1 : -1].double()
    return (logits / temperature).softmax(-1)
