"""Pictures by address: allowed hosts alone, never a private network, bounded, redirects checked again."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from facekit.serving import addresses
from facekit.serving.addresses import fetch, is_public
from facekit.serving.request_error import RequestError

REDIRECTS = {
    "/bad": "http://[",
    "/away": "http://other.test/picture",
    "/file": "file:///etc/passwd",
    "/loop": "/loop",
    "/near": "/picture",
    "/private": "http://inside.test/picture",
}


@pytest.fixture
def web(monkeypatch):
    """A web server that ``pictures.test`` leads to; gives its port and the paths that it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.headers["Host"], self.path))
            path = self.path.split("?")[0]
            if path in REDIRECTS:
                self.send_response(302)
                self.send_header("Location", REDIRECTS[path])
                self.end_headers()
                return
            self.send_response(404 if path == "/missing" else 200)
            self.end_headers()
            self.wfile.write(b"x" * (2000 if path == "/large" else 10))

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    real = addresses.socket.getaddrinfo
    known = {"pictures.test": "127.0.0.1", "other.test": "127.0.0.1", "inside.test": "10.0.0.7", "mixed.test": "::1"}

    def resolve(host, port, *arguments, **options):
        return [(2, 1, 6, "", (known[host], port))] if host in known else real(host, port, *arguments, **options)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")  # stands for the open internet
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


def refusal(url, hosts=("pictures.test", "inside.test"), max_bytes=1000):
    with pytest.raises(RequestError) as caught:
        fetch(url, hosts, max_bytes=max_bytes)
    assert caught.value.status == 400
    return str(caught.value)


def test_a_picture_of_an_allowed_host_is_fetched_under_its_name(web):
    port, asked = web
    assert fetch(f"http://PICTURES.test:{port}/picture?a=b", ["Pictures.Test"], max_bytes=1000) == b"x" * 10
    assert asked == [(f"pictures.test:{port}", "/picture?a=b")]


def test_a_host_that_is_not_allowed_is_not_asked(web):
    port, asked = web
    assert "other.test are not fetched" in refusal(f"http://other.test:{port}/picture")
    assert asked == []


def test_an_allowed_name_that_leads_into_a_private_network_is_not_asked(web):
    assert "private network" in refusal("http://inside.test/picture")


@pytest.mark.parametrize("path", ["/away", "/file", "/private"])
def test_a_redirect_is_checked_like_the_first_address(web, path):
    port, asked = web
    refusal(f"http://pictures.test:{port}{path}")
    assert [each for _, each in asked] == [path]


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever(web):
    port, asked = web
    assert fetch(f"http://pictures.test:{port}/near", ["pictures.test"], max_bytes=1000) == b"x" * 10
    assert "redirects more than 3 times" in refusal(f"http://pictures.test:{port}/loop")
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("scheme", "begins", "goes_on"),
    [
        ("http", b"", b"H"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        ("https", b"\x16\x03\x03\x40\x00", b"\x00"),  # a record of TLS of which 16,384 bytes are to come
    ],
    ids=["status", "content", "handshake"],
)
def test_a_server_that_drips_is_cut_at_the_deadline(web, monkeypatch, scheme, begins, goes_on):
    import socket
    import time

    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        channel, _ = listener.accept()
        with contextlib.suppress(OSError):
            channel.sendall(begins)
            while True:
                channel.sendall(goes_on)
                time.sleep(0.05)

    threading.Thread(target=drip, daemon=True).start()
    monkeypatch.setattr(addresses, "_SECONDS", 0.5)
    address = f"{scheme}://pictures.test:{listener.getsockname()[1]}/picture"
    assert "cannot be reached" in refusal(address, max_bytes=100_000)
    listener.close()


@pytest.mark.parametrize("path", ["/é", "/\ud800", "/bad"])
def test_addresses_that_no_request_can_have_are_refused(web, path):
    port, _ = web
    refusal(f"http://pictures.test:{port}{path}")


def test_too_much_and_a_missing_picture_are_told_without_the_path(web):
    port, _ = web
    assert "more than 1,000 bytes" in refusal(f"http://pictures.test:{port}/large?secret=1")
    missing = refusal(f"http://pictures.test:{port}/missing?secret=1")
    assert "status 404" in missing
    assert "secret" not in missing


@pytest.mark.parametrize(
    "url", ["http://user:word@pictures.test/a", "http://", "http:///a", "javascript:alert(1)", "//a"]
)
def test_an_address_with_a_user_without_a_host_or_of_another_scheme_is_refused(web, url):
    assert "word@" not in refusal(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("::10.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("fec0::1", False),
    ],
)
def test_private_addresses_are_told_from_public_ones(address, public):
    assert is_public(address) is public
