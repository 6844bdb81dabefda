"""What this router knows, as rows for people: acceptance by task, engines, the last decisions."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from policies.keys import decode_key
from policies.knowledge import Knowledge
from policies.records import Record
from policies.words import Choice, Request

DECISIONS_KEPT = 200


@dataclass(frozen=True, slots=True)
class AcceptanceRow:
    """One acceptance record: `alpha` is accepted / exposed drafts, `survival[i]` = P(first i+1 drafts hold).

    `drafts` is the decayed number of drafts behind it; survival ends where fewer than one draft was seen.
    """

    drafter: str
    task: str
    segment: str
    temperature: str
    shape: str
    alpha: float
    survival: tuple[float, ...]
    drafts: float


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision of this router; times per token in ms as predicted, None without a vanilla engine."""

    at_s: float
    model: str
    task: str
    temperature: float
    pool: str
    replica: str
    k: int
    reason: str
    expected_ms_per_token: float
    vanilla_ms_per_token: float | None


class Decisions:
    """The last decisions, newest first."""

    def __init__(self) -> None:
        self._rows: deque[DecisionRow] = deque(maxlen=DECISIONS_KEPT)

    def add(self, request: Request, choice: Choice, now_s: float) -> None:
        """Remember one; it costs a row, not the scores of every alternative."""
        vanilla = None if choice.vanilla_tpot_s is None else choice.vanilla_tpot_s * 1000
        self._rows.appendleft(
            DecisionRow(
                at_s=now_s,
                model=request.model,
                task=request.task,
                temperature=request.temperature,
                pool=choice.pool,
                replica=choice.replica,
                k=choice.k,
                reason=str(choice.reason),
                expected_ms_per_token=choice.tpot_s * 1000,
                vanilla_ms_per_token=vanilla,
            )
        )

    def rows(self) -> list[DecisionRow]:
        """Newest first."""
        return list(self._rows)


def acceptance_rows(knowledge: Knowledge) -> list[AcceptanceRow]:
    """Every acceptance record that holds drafts, by drafter, task and temperature."""
    rows = _acceptance(knowledge.records)
    return sorted(rows, key=lambda row: (row.drafter, row.task, row.temperature, row.segment, row.shape))


def _acceptance(records: Mapping[str, Record]) -> Iterator[AcceptanceRow]:
    for name, record in records.items():
        if not name.startswith("acc:") or record.fields.get("e1", 0.0) < 1:
            continue
        key, fields = decode_key(name), record.fields
        seen = [i for i in range(1, 33) if fields.get(f"e{i}", 0.0) >= 1]
        held = [min(1.0, fields.get(f"s{i}", 0.0) / fields[f"e{i}"]) for i in seen]
        accepted, exposed = sum(fields.get(f"s{i}", 0.0) for i in seen), sum(fields[f"e{i}"] for i in seen)
        survival = tuple(accumulate(held, mul))
        alpha = min(1.0, accepted / exposed)
        yield AcceptanceRow(key.drafter, key.task, key.segment, key.bucket, key.shape, alpha, survival, exposed)
