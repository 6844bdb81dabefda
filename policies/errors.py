"""What this package raises: `PolicyError` with `NoReplica` (nothing can serve a request) and `DocumentError` (a
policy document is wrong)."""

from dataclasses import dataclass


class PolicyError(Exception):
    """Root of the errors of this package."""


class NoReplica(PolicyError):
    """No healthy replica serves the model; `refused` says why each one that was seen could not."""

    def __init__(self, model: str, refused: dict[str, str]) -> None:
        self.model = model
        self.refused = refused
        seen = ", ".join(f"{name}: {why}" for name, why in sorted(refused.items())) or "none is registered"
        super().__init__(f"no replica can serve model {model!r} ({seen})")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy document: where, what stands there, why not, what may, and the nearest of that."""

    path: str
    value: object
    message: str
    allowed: tuple[str, ...] = ()
    nearest: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        allowed = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        return f"{self.path}: {self.message}{hint}{allowed}"


class DocumentError(PolicyError):
    """A policy document does not fit its schema; `problems` has one line for each of `found`."""

    def __init__(self, found: tuple[Problem, ...]) -> None:
        self.found = found
        self.problems = tuple(str(problem) for problem in found)
        super().__init__("policy document: " + "; ".join(self.problems))
