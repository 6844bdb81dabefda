"""Where a request goes: engines, queues, retries, forwarding, and what is recorded of it."""
