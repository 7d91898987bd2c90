"""A small OpenAI-compatible server on 127.0.0.1 that misbehaves on request and writes down every call.

The tests talk to it over real HTTP. As a program (``python chat_server.py --latency 0.05``) it prints its port and
serves until it is stopped, which is how the benchmark uses it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ANSWER = "The face is oval, the brows are level, the eyes are open and the lips closed. " * 5
WORDS = (
    "oval", "narrow", "broad", "soft", "even", "level", "round", "high", "low", "wide", "thin",
    "full", "clear", "smooth", "warm", "cool", "brow", "cheek", "chin", "nose", "lip", "lid",
    "lash", "outline", "contour", "shadow", "highlight", "texture", "tone", "line", "fold", "edge",
)  # fmt: skip
REFUSAL = "I'm sorry, but I can't help with that request."


@dataclass
class Faults:
    """Shares of the calls that go wrong, and how long an answer takes at least and at most, in seconds."""

    too_many: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    malformed: float = 0.0
    refusal: float = 0.0
    latency: tuple[float, float] = (0.0, 0.0)
    retry_after: str = "0.02"
    structured: bool = True
    status: int | None = None
    odd: float = 0.0
    oddity: str = ""
    thinking_model: bool = False


@dataclass
class Call:
    """One call as the server saw it."""

    key: str
    outcome: str
    path: str
    time: float
    body: dict = field(repr=False)
    authorization: str | None = field(repr=False, default=None)


def describe(body: dict) -> str:
    """An answer that differs from call to call and is the same for the same call."""
    digest = hashlib.blake2b(str(body["messages"]).encode(), digest_size=24).digest()
    words = " ".join(WORDS[byte % len(WORDS)] for byte in digest)
    return f"The face shows {words}, which is visible in the picture."


class ChatServer:
    """Serves in a thread of its own between ``start`` and ``stop``.

    ``answer`` makes the text of an answer from the body of a request; ``calls`` has every chat call, in order.
    """

    def __init__(self, faults: Faults | None = None, answer: Callable[[dict], str] = describe, seed: int = 0) -> None:
        self.faults = faults or Faults()
        self.answer = answer
        self.calls: list[Call] = []
        self.in_flight = self.most_in_flight = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.batch_polls = 1
        self.queue_limit: int | None = None
        self.port = 0
        self.keep_calls = True
        self.served = 0
        self._random, self._faults = random.Random(seed), random.Random(seed + 1)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[asyncio.Task] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**26, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode("latin-1").split("\r\n")
                method, path, _ = request.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                response = await self._respond(method, path, headers, body)
                if response is None:
                    writer.transport.abort()
                    return
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(asyncio.current_task())
            writer.close()

    async def _respond(self, method: str, path: str, headers, body: bytes) -> bytes | None:
        path = path.split("?")[0]
        if path == "/v1/chat/completions":
            return await self._chat(path, headers, json.loads(body))
        if path == "/v1/files" and method == "POST":
            return self._upload(headers, body)
        if path.startswith("/v1/files/") and path.endswith("/content"):
            name = path.split("/")[3]
            if name not in self.files:
                return error(404, f"No such File object: {name}")
            return http(200, self.files[name], kind="application/jsonl")
        if path == "/v1/batches" and method == "POST":
            return self._create_batch(json.loads(body), headers)
        if path == "/v1/batches":
            return reply({"object": "list", "data": list(self.batches.values()), "has_more": False})
        if path.startswith("/v1/batches/"):
            name = path.split("/")[3]
            return self._poll_batch(name) if name in self.batches else error(404, f"No batch found with id '{name}'.")
        return error(404, f"no such path {path}")

    async def _chat(self, path: str, headers, body: dict) -> bytes | None:
        faults = self.faults
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            low, high = faults.latency
            if high:
                await asyncio.sleep(low if low == high else self._random.uniform(low, high))
            outcome, response = self._outcome(body)
        finally:
            self.in_flight -= 1
        self.served += 1
        if self.keep_calls:
            key = headers.get("x-client-request-id", "")
            self.calls.append(Call(key, outcome, path, time.monotonic(), body, headers.get("authorization")))
        return response

    def _outcome(self, body: dict) -> tuple[str, bytes | None]:
        faults, chance = self.faults, self._faults.random()
        if faults.status is not None:
            return "status", error(faults.status, f"status {faults.status}")
        if faults.thinking_model:
            for name in ("max_tokens", "temperature"):
                if name in body:
                    return "unsupported", unsupported(name)
        if not faults.structured and "response_format" in body:
            return "unsupported", error(400, "response_format of type json_schema is not supported")
        for share, outcome, response in (
            (faults.too_many, "429", lambda: error(429, "slow down", {"Retry-After": faults.retry_after})),
            (faults.server_error, "500", lambda: error(500, "internal error")),
            (faults.dropped, "dropped", lambda: None),
            (faults.malformed, "malformed", lambda: http(200, b'{"choices": [{"mess')),
            (faults.odd, "odd", lambda: ODDITIES[faults.oddity](self.completion(body, self.answer(body)))),
            (faults.refusal, "refusal", lambda: reply(self.completion(body, REFUSAL))),
        ):
            if chance < share:
                return outcome, response()
            chance -= share
        return "answered", reply(self.completion(body, self.answer(body)))

    def completion(self, body: dict, text: str) -> dict:
        """A chat completion whose message has the text, as JSON where the request has a schema of one string."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        if list(schema.get("properties", {})) == ["answer"]:
            text = json.dumps({"answer": text})
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": f"{body['model']}-served",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}},
            ],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        }

    def batch_response(self, body: dict) -> dict:
        """What a batch's file says about a healthy completion; tests replace it."""
        return {"status_code": 200, "body": body}

    def _upload(self, headers, body: bytes) -> bytes:
        boundary = headers["content-type"].split("boundary=")[1].encode()
        parts = [part.partition(b"\r\n\r\n") for part in body.split(b"--" + boundary)]
        content = next(data.removesuffix(b"\r\n") for head, _, data in parts if b'name="file"' in head)
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return reply({"id": name, "object": "file", "bytes": len(content), "created_at": 1, "filename": "batch.jsonl",
                      "purpose": "batch", "status": "processed"})  # fmt: skip

    def _create_batch(self, body: dict, headers) -> bytes:
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": "24h", "status": "in_progress", "created_at": 1, "output_file_id": None,
            "metadata": body.get("metadata"), "request_counts": {"total": 1, "completed": 0, "failed": 0}, "polls": 0,
        }  # fmt: skip
        return reply(self.batches[name])

    def _poll_batch(self, name: str) -> bytes:
        batch = self.batches[name]
        batch["polls"] += 1
        queued = [each for each in self.batches.values() if each["status"] == "in_progress"]
        if self.queue_limit is not None and batch["polls"] == 1:
            lines = sum(self.files[each["input_file_id"]].count(b"\n") for each in queued)
            if lines > self.queue_limit and batch["status"] == "in_progress":
                words = "Enqueued token limit reached for m in organization o. Please try again later."
                problem = {"code": "token_limit_exceeded", "message": words, "line": None, "param": None}
                batch |= {"status": "failed", "errors": {"object": "list", "data": [problem]}}
        if batch["polls"] > self.batch_polls and batch["status"] == "in_progress":
            lines = []
            for line in self.files[batch["input_file_id"]].splitlines():
                request = json.loads(line)
                body = self.completion(request["body"], self.answer(request["body"]))
                self.calls.append(Call(request["custom_id"], "answered", "batch", time.monotonic(), request["body"]))
                lines.append(json.dumps({"id": "r", "custom_id": request["custom_id"], "error": None,
                                         "response": self.batch_response(body)}, ensure_ascii=False))  # fmt: skip
            self.files[f"{name}-output"] = "\n".join(reversed(lines)).encode()
            batch |= {"status": "completed", "output_file_id": f"{name}-output"}
        return reply(batch)


def unsupported(name: str) -> bytes:
    """The rejection by which OpenAI's models that think refuse a parameter."""
    words = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) "
        "value is supported.",
    }[name]
    kind = "unsupported_parameter" if name == "max_tokens" else "unsupported_value"
    described = {"message": words, "type": "invalid_request_error", "param": name, "code": kind}
    return http(400, json.dumps({"error": described}).encode())


def text_of(completion: dict) -> str:
    return completion["choices"][0]["message"]["content"]


def with_text(form: Callable[[str], object]) -> Callable[[dict], bytes]:
    """A healthy completion whose text has another form."""

    def response(completion: dict) -> bytes:
        completion["choices"][0]["message"]["content"] = form(text_of(completion))
        return reply(completion)

    return response


def with_choice(**changes: object) -> Callable[[dict], bytes]:
    """A healthy completion with other fields in its choice."""

    def response(completion: dict) -> bytes:
        completion["choices"][0] |= changes
        return reply(completion)

    return response


def with_body(**changes: object) -> Callable[[dict], bytes]:
    """A healthy completion with other fields."""
    return lambda completion: reply({**completion, **changes})


def flagged(status: int) -> Callable[[dict], bytes]:
    """An input that a content filter refuses, as OpenRouter (403) and Azure (400) say it."""
    words = (
        "input was flagged by moderation" if status == 403 else "The response was filtered: content management policy"
    )
    body = {"message": words, "code": status if status == 403 else "content_filter"}
    return lambda completion: http(status, json.dumps({"error": body}).encode())


ODDITIES: dict[str, Callable[[dict], bytes]] = {
    "thoughts": with_text(lambda text: f"<think>\nHm, {{a}} face.\n</think>\n\n{text}"),
    "thoughts without an opening": with_text(lambda text: f"Hm, a face.\n</think>\n{text}"),
    "cut-off thoughts": with_text(lambda text: f"<think>\nLet me see. {text[:9]}"),
    "channels": with_text(lambda text: f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final"
                                       f"<|message|>{text}<|return|>"),
    "prose around a fence": with_text(lambda text: f"Here it is:\n\n```json\n{text}\n```\n\nDo ask for more!"),
    "an upper-case fence": with_text(lambda text: f"```JSON\n{text}\n```"),
    "prose around JSON": with_text(lambda text: f"Sure! {text} I hope that this helps."),
    "cut-off JSON": with_text(lambda text: text[: len(text) * 2 // 3]),
    "a fence that is cut off": with_text(lambda text: f"```json\n{text[:40]}"),
    "a control token": with_text(lambda text: f"{text}<|im_end|>\n<|im_start|>user\nAnd now?"),
    "a null answer": with_text(lambda text: '{"answer": null}'),
    "a wrong key": with_text(lambda text: json.dumps({"emotion": "joy", "confidence": 0.9})),
    "a list of answers": with_text(lambda text: json.dumps(["One answer.", "Another one."])),
    "a list with the answer": with_text(lambda text: f"[{text}]"),
    "parts": with_text(lambda text: [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                                     {"type": "text", "text": text}]),
    "no content": with_text(lambda text: None),
    "an error at its end": with_choice(finish_reason="error"),
    "an unheard-of end": with_choice(finish_reason="abort"),
    "the end EOS": with_choice(finish_reason="eos"),
    "the end SAFETY": with_choice(finish_reason="SAFETY"),
    "no end": with_choice(finish_reason=None),
    "a null message": with_choice(message=None),
    "null choices": with_body(choices=None),
    "empty choices": with_body(choices=[]),
    "choices that are an error": with_body(choices={"error": {"message": "upstream broke", "code": 502}}),
    "an error with status 200": lambda completion: reply({"error": {"message": "upstream broke", "code": 502}}),
    "a refusal in Spanish": with_text(lambda text: json.dumps({"answer": "Lo siento, no puedo ayudar con eso."})),
    "a refusal in Chinese": with_text(lambda text: "抱歉，我无法识别图片中的人物。"),
    "a refusal in French": with_text(lambda text: "Je suis désolé, mais je ne peux pas décrire cette personne."),
    "a flagged input, 403": flagged(403),
    "a flagged input, 400": flagged(400),
}  # fmt: skip
"""Forms of replies that were seen in the world, by name, made out of a healthy chat completion."""


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


def http(status: int, body: bytes, headers: dict[str, str] | None = None, kind: str = "application/json") -> bytes:
    """One HTTP response."""
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply(payload: dict) -> bytes:
    """A JSON response."""
    return http(200, json.dumps(payload).encode())


def error(status: int, message: str, headers: dict[str, str] | None = None) -> bytes:
    """An error in the form of the OpenAI API."""
    return http(status, json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode(), headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answers", choices=("same", "varied"), default="same")
    arguments = parser.parse_args()
    answer = describe if arguments.answers == "varied" else lambda body: ANSWER
    server = ChatServer(Faults(latency=(arguments.latency, arguments.latency)), answer=answer)
    server.port, server.keep_calls = arguments.port, False

    async def announce() -> None:
        task = asyncio.create_task(server.serve())
        await asyncio.to_thread(server._ready.wait)
        print(server.port, flush=True)
        await task

    asyncio.run(announce())


if __name__ == "__main__":
    main()
