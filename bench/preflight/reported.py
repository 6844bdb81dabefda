"""What vLLM's log says of memory, and preflight's figure for each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engines.preflight.memory import Account

GIB = 1024**3

TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
AVAILABLE = re.compile(r"Available KV cache memory: ([\d.]+) GiB")
LOADED = re.compile(r"Model loading took ([\d.]+) GiB")
CHECKPOINT = re.compile(r"Checkpoint size: ([\d.]+) GiB")


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure: what vLLM reported and what preflight predicted, in the same unit."""

    figure: str
    reported: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.reported - 1 if self.reported else 0.0


def compared(log: str, found: Account) -> Iterator[Compared]:
    """Every figure that vLLM 0.32's log has: a CPU says nothing of loaded weights or of what memory was left."""
    weights = (found.weights + found.draft_weights) / GIB
    for figure, said, predicted in (
        ("weights_gib", LOADED.search(log), weights),
        ("kv_cache_gib", AVAILABLE.search(log), found.kv_available / GIB),
        ("kv_cache_tokens", TOKENS.search(log), float(found.capacity_tokens)),
    ):
        if said:
            yield Compared(figure, float(said[1].replace(",", "")), predicted)
