"""Requests to a model server that are malformed, each in a way of its own, by the name of the way."""

import base64

from model_server import QUESTION, data_url, user
from PIL import Image

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
