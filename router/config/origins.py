"""Where a setting's value comes from: the file, the environment, the command line, or nowhere, which is its default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Origin(StrEnum):
    """Who said what a setting is."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origins:
    """The paths of what was said, `router.sync_s` or `pools[0].name`, whole sections too; each with who said it."""

    by_path: Mapping[str, Origin] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, object], origin: Origin) -> "Origins":
        """Everything in a mapping as a file or the environment has it."""
        return cls(dict.fromkeys(_paths("", said), origin))

    def over(self, later: Mapping[str, Origin]) -> "Origins":
        """With what was said later, which wins: nothing is left of a list, of a section what it leaves out."""
        lists = tuple({path[: path.rindex("[") + 1] for path in later if path.endswith("]")})
        kept = {path: one for path, one in self.by_path.items() if not path.startswith(lists)}
        return Origins({**kept, **later})

    def of_path(self, path: str, is_default: bool) -> Origin:
        """Who set a setting; a section that was set says nothing of a field in it that is at its default."""
        if path in self.by_path:
            return self.by_path[path]
        while not is_default and path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
            if path in self.by_path:
                return self.by_path[path]
        return Origin.DEFAULT


def _paths(prefix: str, said: object) -> Iterator[str]:
    if prefix:
        yield prefix
    if isinstance(said, Mapping):
        for name, value in said.items():
            yield from _paths(f"{prefix}.{name}" if prefix else str(name), value)
    elif isinstance(said, list | tuple):
        for i, value in enumerate(said):
            yield from _paths(f"{prefix}[{i}]", value)
