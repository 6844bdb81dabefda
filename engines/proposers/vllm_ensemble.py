"""The ensemble inside vLLM's workers.

vLLM hands a `custom_class` proposer nothing but tokens: no request, no k, and no draft model beside it. So the model
runner's own method is wrapped, `GPUModelRunner.propose_draft_token_ids`, which all methods pass through and which the
CPU's runner inherits: vLLM's method (the draft model, or a class that has no drafts) runs first, and its drafts are one
offer among several. vLLM imports this module in each worker, and only there, as it is named by
`--worker-extension-cls`.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from engines.contract import requested_k, requested_task
from engines.proposers.chain import Step
from engines.proposers.options import CONFIG_KEY, EnsembleOptions, ensemble_of
from engines.vllm_version import check_internals

check_internals()

logger = logging.getLogger("vllm.alpharoute")

TOLD_EVERY = 10_000
"""Steps between two lines in the log that say which source was chosen how often."""


class MergingWorker:
    """Mixed into vLLM's worker: the means by which this module comes to be imported."""


class NothingOfItsOwn:
    """The `custom_class` of an ensemble without a draft model: all drafts come from the lookups."""

    def __init__(self, vllm_config: Any) -> None:
        """Needs nothing of it."""

    def propose(self, sampled_token_ids: Sequence[Sequence[int]], *_: Any, **__: Any) -> list[list[int]]:
        """No drafts."""
        return [[] for _ in sampled_token_ids]

    def load_model(self, *_: Any) -> None:
        """Nothing to load: vLLM's CPU runner asks every drafter."""


class Merger:
    """One runner's ensemble, and the tokens of the requests in its batch."""

    def __init__(self, runner: Any) -> None:
        options = EnsembleOptions.model_validate(runner.vllm_config.additional_config[CONFIG_KEY])
        self.ensemble = ensemble_of(options)
        self._tokens: dict[str, list[int]] = {}
        self._told = 0

    def merge(
        self, runner: Any, sampled: list[list[int]], offers: list[list[int]], *, written: bool
    ) -> list[list[int]]:
        """Each request's drafts, given the tokens of this step and what vLLM's own method proposes.

        `written`: the batch holds this step's tokens already.
        """
        running = runner.requests.keys()
        self.ensemble.keep(running)
        self._tokens = {name: tokens for name, tokens in self._tokens.items() if name in running}
        names = enumerate(runner.input_batch.req_ids)
        steps = [self._step(runner, row, name, sampled[row], tuple(offers[row]), written) for row, name in names]
        drafts = self.ensemble.propose(steps)
        self._tell(len(steps))
        return drafts

    def _step(
        self, runner: Any, row: int, name: str, sampled: list[int], offered: tuple[int, ...], written: bool
    ) -> Step:
        batch, params = runner.input_batch, runner.requests[name].sampling_params
        extra = params.extra_args if params is not None else None
        tokens = self._all_tokens(batch, row, name, sampled, written)
        k = min(requested_k(extra, runner.num_spec_tokens), runner.max_model_len - len(tokens) - 1)
        return Step(name, requested_task(extra), tokens, int(batch.num_prompt_tokens[row]), sampled, k, offered)

    def _all_tokens(self, batch: Any, row: int, name: str, sampled: list[int], written: bool) -> list[int]:
        """The request's tokens, those of this step included; read from the batch once, then grown step by step."""
        held = int(batch.num_tokens_no_spec[row])
        tokens = self._tokens.get(name, [])
        if len(tokens) + (len(sampled) if written else 0) != held:
            tokens = self._tokens[name] = batch.token_ids_cpu[row, :held].tolist()
            return tokens if written else self._grown(tokens, sampled)
        return self._grown(tokens, sampled)

    @staticmethod
    def _grown(tokens: list[int], sampled: list[int]) -> list[int]:
        tokens.extend(sampled)
        return tokens

    def _tell(self, steps: int) -> None:
        self._told += steps
        if self._told >= TOLD_EVERY:
            logger.info("ensemble: chosen %s in %d steps", dict(self.ensemble.chosen), self._told)
            self._told = 0
            self.ensemble.chosen.clear()


def _install() -> None:
    """Wrap the runner's method, once in a process."""
    original = GPUModelRunner.propose_draft_token_ids
    if not hasattr(original, "__wrapped__"):
        GPUModelRunner.propose_draft_token_ids = _merging(original)


def _merging(original: Callable[..., Any]) -> Callable[..., Any]:
    mergers: WeakKeyDictionary[Any, Merger] = WeakKeyDictionary()

    @functools.wraps(original)
    def propose(runner: Any, scheduler_output: Any, sampled_token_ids: Any, *rest: Any, **named: Any) -> Any:
        offers = original(runner, scheduler_output, sampled_token_ids, *rest, **named)
        if CONFIG_KEY not in (runner.vllm_config.additional_config or {}):
            return offers  # another engine of this process
        merger = mergers.get(runner)
        if merger is None:
            merger = mergers[runner] = Merger(runner)
        on_cpu = isinstance(sampled_token_ids, list)
        sampled = sampled_token_ids if on_cpu else _valid(runner, sampled_token_ids)
        return merger.merge(runner, sampled, offers if isinstance(offers, list) else offers.tolist(), written=on_cpu)

    return propose


def _valid(runner: Any, sampled: Any) -> list[list[int]]:
    """The tokens of each row of a tensor that came, without rejected drafts (−1) and prompts not read to their end."""
    unfinished = runner.discard_request_mask.np[: sampled.shape[0]]
    rows = zip(sampled.tolist(), unfinished, strict=True)
    return [[] if skipped else [token for token in row if token >= 0] for row, skipped in rows]


_install()
