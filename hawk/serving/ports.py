"""Ports: the one that Serve opens in every replica, kept from strangers."""

from typing import Any

NODE_IP = "127.0.0.1"  # of a Ray for this machine alone


def guard() -> None:
    """Keep strangers from the port that Serve opens in this process, which becomes a replica.

    Replicas of Ray 2.60 listen on all interfaces for gRPC calls of other deployments and unpickle
    what comes, after they have asked for Ray's token where RAY_AUTH_MODE is `token`. While handles
    call replicas as actors, as they do by default, nobody needs the port and it stays shut. Where
    RAY_SERVE_USE_GRPC_BY_DEFAULT opens it, a Ray of this machine alone has it on loopback, as all
    of its ports.
    """
    import ray.util
    from ray.serve._private import constants, replica  # there already, where a replica begins

    opened: Any = replica
    if not constants.RAY_SERVE_USE_GRPC_BY_DEFAULT:
        opened.add_port_to_grpc_server = _nowhere
    elif ray.util.get_node_ip_address() == NODE_IP:
        opened.add_port_to_grpc_server = _on_loopback


def _nowhere(server: object, address: str) -> int:
    return 0


def _on_loopback(server: object, address: str) -> int:
    from ray._common.tls_utils import add_port_to_grpc_server

    _, port = address.rsplit(":", 1)
    return add_port_to_grpc_server(server, f"{NODE_IP}:{port}")
