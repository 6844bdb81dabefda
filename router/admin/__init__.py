"""The Admin API: what operators see and steer over HTTP, under /admin/v1."""
