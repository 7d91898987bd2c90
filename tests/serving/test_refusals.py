"""Requests that are not answered: each a 4xx with one sentence, and the server goes on."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from malformed_requests import MALFORMED, bytes_url, chat, hello, shows
from model_server import httpx, running
from PIL import Image

from facekit.serving import app

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def post(server):
    with httpx.Client(base_url=server, timeout=60) as client:

        def send(body):
            content = body if isinstance(body, bytes) else json.dumps(body)
            return client.post("/v1/chat/completions", content=content, headers=JSON)

        send.port = server.rsplit(":", 1)[1]
        yield send


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_a_4xx_in_one_sentence(post, name):
    reply = post(MALFORMED[name])
    assert 400 <= reply.status_code < 500, reply.text
    message = reply.json()["error"]["message"]
    assert message
    assert "\n" not in message
    assert len(message) < 400
    for piece in ("Traceback", "/tmp", "site-packages", "base64,iVBOR"):
        assert piece not in message


def test_after_all_of_them_the_server_answers_and_has_every_place_free(post, server):
    for body in MALFORMED.values():
        post(body)
    assert post(hello()).status_code == 200
    metrics = httpx.get(f"{server}/metrics").text
    assert "facekit_open_answers 0.0" in metrics
    assert 'facekit_requests_total{status="400"}' in metrics


def test_what_says_nothing_is_taken(post):
    neutral = {
        "logprobs": False,
        "frequency_penalty": 0,
        "response_format": {"type": "text"},
        "user": "someone",
        "n": 1,
    }
    assert post(hello(**neutral, temperature=0)).status_code == 200


@pytest.mark.parametrize("name", ["a million parts", "a million landmarks", "endless text", "deep"])
def test_others_are_answered_while_a_hostile_body_is_read(served_model, monkeypatch, name):
    begun, may_end, read = threading.Event(), threading.Event(), app._read_body

    def read_slowly(body):
        begun.set()
        assert may_end.wait(60)
        return read(body)

    monkeypatch.setattr(app, "_read_body", read_slowly)
    with running(*served_model) as address, ThreadPoolExecutor(1) as sender:
        body = MALFORMED[name] if isinstance(MALFORMED[name], bytes) else json.dumps(MALFORMED[name]).encode()
        asked = {"content": body, "headers": JSON, "timeout": 120}
        slow = sender.submit(httpx.post, f"{address}/v1/chat/completions", **asked)
        assert begun.wait(60)
        assert [httpx.get(f"{address}/health", timeout=60).status_code for _ in range(3)] == [200] * 3
        assert not slow.done()
        may_end.set()
        assert 400 <= slow.result().status_code < 500


def test_a_message_of_ours_goes_back_as_the_client_library_has_it(post):
    first = post(hello()).json()["choices"][0]["message"]
    ours = {**first, "content": first["content"] or "Hm", "annotations": [], "audio": None, "tool_calls": None}
    again = post(chat({"role": "user", "content": "Hello"}, ours, {"role": "user", "content": "And?"}))
    assert again.status_code == 200, again.text


def test_pages_of_other_sites_and_other_types_are_not_answered(server):
    asked = {"json": hello(), "timeout": 60}
    address = f"{server}/v1/chat/completions"
    assert httpx.post(address, headers={"Host": "evil.example"}, **asked).status_code == 403
    assert httpx.post(address, headers={"Host": "localhost:8000"}, **asked).status_code == 200
    assert httpx.post(address, content=json.dumps(hello()), headers={"Content-Type": "text/plain"}).status_code == 415


def test_faults_of_the_server_are_500_and_tell_nothing_of_it(served_model, portrait_url, monkeypatch):
    from facekit.errors import CheckpointError

    model, processor = served_model

    def fail(self, picture):
        raise CheckpointError("there is no file '/srv/secret/model.dat'")

    monkeypatch.setattr(type(processor.image_processor), "prepare", fail)
    with running(model, processor) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=shows(portrait_url))
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert reply.json()["error"]["type"] == "server_error"
        assert 'facekit_requests_total{status="500"} 1.0' in httpx.get(f"{address}/metrics").text


def test_clips_have_bounds_of_their_own(served_model, portrait, tmp_path):
    from video_files import write_video

    path = write_video(tmp_path / "clip.mp4", [portrait] * 4)
    body = chat({"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": bytes_url(path.read_bytes(), "video/mp4")}},
        {"type": "text", "text": "What is shown?"},
    ]}, facekit={"num_frames": 4})  # fmt: skip
    with running(*served_model) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
        assert reply.status_code == 200, reply.text
        assert len(reply.json()["facekit"]["media"][0]["frames"]) == 4
    with running(*served_model, max_clip_pixels=1000) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
        assert reply.status_code == 400
        assert "clip 1" in reply.json()["error"]["message"]


def test_a_body_that_is_too_long_is_refused_before_it_is_read(served_model):
    with running(*served_model, max_body_bytes=10_000) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", content=b" " * 20_000, headers=JSON)
        assert reply.status_code == 413
        assert "10,000 bytes" in reply.json()["error"]["message"]


def test_other_addresses_and_methods_are_told_as_json(server):
    assert httpx.get(f"{server}/v2").status_code == 404
    assert "error" in httpx.get(f"{server}/").json()
    assert httpx.get(f"{server}/v1/chat/completions").status_code == 405
    assert httpx.get(f"{server}/health").json() == {"status": "ok"}
    assert [each["id"] for each in httpx.get(f"{server}/v1/models").json()["data"]] == ["tiny"]
    assert httpx.get(f"{server}/v1/models/tiny").json()["id"] == "tiny"
    assert httpx.get(f"{server}/v1/models/other").status_code == 404


@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Bearer secre", "Bearer secrett", "secret", "Bearer é"])
def test_without_the_key_nobody_is_answered(served_model, sent):
    with running(*served_model, api_key="secret") as address:
        headers = {} if sent is None else {"Authorization": sent.encode()}
        for path in ("/v1/models", "/metrics"):
            assert httpx.get(f"{address}{path}", headers=headers).status_code == 401
        refused = httpx.post(f"{address}/v1/chat/completions", json=hello(), headers=headers)
        assert refused.status_code == 401
        assert "secret" not in refused.text
        assert httpx.get(f"{address}/health", headers=headers).status_code == 200
        right = {"Authorization": "Bearer secret"}
        assert httpx.post(f"{address}/v1/chat/completions", json=hello(), headers=right).status_code == 200


def test_an_address_opens_no_socket_and_no_file(post, tmp_path):
    picture = tmp_path / "face.png"
    Image.new("RGB", (64, 64)).save(picture)
    seen, watches = [], True

    def watch(event, arguments):
        if watches and event in ("open", "socket.connect", "socket.getaddrinfo", "urllib.Request"):
            seen.append((event, str(arguments)))

    sys.addaudithook(watch)  # cannot be taken away again
    urls = (
        str(picture), f"file://{picture}", "../face.png", "http://169.254.169.254/latest", "https://example.org/face.png",
        "http://127.0.0.1:22/", "http://localhost/face.png", "http://[::1]/face.png",
    )  # fmt: skip
    for url in urls:
        assert post(shows(url)).status_code == 400
        part = {"type": "image_url", "image_url": {"url": url, "path": str(picture)}}
        assert post(chat({"role": "user", "content": [part]})).status_code == 400
    watches = False
    assert not [each for each in seen if each[0] not in ("socket.connect", "socket.getaddrinfo")]
    assert not [each for each in seen if post.port not in each[1]]  # our own connection to the server
