"""What routers share: the store, in memory and in Redis."""
