"""Whether a drafter suits its target: size, family, shape for its method, vocabulary size, longest context."""

from collections.abc import Iterator

from engines.preflight.errors import PreflightError
from engines.preflight.findings import Finding, Level
from engines.preflight.parameters import active_parameters, is_eagle, is_eagle3, parameters
from engines.preflight.shape import Shape

SWEET = (1 / 20, 1 / 5)
"""A drafter of 5–20 times fewer parameters usually drafts both well and cheaply."""

TOO_LARGE = 0.30
TOO_SMALL, LARGE_TARGET = 50_000_000, 5_000_000_000
"""Below 50 M parameters a drafter knows too little of what a target of the 7 B class writes."""

LAYERS_OF_A_HEAD = 2

HEADS = frozenset({"eagle", "eagle3", "medusa", "dflash", "dspark"})
"""Methods whose drafter reads the target's hidden states: made for one target, whatever their size."""


def pair_findings(target: Shape, draft: Shape, method: str, context: int, *, heterogeneous: bool) -> Iterator[Finding]:
    """Everything about a pair but its tokenizers and its memory.

    Raises PreflightError where the drafter is the larger one: then the two were most likely swapped.
    """
    ours, theirs = parameters(target), parameters(draft)
    if theirs > ours:
        raise PreflightError(
            f"the drafter has {theirs / 1e9:.2f} B parameters, the target {ours / 1e9:.2f} B: a drafter must be the "
            "smaller one; were the two swapped?"
        )
    yield from (_head_fits(target, draft, method) if method in HEADS else _model_fits(target, draft, heterogeneous))
    yield _context(target, draft, context)


def _model_fits(target: Shape, draft: Shape, heterogeneous: bool) -> Iterator[Finding]:
    if is_eagle(draft) or draft.medusa_heads:
        kind = "medusa" if draft.medusa_heads else "eagle3" if is_eagle3(draft) else "eagle"
        yield Finding(Level.REFUSAL, "method", f"the drafter is a head ({draft.architecture}): the method is {kind!r}")
        return
    yield _ratio(active_parameters(target), parameters(draft), target)
    if target.family == draft.family:
        yield Finding(Level.OK, "family", f"both are {target.family}")
    else:
        text = f"target is {target.family}, drafter {draft.family}: fine where the tokenizers are identical"
        yield Finding(Level.NOTE, "family", text)
    if target.vocabulary != draft.vocabulary and not heterogeneous:
        yield Finding(
            Level.REFUSAL,
            "vocabulary size",
            f"config.json has vocab_size {target.vocabulary:,} for the target, {draft.vocabulary:,} for the drafter: "
            "vLLM starts only with equal ones (or vllm.speculative: {use_heterogeneous_vocab: true}, greedy drafts)",
        )


def _ratio(active: int, draft: int, target: Shape) -> Finding:
    """The size rules, against what a token of the target uses: of a mixture of experts, that is a part."""
    share = draft / active
    of = _size(active) + (" (used per token)" if target.experts else "")
    said = f"{_size(draft)} for {of}: 1/{1 / share:.1f}"
    if share > TOO_LARGE:
        return Finding(Level.WARNING, "size", f"{said}, above {TOO_LARGE:.0%}: drafting costs most of what it can save")
    if draft < TOO_SMALL and active >= LARGE_TARGET:
        return Finding(Level.WARNING, "size", f"{said}; below 50 M it knows too little of what such a target writes")
    if share > SWEET[1]:
        return Finding(Level.NOTE, "size", f"{said}, above the 1/5 that usually pays: only high acceptance pays for it")
    if share < SWEET[0]:
        return Finding(Level.NOTE, "size", f"{said}, below 1/20: cheap to run; see that its acceptance is worth it")
    return Finding(Level.OK, "size", f"{said}, between 1/20 and 1/5")


def _size(parameters_: int) -> str:
    return f"{parameters_ / 1e9:.1f} B" if parameters_ >= 1e9 else f"{parameters_ / 1e6:.1f} M"


def _head_fits(target: Shape, draft: Shape, method: str) -> Iterator[Finding]:
    expected = {"medusa": bool(draft.medusa_heads), "eagle": _is_head(draft), "eagle3": is_eagle3(draft)}
    if not expected.get(method, True):
        text = f"method {method!r} needs such a head, the drafter is {draft.architecture} ({draft.family})"
        yield Finding(Level.REFUSAL, "method", text)
    elif draft.hidden != target.hidden and method in ("eagle", "medusa"):
        text = (
            f"the head reads hidden states of {draft.hidden}, the target's have {target.hidden}: made for another one"
        )
        yield Finding(Level.REFUSAL, "method", text)
    else:
        text = f"{_size(parameters(draft))} beside the target's {_size(parameters(target))}"
        yield Finding(Level.OK, "size", f"a head of {text}; good for the target it was trained with only")


def _is_head(draft: Shape) -> bool:
    """Whether an EAGLE head: published ones often name the architecture of the layer they are made of."""
    return (is_eagle(draft) and not is_eagle3(draft)) or (draft.layers <= LAYERS_OF_A_HEAD and not draft.medusa_heads)


def _context(target: Shape, draft: Shape, context: int) -> Finding:
    longest = draft.context
    if longest is None or draft.medusa_heads:
        return Finding(Level.OK, "context", f"the drafter has no limit of its own at {context:,} tokens")
    if longest >= context:
        return Finding(Level.OK, "context", f"the drafter was made for {longest:,} tokens, {context:,} are wanted")
    return Finding(
        Level.WARNING,
        "context",
        f"the drafter was made for {longest:,} tokens, {context:,} are wanted: beyond its limit nothing is drafted and "
        "the request runs as in a vanilla engine that also pays for the drafter's memory",
    )


def target_findings(target: Shape, method: str | None, context: int) -> Iterator[Finding]:
    """What is to be said of the target alone."""
    if target.context is not None and context > target.context:
        text = f"{context:,} tokens are wanted, the target was made for {target.context:,}: vLLM takes more if told to"
        yield Finding(Level.REFUSAL, "context", text)
    if method == "mtp" and not target.mtp_layers:
        text = f"{target.architecture} names no layers for multi-token prediction (num_nextn_predict_layers)"
        yield Finding(Level.WARNING, "method", text)
    if not target.windows and target.kv_heads == 0:
        yield Finding(Level.NOTE, "cache", "no attention layers were found: their KV cache is not counted")
