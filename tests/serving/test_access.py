"""Who is let in, and who waits no longer: headers that lie, and connections that dawdle."""

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest
from starlette.datastructures import Headers

from hawk.serving import http_server, ingress
from hawk.serving.errors import ApiError
from hawk.serving.hosts import Hosts
from hawk.serving.keys import Keys
from tests.serving.conftest import Listen
from tests.serving.test_api import PROMPT, error_of, post
from tests.serving.test_limits import ADMITTED, DONE, Scripted, eventually, in_flight

KEY = "k" * 32
WAIT_S = 60
ASKED = "GET /v1/models HTTP/1.1\r\nHost: "


def admitted(
    *headers: tuple[str, str], names: Sequence[str] = (), origins: Sequence[str] = ()
) -> bool:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    try:
        Hosts(names, origins).check(Headers(raw=raw))
    except ApiError as error:
        return "HAWK_API_KEYS" not in error.message
    return True


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1:65535", "[::1]", "[::1]:1"]
)
def test_this_machine_is_asked_by_these_names(host: str) -> None:
    assert admitted(("host", host))


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.com", "evil.com:", "evil.com:99999", "evil.com@localhost", "localhost@evil.com",
        "a{b.evil.com:8301", "a`b.evil.com", 'a"b.evil.com', "\xe4.com", "localhost.evil.com",
        "localhost:", "localhost:0", "localhost:65536", "localhost:8000:8000", "localhost:\xb2",
        "localhost.", "localhost,evil.com", "localhost evil.com", "evil.com/localhost",
        "evil.com#localhost", "evil.com\\localhost", "::1", "[::1", "0.0.0.0", "127.0.0.1.nip.io",
        "[::1]evil.com", " localhost", "localhost\t",
    ],
)  # fmt: skip
def test_it_is_asked_by_no_other(host: str) -> None:
    assert not admitted(("host", host))


def test_there_is_one_host() -> None:
    assert not admitted()
    assert not admitted(("host", "localhost"), ("host", "localhost"))


def test_others_are_named_in_the_settings() -> None:
    assert admitted(("host", "hawk.lan:80"), names=["hawk.lan"])
    assert admitted(("host", "[fe80::1]"), names=["[fe80::1]"])
    assert not admitted(("host", "evil.hawk.lan"), names=["hawk.lan"])


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({"origin": "http://localhost:8000"}, True),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "http://localhost:8000.evil.com"}, False),
        ({"origin": "https://evil.com"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "https://friend.org", "sec-fetch-site": "cross-site"}, True),
        ({"origin": "https://friend.org.evil.com"}, False),
    ],
)
def test_pages_of_other_sites_stay_outside(headers: dict[str, str], let_in: bool) -> None:
    given = [("host", "localhost:8000"), *headers.items()]
    assert admitted(*given, origins=["https://friend.org"]) == let_in


def test_a_page_does_not_hide_behind_a_second_header() -> None:
    ours, host = "http://localhost", ("host", "localhost")
    assert not admitted(host, ("origin", ours), ("origin", "https://evil.com"))
    assert not admitted(host, ("origin", ours), ("origin", ours))
    assert not admitted(host, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site"))


def test_pages_of_other_sites_may_ask_where_that_is_set(listen: Listen) -> None:
    address = listen(cors_origins=["https://friend.org"])
    asked = {
        "origin": "https://friend.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-stainless-os",
    }
    for origin, allowed in (("https://friend.org", True), ("https://evil.com", False)):
        preflight = httpx.options(
            f"{address}/v1/images/generations", headers=asked | {"origin": origin}
        )
        assert preflight.is_success == allowed
        answer = post(address, {"prompt": PROMPT}, headers={"origin": origin})
        assert answer.status_code == (200 if allowed else 403)
        assert (answer.headers.get("access-control-allow-origin") == origin) == allowed


def test_keys_are_asked_for_instead_of_names(listen: Listen) -> None:
    address = listen(keys=KEY)
    headers = {"host": "hawk.images.example", "origin": "https://elsewhere.example"}
    assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 401
    headers["authorization"] = f"Bearer {KEY}"
    assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 200


def test_a_hash_opens_nothing_however_it_is_written() -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    for text in (f"sha256:{digest}", f"SHA256:{digest.upper()}"):
        keys = Keys(text)
        assert keys.check(f"Bearer {KEY}")
        for guess in (text, digest, digest.upper()):
            with pytest.raises(ApiError, match="Incorrect API key"):
                keys.check(f"Bearer {guess}")


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0" * 63, "sha256: " + "0" * 64, "sha256-" + "0" * 64, "sha512:" + "0" * 128,
        "sha1=" + "0" * 40, "schl\xfcssel-schl\xfcssel", "two words of a key", f"{KEY}\n{KEY}",
        '"quoted-quoted-quoted"', "\udcff" * 20,
    ],
)  # fmt: skip
def test_keys_that_cannot_be_sent_are_refused_at_start(text: str) -> None:
    with pytest.raises(ValueError, match="key 2 of HAWK_API_KEYS is neither") as told:
        Keys(f"{KEY},{text}")
    assert text not in str(told.value)


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def answer(opened: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    try:
        return b"".join(iter(lambda: opened.recv(65_536), b""))
    except ConnectionResetError:
        return b"reset"


@pytest.mark.parametrize("host", ["a{b.evil.com:8301", "evil.com:", "evil.com@localhost"])
def test_a_name_that_points_here_by_trickery_is_refused(url: str, host: str) -> None:
    with connected(url) as opened:
        opened.sendall(f"{ASKED}{host}\r\nConnection: close\r\n\r\n".encode())
        assert answer(opened).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX: "], ids=["idle", "begun"])
def test_nobody_is_waited_for_for_ever(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "PATIENCE_S", 0.2)
    with connected(listen()) as opened:
        opened.sendall(sent)
        assert answer(opened) in (b"", b"reset")


def test_byte_by_byte_gets_no_more_time(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE_S", 0.2)
    with connected(listen()) as opened:
        opened.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        opened.settimeout(0.02)
        for _ in range(1_000):
            try:
                opened.sendall(b"a")
                assert opened.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                pass
            return
    pytest.fail("it still listens")


def test_endless_headers_are_not_kept(url: str) -> None:
    with connected(url) as opened:
        opened.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 2 * http_server.HEAD_BYTES)
        assert answer(opened)[:12] in (b"HTTP/1.1 400", b"reset")


def test_a_slow_body_is_given_up(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "BODY_S", 0.2)
    with connected(listen()) as opened:
        opened.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        told = answer(opened)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in told


def test_a_stranger_is_told_before_a_body_is_read(listen: Listen) -> None:
    with connected(listen(keys=KEY)) as opened:
        opened.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        assert opened.recv(12) == b"HTTP/1.1 401"


def test_who_does_not_read_is_left(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE_S", 0.5)
    address = listen(Scripted(ADMITTED, replace(DONE, picture=bytes(20_000_000))))
    with connected(address) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        body = b'{"prompt": "a"}'
        opened.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        eventually(lambda: in_flight(address) == 2)
        eventually(lambda: in_flight(address) == 1)  # the question itself


def test_more_connections_than_there_may_be_are_closed(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = listen()
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 1)
    with connected(address) as first:
        first.sendall(f"{ASKED}localhost\r\n\r\n".encode())
        assert first.recv(12) == b"HTTP/1.1 200"
        with connected(address) as second:
            assert answer(second) in (b"", b"reset")


def test_what_is_wrong_with_a_request_at_all_has_the_shape_of_errors(url: str) -> None:
    with connected(url) as opened:
        opened.sendall(b"nonsense\r\n\r\n")
        head, _, body = answer(opened).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    response = httpx.Response(400, content=body)
    assert error_of(response, 400)["code"] == "bad_request"
