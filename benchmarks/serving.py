"""Requests per second and waiting times of ``facekit serve`` beside a naive server, from 1 to 128 clients.

The naive server is what one writes first: a Starlette route that calls ``facekit.ask`` under a lock. Both run in a
process of their own, with the same model (the demo's composition, random weights), and are asked by the same clients
over HTTP, in turns. Each client sends its next request when it has its answer. Every answer of both is compared with
that of ``facekit.ask``.

The last column is the time of the slowest of a hundred requests over the batch's time: as many requests as there are
clients, at most the server's largest batch, prepared as the server prepares them and answered as one batch by the same
engine, in the benchmark's process and without HTTP, its pictures encoded already. It is taken before and after the
requests, five times each, and the median counts. Of ``--repeats`` rounds the one with the median ratio is shown.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import facekit
from benchmarks.ask import ATTRIBUTES
from benchmarks.harness import environment, measure_ceilings, results_path, write_results
from facekit.cores import count_usable_cores
from facekit.demo.settings import DemoSettings
from facekit.serving import Engine, ServerSettings
from facekit.serving.engine import Job
from facekit.serving.protocol import read_request
from facekit.serving.questions import QuestionReader

SERVERS = ("facekit serve", "naive")
SHOWN = ("requests_per_second", "p50_seconds", "p99_seconds", "speed_up", "batch_seconds", "p99_over_batch")
LARGEST_BATCH = 32
"""Of ``facekit serve`` where nothing else is said."""


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--requests", type=int, default=128, help="of each server at each number of clients")
    parser.add_argument("--tokens", type=int, default=16, help="the longest answer")
    parser.add_argument("--pictures", type=int, default=8, help="different ones")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of facekit serve")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/serving-DEVICE.json")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    if options.serve:
        serve(options.serve, max(options.clients))
        return
    model, processor = compose()
    pictures = [draw_picture(index) for index in range(options.pictures)]
    work = [(index % options.pictures, ATTRIBUTES[index % len(ATTRIBUTES)]) for index in range(options.requests)]
    expected = {
        pair: facekit.ask(model, processor, pictures[pair[0]], question(pair[1]), max_new_tokens=options.tokens)[0]
        for pair in set(work)
    }
    bodies = [(pair, body(pictures[pair[0]], pair[1], options.tokens)) for pair in work]
    batches = Batches(model, processor)
    rows: list[dict[str, Any]] = []
    table = Table(title=f"{options.requests} requests, {options.pictures} pictures, {options.tokens} tokens at most")
    for column in ("server", "clients", "requests/s", "p50 s", "p99 s", "faster by", "batch s", "p99 / batch"):
        table.add_column(column, justify="left" if column == "server" else "right")
    with ExitStack() as servers:
        urls = {
            name: servers.enter_context(running(name, options)) for name in reversed(SERVERS) if name in options.servers
        }
        for clients in options.clients:
            measured = {
                name: measure_rounds(
                    url, bodies, expected, clients, batches, options.repeats if name == SERVERS[0] else 1
                )
                for name, url in urls.items()
            }
            slower = measured[next(iter(urls))]["requests_per_second"]
            for name, figures in measured.items():
                row = {"server": name, "clients": clients, **figures}
                rows.append({**row, "speed_up": figures["requests_per_second"] / slower})
                cells = (f"{rows[-1][key]:.2f}" for key in SHOWN)
                table.add_row(name, str(clients), *cells)
    Console(width=120).print(table)
    device = torch.device("cpu")
    path = options.output or results_path("serving", device, "json")
    write_results(path, environment(device), measure_ceilings(device, torch.float32), rows)


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


def body(picture: Image.Image, attribute: str, tokens: int) -> bytes:
    """A request in OpenAI's form."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question(attribute)}]
    request = {"model": "demo", "messages": [{"role": "user", "content": content}], "max_tokens": tokens}
    return json.dumps(request).encode()


def measure(
    url: str, bodies: list[tuple[tuple[int, str], bytes]], expected: dict[tuple[int, str], str], clients: int
) -> dict[str, float]:
    """Send all requests from so many clients at once; return the rate and the waiting times."""
    seconds: list[float] = []
    wrong: list[str] = []
    start = threading.Barrier(clients + 1)

    def send(share: list[tuple[tuple[int, str], bytes]]) -> None:
        start.wait()
        for pair, content in share:
            began = time.perf_counter()
            text = post(url, content)
            seconds.append(time.perf_counter() - began)
            if text != expected[pair]:
                wrong.append(text)

    with ThreadPoolExecutor(clients) as pool:
        shares = [pool.submit(send, bodies[client::clients]) for client in range(clients)]
        start.wait()
        began = time.perf_counter()
        for share in shares:
            share.result()
        whole = time.perf_counter() - began
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(bodies)} answers differ from those of facekit.ask")
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"requests_per_second": len(bodies) / whole, "p50_seconds": cuts[49], "p99_seconds": cuts[98]}


def measure_rounds(
    url: str,
    bodies: list[tuple[tuple[int, str], bytes]],
    expected: dict[tuple[int, str], str],
    clients: int,
    batches: Batches,
    rounds: int,
) -> dict[str, Any]:
    """Several rounds of ``measure`` between batches without a server; returns the one with the median ratio."""
    found = []
    for _ in range(rounds):
        together = [content for _, content in bodies[: min(clients, LARGEST_BATCH)]]
        before = batches.time(together)
        figures = measure(url, bodies, expected, clients)
        batch = statistics.median([*before, *batches.time(together)])
        found.append({**figures, "batch_seconds": batch, "p99_over_batch": figures["p99_seconds"] / batch})
    found.sort(key=lambda figures: figures["p99_over_batch"])
    ratios = [figures["p99_over_batch"] for figures in found]
    return {**found[len(found) // 2], "p99_over_batch_of_rounds": ratios}


class Batches:
    """Requests answered as one batch, without a server."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._reader = QuestionReader(model, processor, ServerSettings("demo"))
        self._sizes: list[int] = []
        self._engine = Engine(
            model, processor, max_batch=LARGEST_BATCH, on_batch=lambda size, _: self._sizes.append(size)
        )
        self._engine.start()
        self._pool = ThreadPoolExecutor(max(2, count_usable_cores()))

    def time(self, bodies: list[bytes], count: int = 5) -> list[float]:
        """Seconds of preparing and answering so many requests in one batch, several times."""
        seconds = []
        while len(seconds) <= count:
            self._sizes.clear()
            taken = self._time(bodies)
            if self._sizes == [len(bodies)]:  # and not in two, where this thread was held up between two requests
                seconds.append(taken)
        return seconds[1:]  # the first encodes the pictures

    def _time(self, bodies: list[bytes]) -> float:
        began = time.perf_counter()
        questions = list(self._pool.map(lambda content: self._reader.read(read_request(json.loads(content))), bodies))
        jobs = [Job(each.prompt, each.media, each.key, each.max_new_tokens) for each in questions]
        for job in jobs:
            self._engine.submit(job)
        for job in jobs:
            job.future.result()
        return time.perf_counter() - began


def post(url: str, content: bytes) -> str:
    """One request; returns the answer."""
    request = urllib.request.Request(f"{url}/chat/completions", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


@contextmanager
def running(name: str, options: argparse.Namespace) -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    clients = [str(each) for each in options.clients]
    command = [sys.executable, "-m", "benchmarks.serving", "--serve", name, "--clients", *clients]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url.startswith("http"):
                raise SystemExit(f"the server '{name}' did not start")
            yield url
        finally:
            process.terminate()


def serve(name: str, clients: int) -> None:
    """Be one of the servers: print the address, answer until told to end."""
    from facekit.serving import serve as serve_model

    model, processor = compose()
    announce: Callable[[str], None] = lambda url: print(url, flush=True)  # noqa: E731 - one line, used twice
    if name == SERVERS[0]:
        serve_model(model, processor, ServerSettings("demo", port=0, max_waiting=clients), on_ready=announce)
    else:
        serve_naively(model, processor, announce)


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
    main()
