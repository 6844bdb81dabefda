"""Writing a trained model as a Hugging Face folder, its padding layers included."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar


def save_checkpoint(model: LlamaForCausalLM, padding_layers: int, folder: Path) -> None:
    """Write config.json, model.safetensors and generation_config.json, with `padding_layers` appended.

    OSError where the disk takes no more.
    """
    padded = with_padding(model, padding_layers)
    padded.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=True,
    )
    disable_progress_bar()  # the build draws its own
    try:
        padded.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def with_padding(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """The same function with `layers` more layers to compute, whose two output projections are zero."""
    config = LlamaConfig.from_dict(model.config.to_dict())
    config.num_hidden_layers += layers
    padded = LlamaForCausalLM(config).eval()
    padded.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for layer in padded.model.layers[model.config.num_hidden_layers :]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return padded
