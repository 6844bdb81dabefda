"""What one replica costs a request, per k: its own time, the time it adds to its neighbours, and the wait for a
place."""

from dataclasses import dataclass

from policies.cost import StepModel, bucket
from policies.estimator import Curve
from policies.terms import Range
from policies.words import Replica, Request, Score

FULLEST = 0.9
"""Beyond this share a batch is saturated: the requests that wait, not its growth, tell what a delay costs."""

MOST_SAVED = 0.2
"""A prefix that a replica may still hold never makes up for more than this share of its time per token: without a
bound one shared system prompt would send all of its traffic to one replica, however full."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What of a request the cost depends on: prompt and expected answer in tokens, and λ, the weight of the harm to
    others."""

    prompt_tokens: int
    output_tokens: float
    harm: float


def demand(request: Request, output_tokens: float, harm: float) -> Demand:
    """The demand of a request that is expected to answer with `output_tokens`."""
    return Demand(request.prompt_tokens, max(output_tokens, 1.0), harm)


@dataclass(frozen=True, slots=True)
class Drafts:
    """What a pool's drafter is worth to a request: steps per token (1/E(k)) for k = 0 … k_max, and their relative
    errors."""

    per_token: tuple[float, ...]
    noise: tuple[float, ...]


def drafts_of(curve: Curve, asked: Demand) -> Drafts:
    """The worth of a curve to a request."""
    return Drafts(steps_per_token(curve, asked.output_tokens), curve.noise)


def steps_per_token(curve: Curve, output_tokens: float) -> tuple[float, ...]:
    """1/E(k), k = 0 … k_max, for an answer of so many tokens: its last step overshoots the end by (E − 1)/2 on
    average."""
    waste = 0.5 / max(output_tokens, 1.0)
    return tuple([i + (1 - i) * waste for i in curve.inverse])


def cascade(fixed_s: float, step_s: float) -> float:
    """1 / (1 − ρ), ρ the share of a step that grows with the batch: what slows a batch also keeps it fuller.

    At a steady arrival rate B is proportional to T(B), so a delay δ ends up as δ / (1 − B·T'(B)/T(B)).
    """
    if step_s <= fixed_s:
        return 1.0
    share = 1 - fixed_s / step_s
    return 1 / (1 - (share if share < FULLEST else FULLEST))


def score_of(
    asked: Demand, replica: Replica, drafts: Drafts, model: StepModel, allowed: Range, favoured: bool = False
) -> Score:
    """u = (T·wait + λ·B·(T − T_without)·cascade) / E(k) for every k.

    The harm lasts as long as the request stays, 1/E(k) steps per token of its own: that is the marginal time of the
    system. In it the drafting passes count by their shares, so that nobody rides for free on a batch's largest k.
    """
    batch, top, context = replica.running, replica.max_k, replica.mean_context_tokens
    per_token, harm = drafts.per_token, asked.harm
    idle, per_request, per_draft, drafting, per_k, per_kv, per_prefill = model.thetas[bucket(batch + 1)]
    passes = drafting - idle + per_k * top if top else 0.0
    without = idle + passes + batch * (per_request + per_draft * replica.mean_k + per_kv * context / 1000)
    joined = per_request + (per_kv * (asked.prompt_tokens + asked.output_tokens / 2) / 1000 if context else 0.0)
    ks = range(len(per_token))
    start = without - passes + joined + drafting - idle
    steps = [start + per_draft * k + per_k * (k if k > top else top) for k in ks]
    steps[0] = without + joined
    if replica.k_shares and batch:
        first = joined if top else joined + drafting - idle
        added = [first + per_draft * k + per_k * share for k, share in zip(ks, replica.k_shares, strict=True)]
        added[0] = joined
    else:
        added = [step - without for step in steps] if batch else steps
    queued = (replica.waiting + (batch >= replica.max_running)) / replica.max_running
    # Whoever takes a place in a full batch waits for one, and makes as many wait behind it as stand before it.
    wait = 1.0 + queued * (1 + harm)
    weight = harm * (batch + replica.waiting) * cascade(idle + passes, without)
    u_s = [(wait * step + weight * more) * i for step, more, i in zip(steps, added, per_token, strict=True)]
    if favoured:
        saved = per_prefill * asked.prompt_tokens / 1000 / asked.output_tokens
        u_s = [u - min(saved, MOST_SAVED * u) for u in u_s]
    wait_s = queued * steps[0] * per_token[0] * asked.output_tokens
    return Score(
        replica, u_s, steps, added, per_token, drafts.noise, wait_s, allowed.low, allowed.high, allowed.blocked
    )
