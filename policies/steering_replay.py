"""Dry runs: recorded decisions made again by what is known now, under the policy in force and under a draft."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from policies.choice import Choice
from policies.document import Document
from policies.errors import NoReplica
from policies.knowledge import Knowledge
from policies.policy import POLICIES
from policies.replica import Replica, StepTime
from policies.steering_compare import Pair, compared, counted
from policies.steering_log import Decision
from policies.steering_reports import DryRun

MIDDLE = 0.5
"""The draw of every replayed decision: neither a trial nor a hold-out, which both policies make by chance alike."""

Pause = Callable[[], None]
Probes = Mapping[str, tuple[StepTime, ...]]


def dry_run(
    decisions: Sequence[Decision],
    now: Knowledge,
    then: Knowledge,
    probes: Probes,
    pause: Pause = lambda: None,
) -> DryRun:
    """Each decision under `now` and under `then`, which know the same; oldest first, so that habits form as they would.

    Loads are the recorded ones: that other decisions would have loaded the engines otherwise is not replayed. Rules see
    the hour at which the request came. `pause` is called between decisions.
    """
    left_out: Counter[str] = Counter()
    pairs: list[Pair] = []
    for decision in sorted(decisions, key=lambda one: one.at_s):
        pause()
        try:
            pairs.append(pair_of(decision, now, then, probes, decision.at_s))
        except NoReplica:
            left_out["no_replica"] += 1
        except (ValueError, ArithmeticError, LookupError):
            left_out["unreadable"] += 1
    by_task: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_task.setdefault(pair.task, []).append(pair)
    pools, ks = counted(pairs)
    return DryRun(
        decisions=len(pairs),
        total=compared("", pairs, pause),
        tasks=tuple(compared(task, found, pause) for task, found in sorted(by_task.items())),
        pools=pools,
        ks=ks,
        left_out=dict(left_out),
        notes=tuple(_notes(decisions, pairs, then.document)),
    )


def pair_of(decision: Decision, now: Knowledge, then: Knowledge, probes: Probes, at_s: float) -> Pair:
    """One decision under both; NoReplica where the recorded replicas cannot serve it."""
    seen = [_probed(one.engine, probes) for one in decision.alternatives]
    first = _decided(decision, seen, now, at_s)
    return paired(first, _decided(decision, seen, then, at_s), decision.request.task)


def _decided(decision: Decision, seen: Sequence[Replica], knowledge: Knowledge, at_s: float) -> Choice:
    choice = POLICIES[knowledge.document.policy].decide(decision.request, seen, knowledge, at_s, MIDDLE)
    knowledge.commit(decision.request, choice)
    return choice


def paired(choice: Choice, other: Choice, task: str) -> Pair:
    """Two choices for one request, the other's time as the first one's scores predict it where they cover it."""
    return Pair(task, choice.pool, choice.k, choice.tpot_s, other.pool, other.k, _time_of(other, choice))


def _time_of(choice: Choice, judge: Choice) -> float:
    for score in judge.scores:
        if score.replica == choice.replica and choice.k < len(score.u_s):
            return score.tpot_s(choice.k)
    return choice.tpot_s


def _probed(replica: Replica, probes: Probes) -> Replica:
    probe = probes.get(replica.name)
    return replica if probe is None else replace(replica, probe=probe)


def _notes(decisions: Sequence[Decision], pairs: Sequence[Pair], document: Document) -> list[str]:
    notes = []
    if len(pairs) < 100:
        notes.append(f"Only {len(pairs)} decisions were replayed: the intervals are wide.")
    if document.kill_switch or document.observe_only:
        notes.append("The policy serves everything from vanilla (kill_switch or observe_only).")
    recorded = {name for decision in decisions for name, _ in decision.request.headers}
    unseen = sorted(document.header_names - recorded)
    if unseen and decisions:
        notes.append(f"Rules on the headers {', '.join(unseen)} were not replayed: no recorded request had them.")
    return notes
