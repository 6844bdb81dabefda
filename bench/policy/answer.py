"""One answer, verify step by verify step: from how many drafts would land at each of its tokens."""

from dataclasses import dataclass, field

NO_PROPOSAL = 255


@dataclass(frozen=True, slots=True)
class Run:
    """One answer at one k: per verify step what was drafted and accepted."""

    steps: int
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]


@dataclass(slots=True)
class Answer:
    """What is left of one answer whose k changes on the way; `at` is the token that is verified next."""

    landed: bytes
    at: int = 0
    left: dict[int, list[int]] = field(default_factory=dict)

    def go_on(self, steps: int, k: int) -> None:
        """Run some verify steps at k."""
        for _ in range(steps):
            if self.at < len(self.landed):
                self.at = self._after(self.at, k)

    def steps_left(self, k: int) -> int:
        """The verify steps until the end at k."""
        left = self.left.get(k)
        if left is None:
            end = len(self.landed)
            left = self.left[k] = [0] * (end + 1)
            for at in range(end - 1, -1, -1):
                left[at] = 1 + left[min(self._after(at, k), end)]
        return left[min(self.at, len(self.landed))]

    def _after(self, at: int, k: int) -> int:
        found = self.landed[at]
        return at + 1 if found == NO_PROPOSAL else at + 1 + min(found, k)


def walk(landed: bytes, k: int) -> Run:
    """Verify at a token, take what landed, jump past it and the corrected token, until the answer ends."""
    drafted: list[int] = []
    accepted: list[int] = []
    at, steps, end = 0, 0, len(landed)
    while at < end:
        steps += 1
        found = landed[at]
        if found == NO_PROPOSAL or not k:
            at += 1
            continue
        taken = found if found < k else k
        drafted.append(k)
        accepted.append(taken)
        at += taken + 1
    return Run(steps, tuple(drafted), tuple(accepted))
