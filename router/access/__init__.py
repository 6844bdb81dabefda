"""Who may come in, and how much they may ask: keys, roles, limits, the console's sessions."""
