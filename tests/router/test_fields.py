"""The fields that pass are those that the installed vLLM reads, and OpenAI's own."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from router.fields import _OPENAI, CHAT_FIELDS, COMPLETIONS_FIELDS

READ = """
import json
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
print(json.dumps([sorted(model.model_fields) for model in (ChatCompletionRequest, CompletionRequest)]))
"""


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_every_field_of_vllm_passes_and_no_other() -> None:
    """A field that vLLM gained or lost shows here, not with a user."""
    read = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True, timeout=100)
    chat, completions = map(set, json.loads(read.stdout.splitlines()[-1]))
    openai = set(_OPENAI.split())
    assert CHAT_FIELDS - openai == chat - openai
    assert COMPLETIONS_FIELDS - openai == completions - openai
