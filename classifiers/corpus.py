"""The project's own labelled prompts, grown from hand-written seeds.

A seed file holds one task: `= prompt:FAMILY` opens a family of prompts, `= NAME` a list of phrases, each following
line is one alternative (`\\n` breaks it), and `<<NAME>>` or `<<a|b>>` stands for one of them. `common.txt` is known to
all. Families are drawn evenly, so that a large one does not drown a small one, those of long prompts twice: seeds are
mostly short, and what is sent is not. `answer` and `followup` hold what an
assistant replies to such a prompt and what a sender says next: the last turn of a conversation may be "shorter please".
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from classifiers.examples import Example
from classifiers.model import API_CALL
from classifiers.prompt import Prompt, prompt_of, recent
from classifiers.wear import worn

SEEDS = Path(__file__).parent / "seeds"
COMMON = "common"
PER_TASK = 1_300

Rules = Mapping[str, tuple[str, ...]]

FOLLOW_UPS = 0.05
OTHER_TOPICS = 0.08
_CLOSING = "other/closing"
_FAMILY = "prompt:"
_LONG = "long"
_SLOT = re.compile(r"<<([^<>]+)>>")
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Grammar:
    """The rules of one task: families of prompts, and the phrases they are made of."""

    task: str
    families: Rules
    phrases: Rules


def corpus(seed: int = 0, per_task: int = PER_TASK, seeds: Path = SEEDS) -> list[Example]:
    """Distinct labelled prompts, up to `per_task` of each task; the same for the same seed.

    The source of each example is its task and family. Raises ValueError for a slot that no rule fills.
    """
    found = [example for grammar in grammars(seeds) for example in _grow(grammar, random.Random(seed), per_task)]
    return _after_other_topics(found, random.Random(seed))


def tool_requests(seed: int = 0, wanted: int = 200, seeds: Path = SEEDS) -> list[Example]:
    """What people ask of an assistant that has tools, without a word of the tools; the corpus holds none of these."""
    grammar = next(found for found in grammars(seeds) if found.task == API_CALL)
    rng = random.Random(seed)
    texts = [expand(rng.choice(grammar.phrases["ask"]), grammar.phrases, rng) for _ in range(wanted)]
    return [Example(API_CALL, prompt_of(text, has_tools=True), f"{API_CALL}/tools") for text in texts]


def grammars(seeds: Path = SEEDS) -> list[Grammar]:
    """One grammar for each seed file but the common one."""
    common = _read_rules(seeds / f"{COMMON}.txt")
    paths = [path for path in sorted(seeds.glob("*.txt")) if path.stem != COMMON]
    return [_grammar(path.stem, {**common, **_read_rules(path)}) for path in paths]


def _grammar(task: str, rules: Rules) -> Grammar:
    families = {name.removeprefix(_FAMILY): lines for name, lines in rules.items() if name.startswith(_FAMILY)}
    phrases = {name: lines for name, lines in rules.items() if not name.startswith(_FAMILY)}
    return Grammar(task, families, phrases)


def _read_rules(path: Path) -> dict[str, tuple[str, ...]]:
    rules: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            lines = rules.setdefault(line[2:].strip(), [])
        elif line.strip() and not line.startswith("##"):
            lines.append(line.strip().replace("\\n", "\n"))
    return {name: tuple(found) for name, found in rules.items()}


def _grow(grammar: Grammar, rng: random.Random, wanted: int) -> Iterator[Example]:
    seen: set[str] = set()
    names = sorted(grammar.families)
    names += [name for name in names if _LONG in name]
    for attempt in range(2 * wanted):
        family = names[attempt % len(names)]
        text = expand(rng.choice(grammar.families[family]), grammar.phrases, rng)
        prompt = _prompt(grammar, text, rng)
        if (unique := prompt.text + prompt.history[:80]) in seen:
            continue
        seen.add(unique)
        yield Example(grammar.task, prompt, f"{grammar.task}/{family}")
        if len(seen) == wanted:
            return


def _prompt(grammar: Grammar, text: str, rng: random.Random) -> Prompt:
    """The text as it might arrive, or now and then what its sender says after the answer to it."""
    phrases = grammar.phrases
    if "answer" in phrases and rng.random() < FOLLOW_UPS:
        said = expand(_phrase(phrases, rng, rng.choice(("followup", "again"))), phrases, rng)
        answer = expand(_phrase(phrases, rng, "answer"), phrases, rng)
        return prompt_of(worn(said, rng, partial(_phrase, phrases, rng)).text, history=recent((text, answer)))
    clothed = worn(text, rng, partial(_phrase, phrases, rng))
    return prompt_of(clothed.text, system=clothed.system, history=clothed.history)


def _after_other_topics(examples: Sequence[Example], rng: random.Random) -> list[Example]:
    """The examples, some of them asked after a prompt on something else: then the last turn decides."""
    found = []
    for example in examples:
        share = 0.5 if example.source == _CLOSING else OTHER_TOPICS
        if not example.prompt.history and rng.random() < share:
            before = rng.choice(examples).prompt
            history = recent((before.history, before.text))
            example = replace(example, prompt=replace(example.prompt, history=history))
        found.append(example)
    return found


def expand(text: str, phrases: Rules, rng: random.Random, depth: int = 0) -> str:
    """The text with every slot filled by a randomly chosen phrase, itself expanded."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"slots nest deeper than {_MAX_DEPTH} in {text!r}")

    def fill(match: re.Match[str]) -> str:
        return expand(_phrase(phrases, rng, match[1]), phrases, rng, depth + 1)

    while _SLOT.search(text):  # a slot may hold others, which are filled first
        text = _SLOT.sub(fill, text)
    return text


def _phrase(phrases: Rules, rng: random.Random, slot: str) -> str:
    if "|" in slot:
        return rng.choice(slot.split("|"))
    if slot not in phrases:
        raise ValueError(f"no rule fills the slot {slot!r}, allowed are {sorted(phrases)}")
    return rng.choice(phrases[slot])
