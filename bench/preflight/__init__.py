"""Preflight's figures beside those that vLLM reports when it starts."""
