"""How good a classifier is: F1 per task, calibration, per source, the confusion matrix and the time it takes."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from classifiers.examples import Example
from classifiers.label import Classifier, Label
from classifiers.model import API_CALL
from classifiers.prompt import read_prompt
from policies.task import OTHER

_BINS = 10
_SIZES = {"1 KB": 1_024, "64 KB": 65_536}
_SIZED = 200
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Precision, recall and F1 of one task (0–1), and the number of its examples."""

    precision: float
    recall: float
    f1: float
    examples: int


@dataclass(frozen=True, slots=True)
class SourceScore:
    """The share of one source's examples that were labelled right, and their number."""

    accuracy: float
    examples: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Time to classify one prompt, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Score:
    """What an evaluation found; `confusion[true][labelled]` counts examples, times are per prompt.

    `ece` is the expected calibration error over ten bins of equal width, `ece_by_chance` its mean where every
    confidence is true (some .06 on a hundred prompts); `recall_tools` is None without requests that offer tools. Times
    are of the examples as they are, in `latency` of requests cut or grown to a size, reading included; they are None
    and empty until measured.
    """

    macro_f1_tasks: float
    macro_f1_with_other: float
    ece: float
    ece_by_chance: float
    recall_tools: float | None
    p50_ms: float | None
    p99_ms: float | None
    per_task: dict[str, TaskScore]
    per_source: dict[str, SourceScore]
    confusion: dict[str, dict[str, int]]
    latency: dict[str, Latency] = field(default_factory=dict)


def source_family(source: str) -> str:
    """The source without its part: everything before the first blank (`MMLU law` is of `MMLU`)."""
    return source.split(" ", 1)[0]


def score(examples: Sequence[Example], labels: Sequence[Label]) -> Score:
    """The score of the labels given to the examples, in the same order; raises ValueError for no examples."""
    if not examples or len(examples) != len(labels):
        raise ValueError(f"scoring needs one label for each example, found {len(labels)} for {len(examples)}")
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for example, label in zip(examples, labels, strict=True):
        confusion[example.task][label.task] += 1
    per_task = {task: _task_score(task, confusion) for task in sorted(confusion)}
    right = np.array([label.task == item.task for item, label in zip(examples, labels, strict=True)])
    confidence = np.array([label.confidence for label in labels])
    return Score(
        macro_f1_tasks=_mean([found.f1 for task, found in per_task.items() if task != OTHER]),
        macro_f1_with_other=_mean([found.f1 for found in per_task.values()]),
        ece=round(calibration_error(confidence, right), 5),
        ece_by_chance=round(chance_error(confidence), 3),
        recall_tools=_recall_tools(examples, labels),
        p50_ms=None,
        p99_ms=None,
        per_task=per_task,
        per_source=_per_source(examples, right),
        confusion={task: dict(found) for task, found in sorted(confusion.items())},
    )


def timed(found: Score, classifier: Classifier, examples: Sequence[Example]) -> Score:
    """The score with the times that the classifier takes for the examples, and for requests of 1 and 64 KB."""
    own = _latency([_best_ms(partial(classifier.classify, item.prompt)) for item in examples])
    latency = {name: _latency_of_size(classifier, examples, size) for name, size in _SIZES.items()}
    return replace(found, p50_ms=own.p50_ms, p99_ms=own.p99_ms, latency=latency)


def _latency_of_size(classifier: Classifier, examples: Sequence[Example], chars: int) -> Latency:
    """Over requests of that many characters, each the text of one example and of those after it."""
    texts = [example.prompt.text or " " for example in examples]
    whole = "\n\n".join(texts)
    whole *= 1 + 2 * chars // len(whole)
    starts = np.linspace(0, len(whole) - chars, min(_SIZED, len(texts))).astype(int).tolist()
    bodies = [{"messages": [{"role": "user", "content": whole[start : start + chars]}]} for start in starts]
    return _latency([_best_ms(partial(_read_and_classify, classifier, body)) for body in bodies])


def _read_and_classify(classifier: Classifier, body: object) -> Label:
    return classifier.classify(read_prompt(body))


def _best_ms(call: Callable[[], object], repeats: int = 7) -> float:
    """The time of the fastest call, so that other processes do not count."""
    best_s = float("inf")
    for _ in range(repeats):
        start_s = time.perf_counter()
        call()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s * 1e3


def _latency(times_ms: Sequence[float]) -> Latency:
    p50_ms, p99_ms = np.percentile(times_ms, [50, 99])
    return Latency(float(p50_ms), float(p99_ms))


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """The mean distance of confidence and accuracy over bins of equal width, weighed by the examples in each."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float(confidence[bins == at].mean() - right[bins == at].mean())) for at in np.unique(bins)]
    weights = [float((bins == at).mean()) for at in np.unique(bins)]
    return float(np.dot(gaps, weights))


def chance_error(confidence: NDArray[np.floating]) -> float:
    """The mean calibration error of labels that are right exactly as often as their confidences say, by drawing."""
    rng = np.random.default_rng(0)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(_DRAWS))
    return float(np.mean([calibration_error(confidence, right) for right in drawn]))


def _task_score(task: str, confusion: dict[str, Counter[str]]) -> TaskScore:
    right = confusion[task][task]
    examples = confusion[task].total()
    labelled = sum(found[task] for found in confusion.values())
    precision, recall = right / labelled if labelled else 0.0, right / examples
    f1 = 2 * right / (labelled + examples)
    return TaskScore(precision, recall, f1, examples)


def _per_source(examples: Sequence[Example], right: NDArray[np.bool_]) -> dict[str, SourceScore]:
    found: dict[str, list[bool]] = defaultdict(list)
    for example, is_right in zip(examples, right, strict=True):
        found[source_family(example.source)].append(bool(is_right))
    return {source: SourceScore(_mean(marks), len(marks)) for source, marks in sorted(found.items())}


def _recall_tools(examples: Sequence[Example], labels: Sequence[Label]) -> float | None:
    marks = [
        label.task == API_CALL
        for example, label in zip(examples, labels, strict=True)
        if example.prompt.has_tools and example.task == API_CALL
    ]
    return _mean(marks) if marks else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
