"""Ports for services that are started a moment later."""

import random
import socket

# Below those that the kernel gives to whoever asks for any, above those of Ray's workers: else one
# of the many sockets of a Ray that starts meanwhile may get it.
RANGE = range(20_000, 32_768)


def free_port() -> int:
    """One on loopback that nobody listens on now. OSError where there is none."""
    for port in random.sample(RANGE, len(RANGE)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {RANGE.start} to {RANGE.stop - 1}")
