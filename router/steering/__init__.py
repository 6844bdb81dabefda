"""Steering: versions of the routing policy, from draft to active and back, shared by all routers."""
