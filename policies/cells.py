"""What one replica costs a request, per k: its own time, the time it adds to its neighbours, and the wait for a
place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

from policies.choice import Load, Score
from policies.cost import StepModel, bucket
from policies.estimator import Curve
from policies.quick import quick
from policies.replica import Replica
from policies.request import Request
from policies.terms import Range

FULLEST = 0.9
"""Beyond this share a batch is saturated: the requests that wait, not its growth, tell what a delay costs."""

MOST_SAVED = 0.2
"""A prefix that a replica may still hold never makes up for more than this share of its time per token: without a
bound one shared system prompt would send all of its traffic to one replica, however full."""


@quick
@dataclass(frozen=True, slots=True)
class Demand:
    """What of a request the cost depends on: prompt and expected answer in tokens, and λ, the weight of the harm to
    others; `context_k` is its mean context in thousands."""

    prompt_tokens: int
    output_tokens: float
    harm: float
    context_k: float


def demand(request: Request, output_tokens: float, harm: float) -> Demand:
    """The demand of a request that is expected to answer with `output_tokens`."""
    tokens = max(output_tokens, 1.0)
    return Demand(request.prompt_tokens, tokens, harm, (request.prompt_tokens + tokens / 2) / 1000)


@quick
@dataclass(frozen=True, slots=True)
class Drafts:
    """What a pool's drafter is worth to a request: steps per token (1/E(k)) for k = 0 … k_max as expected, `careful`
    ones, and their relative errors.

    A request alone in its engine risks only its own time, and deeper drafts teach more: it goes by what is expected. A
    batch that drafts too much slows all who are in it, and fills: there a drafter that is not known yet is trusted
    less. In the simulator either alone was worse: care everywhere cost 2 % of the time per token of a cold start with
    one client, expectation everywhere 4 % at 110 % load with two drafters.
    """

    per_token: tuple[float, ...]
    careful: tuple[float, ...]
    noise: tuple[float, ...]


def drafts_of(curve: Curve, asked: Demand) -> Drafts:
    """The worth of a curve to a request."""
    waste = 0.5 / max(asked.output_tokens, 1.0)
    return Drafts(
        tuple([i + (1 - i) * waste for i in curve.inverse]),
        tuple([i + (1 - i) * waste for i in curve.careful]),
        curve.noise,
    )


def mixed(parts: Sequence[tuple[float, Drafts]]) -> Drafts:
    """The drafts of a request of one of several tasks, each with its probability.

    Its time is proportional to 1/E(k) of whichever task it is, so it is 1/E(k) that is averaged, not E(k).
    """
    total = sum(share for share, _ in parts)
    shares = [share / total for share, _ in parts]

    def mean(columns: Iterable[Sequence[float]]) -> tuple[float, ...]:
        return tuple([sum(map(mul, shares, column)) for column in zip(*columns, strict=True)])

    return Drafts(*(mean(getattr(drafts, name) for _, drafts in parts) for name in Drafts.__slots__))


def cascade(fixed_s: float, step_s: float) -> float:
    """1 / (1 − ρ), ρ the share of a step that grows with the batch: what slows a batch also keeps it fuller.

    At a steady arrival rate B is proportional to T(B), so a delay δ ends up as δ / (1 − B·T'(B)/T(B)).
    """
    if step_s <= fixed_s:
        return 1.0
    share = 1 - fixed_s / step_s
    return 1 / (1 - (share if share < FULLEST else FULLEST))


def load_of(replica: Replica, model: StepModel, harm: float, drafts: int) -> Load:
    """What the replica's batch makes of one more request, for k = 0 … `drafts`; the same for every request until
    somebody joins or leaves, or its step time is fitted anew.

    In what a request adds the drafting passes count by their shares, so that nobody rides for free on a batch's
    largest k. Engines that share hardware slow each other: as much, in relation to a step, as this one is slowed, and
    all who are in it answer for that together.
    """
    batch, top = replica.running, replica.max_k
    idle, per_request, per_draft, drafting, per_k, per_kv, per_prefill, per_neighbour = model.thetas[bucket(batch + 1)]
    beside = per_neighbour * replica.neighbours
    idle, drafting = idle + beside, drafting + beside
    passes = drafting - idle + per_k * top if top else 0.0
    own = per_request + per_draft * replica.mean_k + per_kv * replica.mean_context_tokens / 1000
    without = idle + passes + batch * own
    ks = range(drafts + 1)
    start = without - passes + per_request + drafting - idle
    steps = [start + per_draft * k + per_k * (k if k > top else top) for k in ks]
    steps[0] = without + per_request
    if replica.k_shares and batch:
        first = per_request if top else per_request + drafting - idle
        added = [first + per_draft * k + per_k * share for k, share in zip(ks, replica.k_shares, strict=True)]
        added[0] = per_request
    else:
        added = [step - without for step in steps] if batch else steps
    queued = (replica.waiting + (batch >= replica.max_running)) / replica.max_running
    # Whoever takes a place in a full batch waits for one, and makes as many wait behind it as stand before it.
    wait = 1.0 + queued * (1 + harm)
    weight = harm * (batch + replica.waiting) * cascade(idle + passes, without)
    cost = [wait * step + weight * more for step, more in zip(steps, added, strict=True)]
    if slowed := harm * per_neighbour * replica.neighbours_running / (batch + 1) / steps[0]:
        cost = [total + slowed * step for total, step in zip(cost, steps, strict=True)]
    # A fleet that does not know its contexts (0) has taught no price of them.
    priced = per_kv if replica.mean_context_tokens else 0.0
    return Load(steps, added, cost, wait + weight, not (batch or replica.waiting), queued, priced, per_prefill, weight)


def score_of(
    asked: Demand, replica: Replica, load: Load, drafts: Drafts, allowed: Range, favoured: bool = False
) -> Score:
    """u = (T·wait + λ·B·(T − T_without)·cascade) / E(k) + λ·B·prefill·cascade / tokens for every k.

    The harm lasts as long as the request stays, 1/E(k) steps per token of its own: that is the marginal time of the
    system. Its prefill holds up whoever is there, once: without that price a replica whose batch drafts well fills.
    """
    per_token, context_s = drafts.per_token, load.per_kv_s * asked.context_k
    believed, context_cost_s = per_token if load.alone else drafts.careful, load.weight * context_s
    prefill_s = load.per_prefill_s * asked.prompt_tokens / 1000 / asked.output_tokens
    stall_s = load.others * prefill_s
    u_s = [(cost + context_cost_s) * steps + stall_s for cost, steps in zip(load.cost_s, believed, strict=True)]
    if favoured:
        u_s = [u - min(prefill_s, MOST_SAVED * u) for u in u_s]
    wait_s = load.queued and load.queued * (load.steps_s[0] + context_s) * per_token[0] * asked.output_tokens
    return Score(
        replica, u_s, load, per_token, drafts.noise, context_s, wait_s, allowed.low, allowed.high, allowed.blocked
    )
