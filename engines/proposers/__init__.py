"""Drafters of the project's own, which vLLM loads beside its methods."""
