"""What one acceptance record is about, and its name in the store."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from policies.request import Bucket, Shape


@dataclass(frozen=True, slots=True)
class Key:
    """What one acceptance record is about."""

    target: str
    drafter: str
    task: str
    segment: str
    bucket: Bucket
    shape: Shape = "plain"

    def encode(self) -> str:
        """The key as a string for the store."""
        parts = (self.target, self.drafter, self.task, self.segment, self.bucket, self.shape)
        return "acc:" + "|".join(quote(part, safe="@/.:-_ ") for part in parts)


def decode_key(text: str) -> Key:
    """The inverse of `Key.encode`; ValueError where the text is not one."""
    kind, _, rest = text.partition(":")
    parts = [unquote(part) for part in rest.split("|")]
    if kind != "acc" or len(parts) != 6 or parts[4] not in ("0", "low", "high"):
        raise ValueError(f"not an acceptance key: {text!r}")
    target, drafter, task, segment, bucket, shape = parts
    if shape not in ("plain", "long", "tools", "grammar"):
        raise ValueError(f"not an acceptance key: {text!r} (shape {shape!r})")
    return Key(target, drafter, task, segment, bucket, shape)  # type: ignore[arg-type]  # both narrowed above
