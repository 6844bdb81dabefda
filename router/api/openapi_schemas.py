"""JSON schemas of what the router itself reads in a body and says in an answer; the rest is the engine's to judge."""

from collections.abc import Mapping

from router.api.body import MAX_NAME_CHARS
from router.api.request import MAX_TEMPERATURE

Schema = dict[str, object]

_BOOLEAN: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": ["object", "null"]}
_LIST: Schema = {"type": ["array", "null"]}
_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}

_CONTENT: Schema = {
    "type": ["string", "array"],
    "items": {"type": ["string", "object"], "properties": {"text": {"type": ["string", "null"]}}},
}
_TURN: Schema = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {**_CONTENT, "type": ["string", "array", "null"]}},
    "required": ["role"],
}
_TOKENS: Schema = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_TEXTS: Schema = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_PROMPT: Schema = {"anyOf": [{"type": "string"}, _TOKENS, _TEXTS, {"type": "array", "minItems": 1, "items": _TOKENS}]}

FIELDS: Mapping[str, Schema] = {
    "model": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
    "messages": {"type": "array", "minItems": 1, "items": _TURN},
    "stream": _BOOLEAN,
    "stream_options": {**_OBJECT, "properties": {"include_usage": _BOOLEAN}},
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": MAX_TEMPERATURE},
    "max_tokens": _COUNT,
    "max_completion_tokens": _COUNT,
    "max_output_tokens": _COUNT,
    "n": {"type": ["integer", "null"], "minimum": 1},
    "use_beam_search": _BOOLEAN,
    "tools": _LIST,
    "functions": _LIST,
    "response_format": _OBJECT,
    "structured_outputs": _OBJECT,
    "output_config": _OBJECT,
    "text": _OBJECT,
    "vllm_xargs": {**_OBJECT, "description": "Only keys that the operator allows in limits.xargs."},
    "metadata": {"description": "metadata.task names the task, as the header x-alpharoute-task does."},
}
"""Schemas of the fields that the router reads, by name; of every other field, any value passes to the engine."""

FIELDS_BY_PATH: Mapping[str, Mapping[str, Schema]] = {
    "/v1/completions": {"prompt": _PROMPT},
    "/v1/responses": {
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object"}}]},
        "instructions": {"type": ["string", "null"]},
    },
    "/v1/messages": {"system": {**_CONTENT, "type": ["string", "array", "null"]}},
}
"""Fields that mean something else on one route, or are read on it alone."""

_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": _NULLABLE_TEXT,
        "code": {"type": ["string", "integer", "null"]},
    },
    "required": ["message", "type"],
}

COMPONENTS: Mapping[str, Schema] = {
    "OpenAIError": {"type": "object", "properties": {"error": _ERROR}, "required": ["error"]},
    "AnthropicError": {
        "type": "object",
        "properties": {"type": {"const": "error"}, "error": _ERROR},
        "required": ["type", "error"],
    },
    "Answer": {"type": "object", "description": "The engine's own answer, byte for byte."},
    # No type: some readers hold the schema against the whole stream, others against each event of it.
    "Events": {"description": "The engine's own server-sent events."},
}
"""What answers look like."""
