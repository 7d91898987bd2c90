"""A server over thousands of requests, well-formed, malformed, dropped and too many: it stays as large as it was."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from malformed_requests import MALFORMED, hello
from model_server import data_url, httpx, user
from PIL import Image
from small_runs import SEARCH_PATH, small_model

REQUESTS, WARM, CLIENTS = 10_000, 500, 16
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = small_model("region")
    processor.image_processor.landmarker = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def server(folder):
    """Address and process of ``facekit serve``."""
    command = [sys.executable, "-m", "facekit", "serve", str(folder), "--name", "tiny", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": SEARCH_PATH, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "4"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process.stderr.readline().split(" at ")[1].split(";")[0], process
    finally:
        process.kill()
        process.wait()


def resident(process):
    """Bytes of a process in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def test_memory_stays_flat_over_ten_thousand_requests(server):
    address, process = server
    local = threading.local()

    def client():
        if not hasattr(local, "client"):
            local.client = httpx.Client(timeout=120)
        return local.client

    def ask(number):
        draw = random.Random(number)
        noise = np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        body = {"model": "tiny", "messages": [user(f"Question {number}?", data_url(Image.fromarray(noise)))]}
        body |= {"max_tokens": draw.choice([1, 2, 4]), "stream": draw.random() < 0.3, "n": draw.choice([1, 1, 2])}
        if number % 10 == 0:
            body["messages"][0]["content"][0]["image_url"]["url"] = draw.choice(
                ["/etc/passwd", "data:image/png;base64,AA"]
            )
        if number % 25 == 1:  # a client that goes away
            body |= {"stream": True, "max_tokens": 64}
            with client().stream("POST", f"{address}/chat/completions", json=body) as reply:
                next(reply.iter_lines())
                return reply.status_code
        return client().post(f"{address}/chat/completions", json=body).status_code

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(WARM)))
        before = resident(process)
        statuses = list(pool.map(ask, range(WARM, REQUESTS)))
    assert set(statuses) <= {200, 400, 429}
    assert statuses.count(400) == sum(1 for number in range(WARM, REQUESTS) if number % 10 == 0)
    assert statuses.count(200) > 0.8 * len(statuses)
    assert resident(process) - before < 200 * MEBIBYTE
    metrics = httpx.get(f"{address.removesuffix('/v1')}/metrics").text
    assert "facekit_open_answers 0.0" in metrics


def test_a_hundred_malformed_requests_leave_it_alive_and_as_large_as_it_was(server):
    address, process = server
    bodies = [
        body if isinstance(body, bytes) else json.dumps(body).encode()
        for name, body in MALFORMED.items()
        if name != "no face"  # of which this server's model takes the whole picture
    ]
    assert len(bodies) > 100
    with httpx.Client(timeout=120, headers={"Content-Type": "application/json"}) as client:

        def send(body):
            return client.post(f"{address}/chat/completions", content=body).status_code

        asked = json.dumps(hello()).encode()
        assert send(asked) == 200
        before = resident(process)
        for _ in range(3):
            assert {send(body) // 100 for body in bodies} == {4}
        assert send(asked) == 200
    assert process.poll() is None
    assert resident(process) - before < 200 * MEBIBYTE


def test_four_times_too_much_gives_200_and_429_alone_and_every_answer_arrives(server):
    address, _ = server
    start = threading.Barrier(4 * 96)

    def ask(number):
        body = {"model": "tiny", "messages": [{"role": "user", "content": f"Hello {number}"}], "max_tokens": 64}
        with httpx.Client(timeout=120) as client:
            start.wait()
            return client.post(f"{address}/chat/completions", json=body)

    with ThreadPoolExecutor(4 * 96) as pool:
        replies = list(pool.map(ask, range(4 * 96)))
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 96
    answered = [reply.json() for reply in replies if reply.status_code == 200]
    assert all(each["choices"][0]["finish_reason"] in ("stop", "length") for each in answered)
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies if reply.status_code == 429)
    metrics = httpx.get(f"{address.removesuffix('/v1')}/metrics").text
    assert "facekit_open_answers 0.0" in metrics
    assert f'facekit_requests_total{{status="200"}} {float(len(answered))}' in metrics
