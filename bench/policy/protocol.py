"""The scenarios and entrants of the standing comparison."""

from bench.policy.calibration import Drafter, load_calibration
from bench.policy.cluster import Entrant
from bench.policy.scenario import Phase, PoolSize, Scenario
from policies.document import Article, Document
from policies.rules import Objective

VANILLA, ORACLE = "always_vanilla", "per_task_oracle"
CALIBRATIONS = ("h100-8b-eagle", "h100-8b-eagle-ngram", "cpu-demo")
WEAKER = 1.6
LOADS = (0.2, 0.5, 0.8, 1.1)

STATIC = ("static_k1", "static_k2", "static_k3", "static_k4")


def fixed(k: int) -> Document:
    """One k for everything."""
    rule = {"name": f"k={k}", "then": {"k": {"min": k, "max": k}}}
    return Document.model_validate({"policy": "always_speculative", "rules": [rule]})


def threshold(enable: float, disable: float, k: int) -> Document:
    """The article's rule with constants of its own, and k = 1 in between."""
    article = Article(enable=enable, disable=disable, k=k, measure_k=1)
    return Document(policy="article_threshold", article=article)


TUNED = {"cpu-demo": "threshold_k4", "h100-8b-eagle": "threshold_k2", "h100-8b-eagle-ngram": "threshold_k2"}
"""The threshold that was best of those tried on seeds 301 to 303, by calibration."""

ENTRANTS = (
    Entrant(VANILLA, "always_vanilla", "vanilla"),
    Entrant(ORACLE, "adaptive", oracle=True),
    Entrant("label_oracle", "adaptive", oracle=True, labelled=True),
    Entrant("hindsight_oracle", "adaptive", oracle=True, hindsight=True),
    Entrant("adaptive", "adaptive"),
    Entrant("goodput", "adaptive", document=Document(objective=Objective(kind="goodput"))),
    Entrant("cheapest", "adaptive", document=Document(objective=Objective(kind="cheapest"))),
    Entrant("adaptive_no_vanilla", "adaptive", "speculative"),
    Entrant("told_acceptance", "adaptive", told=frozenset({"acceptance"})),
    Entrant("told_costs", "adaptive", told=frozenset({"costs"})),
    Entrant("told_all", "adaptive", told=frozenset({"acceptance", "costs", "lengths"})),
    Entrant("observe_only", "adaptive", "vanilla", document=Document(observe_only=True)),
    *(Entrant(name, "always_speculative", "speculative", document=fixed(k)) for k, name in enumerate(STATIC, 1)),
    Entrant("vllm_schedule", "always_speculative", "speculative", scheduled=True),
    Entrant("batch_at_arrival", "batch_schedule", "speculative"),
    Entrant("ema_tiers", "ema_tiers", "speculative"),
    Entrant("one_way_gate", "one_way_gate", "speculative"),
    Entrant("article_threshold", "article_threshold"),
    Entrant("threshold_k2", "article_threshold", "speculative", document=threshold(0.35, 0.2, 2)),
    Entrant("threshold_k4", "article_threshold", document=threshold(0.45, 0.3, 4)),
    Entrant("independent_ucb", "independent_ucb"),
)
"""`vanilla` and `speculative`: the same number of replicas, all of that one kind, so that nobody lacks hardware.

`label_oracle` knows the mean of each label, wrong ones included: beyond it only better labels help. `told_…` is our
policy spared some of its learning: what it gains is what that learning costs, and what `told_all` still lacks to the
oracle is the price of exploring, of the hold-out and of hysteresis. `vllm_schedule` has the best table there is, from
the true step times and the mix's true acceptance; `batch_at_arrival` learns its own and fixes k as a request arrives.
"""


def entrants(names: tuple[str, ...]) -> tuple[Entrant, ...]:
    """The entrants by name (all if none is named), with the references that every figure needs; ValueError lists
    them."""
    known = {entrant.name: entrant for entrant in ENTRANTS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"policy {unknown[0]!r}: not one of {', '.join(known)}")
    wanted = {VANILLA, ORACLE, *names} if names else set(known)
    return tuple(entrant for entrant in ENTRANTS if entrant.name in wanted)


def scenarios(calibration: str, requests: int) -> dict[str, Scenario]:
    """The protocol on one calibration."""
    tasks = load_calibration(calibration).tasks
    half, strong = len(tasks) // 2, strong_tasks(calibration)
    base = Scenario(name="base", calibration=calibration, requests=requests, warm=0.3)
    found = {f"load{round(100 * load)}": base.model_copy(update={"load": load}) for load in LOADS}
    found |= {
        "noise10": base.model_copy(update={"noise": 0.1}),
        "noise30": base.model_copy(update={"noise": 0.3}),
        "doubts10": base.model_copy(update={"noise": 0.1, "doubts": True}),
        "doubts30": base.model_copy(update={"noise": 0.3, "doubts": True}),
        "sampled": base.model_copy(update={"temperatures": {"0": 1.0, "low": 1.0, "high": 1.0}}),
        "bursts": base.model_copy(update={"burst": 8.0}),
        "routers4": base.model_copy(update={"routers": 4}),
        "mix_shift": base.model_copy(
            update={
                "mix": dict.fromkeys(tasks[:half], 1.0),
                "phases": (Phase(at=0.5, mix=dict.fromkeys(tasks[half:], 1.0)),),
            }
        ),
        "collapse": base.model_copy(
            update={
                "load": 0.2,
                "phases": (
                    Phase(at=0.4, h_change=-0.3, h_change_tasks=strong),
                    Phase(at=0.7, h_change=0.0, h_change_tasks=strong),
                ),
            }
        ),
        "slow_replica": base.model_copy(update={"phases": (Phase(at=0.5, slow_replica=2.0),)}),
        "drafter_swap": base.model_copy(
            update={
                "extra_drafters": {"weaker": weaker(calibration)},
                "phases": (Phase(at=0.5, drafters={first_drafter(calibration): "weaker"}),),
            }
        ),
        "two_vanilla": base.model_copy(update={"pools": two_vanilla(calibration)}),
    }
    return {name: scenario.model_copy(update={"name": f"{calibration}/{name}"}) for name, scenario in found.items()}


def two_vanilla(calibration: str) -> tuple[PoolSize, ...]:
    """Half of the replicas without a drafter."""
    return (PoolSize(replicas=2), PoolSize(drafter=first_drafter(calibration), replicas=2))


def first_drafter(calibration: str) -> str:
    """The drafter that a calibration names first."""
    return next(iter(load_calibration(calibration).drafters))


def weaker(calibration: str) -> Drafter:
    """The first drafter as it would be if its target had moved on: every survival to the power of 1.6."""
    drafter = load_calibration(calibration).drafters[first_drafter(calibration)]
    curves = {task: tuple(s**WEAKER for s in curve) for task, curve in drafter.tasks.items()}
    return drafter.model_copy(update={"tasks": curves})


def strong_tasks(calibration: str) -> tuple[str, ...]:
    """Tasks with a first-position acceptance of .59 or more: those that a fall by .3 leaves with something to
    accept."""
    first = next(iter(load_calibration(calibration).drafters.values()))
    return tuple(task for task, curve in first.tasks.items() if curve[0] >= 0.59)
