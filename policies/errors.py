"""What this package raises: `PolicyError` with `NoReplica` (nothing can serve a request) and `DocumentError` (a
policy document is wrong)."""


class PolicyError(Exception):
    """Root of the errors of this package."""


class NoReplica(PolicyError):
    """No healthy replica serves the model; `refused` says why each one that was seen could not."""

    def __init__(self, model: str, refused: dict[str, str]) -> None:
        self.model = model
        self.refused = refused
        seen = ", ".join(f"{name}: {why}" for name, why in sorted(refused.items())) or "none is registered"
        super().__init__(f"no replica can serve model {model!r} ({seen})")


class DocumentError(PolicyError):
    """A policy document does not fit its schema; `problems` has one line per field: path, value, what is allowed."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("policy document: " + "; ".join(problems))
