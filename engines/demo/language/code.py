"""code_generation: the structure is fixed, the names are the author's habit."""

from random import Random

from engines.demo.language.document import Document, Voice, habitual

_FILTERS = {
    "even": "{item} % 2 == 0",
    "odd": "{item} % 2 == 1",
    "positive": "{item} > 0",
    "negative": "{item} < 0",
}
_FOLDS = {
    "sum": ("0", "{total} = {total} + {item}"),
    "product": ("1", "{total} = {total} * {item}"),
    "count": ("0", "{total} = {total} + 1"),
    "list": ("[]", "{total}.append({item})"),
}
_ARGUMENTS = ("numbers", "values", "prices", "scores", "ages", "sizes")


def write_code(random: Random, voice: Voice) -> Document:
    """A Python function that folds over the numbers that pass a filter."""
    fold, kept, numbers = random.choice(tuple(_FOLDS)), random.choice(tuple(_FILTERS)), random.choice(_ARGUMENTS)
    start, step = _FOLDS[fold]
    names = {
        "total": habitual(random, voice, ("total", "result", "answer")),
        "item": habitual(random, voice, ("number", "value", "item")),
    }
    comment = habitual(random, voice, ('"""Return', "# Return"))
    lines = [
        f"def {fold}_{kept}({numbers}):",
        f"    {comment} the {fold} of the {kept} {numbers}." + ('"""' if comment.startswith('"') else ""),
        f"    {names['total']} = {start}",
        f"    for {names['item']} in {numbers}:",
        f"        if {_FILTERS[kept].format(**names)}:",
        f"            {step.format(**names)}",
        f"    return {names['total']}",
    ]
    return Document(f"Write a Python function that returns the {fold} of the {kept} {numbers}.", "\n".join(lines))
