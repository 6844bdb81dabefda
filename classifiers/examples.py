"""Labelled prompts as JSON lines: `{"task", "prompt", "tools"?, "system"?, "history"?, "source"?, "license"?}`.

Written ones also hold what their text no longer tells: `"chars"`, `"images"`, `"response_format"`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from classifiers.label import Label, Likely
from classifiers.prompt import Format, Prompt, prompt_of

PARTS = 8


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with its true task; `source` names where it comes from (a data set, a seed, an operator's file).

    `licence` is that of the source, for the card; empty where the line names none.
    """

    task: str
    prompt: Prompt
    source: str
    licence: str = ""


class Line(BaseModel):
    """One line of a file of examples; fields it does not name (an id, a date) are ignored.

    `chars` is the length of the prompt before it was sampled; without it, the length of `prompt`.
    """

    model_config = ConfigDict(extra="ignore")

    task: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_.-]+$")
    prompt: str
    system: str = ""
    history: str = ""
    tools: list[object] = Field(default_factory=list)
    chars: int = Field(default=0, ge=0)
    images: int = Field(default=0, ge=0)
    response_format: Format = "text"
    source: str = ""
    license: str = ""


def read_examples(path: Path) -> list[Example]:
    """The examples in a file, or in every *.jsonl of a folder; raises ValueError with the first line that is not one.

    Sources are what scores leave out. Where the lines of a file name none or all the same, they are dealt into `PARTS`.
    """
    if path.is_dir():
        return [example for file in sorted(path.glob("*.jsonl")) for example in read_examples(file)]
    examples = list(_lines(path))
    if len({example.source for example in examples}) > 1:
        return examples
    # What follows a blank is no part of a family's name: the parts would be left out all at once.
    names = [(item.source or path.name).replace(" ", "_") for item in examples]
    return [replace(item, source=f"{names[at]}/{at % PARTS}") for at, item in enumerate(examples)]


def example_of(line: Line) -> Example:
    """The example that a line holds."""
    read = prompt_of(line.prompt, system=line.system, history=line.history, has_tools=bool(line.tools))
    chars = line.chars or read.chars
    prompt = replace(read, chars=chars, images=line.images, response_format=line.response_format)
    return Example(line.task, prompt, line.source, line.license)


def _lines(path: Path) -> Iterator[Example]:
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                yield example_of(Line.model_validate(json.loads(text)))
            except ValidationError as error:
                raise ValueError(f"{path}:{number} is no example: {_problems(error)}") from None
            except ValueError as error:
                raise ValueError(f"{path}:{number} is not JSON: {error}") from None


def _problems(error: ValidationError) -> str:
    found = ((".".join(map(str, detail["loc"])), detail) for detail in error.errors())
    return "; ".join(f"{name or 'the line'}: {detail['msg']}, got {detail['input']!r:.80}" for name, detail in found)


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write the examples as lines that `read_examples` reads, and return how many."""
    lines = [json.dumps(fields_of(example), ensure_ascii=False) for example in examples]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def write_labels(path: Path, labelled: Iterable[tuple[Example, Label]]) -> None:
    """Write a line of {"task", "likely"} for each example: its true task, and what the label held likely; no text."""
    lines = [json.dumps({"task": example.task, "likely": _rounded(label.likely)}) for example, label in labelled]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _rounded(likely: Likely) -> list[tuple[str, float]]:
    return [(task, round(share, 4)) for task, share in likely]


def fields_of(example: Example) -> dict[str, object]:
    """The example as the line that `example_of` reads; what says nothing is left out."""
    prompt = example.prompt
    fields = {
        "task": example.task,
        "prompt": prompt.text,
        "system": prompt.system,
        "history": prompt.history,
        "tools": [{}] if prompt.has_tools else [],
        "chars": prompt.chars if prompt.chars > len(prompt.text) else 0,
        "images": prompt.images,
        "response_format": "" if prompt.response_format == "text" else prompt.response_format,
        "source": example.source,
        "license": example.licence,
    }
    return {name: value for name, value in fields.items() if value or name == "prompt"}
