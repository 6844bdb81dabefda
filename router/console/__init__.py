"""The console: a process of its own that shows and steers through the Admin API, as any other client of it."""
