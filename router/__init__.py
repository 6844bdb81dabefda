"""The Serve application: ingress, forwarding, state in Redis, settings, telemetry and the command line."""
