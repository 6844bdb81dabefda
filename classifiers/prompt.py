"""What a request asks, read from any body the OpenAI or Anthropic APIs accept.

Reading never fails: whatever cannot be read is left out, because the engine, not the router, answers bad requests.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from policies.quick import quick

HEAD_CHARS = 1_500
TAIL_CHARS = 900
CONTEXT_CHARS = 1_200
CONTEXT_TURNS = 6
TURN_HEAD_CHARS = 300
TURN_TAIL_CHARS = 150
FIRST_TURNS, LAST_TURNS = 8, 120
"""Of a longer conversation: instructions stand first, what is asked last."""

MAX_PARTS = 512

Format = Literal["text", "json", "grammar"]

_NOT_ASKED = ("function_call", "function_call_output", "reasoning", "item_reference")
"""Items of a Responses request that carry no role and are nobody's question."""

_GRAMMARS = ("guided_grammar", "guided_regex", "guided_choice", "structured_outputs")


@quick
@dataclass(frozen=True, slots=True)
class Prompt:
    """The parts of a request that tell its task; texts are sampled head and tail, so their size is bounded.

    `text` is the last user turn, `system` the head of the instructions, `history` the end of the turns before;
    `chars` is the length of the last user turn before sampling.
    """

    text: str = ""
    system: str = ""
    history: str = ""
    chars: int = 0
    turns: int = 0
    images: int = 0
    has_tools: bool = False
    response_format: Format = "text"


@quick
@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    images: int


def read_prompt(body: object) -> Prompt:
    """The prompt in a decoded chat, completions, responses or messages request; an empty one where there is none."""
    if not isinstance(body, Mapping):
        return Prompt()
    turns = list(_turns(body))
    last = _last_asked(turns)
    asked = turns[last] if last is not None else _Turn("user", "", 0)
    before = [turn for turn in turns[: last or 0] if turn.role not in ("system", "developer")]
    return Prompt(
        text=sample(asked.text),
        system=_joined(turn.text for turn in turns if turn.role in ("system", "developer"))[:CONTEXT_CHARS],
        history=recent(turn.text for turn in before),
        chars=len(asked.text),
        turns=len(before),
        images=sum(turn.images for turn in turns),
        has_tools=_offers_tools(body),
        response_format=_response_format(body),
    )


def _last_asked(turns: list[_Turn]) -> int | None:
    """Where the last user turn stands that says or shows something, else the last that is empty."""
    users = [at for at, turn in enumerate(turns) if turn.role == "user"]
    spoken = [at for at in users if turns[at].text or turns[at].images] or users
    return spoken[-1] if spoken else None


def prompt_of(text: str, *, system: str = "", history: str = "", has_tools: bool = False) -> Prompt:
    """The prompt of a bare text, as a corpus line holds it."""
    return Prompt(
        text=sample(text),
        system=system[:CONTEXT_CHARS],
        history=history[-CONTEXT_CHARS:],
        chars=len(text),
        has_tools=has_tools,
    )


def sample(text: str) -> str:
    """The text, or of a long one its head and tail: the instruction stands before or after the document."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


def recent(turns: Iterable[str]) -> str:
    """The turns before the last, each by its head and tail: a long answer must not hide what was asked before it."""
    short = [
        text
        if len(text) <= TURN_HEAD_CHARS + TURN_TAIL_CHARS
        else f"{text[:TURN_HEAD_CHARS]}\n{text[-TURN_TAIL_CHARS:]}"
        for text in turns
    ]
    return _joined(short[-CONTEXT_TURNS:])[-CONTEXT_CHARS:]


def _turns(body: Mapping[object, object]) -> Iterator[_Turn]:
    for field in ("instructions", "system"):
        if field in body:
            yield _turn("system", body[field])
    for field in ("messages", "input"):
        items = body.get(field)
        if isinstance(items, str):
            yield _turn("user", items)
        elif isinstance(items, list):
            yield from (_message(item) for item in _ends(items))
    if "prompt" in body:
        yield _turn("user", body["prompt"])


def _ends(items: list[object]) -> list[object]:
    if len(items) <= FIRST_TURNS + LAST_TURNS:
        return items
    return items[:FIRST_TURNS] + items[-LAST_TURNS:]


def _message(item: object) -> _Turn:
    if isinstance(item, Mapping) and ("role" in item or "content" in item):
        role = item.get("role", "user")
        return _turn(role if isinstance(role, str) else "user", item.get("content"))
    if isinstance(item, Mapping) and item.get("type") in _NOT_ASKED:
        return _turn("tool", item.get("output"))
    return _turn("user", item)


def _turn(role: str, content: object) -> _Turn:
    texts, images = _parts(content)
    if role == "user" and not texts and isinstance(content, list) and _is_tool_result(content):
        role = "tool"
    return _Turn(role, "\n".join(texts), images)


def _is_tool_result(content: list[object]) -> bool:
    """Anthropic sends the results of tools as a user turn; the task is that of the turn before."""
    return any(isinstance(part, Mapping) and part.get("type") == "tool_result" for part in content[:MAX_PARTS])


def _parts(content: object) -> tuple[list[str], int]:
    """The texts and the number of images in content that may be a string or (nested) lists of typed parts."""
    texts: list[str] = []
    images = 0
    waiting = [content]
    for _ in range(MAX_PARTS):
        if not waiting:
            break
        part = waiting.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            waiting.extend(reversed(part[:MAX_PARTS]))
        elif isinstance(part, Mapping):
            kind = part.get("type")
            images += isinstance(kind, str) and "image" in kind
            waiting.append(part.get("text"))
    return texts, images


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


def _offers_tools(body: Mapping[object, object]) -> bool:
    offered = body.get("tools") or body.get("functions")
    choice = body.get("tool_choice") or body.get("function_call")
    refused = choice == "none" or (isinstance(choice, Mapping) and choice.get("type") == "none")
    return isinstance(offered, list) and not refused


def _response_format(body: Mapping[object, object]) -> Format:
    if any(body.get(field) for field in _GRAMMARS):
        return "grammar"
    text = body.get("text")
    wanted = body.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
    is_json = isinstance(wanted, Mapping) and str(wanted.get("type", "")).startswith("json")
    return "json" if is_json or body.get("guided_json") else "text"
