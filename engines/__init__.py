"""Anything that answers the engine contract at a URL: vLLM in a Serve replica, a server by URL, the simulator."""
