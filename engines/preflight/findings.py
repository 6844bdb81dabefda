"""What a check found: one sentence for the operator, and how bad it is."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """OK: as it should be. NOTE: worth knowing. WARNING: it runs, badly. REFUSAL: vLLM does not start with it."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the check named `check`."""

    level: Level
    check: str
    text: str
