"""The estimator against brute-force simulation: censoring, coverage, calibration, and evidence that must be refused."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.estimator import NOTHING, Curve, curve, moment_kappa
from policies.evidence import Counts, Ignored, acceptance_fields, counts
from policies.formulas import expit, logit, survival
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.records import EMPTY, Delta, Record, apply
from policies.replica import Pool
from policies.request import Request

PRIOR = (0.7, 0.69, 0.68, 0.67)
POOL = Pool("spec", "m", "target@1", "draft@1", "draft_model", 4)


def answer(rng: random.Random, h: tuple[float, ...], ks: list[int]) -> Counts:
    """One answer whose verify steps draft ks and accept by h."""
    accepted = []
    for k in ks:
        j = 0
        while j < k and rng.random() < h[j]:
            j += 1
        accepted.append(j)
    found = counts(ks, accepted, 1 + len(ks) + sum(accepted), len(h))
    if isinstance(found, Ignored):
        raise AssertionError(found.reason)
    return found


def believed(found: list[Counts], prior: tuple[float, ...] = PRIOR) -> Record:
    """The record after these answers, undecayed."""
    record = EMPTY
    for one in found:
        before = curve(prior, record, NOTHING, False)
        fields = acceptance_fields(one, before.h, before.weight)
        record = apply(record, Delta("k", fields), 1.0)
    return record


def test_short_drafts_are_censored_not_failed() -> None:
    """A step of two drafts that accepts both says nothing of the third; one that stops at one failed the second."""
    found = counts([2, 4, 3], [2, 1, 0], 8, 4)
    assert isinstance(found, Counts)
    assert list(found.s) == [2, 1, 0, 0]
    assert list(found.e) == [3, 2, 0, 0]


def test_unbiased_when_k_varies() -> None:
    """Estimates from a random k per step agree with the true h at every position."""
    rng, h = random.Random(5), (0.8, 0.6, 0.9, 0.5)
    found = [answer(rng, h, [rng.randint(1, 4) for _ in range(50)]) for _ in range(400)]
    estimate = curve(PRIOR, believed(found), NOTHING, False)
    assert estimate.h == pytest.approx(h, abs=0.02)
    true = [1.0, *(1 + sum(survival(h)[:k]) for k in range(1, 5))]
    assert estimate.expected == pytest.approx(true, rel=0.02)


def test_one_speculative_request_reveals_every_smaller_k() -> None:
    """All from k = 4, the expected tokens at k = 1 … 3 are right."""
    rng, h = random.Random(6), (0.9, 0.5, 0.5, 0.5)
    estimate = curve(PRIOR, believed([answer(rng, h, [4] * 60) for _ in range(200)]), NOTHING, False)
    assert estimate.expected[1] == pytest.approx(1.9, rel=0.02)
    assert estimate.expected[2] == pytest.approx(2.35, rel=0.02)


@pytest.mark.parametrize(("spread", "low_share", "high_share"), [(0.0, 0.88, 0.92), (0.6, 0.86, 0.94)])
def test_intervals_cover_what_they_say(spread: float, low_share: float, high_share: float) -> None:
    """90 % intervals cover 88–92 % of 1,000 tasks, and about as many where the prompts of a task differ widely."""
    rng, knowledge = random.Random(7), Knowledge()
    truth = {f"task{i}": rng.betavariate(24 * 0.62, 24 * 0.38) for i in range(1000)}
    for task, h in truth.items():
        request = Request("m", task, temperature=0)
        for _ in range(12):
            prompt = expit(logit(h) + rng.gauss(0, spread))
            seen = curve_of(knowledge, request)
            found = answer(rng, (prompt, 0.5, 0.5, 0.5), [1] * rng.randint(10, 30))
            fields = acceptance_fields(found, seen.h, seen.weight)
            knowledge.absorb([Delta(knowledge.acceptance_key(request, POOL, 1.0), fields)], 1.0)
    inside = 0
    for task, h in truth.items():
        # What a task's acceptance is, is the mean over its prompts.
        mean = sum(expit(logit(h) + spread * z) for z in NORMAL) / len(NORMAL)
        low, high = curve_of(knowledge, Request("m", task, temperature=0), 5.0).interval(0)
        inside += low <= mean <= high
    assert low_share <= inside / 1000 <= high_share


NORMAL = [-2.0, -1.3, -0.8, -0.4, 0.0, 0.4, 0.8, 1.3, 2.0]


def curve_of(knowledge: Knowledge, request: Request, now_s: float = 1.0) -> Curve:
    """The belief about a request in the one pool."""
    return knowledge.curve(request, POOL, now_s)


def test_a_new_task_borrows_from_its_drafter() -> None:
    """Where every known task is far below its prior, so is the belief about the next."""
    knowledge = Knowledge()
    for task in ("code_generation", "mathematics", "translation"):
        key = Key("target@1", "draft@1", task, "default", "0")
        knowledge.install({key.encode(): Record({"s1": 150.0, "e1": 500.0, "n": 20.0}, 1.0)}, 2.0)
    fresh = Knowledge().curve(Request("m", "sql_generation", temperature=0), POOL, 2.0)
    moved = knowledge.curve(Request("m", "sql_generation", temperature=0), POOL, 2.0)
    assert moved.h[0] < fresh.h[0] - 0.2


@pytest.mark.parametrize(
    ("drafter", "method", "like"),
    [
        (None, "ensemble", "ngram"),
        (None, "suffix", "ngram"),
        (None, "ngram_gpu", "ngram"),
        ("d@1", "ensemble", "draft_model"),
        ("d@1", "eagle3", "draft_model"),
        (None, "mtp", "draft_model"),
        ("package.Class", "custom_class", "draft_model"),
    ],
)
def test_what_is_looked_up_starts_as_n_grams_do(drafter: str | None, method: str, like: str) -> None:
    """An ensemble without a drafter is lookups alone: believed to find little and to keep what it found."""
    code = Request("m", "code_generation", temperature=0)
    pool, other = (Pool("p", "m", "t@1", drafter, name, 4) for name in (method, like))
    found = Knowledge().curve(code, pool, 1.0)
    assert found.h == pytest.approx(Knowledge().curve(code, other, 1.0).h)
    assert (found.h[0] < 0.3 < 0.9 < found.h[1]) == (like == "ngram")


def test_a_new_segment_borrows_from_its_task() -> None:
    """The same task's other segments are believed before the prior."""
    knowledge = Knowledge()
    key = Key("target@1", "draft@1", "sql_generation", "default", "0")
    knowledge.install({key.encode(): Record({"s1": 100.0, "e1": 500.0, "n": 20.0}, 1.0)}, 2.0)
    other = knowledge.curve(Request("m", "sql_generation", segment="batch", temperature=0), POOL, 2.0)
    assert other.h[0] == pytest.approx(0.2, abs=0.06)


LOOKUP = Pool("ngram", "m", "target@1", None, "ngram", 8)
COVERAGE, CODE = 0.5, (0.496, 0.887, 0.914, 0.95, 0.937, 0.922, 0.964, 0.943)
"""An n-gram drafter on code: of the steps half find a match, and of these half are right
(`bench/policy/calibrations/h100-8b-eagle-ngram.yaml`)."""


def looked_up(knowledge: Knowledge, request: Request, answers: int) -> None:
    """Teach answers of fifty steps at k = 8, of which half find something to propose."""
    rng = random.Random(8)
    for _ in range(answers):
        found = answer(rng, CODE, [8 if rng.random() < COVERAGE else 0 for _ in range(50)])
        seen = knowledge.curve(request, LOOKUP, 1.0)
        fields = acceptance_fields(found, seen.h, seen.weight)
        knowledge.absorb([Delta(knowledge.acceptance_key(request, LOOKUP, 1.0), fields)], 1.0)


def test_a_new_key_takes_over_the_coverage_with_the_acceptance() -> None:
    """Acceptance is of what was proposed: at another temperature as seldom as at this one."""
    knowledge = Knowledge()
    looked_up(knowledge, Request("m", "code_generation", temperature=0), 60)
    new = knowledge.curve(Request("m", "code_generation", temperature=1.0), LOOKUP, 1.0)
    true = [1.0, *(1 + COVERAGE * sum(survival(CODE)[:k]) for k in range(1, 9))]
    assert [round(tokens, 2) for tokens in (true[1], true[4], true[8])] == [1.25, 1.86, 2.51]
    assert new.expected == pytest.approx(true, rel=0.1)


def test_a_new_task_takes_over_the_coverage_of_its_drafter() -> None:
    """Its first position is moved by what the other tasks accepted of what was proposed."""
    knowledge = Knowledge()
    for task in ("code_generation", "sql_generation", "translation"):
        looked_up(knowledge, Request("m", task, temperature=0), 20)
    new = knowledge.curve(Request("m", "summarization", temperature=0), LOOKUP, 1.0)
    assert new.coverage == pytest.approx(COVERAGE, abs=0.05)
    assert new.h[0] > 0.3


def test_coverage_fades_to_that_of_the_siblings() -> None:
    """As acceptance does: what a key saw a day ago weighs a sixteenth."""
    own = Record({"qn": 80.0, "qd": 80.0}, 1.0)
    fresh, faded = (curve(PRIOR, own, NOTHING, True, keep=keep, covered=0.5).coverage for keep in (1.0, 1 / 16))
    assert fresh == pytest.approx(0.9)
    assert faded == pytest.approx(0.6)


def test_surprise_at_one_position_is_carried_to_the_next() -> None:
    """Evidence at k = 2 moves the belief about h_3; not from finding to keeping an n-gram match."""
    record = Record({"s1": 100.0, "e1": 500.0, "s2": 20.0, "e2": 100.0, "n": 20.0}, 1.0)
    assert curve(PRIOR, record, NOTHING, False).h[2] < 0.4
    lookup = curve(PRIOR, Record({"s1": 100.0, "e1": 500.0, "n": 20.0}, 1.0), NOTHING, True)
    assert lookup.h[1] == pytest.approx(PRIOR[1])


@pytest.mark.parametrize(
    ("drafted", "accepted", "k_max", "why"),
    [
        ([2, 2], [1], 4, "steps_mismatch"),
        ([2], [3], 4, "steps_impossible"),
        ([2], [-1], 4, "steps_impossible"),
        ([6], [1], 4, "k_changed"),
    ],
)
def test_steps_that_cannot_be_are_refused_by_reason(
    drafted: list[int], accepted: list[int], k_max: int, why: str
) -> None:
    """Lengths that differ, more accepted than drafted, negative counts, a drafter whose K changed."""
    assert counts(drafted, accepted, 10, k_max) == Ignored(why)


@given(
    st.dictionaries(
        st.sampled_from(["s1", "e1", "s2", "e2", "n", "vv", "vb", "ee", "qn", "qd"]), st.floats(0, 1e9), max_size=10
    )
)
@settings(max_examples=200, deadline=None)
def test_any_finite_record_gives_a_sane_curve(fields: dict[str, float]) -> None:
    """h stays inside (0, 1), E rises with k and is bounded by k + 1, errors are finite, whatever the sums claim."""
    found = curve(PRIOR, Record(fields, 1.0), NOTHING, False)
    assert all(0 < h < 1 for h in found.h)
    assert all(a <= b <= a + 1 for a, b in zip(found.expected, found.expected[1:], strict=False))
    assert all(0 < i <= 2 for i in found.inverse)
    assert all(e >= 0 for e in found.spread)


def test_kappa_follows_how_much_tasks_differ() -> None:
    """Alike tasks are shrunk hard, unlike ones little."""
    rng = random.Random(3)
    alike = [0.7 + rng.gauss(0, 0.01) for _ in range(50)]
    unlike = [0.7 + rng.choice((-0.25, 0.25)) for _ in range(50)]
    assert moment_kappa(alike, [0.7] * 50, [500.0] * 50) == 60
    assert moment_kappa(unlike, [0.7] * 50, [500.0] * 50) == 10
