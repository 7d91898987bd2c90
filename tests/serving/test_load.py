"""More requests than there is room for, clients that go away, and the end of a server."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from model_server import QUESTION, httpx, running, user

from facekit.errors import ConfigurationError
from facekit.serving import Engine, ServerSettings, create_app
from facekit.serving import app as app_module


def hello(**others):
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **others}


def test_an_overload_gives_200_and_429_alone_and_none_is_lost(served_model, portrait_url):
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "max_tokens": 24}
    with running(*served_model, max_batch=4, max_waiting=4) as address:
        start = threading.Barrier(32)

        def ask(_):
            start.wait()
            return httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=120)

        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(ask, range(32)))
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 8
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies if reply.status_code == 429)
        assert (
            len({reply.json()["choices"][0]["message"]["content"] for reply in replies if reply.status_code == 200})
            == 1
        )
        assert "facekit_open_answers 0.0" in httpx.get(f"{address}/metrics").text
        assert httpx.post(f"{address}/v1/chat/completions", json=asked, timeout=120).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_place(served_model, stream):
    with running(*served_model, max_batch=1, max_waiting=0) as address:
        long = hello(stream=stream, max_tokens=1500)
        if stream:
            with httpx.stream("POST", f"{address}/v1/chat/completions", json=long, timeout=60) as reply:
                next(reply.iter_lines())
        else:
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{address}/v1/chat/completions", json=long, timeout=0.5)
        until = time.monotonic() + 30
        while "facekit_open_answers 0.0" not in httpx.get(f"{address}/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert httpx.post(f"{address}/v1/chat/completions", json=hello(), timeout=60).status_code == 200


class Holding(Engine):
    """Begins no answer."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.held = []

    def submit(self, job):
        self.held.append(job)


@pytest.fixture
def holding(served_model):
    """Calls an application whose engine holds its jobs, with a body and the messages that follow it."""
    made = []

    def make(*parts, **options):
        made.append(Holding(*parts, **options))
        return made[-1]

    app = create_app(*served_model, ServerSettings("tiny"), make_engine=make)

    async def call(body, then):
        messages = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
                 "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": headers}  # fmt: skip

        async def receive():
            return next(messages, None) or await then()

        async def send(message):
            await asyncio.sleep(0)

        await app(scope, receive, send)

    return call, made[0].held


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_went_away_before_the_reply_began_frees_its_place(holding, stream):
    call, held = holding

    async def leave():
        return {"type": "http.disconnect"}

    asyncio.run(call(hello(stream=stream, n=2), leave))
    assert [job.future.cancelled() for job in held] == [True, True]


@pytest.mark.parametrize("stream", [True, False])
def test_what_a_client_sent_is_not_kept_while_it_waits_for_its_answer(holding, monkeypatch, stream):
    call, held = holding
    read, requests = app_module._read_body, []

    def note(body):
        asked = read(body)
        requests.append(weakref.ref(asked))
        return asked

    async def wait():
        while not held:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        gc.collect()
        requests.append(requests[0]())
        return {"type": "http.disconnect"}

    monkeypatch.setattr(app_module, "_read_body", note)
    asyncio.run(call(hello(stream=stream), wait))
    assert requests[1] is None


def test_more_choices_than_there_will_ever_be_places_for_are_a_400_and_not_a_429(served_model):
    with running(*served_model, max_batch=1, max_waiting=1) as address:
        replies = [
            httpx.post(f"{address}/v1/chat/completions", json=hello(n=count, temperature=1.0), timeout=60)
            for count in (2, 3)
        ]
    assert [reply.status_code for reply in replies] == [200, 400]
    assert "ask for at most 2" in replies[1].json()["error"]["message"]


def test_health_tells_of_an_engine_that_answers_no_more(served_model):
    made = []

    class Mortal(Engine):
        """Dies where the test says so."""

        is_working = True

    def make(*parts, **options):
        made.append(Mortal(*parts, **options))
        return made[-1]

    with running(*served_model, make_engine=make) as address:
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        made[0].is_working = False
        reply = httpx.get(f"{address}/health")
    assert (reply.status_code, reply.json()) == (503, {"status": "failed", "models": ["tiny"]})


def test_bodies_that_never_come_take_no_place_and_end(served_model):
    import socket

    with running(*served_model, max_batch=1, max_waiting=3, body_seconds=1.0) as address:
        host, port = address.removeprefix("http://").split(":")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        idle = [socket.create_connection((host, int(port))) for _ in range(3)]
        for each in idle:
            each.sendall(head.encode())
        assert httpx.post(f"{address}/v1/chat/completions", json=hello(), timeout=60).status_code == 200
        assert b" 408 " in idle[0].recv(100)
        for each in idle:
            each.close()


def test_a_job_that_is_given_up_in_the_queue_keeps_nothing():
    import torch

    from facekit.models.sessions import MediumTensors
    from facekit.serving.engine import Job

    medium = MediumTensors(torch.zeros(1, 3, 8, 8), torch.zeros(1, 68, 2))
    waiting, begun = (Job("prompt", (medium,), b"key", 4) for _ in range(2))
    assert begun.claim()
    for job in (waiting, begun):
        job.cancel()
    assert waiting.media == ()
    assert not waiting.claim()
    assert begun.media == (medium,)
    assert begun.should_stop()


def test_an_answer_that_fails_midway_is_begun_anew_or_ended_but_never_doubled(served_model, monkeypatch):
    import facekit.serving.engine as engine

    real, calls = engine.answer_together, []

    def fail_midway(model, processor, requests):
        calls.append(len(requests))
        if len(requests) > 1:
            tokens = iter(range(4 * len(requests)))

            def run_out():
                if next(tokens, None) is None:
                    raise RuntimeError("out of memory")
                return False

            requests = [replace(request, should_stop=run_out) for request in requests]
        return real(model, processor, requests)

    monkeypatch.setattr(engine, "answer_together", fail_midway)
    with running(*served_model, batch_seconds=0.5) as address:

        def ask(options):
            return httpx.post(f"{address}/v1/chat/completions", json=hello(**options), timeout=60).text

        with ThreadPoolExecutor(3) as pool:
            whole, stopped, streamed = pool.map(ask, [{}, {"stop": "never"}, {"stream": True}])
        text = json.loads(whole)["choices"][0]["message"]["content"]
        assert json.loads(stopped)["choices"][0]["message"]["content"] == text
        assert calls[0] == 3
        pieces = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        sent = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces if "choices" in piece)
        assert text.startswith(sent)
        assert "the model failed" in streamed


def test_a_failure_inside_a_batch_costs_its_own_request_alone(served_model, monkeypatch):
    import facekit.serving.engine as engine

    real = engine.answer_together

    def fail(model, processor, requests):
        if any("unlucky" in request.prompt for request in requests):
            raise RuntimeError("a secret of the machine")
        return real(model, processor, requests)

    monkeypatch.setattr(engine, "answer_together", fail)
    with running(*served_model, batch_seconds=0.3) as address:

        def ask(word):
            body = hello(messages=[{"role": "user", "content": word}])
            return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)

        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(ask, ["one", "unlucky", "two", "three"]))
        assert [reply.status_code for reply in replies] == [200, 500, 200, 200]
        assert "secret" not in replies[1].text
        streamed = hello(messages=[{"role": "user", "content": "unlucky"}], stream=True)
        text = httpx.post(f"{address}/v1/chat/completions", json=streamed, timeout=60).text
        assert "the model failed" in text
        assert "[DONE]" not in text


def test_sigterm_finishes_what_was_begun(served_model, tmp_path):
    model, processor = served_model
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    command = [sys.executable, "-m", "facekit", "serve", str(tmp_path), "--name", "tiny", "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stderr.readline()
        assert line.startswith("serving 'tiny' at http://127.0.0.1:"), line
        address = line.split(" at ")[1].split(";")[0]
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(httpx.post, f"{address}/chat/completions", json=hello(max_tokens=400), timeout=120)
            until = time.monotonic() + 30
            metrics = address.removesuffix("/v1") + "/metrics"
            while "facekit_open_answers 1.0" not in httpx.get(metrics).text:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert reply.result().status_code == 200
        process.wait(60)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("options", "piece"),
    [
        ({"host": "0.0.0.0"}, "FACEKIT_API_KEY"),
        ({"host": "example.org"}, "FACEKIT_API_KEY"),
        ({"api_key": " "}, "API key is empty"),
        ({"max_batch": 0}, "max_batch=0"),
        ({"max_waiting": -1}, "max_waiting=-1"),
        ({"port": 70000}, "port=70000"),
        ({"name": " "}, "no name for clients"),
        ({"allow_hosts": ("example.org", "https://example.org")}, "'https://example.org' is no name of a host"),
        ({"allow_hosts": ("example.org:8080",)}, "is no name of a host"),
        ({"allow_hosts": ("*.example.org",)}, "is no name of a host"),
    ],
)
def test_settings_that_are_unsafe_or_out_of_range_are_refused(options, piece):
    with pytest.raises(ConfigurationError, match=piece):
        ServerSettings(**{"name": "tiny", **options})


def test_hosts_that_may_be_asked_are_names_or_addresses():
    hosts = ("example.org", "bücher.de", "2606:4700::1111", "93.184.215.14")
    assert ServerSettings("tiny", allow_hosts=hosts).allow_hosts == hosts


def test_every_loopback_address_needs_no_key_and_any_other_takes_one():
    for host in ("127.0.0.1", "::1", "localhost", "127.8.9.1"):
        ServerSettings("tiny", host=host)
    ServerSettings("tiny", host="0.0.0.0", api_key="secret")


@pytest.mark.parametrize(
    ("options", "piece"),
    [
        (["--host", "0.0.0.0"], "needs a key"),
        (["--on-no-face", "ignore"], "whole-image"),
        (["--landmarker", "dlip"], "did you mean 'dlib'"),
        (["--port", "99999"], "--port"),
        (["--allow-hosts", "example.org, https://example.com/"], "'https://example.com/' is no name of a host"),
    ],
)
def test_wrong_options_are_told_before_the_model_is_loaded(run_facekit, options, piece):
    status, _, error = run_facekit("serve", "/nowhere", *options)
    assert status == 2
    assert piece in error
    assert "Traceback" not in error


def test_a_model_in_the_current_folder_has_its_folders_name(run_facekit, monkeypatch, tmp_path):
    for name in ("portraits", "others"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "others")
    for model in (".", "../others/"):
        assert "called 'others'" in run_facekit("serve", model, "--second-model", "../portraits/../others")[2]


def test_a_port_that_is_taken_is_told(run_facekit, server, served_model, tmp_path):
    model, processor = served_model
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    status, _, error = run_facekit("serve", tmp_path, "--port", server.rsplit(":", 1)[1])
    assert status == 2
    assert "choose another --port" in error
