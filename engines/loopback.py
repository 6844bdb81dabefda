"""Keeps Ray Serve's port between deployments on loopback where the whole cluster is on this machine."""

import logging

import ray

logger = logging.getLogger("alpharoute.engines")


def keep_to_loopback() -> None:
    """In a Serve replica's constructor: have its gRPC server, started right after, bind loopback.

    Serve binds it to every interface, and whoever reaches it hands the replica pickles to load. Where nodes talk to
    each other over a network it has to stay reachable, and a network policy has to fence it.
    """
    if ray.util.get_node_ip_address() != "127.0.0.1":
        return
    from ray.serve._private import replica

    if not hasattr(replica, "add_port_to_grpc_server"):
        logger.warning("This Ray Serve binds its port between deployments in another way: fence it off yourself.")
        return
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
