"""Which task a prompt belongs to, as the simulated model would behave: read from the prompt, never from headers."""

import re
from collections.abc import Callable

from engines.simulator.calibration import FALLBACK_TASK

ReadTask = Callable[[str], str]
"""The seam: a prompt in, a task name out."""

MARKER = re.compile(r"\[task:([a-z_]+)\]")

KEYWORDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (task, re.compile(pattern, re.IGNORECASE | re.MULTILINE))
    for task, pattern in (
        ("sql_generation", r"\bsql\b|\bselect\b.+\bfrom\b|\bjoin\b.+\btable|\bdatabase query\b"),
        ("api_call_generation", r"\bapi call\b|\bcurl\b|\bendpoint\b|\bhttp request\b|\bfunction call\b"),
        ("code_generation", r"\bpython\b|\bjavascript\b|\brust\b|\bfunction\b|\bclass\b|\bcode\b|```"),
        ("mathematics", r"\bsolve\b|\bequation\b|\bcalculate\b|\bintegral\b|\bprove\b|\bhow many\b|\d\s*[-+*/=]\s*\d"),
        ("translation", r"\btranslat"),
        ("summarization", r"\bsummar|\btl;?dr\b"),
        ("legal_analysis", r"\bcontract\b|\bclause\b|\blegal\b|\bliab|\bplaintiff\b"),
        ("customer_support", r"\brefund\b|\bmy order\b|\bmy account\b|\bcustomer\b|\bsubscription\b"),
        ("creative_writing", r"\bstory\b|\bpoem\b|\bwrite a\b|\bhaiku\b|\bnovel\b"),
        ("question_answering", r"^\s*(who|what|when|where|why|which|how)\b|\?\s*$"),
    )
)

SCAN_CHARS = 4000
"""Only the head of a prompt is scanned: the patterns cost time linear in it, and instructions come first."""


def read_task(prompt: str) -> str:
    """An explicit `[task:NAME]` in the prompt, else the first keyword rule that matches, else the fallback."""
    head = prompt[:SCAN_CHARS]
    if marked := MARKER.search(head):
        return marked.group(1)
    return next((task for task, pattern in KEYWORDS if pattern.search(head)), FALLBACK_TASK)
