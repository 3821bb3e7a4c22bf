"""What is said where no cluster is, before Ray tries for minutes."""

import errno
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from hawk import stop
from hawk.cluster import ray_connection
from hawk.cluster.ray_connection import SOCKET_BYTES, connected, own_ray, ray_folder, refuse_deaf


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One whose name is not too long, whatever tests are called."""
    monkeypatch.setattr(ray_connection, "SOCKET", "ray")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return tmp_path


def test_a_folder_that_takes_no_files_is_said_before_ray_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("TMPDIR", str(folder / "file"))
    with (
        pytest.raises(OSError, match=r"file \(TMPDIR\) cannot take .*: make room there, or"),
        own_ray(),
    ):
        pytest.fail("started")


def test_a_full_disk_is_said_with_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match=rf"{folder} \(RAY_TMPDIR\) .*No space left on device"):
        ray_folder()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_name_that_is_too_long_for_sockets_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, str(tmp_path / ("long" * SOCKET_BYTES)))
    with pytest.raises(ValueError, match=rf"\({name}\) has a name that is \d+ bytes too long"):
        ray_folder()


def test_an_empty_name_is_none_and_a_relative_one_is_made_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_TMPDIR", "")
    monkeypatch.setenv("TMPDIR", "")
    assert ray_folder() == Path("/tmp/ray")
    monkeypatch.setenv("TMPDIR", "new")
    assert ray_folder() == folder / "new" / "ray"


def test_a_signal_that_comes_while_ray_is_imported_ends_it_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("started"))

    def command() -> None:
        with stop.stoppable(), stop.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            with own_ray():
                pytest.fail("ran")

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 128 + signal.SIGTERM
