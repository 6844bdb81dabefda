"""Training one model of the pair on packed documents: AdamW, a cosine schedule, loss on the answers only."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from engines.demo.language.document import Document
from engines.demo.recipe import Schedule, Shape
from engines.demo.tokenizer import BEGIN, END, PAD, as_text

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of packed tokens and the token to predict after each; both int64 [batch, window]."""

    tokens: torch.Tensor
    labels: torch.Tensor


def llama_config(shape: Shape, tokenizer: Tokenizer, context: int) -> LlamaConfig:
    """The Hugging Face configuration of `shape`, without its padding layers."""
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        dtype="float32",
    )


def pack(documents: Iterable[Document], tokenizer: Tokenizer, schedule: Schedule) -> Iterator[Batch]:
    """Documents one after another, cut into windows; a document that does not fit goes on in the next window."""
    tokens: list[int] = []
    labels: list[int] = []
    needed = schedule.batch * schedule.window + 1
    for document in documents:
        question = tokenizer.encode(document.prompt).ids
        whole = tokenizer.encode(as_text(document)).ids
        tokens += whole
        labels += [_IGNORED] * len(question) + whole[len(question) :]
        if len(tokens) >= needed:
            shape = (schedule.batch, schedule.window)
            yield Batch(
                torch.tensor(tokens[: needed - 1]).view(shape),
                torch.tensor(labels[1:needed]).view(shape),
            )
            tokens, labels = tokens[needed - 1 :], labels[needed - 1 :]


def rate_at(step: int, schedule: Schedule) -> float:
    """The learning rate of `step`: linear warm-up, then half a cosine down to a twentieth of the peak."""
    if step < schedule.warmup:
        return schedule.peak_rate * (step + 1) / schedule.warmup
    progress = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.peak_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    config: LlamaConfig, batches: Iterator[Batch], schedule: Schedule, seed: int, on_step: Callable[[float], None]
) -> LlamaForCausalLM:
    """A model trained from nothing; `on_step` gets each step's loss in nats per answer token."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, schedule)
        batch = next(batches)
        logits = model(input_ids=batch.tokens, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=_IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        on_step(loss.item())
    return model.eval()
