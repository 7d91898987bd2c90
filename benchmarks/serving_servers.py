"""The servers of ``benchmarks.serving``, each in a process of its own: facekit's, it with vLLM, and a naive one."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import facekit
from facekit.demo.settings import DemoSettings

WAITING = {"GOMP_SPINCOUNT": "10000"}
"""How threads wait in every server, as the command line has it."""
NAIVE, FACEKIT, VLLM = "naive", "facekit serve", "facekit serve, vLLM"
VLLM_OPTIONS = '{"enforce_eager": true, "kv_cache_memory_bytes": 268435456, "max_model_len": 1024}'
"""Of vLLM's engine on a CPU where nothing else is said."""


@contextmanager
def running(name: str, clients: int, vllm_options: str = VLLM_OPTIONS) -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    command = [sys.executable, "-m", __name__, name, str(clients), vllm_options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | WAITING) as process:
        try:
            assert process.stdout is not None
            url = next((line.strip() for line in process.stdout if line.startswith("http")), None)
            if url is None:
                raise SystemExit(f"the server '{name}' did not start")
            yield url
        finally:
            process.terminate()


def compose() -> tuple[Any, Any]:
    """The demo's model with random weights, the same in every process; pictures are crops already."""
    settings = DemoSettings()
    model, processor = facekit.create(
        encoder="tiny", connector=settings.connector, backbone=settings.backbone, seed=0, device="cpu"
    )
    processor.image_processor.landmarker = None
    return model, processor


def draw_picture(index: int) -> Image.Image:
    """A picture of noise, the same in every process."""
    generator = torch.Generator().manual_seed(index)
    return Image.fromarray(torch.randint(0, 256, (96, 96, 3), generator=generator, dtype=torch.uint8).numpy())


def question(attribute: str) -> str:
    """The question about an attribute."""
    return f"Does the person have {attribute}?"


def serve(name: str, clients: int, vllm_options: str) -> None:
    """Be one of the servers: print the address, answer until told to end."""
    from facekit.serving import Engine, ServerSettings
    from facekit.serving import serve as serve_model
    from facekit.serving.vllm.engine import VllmEngine

    model, processor = compose()
    announce: Callable[[str], None] = lambda url: print(url, flush=True)  # noqa: E731 - one line, used twice
    if name == NAIVE:
        serve_naively(model, processor, announce)
        return
    make_engine: Callable[..., Engine] = Engine
    with tempfile.TemporaryDirectory() as folder:
        if name == VLLM:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            make_engine = partial(VllmEngine, folder=Path(folder), options=json.loads(vllm_options))
        settings = ServerSettings("demo", port=0, max_waiting=clients)
        serve_model(model, processor, settings, make_engine=make_engine, on_ready=announce)


def serve_naively(model: Any, processor: Any, announce: Callable[[str], None]) -> None:
    """Answer one request at a time, each by ``facekit.ask``."""
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    lock = threading.Lock()

    def answer(request: dict[str, Any]) -> str:
        image, text = request["messages"][0]["content"]
        content = base64.b64decode(image["image_url"]["url"].split(",", 1)[1])
        with lock:
            picture = Image.open(io.BytesIO(content))
            return facekit.ask(model, processor, picture, text["text"], max_new_tokens=request["max_tokens"])[0]

    async def complete(request: Request) -> JSONResponse:
        text = await run_in_threadpool(answer, await request.json())
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": text}}]})

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
