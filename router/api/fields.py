"""The request fields that engines take, so that a misspelt one is an error and not silently ignored.

vLLM ignores what it does not know: `temprature: 0` would be answered at temperature 1. The names are those of
vLLM 0.32's request models (a test compares them with the vLLM installed) and of the OpenAI and Anthropic APIs.
"""

_BOTH = """
    add_special_tokens allowed_token_ids bad_words cache_salt echo frequency_penalty
    ignore_eos include_stop_str_in_output length_penalty logit_bias logprob_token_ids
    logprobs max_tokens min_p min_tokens model n presence_penalty prompt_logprobs
    repetition_detection repetition_penalty request_id response_format return_mm_kwargs return_token_ids
    return_token_offsets return_tokens_as_token_ids routed_experts_prompt_start seed session_id
    skip_special_tokens spaces_between_special_tokens stop stop_token_ids stream stream_interval stream_options
    structured_outputs temperature thinking_token_budget top_k top_p truncate_prompt_tokens truncation_side
    use_beam_search user vllm_xargs watermarking
"""
_CHAT = """
    add_generation_prompt chat_template chat_template_kwargs continue_final_message documents include_reasoning
    max_completion_tokens media_io_kwargs messages mm_processor_kwargs parallel_tool_calls reasoning_effort
    return_prompt_text tool_choice tools top_logprobs
"""
_COMPLETIONS = """
    prompt prompt_embeds suffix
"""
# OpenAI's own fields that vLLM takes and ignores: clients written for that API send them.
_OPENAI = """
    audio best_of function_call functions metadata modalities moderation prediction prompt_cache_key
    prompt_cache_options prompt_cache_retention safety_identifier service_tier store verbosity web_search_options
"""

CHAT_FIELDS = frozenset((_BOTH + _CHAT + _OPENAI).split())
"""Fields of POST /v1/chat/completions."""

COMPLETIONS_FIELDS = frozenset((_BOTH + _COMPLETIONS + _OPENAI).split())
"""Fields of POST /v1/completions."""

_RESPONSES = """
    background cache_salt chat_template_kwargs enable_response_messages frequency_penalty ignore_eos
    include include_reasoning include_stop_str_in_output input instructions logit_bias
    max_output_tokens max_tool_calls media_io_kwargs metadata min_p mm_processor_kwargs model
    parallel_tool_calls presence_penalty previous_input_messages previous_response_id prompt prompt_cache_key
    reasoning repetition_penalty request_id return_mm_kwargs seed service_tier session_id skip_special_tokens stop
    stop_token_ids store stream structured_outputs temperature text tool_choice tools top_k top_logprobs top_p
    truncation user vllm_xargs watermarking
"""
_OPENAI_RESPONSES = """
    access_programs background_options context_management conversation image moderation prompt_cache_options
    prompt_cache_retention safety_identifier stream_options
"""
_COUNT = """
    chat_template_kwargs messages model output_config system thinking tool_choice tools
"""
_MESSAGES = """
    cache_salt max_tokens metadata return_mm_kwargs stop_sequences
    stream temperature top_k top_p vllm_xargs watermarking
"""
# Anthropic's own fields that vLLM takes and ignores.
_ANTHROPIC = """
    cache_control container context_management diagnostics inference_geo mcp_servers service_tier speed user_profile_id
    workspace_id
"""
_EMBEDDINGS = """
    add_generation_prompt add_special_tokens cache_salt chat_template chat_template_kwargs continue_final_message
    dimensions embed_dtype encoding_format endianness input media_io_kwargs messages mm_processor_kwargs model padding
    request_id truncate_prompt_tokens truncation_side use_activation user
"""
_TOKENIZE = """
    add_generation_prompt add_special_tokens chat_template chat_template_kwargs continue_final_message media_io_kwargs
    messages mm_processor_kwargs model prompt return_token_strs tools
"""

RESPONSES_FIELDS = frozenset((_RESPONSES + _OPENAI_RESPONSES).split())
"""Fields of POST /v1/responses."""

MESSAGES_FIELDS = frozenset((_COUNT + _MESSAGES + _ANTHROPIC).split())
"""Fields of POST /v1/messages."""

COUNT_TOKENS_FIELDS = frozenset((_COUNT + _ANTHROPIC).split())
"""Fields of POST /v1/messages/count_tokens."""

EMBEDDINGS_FIELDS = frozenset(_EMBEDDINGS.split())
"""Fields of POST /v1/embeddings."""

TOKENIZE_FIELDS = frozenset(_TOKENIZE.split())
"""Fields of POST /tokenize."""

OPERATORS_FIELDS = frozenset(("ec_transfer_params", "kv_transfer_params", "mm_payload", "priority"))
"""Fields of vLLM that say where engines fetch caches from, or who is served first: for operators to allow."""

DETOKENIZE_FIELDS = frozenset(("model", "tokens"))
"""Fields of POST /detokenize."""
