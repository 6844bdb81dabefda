"""Hours in small: the whole service under load while engines, Redis and routers fail, and each request's end."""
