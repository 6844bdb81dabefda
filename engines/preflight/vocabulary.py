"""Whether two models write the same tokens under the same numbers, from their tokenizers' files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.preflight.errors import PreflightError
from engines.preflight.files import read_bytes, read_mapping
from engines.preflight.findings import Finding, Level

PROBE = (
    "SELECT name, 1_024 * 3.5 FROM users;\n\n\tdef f(x):  # naïve café\n"
    "    return x ** 2\n„Straße“ 東京 🙂 https://example.org/?q=a%20b"
)
"""Code, numbers, runs of spaces, accents, other scripts, an emoji, a URL: where tokenizers differ first."""

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer as its files describe it; `merges` is a digest of how text is cut, None where it is not known."""

    folder: Path
    tokens: Mapping[str, int] = field(default_factory=dict)
    merges: str | None = None
    special: Mapping[str, str | None] = field(default_factory=dict)
    template: str | None = None
    sentencepiece: str | None = None


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The tokenizer of a folder; None where it has none. PreflightError for damaged files."""
    content = _json(folder / "tokenizer.json")
    model = folder / "tokenizer.model"
    plain = _json(folder / "vocab.json")
    if not (content or plain or model.is_file()):
        return None
    settings = _json(folder / "tokenizer_config.json")
    try:
        kind: Mapping[str, Any] = content.get("model") or {}
        tokens = dict(_tokens(kind.get("vocab") or plain))
        tokens |= {str(entry["content"]): int(entry["id"]) for entry in content.get("added_tokens") or ()}
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise PreflightError(f"{folder}: tokenizer.json or vocab.json is damaged; download the model again") from None
    cutting = {name: content.get(name) for name in ("normalizer", "pre_tokenizer")} | {"merges": kind.get("merges")}
    return Vocabulary(
        folder,
        tokens,
        _digest(json.dumps(cutting, sort_keys=True).encode()) if content else None,
        {name: _token(settings.get(name)) for name in SPECIAL},
        _template(folder, settings),
        _digest(read_bytes(model)) if model.is_file() else None,
    )


def compare(target: Vocabulary | None, draft: Vocabulary | None, *, heterogeneous: bool) -> Iterator[Finding]:
    """How a drafter's tokenizer differs from its target's, and what that will do."""
    if target is None or draft is None:
        missing = "target" if target is None else "drafter"
        yield Finding(Level.NOTE, "tokenizer", f"the {missing} has no tokenizer files here: not compared")
        return
    yield _same_tokens(target, draft, heterogeneous)
    yield from _probe(target, draft)
    yield from _special(target, draft)
    if draft.template is not None and draft.template != target.template:
        yield Finding(
            Level.NOTE,
            "chat template",
            "differs: vLLM renders the target's only; a drafter tuned on another one guesses worse near turns",
        )


def _same_tokens(target: Vocabulary, draft: Vocabulary, heterogeneous: bool) -> Finding:
    if not target.tokens or not draft.tokens:
        same = target.sentencepiece is not None and target.sentencepiece == draft.sentencepiece
        said = "tokenizer.model is the same file" if same else "has no readable vocabulary (tokenizer.model differs)"
        return Finding(Level.OK if same else Level.WARNING, "vocabulary", said)
    if target.tokens == draft.tokens:
        return Finding(Level.OK, "vocabulary", f"identical, {len(target.tokens):,} tokens")
    agree = sum(target.tokens.get(token) == number for token, number in draft.tokens.items())
    shared = sum(token in target.tokens for token in draft.tokens)
    said = f"{agree:,} of the drafter's {len(draft.tokens):,} tokens have the target's number, {shared:,} its text"
    if heterogeneous:
        return Finding(Level.NOTE, "vocabulary", f"{said}: vLLM maps those with equal text, and drafts no others")
    if agree == len(draft.tokens) or agree == len(target.tokens):
        return Finding(Level.NOTE, "vocabulary", f"{said}: one has tokens that the other never writes")
    return Finding(
        Level.WARNING,
        "vocabulary",
        f"{said}: drafts with other numbers are other words, and nearly all are rejected. The text stays right, every "
        "step pays for drafts in vain. Take a drafter of the target's family, or set use_heterogeneous_vocab",
    )


def _probe(target: Vocabulary, draft: Vocabulary) -> Iterator[Finding]:
    """The probe text cut by both; without the tokenizers library, their rules of cutting compared."""
    ours, theirs = _encoded(target.folder), _encoded(draft.folder)
    if ours is not None and theirs is not None:
        level = Level.OK if ours == theirs else Level.WARNING
        same = f"the same {len(ours)} numbers from both" if ours == theirs else _first_difference(ours, theirs)
        yield Finding(level, "probe text", same)
    elif target.merges is not None and draft.merges is not None and target.merges != draft.merges:
        yield Finding(Level.WARNING, "probe text", "merges or rules of cutting differ: equal text gives other tokens")


def _first_difference(ours: list[int], theirs: list[int]) -> str:
    at = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), len(ours))
    return f"cut differently from token {at + 1} on ({len(ours)} and {len(theirs)} tokens): drafts there are rejected"


def _special(target: Vocabulary, draft: Vocabulary) -> Iterator[Finding]:
    for name in SPECIAL:
        ours, theirs = target.special.get(name), draft.special.get(name)
        if ours is None or theirs is None or (ours, target.tokens.get(ours)) == (theirs, draft.tokens.get(theirs)):
            continue
        harm = "the drafter never drafts the end of an answer" if name == "eos_token" else "it is rarely drafted"
        level = Level.WARNING if name == "eos_token" else Level.NOTE
        yield Finding(level, "special tokens", f"{name} is {ours!r} in the target, {theirs!r} in the drafter: {harm}")


def _encoded(folder: Path) -> list[int] | None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        return None
    try:
        return list(Tokenizer.from_file(str(path)).encode(PROBE, add_special_tokens=False).ids)
    except Exception as error:  # what the library raises has no narrower type
        raise PreflightError(f"{path} is no tokenizer: {error}; download the model again") from None


def _tokens(vocabulary: object) -> Iterator[tuple[str, int]]:
    """Byte-pair and word-piece vocabularies are mappings, unigram ones lists of (token, score)."""
    if isinstance(vocabulary, Mapping):
        yield from ((str(token), int(number)) for token, number in vocabulary.items())
    elif isinstance(vocabulary, list):
        yield from ((str(entry[0]), number) for number, entry in enumerate(vocabulary))


def _token(value: object) -> str | None:
    found = value.get("content") if isinstance(value, Mapping) else value
    return str(found) if found is not None else None


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _digest(read_bytes(path).strip())
    template = settings.get("chat_template")
    return (
        None
        if template is None
        else _digest((template if isinstance(template, str) else json.dumps(template)).strip().encode(errors="replace"))
    )


def _json(path: Path) -> dict[str, Any]:
    return read_mapping(path) if path.is_file() else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
