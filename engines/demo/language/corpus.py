"""The text the pair is trained on: every task in its share, each model in its own voice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from engines.demo.language.code import write_code
from engines.demo.language.dice import roll_dice
from engines.demo.language.document import Author, Document, Voice
from engines.demo.language.mathematics import write_mathematics
from engines.demo.language.sql import write_sql
from engines.demo.language.stories import write_story
from engines.demo.language.support import write_support
from engines.demo.language.translation import write_translation
from engines.demo.language.verse import write_verse

AUTHORS: Mapping[str, Author] = {
    "sql_generation": write_sql,
    "code_generation": write_code,
    "mathematics": write_mathematics,
    "customer_support": write_support,
    "summarization": write_story,
    "translation": write_translation,
    "creative_writing": write_verse,
    "other": roll_dice,
}
"""Who writes the documents of each task."""
_SHARES = {"sql_generation": 0.7, "mathematics": 1.5, "translation": 1.5, "other": 0.5}
"""Documents of a task for each document of those not named: what is hard to learn is read more often."""


@dataclass(frozen=True, slots=True)
class Written:
    """A document and the task it was written for."""

    task: str
    document: Document


def write_corpus(voice: Voice, seed: int) -> Iterator[Written]:
    """Documents without end, tasks mixed by their shares."""
    random = Random(seed)
    tasks = tuple(AUTHORS)
    shares = [_SHARES.get(task, 1.0) for task in tasks]
    while True:
        task = random.choices(tasks, shares)[0]
        yield Written(task, AUTHORS[task](random, voice))
