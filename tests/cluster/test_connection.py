"""What is said where no cluster is, before Ray tries for minutes."""

import socket

import pytest

from benchmarks.ports import free_port
from hawk.cluster.connection import connected, refuse_deaf


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}"])
def test_nobody_at_an_address_is_said_at_once(address: str) -> None:
    where = address.format(free_port())
    with (
        pytest.raises(RuntimeError, match="no Ray cluster answers at") as told,
        connected(where, cpus=1),
    ):
        pytest.fail("connected")
    assert where in str(told.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8265", "the address of a dashboard: give the cluster's own, HOST:6379"),
        ("somewhere", "a cluster's address is HOST:6379 or auto, got 'somewhere'"),
        ("host:port", "a cluster's address is HOST:6379 or auto"),
    ],
)
def test_an_address_of_something_else_is_refused(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        refuse_deaf(address)


def test_who_listens_is_asked_by_ray() -> None:
    refuse_deaf("auto")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refuse_deaf(f"127.0.0.1:{listener.getsockname()[1]}")
