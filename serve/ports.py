"""Ports: the one that Serve opens in every replica, kept shut."""


def keep_shut() -> None:
    """Keep Serve from opening a port in this process, which is about to become a replica.

    Replicas of Ray 2.60 listen on all interfaces for gRPC calls of other deployments, ask nobody
    for a token, and unpickle what comes: whoever reaches the port runs code here. Handles call
    replicas as actors unless RAY_SERVE_USE_GRPC_BY_DEFAULT says otherwise; then it stays open.
    """
    from ray.serve._private import constants, replica  # there already, where a replica begins

    if not constants.RAY_SERVE_USE_GRPC_BY_DEFAULT:
        replica.add_port_to_grpc_server = _no_port  # pyright: ignore[reportPrivateImportUsage]


def _no_port(server: object, address: str) -> int:
    return 0
