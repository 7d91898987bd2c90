"""Two replicas behind Ray Serve, by the example: both answer, whole and streamed, with the text of one model."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
from model_server import QUESTION, data_url, httpx, user
from PIL import Image
from small_runs import SEARCH_PATH

import facekit

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_replicas.py"


def test_two_replicas_share_the_requests_of_eight_clients(tmp_path):
    encoder = "tiny?image_size=64&width=32&depth=1"
    model, processor = facekit.create(encoder=encoder, connector="mlp", backbone="tiny", seed=3)
    processor.image_processor.landmarker = None
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each) for each in noise]
    expected = [facekit.ask(model, processor, each, QUESTION, max_new_tokens=8)[0] for each in pictures]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    paths = [*map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))), SEARCH_PATH]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "model"), "--name", "tiny", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert "2 replicas" in process.stdout.readline()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

        def ask(number):
            asked = {"model": "tiny", "messages": [user(QUESTION, data_url(pictures[number % 8]))], "max_tokens": 8}
            if number % 2:
                chunks = client.chat.completions.create(stream=True, **asked)
                return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return client.chat.completions.create(**asked).choices[0].message.content

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(40))) == expected * 5
        metrics = {httpx.get(f"http://127.0.0.1:{port}/metrics").text for _ in range(40)}
        counts = {float(re.search(r'requests_total\{status="200"\} (\S+)', each)[1]) for each in metrics}
        assert sum(counts) == 40 or (len(counts) == 1 and counts == {20.0})
        assert 0 < min(counts) <= max(counts) < 40
        wrong = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"model": "other", "messages": []})
        assert wrong.status_code == 400
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
