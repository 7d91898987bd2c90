"""What a request names is not opened, looked up or connected to: the server's process is watched."""

import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from model_server import data_url, httpx, user
from PIL import Image
from small_runs import SEARCH_PATH

PROGRAM = Path(__file__).parents[1] / "shared" / "watched_server.py"


@pytest.fixture(scope="module")
def inside():
    """A web server of a private network; gives its port and the requests that it got."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.2", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@pytest.fixture(scope="module")
def outside(inside):
    """A web server of the open internet with a picture, and redirects to a private network and to a file."""
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    places = {"/inside": f"http://inside.test:{inside[0]}/secret", "/number": f"http://127.0.0.2:{inside[0]}/secret",
              "/file": "file:///etc/passwd"}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path in places else 200)
            if self.path in places:
                self.send_header("Location", places[self.path])
            self.end_headers()
            if self.path not in places:
                self.wfile.write(picture.getvalue())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Address of a watched server, and what reads the events since it was last asked."""
    log = tmp_path_factory.mktemp("watched") / "events.jsonl"
    environment = os.environ | {"PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(log)], stdout=subprocess.PIPE, text=True, env=environment
    )
    seen = 0

    def events():
        nonlocal seen
        lines = log.read_text().splitlines()
        fresh, seen = lines[seen:], len(lines)
        return [json.loads(line) for line in fresh]

    try:
        yield process.stdout.readline().strip(), events
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def post(watched):
    """Sends a question about a picture or clip; returns the status."""

    def call(url, kind="image"):
        message = user("Hello", url)
        if kind == "video":
            message["content"][0] = {"type": "video_url", "video_url": {"url": url}}
        body = {"model": "tiny", "messages": [message], "max_tokens": 1}
        return httpx.post(f"{watched[0]}/chat/completions", json=body, timeout=60).status_code

    return call


@pytest.fixture(scope="module", autouse=True)
def imported(post, watched, outside):
    """What is imported at the first picture, clip, address and refusal has been."""
    assert post(data_url(Image.new("RGB", (32, 32)))) == 200
    assert post(f"http://pictures.test:{outside}/picture") == 200
    for kind in ("image", "video"):
        assert post(f"data:{kind}/mp4;base64,AAAA", kind) == 400
        assert post("nowhere", kind) == 400
    events = watched[1]()
    assert ["socket.connect", f"('127.0.0.1', {outside})"] in events  # or the watch sees nothing


def test_a_file_that_is_named_is_neither_opened_nor_looked_for(post, watched, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (32, 32)).save(secret)
    os.utime(secret, (1, 2))  # whoever reads it, in whatever language, moves the first
    paths = (str(secret), os.path.relpath(secret), "~/secret.png", "/dev/stdin", "/proc/self/environ")
    schemes = ("file://", "FILE://", "data:", "http:", "concat:", "pipe:")
    for url in (*paths, *(f"{scheme}{secret}" for scheme in schemes)):
        for kind in ("image", "video"):
            assert post(url, kind) == 400, url
    assert watched[1]() == []
    assert secret.stat().st_atime == 1


def test_an_address_that_is_not_allowed_or_is_private_is_not_connected_to(post, watched, inside):
    port, asked = inside
    hosts = ("inside.test", "127.0.0.2", "[::1]", "2130706434")
    urls = [f"{scheme}://{host}:{port}/secret" for scheme in ("http", "https", "ftp", "gopher") for host in hosts]
    for url in (*urls, "http://other.test/picture", "http://169.254.169.254/latest/meta-data"):
        for kind in ("image", "video"):
            assert post(url, kind) == 400, url
    assert [event for event in watched[1]() if event[0] not in ("socket.getaddrinfo",)] == []
    assert asked == []


def test_a_redirect_to_a_private_address_or_a_file_is_not_followed(post, watched, inside, outside):
    for path in ("inside", "number", "file"):
        assert post(f"http://pictures.test:{outside}/{path}") == 400
    connections = [event for event in watched[1]() if event[0] != "socket.getaddrinfo"]
    assert connections == [["socket.connect", f"('127.0.0.1', {outside})"]] * 3
    assert inside[1] == []
