"""Drafting by several sources: what each finds, what is believed of it, and whose chain is drafted."""

import pytest
from pydantic import ValidationError

from engines.pool import PoolSettings
from engines.proposers.chain import Chain, Step
from engines.proposers.ensemble import Ensemble
from engines.proposers.history import AnswerHistory
from engines.proposers.ngram import NgramLookup
from engines.proposers.options import EnsembleOptions, ensemble_of
from engines.proposers.survival import Survival
from engines.vllm_command import build_command
from engines.vllm_errors import EngineSettingsError


def step(
    *tokens: int, k: int = 4, sampled: int = 1, request: str = "a", task: str = "sql", offered: tuple[int, ...] = ()
) -> Step:
    """A request that reads 2 tokens of prompt and has got the last `sampled` of `tokens` in this step."""
    return Step(request, task, list(tokens), 2, list(tokens[len(tokens) - sampled :]), k, offered)


def test_ngram_takes_the_longest_match_and_of_equals_the_latest() -> None:
    """Two tokens that match win over one; of two equal matches the later one's continuation is drafted."""
    found = NgramLookup().chain(step(1, 2, 3, 9, 2, 4, 1, 2))
    assert found is not None
    assert (found.tokens, found.strength) == ((3, 9, 2, 4), 2)
    latest = NgramLookup().chain(step(5, 7, 5, 8, 5, k=1))
    assert latest is not None
    assert latest.tokens == (8,)


def test_ngram_finds_nothing_where_the_last_token_is_new() -> None:
    """No match, no chain: a step may go undrafted."""
    assert NgramLookup().chain(step(1, 2, 3)) is None


def test_history_drafts_what_past_answers_of_the_task_agree_on() -> None:
    """The majority of the longest matches is followed, in the request's own task only."""
    history = AnswerHistory()
    for answer in ([0, 0, 5, 6, 7, 8], [0, 0, 5, 6, 7, 9], [0, 0, 5, 6, 7, 9]):
        history.ended("sql", answer, 2)
    found = history.chain(step(0, 0, 5, 6))
    assert found is not None
    assert found.tokens == (7, 9)
    assert history.chain(step(0, 0, 5, 6, task="poem")) is None


def test_history_forgets_the_oldest_answers_and_all_that_pointed_at_them() -> None:
    """Memory is bounded by tokens: what does not fit goes, index included."""
    history = AnswerHistory(kept_tokens=50)
    for i in range(100):
        history.ended("sql", [3 * i, 3 * i + 1, 3 * i + 2, 7, 8], 2)
        assert history.held_tokens <= 50
    assert len(history._places) <= 50
    assert history.chain(step(0, 1, 2)) is None
    assert history.chain(step(297, 298)) is not None


def test_survival_learns_from_what_came_and_is_censored_after_it() -> None:
    """Positions behind the first difference or the last token are not failures."""
    survival, chain = Survival(), Chain("ngram", 2, (1, 2, 3))
    before = survival.curve("sql", chain)
    for _ in range(50):
        survival.observe("sql", chain, [1, 2])
    after = survival.curve("sql", chain)
    assert after[1] > 0.8 > before[1]
    assert after[2] / after[1] == pytest.approx(before[2] / before[1])


def test_a_task_without_evidence_believes_what_other_tasks_taught() -> None:
    """A source that failed everywhere is not trusted in a new task, and one task's evidence outweighs it."""
    survival, chain = Survival(), Chain("history", 4, (1,))
    for _ in range(100):
        survival.observe("poem", chain, [2])
    assert survival.curve("sql", chain)[0] < 0.1
    for _ in range(100):
        survival.observe("sql", chain, [1])
    assert survival.curve("sql", chain)[0] > 0.8


def test_the_chain_that_survives_further_is_drafted() -> None:
    """A draft model that is always wrong loses to a lookup that is always right, though it is trusted at first."""
    ensemble = ensemble_of(EnsembleOptions())
    tokens = [1, 2, 3, 1, 2]
    first = ensemble.propose([step(*tokens, offered=(9, 9))])
    assert first == [[9, 9]]
    for _ in range(20):
        tokens.append(3 if tokens[-1] == 2 else tokens[-1] % 3 + 1)
        drafts = ensemble.propose([step(*tokens, offered=(9, 9))])
    expected = [token % 3 + 1 for token in (tokens[-1], tokens[-1] % 3 + 1)]
    assert drafts[0][:2] == expected


def test_a_request_gets_its_own_k_and_none_without_new_tokens() -> None:
    """k = 0 drafts nothing, k = 1 one token, and a prompt that is still read none."""
    ensemble = ensemble_of(EnsembleOptions())
    offered = (4, 5, 6)
    asked = [step(1, 2, k=k, request=str(k), offered=offered) for k in range(3)]
    assert [len(drafts) for drafts in ensemble.propose(asked)] == [0, 1, 2]
    assert ensemble.propose([step(1, 2, sampled=0, request="prefill", offered=offered)]) == [[]]


def test_hopeless_positions_are_not_drafted() -> None:
    """A source that never survives comes to draft nothing, instead of being verified in vain."""
    ensemble = Ensemble({}, least_survival=0.2)
    tokens = [1, 2]
    for i in range(60):
        tokens.append(i + 10)
        drafts = ensemble.propose([step(*tokens, offered=(9, 9))])
    assert drafts == [[]]


def test_answers_of_requests_that_are_over_are_learnt() -> None:
    """What a finished request said is what the next one of its task is drafted from; a running one's is not yet."""
    ensemble = ensemble_of(EnsembleOptions(sources=("history",)))
    ensemble.propose([step(1, 2, 3)])
    ensemble.propose([step(1, 2, 3, 4, 5)])
    assert ensemble.propose([step(1, 2, 3, request="b")]) == [[]]
    ensemble.keep({"b"})
    assert ensemble.propose([step(1, 2, 3, request="c")]) == [[4, 5]]


@pytest.mark.parametrize("drafter", [None, "org/draft"])
def test_an_ensemble_pool_becomes_flags_of_vllm(drafter: str | None) -> None:
    """With a drafter vLLM's draft_model runs beside it, without one a class that drafts nothing; both are merged."""
    pool = PoolSettings.model_validate(
        {
            "name": "e",
            "target": "org/target",
            "method": "ensemble",
            "drafter": drafter,
            "k_max": 4,
            "ensemble": {"sources": ["history"]},
        }
    )
    argv = " ".join(build_command(pool, host="127.0.0.1", port=1, api_key="").argv)
    assert ('"method": "draft_model"' if drafter else '"method": "custom_class"') in argv
    assert "--worker-extension-cls engines.proposers.vllm_ensemble.MergingWorker" in argv
    assert '"sources": ["history"]' in argv
    assert "--no-async-scheduling" in argv


def test_an_ensemble_refuses_what_it_cannot_run() -> None:
    """Probabilistic drafts, unknown sources, and arguments that would unhook it."""
    base = {"name": "e", "target": "org/target", "method": "ensemble", "drafter": "org/draft", "k_max": 4}
    for wrong in (
        {"vllm": {"speculative": {"draft_sample_method": "probabilistic"}}},
        {"ensemble": {"sources": ["oracle"]}},
    ):
        with pytest.raises(ValidationError, match=r"draft_sample_method|sources"):
            PoolSettings.model_validate({**base, **wrong})
    unhooked = PoolSettings.model_validate({**base, "vllm": {"args": ["--worker-extension-cls", "mine.Worker"]}})
    with pytest.raises(EngineSettingsError, match="worker-extension-cls"):
        build_command(unhooked, host="127.0.0.1", port=1, api_key="")
