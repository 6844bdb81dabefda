"""What steering refuses.

SteeringError
├── Invalid          the document is wrong; has every problem
├── UnknownVersion   there is no such version
├── WrongState       the life cycle does not go there from here; says what is possible
├── Conflict         another operator was there first; has what is there now and how it differs
└── Away             the store cannot be reached, so that nothing can be changed
"""

from collections.abc import Sequence

from policies.errors import Problem
from policies.steering_diff import Difference
from router.steering.versions import Version


class SteeringError(Exception):
    """Root of what steering refuses."""


class Invalid(SteeringError):
    """The document does not fit the schema."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("The policy is wrong: " + "; ".join(str(problem) for problem in self.problems))


class UnknownVersion(SteeringError):
    """There is no such version."""

    def __init__(self, version: int) -> None:
        self.version = version
        super().__init__(f"There is no version {version!r}.")


class WrongState(SteeringError):
    """The version is not in a state from which this is possible."""


class Conflict(SteeringError):
    """Another operator changed it first: `changes` lead from what is there now to what was to be written."""

    def __init__(self, message: str, current: Version, changes: Sequence[Difference]) -> None:
        self.current = current
        self.changes = tuple(changes)
        super().__init__(message)


class Away(SteeringError):
    """The store cannot be reached; whether the change was made is seen in the history once it can."""
