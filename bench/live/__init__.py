"""Real engines, the same prompts, several policies side by side: what adaptive routing is worth on this machine."""
