"""How many bits a quantized weight takes, by the quantization that config.json or an option names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.preflight.errors import PreflightError

ONLINE = {
    **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), 8.0),
    "mxfp8": 8.25,
    "mxfp4": 4.25,
}
"""What vLLM 0.32 quantizes as it loads (`--quantization`), in bits per weight of a linear layer; it has some more, for
experts alone, whose size is not known here."""

_FIXED = {"fp8": 8.0, "fbgemm_fp8": 8.0, "modelopt": 8.0, "mxfp4": 4.25, "modelopt_fp4": 4.5, "nvfp4": 4.5}
"""Bits with their scales: 32 values share 8 bits in mxfp4, 16 share 8 in nvfp4."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A method as vLLM names it, and bits per weight of a linear layer, scales and zero points included.

    `loading`: vLLM does it as it loads; else the checkpoint is quantized already.
    """

    method: str
    bits: float
    loading: bool = False


def online(method: str) -> Quantization:
    """What `--quantization METHOD` makes of unquantized weights; raises PreflightError for others."""
    if method not in ONLINE:
        raise PreflightError(
            f"quantization {method!r} is not one that vLLM makes as it loads of every linear layer "
            f"({', '.join(ONLINE)}); a model that is quantized already says so in its config.json"
        )
    return Quantization(method, ONLINE[method], loading=True)


def read_quantization(config: object, where: str) -> Quantization | None:
    """The quantization of `quantization_config`; None where there is none. PreflightError where it is not known."""
    if not config:
        return None
    if not isinstance(config, Mapping):
        raise PreflightError(f"{where}: quantization_config is {config!r}, it must be a mapping")
    method = str(config.get("quant_method") or config.get("quant_algo") or "").lower()
    if method in ("awq", "gptq", "awq_marlin", "gptq_marlin", "auto-round"):
        bits, group = config.get("bits", 4), config.get("group_size", 128)
        if type(bits) is not int or type(group) is not int or not 0 < bits <= 16:
            raise PreflightError(f"{where}: quantization_config has bits {bits!r} in groups of {group!r}")
        return Quantization(method, _grouped(bits, group))
    if method == "compressed-tensors":
        return Quantization(method, _compressed(config, where))
    if method in _FIXED:
        fp4 = "FP4" in str(config.get("quant_algo", ""))
        return Quantization(method, 4.5 if fp4 else _FIXED[method])
    raise PreflightError(
        f"{where}: quantization method {method!r} is not known here; known are awq, gptq, "
        f"compressed-tensors, {', '.join(_FIXED)}"
    )


def _grouped(bits: int, group: int) -> float:
    """Integer weights with a 16-bit scale and a zero point per group of a row (-1: one for the row)."""
    return bits + (16 + bits) / group if group > 0 else float(bits)


def _compressed(config: Mapping[str, Any], where: str) -> float:
    groups = config.get("config_groups") or {}
    try:
        weights = next(iter(groups.values()))["weights"]
        bits, group = int(weights["num_bits"]), int(weights.get("group_size") or -1)
    except (StopIteration, KeyError, TypeError, ValueError, AttributeError):
        raise PreflightError(f"{where}: quantization_config has no config_groups with num_bits") from None
    return _grouped(bits, group) if bits < 8 else float(bits)
