"""Requests that may be of several tasks: what their answers weigh in a record, and what a record says of them."""

from collections.abc import Mapping
from dataclasses import replace

from policies.knowledge import Knowledge, task_key
from policies.request import Request


def certainty(request: Request, knowledge: Knowledge) -> float:
    """What an answer weighs in its task's record: the fourth power of the classifier's confidence over its usual one.

    The record would otherwise drift towards the tasks that are mistaken for this one; a task of which every prompt is
    doubtful is learnt from them all alike, since such prompts are what its record will be asked about.
    """
    if not request.doubted:
        return 1.0
    return min(1.0, request.confidence / _mean(knowledge.record(task_key(request)).fields, "sure", "labelled")) ** 4


def doubt_fields(request: Request, weight: float) -> dict[str, float]:
    """Sums of the task's record: how sure the classifier was of the label, and of what weighs in its acceptance."""
    confidence = request.confidence if request.doubted else 1.0
    return {"labelled": 1.0, "sure": confidence, "weighed": weight, "pure": weight * confidence}


def shares(request: Request, knowledge: Knowledge) -> list[tuple[float, Request]]:
    """The tasks that a request may be, each with the part of it that their records speak for; empty without doubt.

    The label's record is itself a mixture: a share of what it was learnt from, its purity ρ, was of the label's task.
    A request that is so with probability p is p/ρ of that mixture and 1 − p/ρ of the others. Taken for p of it, each
    doubt would count twice: once when it was learnt, once when it is used.
    """
    if not request.doubted:
        return []
    purity = _mean(knowledge.record(task_key(request)).fields, "pure", "weighed")
    own, listed = min(1.0, request.confidence / purity), dict(request.likely)
    others = sum(share for task, share in listed.items() if task != request.task)
    parts = {task: (1 - own) * share / others if others else 0.0 for task, share in listed.items()} | {
        request.task: own
    }
    return [(share, replace(request, task=task)) for task, share in parts.items() if share > 0]


def _mean(fields: Mapping[str, float], total: str, count: str) -> float:
    """A decayed mean of confidences, from certainty at first."""
    return (fields.get(total, 0.0) + 1.0) / (fields.get(count, 0.0) + 1.0)
