"""Requests that are not answered: each a 4xx with one sentence, and the server goes on."""

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from model_server import QUESTION, data_url, httpx, running, user
from PIL import Image

from facekit.serving import app

JSON = {"Content-Type": "application/json"}
PNG = "data:image/png;base64,"


def chat(*messages, **others):
    return {"model": "tiny", "messages": list(messages), "max_tokens": 2, **others}


def hello(**others):
    return chat({"role": "user", "content": "Hello"}, **others)


def shows(url):
    return chat(user(QUESTION, url))


def bytes_url(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


MALFORMED = {
    "no JSON": b"{",
    "nothing": b"",
    "no UTF-8": b"\xff\xfe{}",
    "not a number": b'{"model": "tiny", "messages": [], "temperature": NaN}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "text": b'"hello"',
    "no messages": {"model": "tiny"},
    "no model": {"messages": [{"role": "user", "content": "Hello"}]},
    "empty chat": {"model": "tiny", "messages": []},
    "messages as text": {"model": "tiny", "messages": "Hello"},
    "another model": {**hello(), "model": "gpt-5"},
    "model as number": {**hello(), "model": 3},
    "unknown field": hello(temprature=1),
    "unknown field of a message": chat({"role": "user", "content": "Hello", "colour": "red"}),
    "unknown role": chat({"role": "robot", "content": "Hello"}),
    "no role": chat({"content": "Hello"}),
    "no content": chat({"role": "user"}),
    "content null": chat({"role": "user", "content": None}),
    "content as number": chat({"role": "user", "content": 3}),
    "content empty": chat({"role": "user", "content": ""}),
    "content of blanks": chat({"role": "user", "content": "  \n"}),
    "no parts": chat({"role": "user", "content": []}),
    "unknown part": chat({"role": "user", "content": [{"type": "audio", "audio": {}}]}),
    "part without type": chat({"role": "user", "content": [{"text": "Hello"}]}),
    "text as number": chat({"role": "user", "content": [{"type": "text", "text": 3}]}),
    "picture without address": chat({"role": "user", "content": [{"type": "image_url"}]}),
    "picture as text": chat({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}),
    "address as number": chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}),
    "picture of a system message": chat({**user("Hello", PNG), "role": "system"}),
    "picture without words": chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}),
    "assistant alone": chat({"role": "assistant", "content": ""}, max_tokens="many"),
    "max_tokens 0": hello() | {"max_tokens": 0},
    "max_tokens below 0": hello() | {"max_tokens": -5},
    "max_tokens fraction": hello() | {"max_tokens": 1.5},
    "max_tokens text": hello() | {"max_tokens": "12"},
    "max_tokens beyond the context": hello() | {"max_tokens": 10_000_000},
    "temperature below 0": hello(temperature=-1),
    "temperature above 2": hello(temperature=2.5),
    "temperature text": hello(temperature="hot"),
    "temperature true": hello(temperature=True),
    "top_p 0": hello(top_p=0),
    "top_p above 1": hello(top_p=1.01),
    "top_k below 0": hello(top_k=-1),
    "n 0": hello(n=0),
    "n too many": hello(n=1000),
    "n text": hello(n="two"),
    "seed below 0": hello(seed=-1),
    "seed too large": hello(seed=2**64),
    "seed text": hello(seed="a"),
    "stop empty": hello(stop=""),
    "stop with an empty text": hello(stop=["a", ""]),
    "stop as number": hello(stop=3),
    "too many stops": hello(stop=["a"] * 5),
    "long stop": hello(stop="a" * 1000),
    "stream as text": hello(stream="yes"),
    "stream options": hello(stream=True, stream_options={"include_usages": True}),
    "tools": hello(tools=[{"type": "function"}]),
    "tool choice": hello(tool_choice="auto"),
    "functions": hello(functions=[{}]),
    "logprobs as number": hello(logprobs=3),
    "top logprobs without logprobs": hello(top_logprobs=3),
    "too many top logprobs": hello(logprobs=True, top_logprobs=21),
    "bias": hello(logit_bias={"5": 1}),
    "frequency penalty": hello(frequency_penalty=1),
    "presence penalty": hello(presence_penalty=-1),
    "a format of no kind": hello(response_format={}),
    "an unknown format": hello(response_format={"type": "xml"}),
    "a schema that is missing": hello(response_format={"type": "json_schema"}),
    "a schema as text": hello(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": "{}"}}),
    "a schema without a name": hello(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
    "a schema with a wrong name": hello(
        response_format={"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}
    ),
    "more than an object": hello(response_format={"type": "json_object", "schema": {}}),
    "audio": hello(modalities=["text", "audio"]),
    "user as number": hello(user=3),
    "facekit as text": hello(facekit="yes"),
    "unknown face option": hello(facekit={"landmark": []}),
    "landmarks without picture": hello(facekit={"landmarks": [[[0.5, 0.5]] * 68]}),
    "67 landmarks": hello(facekit={"landmarks": [[[0.5, 0.5]] * 67]}),
    "landmarks in three dimensions": hello(facekit={"landmarks": [[[0.5, 0.5, 0]] * 68]}),
    "landmarks as text": hello(facekit={"landmarks": [[["a", "b"]] * 68]}),
    "no frames": hello(facekit={"num_frames": 0}),
    "overlay as number": hello(facekit={"overlay": 1}),
    "a path": shows("/etc/passwd"),
    "a relative path": shows("face.png"),
    "a file": shows("file:///etc/passwd"),
    "a web page": shows("http://example.org/face.png"),
    "this machine": shows("http://127.0.0.1:1/face.png"),
    "ftp": shows("ftp://example.org/face.png"),
    "gopher": shows("gopher://127.0.0.1:25/x"),
    "empty address": shows(""),
    "an address that cannot be read": shows("http://[::1/face.png"),
    "a data URL of text": shows("data:text/plain;base64,SGVsbG8="),
    "a data URL without base64": shows("data:image/png,abc"),
    "a data URL of a clip": shows("data:video/mp4;base64,AAAA"),
    "wrong base64": shows(f"{PNG}!!!"),
    "half base64": shows(f"{PNG}abc"),
    "no bytes": shows(PNG),
    "bytes that are no picture": shows(bytes_url(b"hello")),
    "a picture cut off": shows(data_url(Image.effect_noise((64, 64), 80))[:600]),
    "SVG": shows(bytes_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")),
    "PostScript": shows(bytes_url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps")),
    "no face": shows(data_url(Image.new("RGB", (64, 64)))),
    "a picture of too many pixels": shows(data_url(Image.new("1", (9000, 9000)))),
    "too many pictures": chat(user(QUESTION, *[data_url(Image.new("RGB", (8, 8)))] * 9)),
    "a clip that is none": chat({"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": bytes_url(b"hello", "video/mp4")}}, {"type": "text", "text": "?"}
    ]}),
    "a prompt beyond the context": chat({"role": "user", "content": "word " * 20_000}),
    "a lone surrogate": b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "a lone surrogate in the model": b'{"model": "\\ud800", "messages": [{"role": "user", "content": "Hello"}]}',
    "a number without end": hello(facekit={"landmarks": [[[10**400, 0.5]] * 68]}),
    "landmarks at infinity": b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "facekit": '
    b'{"landmarks": [[[1e999, 0]]]}}',
    "a million parts": chat({"role": "user", "content": [1] * 300_000}),
    "a million landmarks": hello(facekit={"landmarks": [[[0.5, 0.5]] * 68] * 3000}),
    "endless text": chat({"role": "user", "content": "a" * 2_000_000}),
    "tokens without end": hello() | {"max_tokens": 10**400},
    "two limits": hello(max_completion_tokens=3),
    "stream options without a stream": hello(stream_options={"include_usage": True}),
    "too many messages": chat(*[{"role": "user", "content": "Hello"}] * 300),
}  # fmt: skip


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
