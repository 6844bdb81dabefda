"""Where in a YAML text a path of the document stands, so that an error can be shown on its line."""

import re
from dataclasses import dataclass

import yaml

_LINE = re.compile(r"line (\d+), column (\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Characters `start` to `end` of the text, on a line that counts from 1; `is_key` where a name is meant."""

    start: int
    end: int
    line: int
    is_key: bool = False


def place_of(text: str, path: str) -> Place:
    """Where a dotted path (`rules.0.then.k.max`) stands; as deep as the text has it, the first line where not at all.

    The value is meant where there is a scalar one, else the name of the field. A text that is no YAML has its problem
    at "line 3, column 5".
    """
    if said := _LINE.fullmatch(path):
        lines = text.splitlines(keepends=True)[: int(said[1]) - 1]
        return _line_place(text, min(sum(map(len, lines)), len(text)), int(said[1]))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        node = None
    key: yaml.Node | None = None
    parts = path.split(".")
    while parts and node is not None:
        found = _step(node, parts)
        if found is None:
            break
        key, node, used = found
        parts = parts[used:]
    unknown = _is_scalar(node) and not parts
    chosen = node if unknown or key is None else key
    if chosen is None or (key is None and not unknown):
        return _line_place(text, 0, 1)
    mark, end = chosen.start_mark, chosen.end_mark
    return Place(mark.index, max(end.index, mark.index + 1), mark.line + 1, is_key=chosen is key)


def key_place(text: str, path: str) -> Place | None:
    """Where the name of the last field of a path stands; None where the text does not have it."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    key: yaml.Node | None = None
    parts = path.split(".")
    while parts and node is not None:
        found = _step(node, parts)
        if found is None:
            return None
        key, node, used = found
        parts = parts[used:]
    if key is None:
        return None
    return Place(key.start_mark.index, key.end_mark.index, key.start_mark.line + 1, is_key=True)


def _step(node: yaml.Node, parts: list[str]) -> tuple[yaml.Node, yaml.Node, int] | None:
    """The key, the value and how many parts they took: a name may itself hold dots."""
    if isinstance(node, yaml.SequenceNode) and parts[0].isdecimal() and int(parts[0]) < len(node.value):
        item = node.value[int(parts[0])]
        return item, item, 1
    if isinstance(node, yaml.MappingNode):
        for used in range(len(parts), 0, -1):
            for key, value in node.value:
                if key.value == ".".join(parts[:used]):
                    return key, value, used
    return None


def _is_scalar(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _line_place(text: str, at: int, line: int) -> Place:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", start)
    return Place(start, max(start + 1, len(text) if end < 0 else end), line)
