"""What can go wrong with a vLLM process.

EngineError
 ├─ EngineSettingsError       a pool that no vLLM could run: method, flags, environment
 ├─ ModelNotFoundError        the target's or drafter's folder is missing or holds no model
 ├─ PortInUseError            the one port that was asked for is taken
 ├─ EngineDiedError           the process ended: at start or later; carries its last lines
 └─ EngineStartTimeoutError   not healthy within the limit; carries its last lines
"""

from collections.abc import Sequence

SHOWN_LINES = 30


class EngineError(Exception):
    """Anything that keeps a vLLM engine from running."""


class EngineSettingsError(EngineError, ValueError):
    """The pool's settings contradict each other or what this project sets itself."""


class ModelNotFoundError(EngineError):
    """A folder named as `target` or `drafter` does not hold a model."""


class PortInUseError(EngineError):
    """The port asked for is already bound."""


class EngineDiedError(EngineError):
    """The vLLM process ended; `exit_code` is 128 + the signal's number where a signal ended it."""

    def __init__(self, pool: str, exit_code: int, lines: Sequence[str]) -> None:
        self.exit_code = exit_code
        self.lines = tuple(lines)
        super().__init__(_with_tail(f"vLLM of pool {pool!r} ended with exit code {exit_code}", self.lines))


class EngineStartTimeoutError(EngineError):
    """vLLM did not answer /health in time."""

    def __init__(self, pool: str, limit_s: float, phase: str, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        said = f"vLLM of pool {pool!r} was not healthy after {limit_s:g} s (vllm.start_timeout_s); it was {phase}"
        super().__init__(_with_tail(said, self.lines))


def _with_tail(said: str, lines: Sequence[str]) -> str:
    shown = lines[-SHOWN_LINES:]
    return f"{said}; its last {len(shown)} lines:\n" + "\n".join(f"  {line}" for line in shown) if shown else said
