"""What preflight cannot check, and why."""


class PreflightError(Exception):
    """A model that cannot be examined; one line that says what to do about it."""


class DamagedModelError(PreflightError):
    """A model whose files are cut off, damaged or missing: no engine can run it either."""
