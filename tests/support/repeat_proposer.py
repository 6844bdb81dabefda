"""The smallest proposer vLLM's `custom_class` takes: it proposes that the last token goes on for ever."""

from typing import Any


class RepeatLast:
    """Named as `drafter` of a pool with method custom_class."""

    def __init__(self, vllm_config: Any) -> None:
        self.drafts = vllm_config.speculative_config.num_speculative_tokens

    def propose(self, sampled_token_ids: list[list[int]], *_: Any, **__: Any) -> list[list[int]]:
        """k_max drafts per request that was given a token; this scheduler cuts them to each request's k."""
        return [[sampled[-1]] * self.drafts if sampled else [] for sampled in sampled_token_ids]

    def load_model(self, *_: Any) -> None:
        """Nothing to load: vLLM's CPU runner asks every drafter."""
