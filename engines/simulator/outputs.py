"""What a request will say: decided on arrival from the seed, the prompt and the request's own seed, never by k.

That is greedy identity: an engine with and without speculation gives the same text, only in other portions.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import log
from random import Random
from typing import Literal

from engines.simulator.calibration import TaskProfile
from engines.simulator.tokens import TOKEN_BYTES

VOCABULARY = """
the and for not are but all any can had her was one our out day get has him his how man new now old
see two way who boy did its let put say she too use sum avg min max row key set int str def try add
end if_ off log map age sea sky sun ice oil law fee tax pay buy box car dog cat net pen ink red own
run sit top yes yet far few big hot
"""

WORDS = tuple(f" {word}" for word in VOCABULARY.split())
"""Every word is one token of the simulator's tokenizer, so /tokenize of an output counts its completion tokens."""

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The fields of a request that decide its output; `index` tells the n choices of one request apart."""

    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    index: int = 0
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    include_stop: bool = False


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """A whole output: its text, how many tokens it takes and why it ends. `stop_string` is the one that ended it."""

    text: str
    tokens: int
    finish_reason: FinishReason
    stop_string: str | None = None

    def piece(self, first: int, last: int) -> str:
        """The text of tokens `first` (inclusive) to `last` (exclusive)."""
        return self.text[first * TOKEN_BYTES : last * TOKEN_BYTES]


@dataclass(frozen=True, slots=True)
class Draws:
    """Two independent streams of randomness of one request: what it says, and how drafting it goes."""

    output: Random
    luck: Random


def draws(engine_seed: int, prompt: str, sampling: Sampling) -> Draws:
    """At temperature 0 a request's own seed and temperature do not matter, as on a real engine."""
    own = (sampling.seed, sampling.temperature, sampling.index) if sampling.temperature > 0 else None
    digest = blake2b(digest_size=16)
    digest.update(repr((engine_seed, own)).encode())
    digest.update(prompt.encode("utf-8", errors="surrogatepass"))
    key = digest.digest()
    return Draws(Random(int.from_bytes(key[:8], "big")), Random(int.from_bytes(key[8:], "big")))


def plan_output(profile: TaskProfile, sampling: Sampling, random: Random) -> OutputPlan:
    """The output of one request: words until its natural end, `max_tokens` or a stop string."""
    natural = max(_natural_length(profile, random), sampling.min_tokens)
    tokens = sampling.max_tokens if sampling.ignore_eos else min(natural, sampling.max_tokens)
    text = "".join(random.choices(WORDS, k=tokens))
    reason: FinishReason = "stop" if natural <= sampling.max_tokens and not sampling.ignore_eos else "length"
    whole = OutputPlan(text, tokens, reason)
    return _cut_at_stop(whole, sampling) if sampling.stop else whole


def _natural_length(profile: TaskProfile, random: Random) -> int:
    mu = log(profile.mean_tokens) - profile.tokens_sigma**2 / 2
    return max(1, round(random.lognormvariate(mu, profile.tokens_sigma)))


def _cut_at_stop(whole: OutputPlan, sampling: Sampling) -> OutputPlan:
    """The first stop string to be complete wins; its last token is counted, its text is kept only when asked."""
    floor = sampling.min_tokens * TOKEN_BYTES
    found = [(at + len(stop), at, stop) for stop in sampling.stop if (at := whole.text.find(stop, floor)) >= 0]
    if not found:
        return whole
    end, start, stop = min(found)
    return OutputPlan(whole.text[: end if sampling.include_stop else start], -(-end // TOKEN_BYTES), "stop", stop)
