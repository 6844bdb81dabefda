"""Medusa and EAGLE heads for the demo target, so that these methods can be measured: made on first use, in minutes.

Both learn what the target expects next (its own distribution, not the text's) from texts of the demo language that
it reads. They are as small as such heads can be: an EAGLE layer of the target's width, one residual block per Medusa
head.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import log_softmax, silu
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from engines.demo.build import DemoPair
from engines.demo.language.corpus import write_corpus
from engines.demo.language.document import Voice
from engines.demo.model import pack, rate_at
from engines.demo.reading import load_pair
from engines.demo.recipe import Schedule
from engines.progress import Report, silent

HEADS = ("medusa", "eagle")
DEPTH = 4
"""Medusa heads, which is the largest k they draft."""
SCHEDULE = Schedule(steps=300, batch=8, window=192, peak_rate=2e-3, warmup=20)
_SEED = 17


class _Medusa(nn.Module):  # type: ignore[misc]  # torch is not type-checked here
    """Head i maps a token's hidden state to the logits of the token i + 2 further on."""

    def __init__(self, lm_head: Tensor) -> None:
        super().__init__()
        size = lm_head.shape[1]
        self.blocks = nn.ParameterList(nn.Parameter(torch.zeros(size, size)) for _ in range(DEPTH))
        self.lm_heads = nn.ParameterList(nn.Parameter(lm_head.clone()) for _ in range(DEPTH))

    def forward(self, hidden: Tensor) -> list[Tensor]:
        pairs = zip(self.blocks, self.lm_heads, strict=True)
        return [(hidden + silu(hidden @ block.T)) @ head.T for block, head in pairs]

    def weights(self) -> dict[str, Tensor]:
        """Under the names that vLLM reads."""
        blocks = {f"blocks.{i}.layers.0.weight": weight for i, weight in enumerate(self.blocks)}
        return blocks | {f"lm_heads.{i}.weight": weight for i, weight in enumerate(self.lm_heads)}


class _Eagle(nn.Module):  # type: ignore[misc]  # as above
    """Maps a token's embedding and the hidden state before it to the next hidden state."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        one = LlamaConfig.from_dict({**config.to_dict(), "num_hidden_layers": 1})
        self.fc = nn.Linear(2 * one.hidden_size, one.hidden_size, bias=False)
        self.body: Any = LlamaModel(one)
        self.body.layers[0].input_layernorm = nn.Identity()  # vLLM's EAGLE layer has neither of these norms
        self.body.norm = nn.Identity()
        del self.body.embed_tokens

    def forward(self, embedded: Tensor, hidden: Tensor) -> Tensor:
        joined = self.fc(torch.cat((embedded, hidden), dim=-1))
        found: Tensor = self.body(inputs_embeds=joined, use_cache=False).last_hidden_state
        return found

    def weights(self) -> dict[str, Tensor]:
        """Under the names that vLLM reads."""
        layer = {f"layers.0.{name}": weight for name, weight in self.body.layers[0].state_dict().items()}
        return {"fc.weight": self.fc.weight, **layer}


def build_demo_heads(pair: DemoPair, *, progress: Report = silent) -> Mapping[str, Path]:
    """A folder for each of `HEADS`, beside the pair that they belong to."""
    folder = pair.target.parent / f"heads-{SCHEDULE.steps}"
    if not folder.is_dir():
        unfinished = Path(tempfile.mkdtemp(prefix=".heads-", dir=folder.parent))
        try:
            _train_into(unfinished, pair, progress)
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return {name: folder / name for name in HEADS}


def _train_into(folder: Path, pair: DemoPair, progress: Report) -> None:
    torch.set_num_threads(min(8, len(os.sched_getaffinity(0))))
    torch.manual_seed(_SEED)
    target = load_pair(pair).target.requires_grad_(False)
    lm_head = target.lm_head.weight.detach()
    medusa, eagle = _Medusa(lm_head), _Eagle(target.config)
    parameters = [*medusa.parameters(), *eagle.parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.0)
    documents = (written.document for written in write_corpus(Voice.TARGET, _SEED))
    batches = pack(documents, Tokenizer.from_file(str(pair.target / "tokenizer.json")), SCHEDULE)
    for step, batch in enumerate(islice(batches, SCHEDULE.steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, SCHEDULE)
        loss = _loss(target, lm_head, medusa, eagle, batch.tokens)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        progress("training the heads", step + 1, SCHEDULE.steps)
    _save(folder / "medusa", medusa.weights(), _medusa_config(target.config))
    _save(folder / "eagle", eagle.weights(), {**target.config.to_dict(), "num_hidden_layers": 1})


def _loss(target: LlamaForCausalLM, lm_head: Tensor, medusa: _Medusa, eagle: _Eagle, tokens: Tensor) -> Tensor:
    """Cross-entropy with the target's own distribution: each Medusa head, and EAGLE one and two steps on."""
    with torch.no_grad():
        hidden = target.model(tokens, use_cache=False).last_hidden_state
        expected = (hidden @ lm_head.T).softmax(-1)
        embedded = target.model.embed_tokens(tokens)
    losses = [_distance(logits[:, : -i - 1], expected[:, i + 1 :]) for i, logits in enumerate(medusa(hidden))]
    once = eagle(embedded[:, 1:], hidden[:, :-1])
    twice = eagle(embedded[:, 2:], once[:, :-1])
    losses += [_distance(found @ lm_head.T, expected[:, i:]) for i, found in ((1, once), (2, twice))]
    return torch.stack(losses).sum()


def _distance(logits: Tensor, expected: Tensor) -> Tensor:
    return -(expected * log_softmax(logits, -1)).sum(-1).mean()


def _medusa_config(target: LlamaConfig) -> dict[str, object]:
    return {
        "model_type": "medusa",
        "architectures": ["MedusaModel"],
        "hidden_size": target.hidden_size,
        "vocab_size": target.vocab_size,
        "num_heads": DEPTH,
        "num_hidden_layers": 1,
    }


def _save(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, object]) -> None:
    folder.mkdir()
    save_file({name: weight.detach().contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, default=str, indent=2) + "\n")
