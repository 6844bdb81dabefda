"""The fields that pass are those that the installed vLLM reads, and those of the APIs' own clients."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import get_type_hints

import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from router.api.fields import (
    _ANTHROPIC,
    _OPENAI,
    _OPENAI_RESPONSES,
    CHAT_FIELDS,
    COMPLETIONS_FIELDS,
    COUNT_TOKENS_FIELDS,
    DETOKENIZE_FIELDS,
    EMBEDDINGS_FIELDS,
    MESSAGES_FIELDS,
    OPERATORS_FIELDS,
    RESPONSES_FIELDS,
    TOKENIZE_FIELDS,
)

READ = """
import json
from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest, AnthropicMessagesRequest
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed import protocol as embed
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest
kinds = {
    "chat": [ChatCompletionRequest], "completions": [CompletionRequest], "responses": [ResponsesRequest],
    "messages": [AnthropicMessagesRequest], "count": [AnthropicCountTokensRequest], "detokenize": [DetokenizeRequest],
    "embeddings": [embed.EmbeddingCompletionRequest, embed.EmbeddingChatRequest],
    "tokenize": [TokenizeCompletionRequest, TokenizeChatRequest],
}
print(json.dumps({name: sorted({f for kind in each for f in kind.model_fields}) for name, each in kinds.items()}))
"""
ALLOWED = {
    "chat": (CHAT_FIELDS, _OPENAI),
    "completions": (COMPLETIONS_FIELDS, _OPENAI),
    "responses": (RESPONSES_FIELDS, _OPENAI_RESPONSES),
    "messages": (MESSAGES_FIELDS, _ANTHROPIC),
    "count": (COUNT_TOKENS_FIELDS, _ANTHROPIC),
    "embeddings": (EMBEDDINGS_FIELDS, ""),
    "tokenize": (TOKENIZE_FIELDS, ""),
    "detokenize": (DETOKENIZE_FIELDS, ""),
}


@pytest.mark.vllm
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_every_field_of_vllm_passes_and_no_other() -> None:
    """A field that vLLM gained or lost shows here, not with a user."""
    read = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True, timeout=100)
    theirs = json.loads(read.stdout.splitlines()[-1])
    for name, (allowed, own) in ALLOWED.items():
        assert allowed - set(own.split()) == set(theirs[name]) - set(own.split()) - OPERATORS_FIELDS, name
    assert set().union(*theirs.values()) >= OPERATORS_FIELDS


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        (chat_create_params.CompletionCreateParamsNonStreaming, CHAT_FIELDS),
        (completion_create_params.CompletionCreateParamsNonStreaming, COMPLETIONS_FIELDS),
        (response_create_params.ResponseCreateParamsNonStreaming, RESPONSES_FIELDS),
        (embedding_create_params.EmbeddingCreateParams, EMBEDDINGS_FIELDS),
        (MessageCreateParamsNonStreaming, MESSAGES_FIELDS),
        (MessageCountTokensParams, COUNT_TOKENS_FIELDS),
    ],
)
def test_every_parameter_of_the_clients_passes(params: type, allowed: frozenset[str]) -> None:
    """What the installed client can send is never refused for its name."""
    assert set(get_type_hints(params)) <= allowed
