"""Requests per second and waiting times of ``facekit serve`` beside a naive server, from 1 to 128 clients.

The naive server is what one writes first: a Starlette route that calls ``facekit.ask`` under a lock. Where vLLM is
installed, ``facekit serve --engine vllm`` is the third. Each runs in a process of its own, with the same model (the
demo's composition, random weights of 32 bits), and is asked by the same clients over HTTP, in turns. Each client sends
its next request when it has its answer. Every answer is compared with that of ``facekit.ask``.

The last column is the time of the slowest of a hundred requests over the batch's time: as many requests as there are
clients, at most the server's largest batch, prepared as the server prepares them and answered as one batch by facekit's
own engine, in the benchmark's process and without HTTP, its pictures encoded already. It is taken before and after the
requests, five times each, and the median counts. Of ``--repeats`` rounds the one with the median ratio is shown.

Then 40 questions about one picture are asked at once, one request each as the protocol has it, of a picture that is new
to the server: the seconds until all have answers, the middle one of three, beside those of one call of ``facekit.ask``.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import json
import os
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import facekit
from benchmarks.ask import ATTRIBUTES
from benchmarks.harness import environment, measure_ceilings, results_path, write_results
from benchmarks.serving_servers import (
    FACEKIT,
    NAIVE,
    VLLM,
    VLLM_OPTIONS,
    WAITING,
    compose,
    draw_picture,
    question,
    running,
)
from facekit.cores import count_usable_cores
from facekit.serving import Engine, ServerSettings
from facekit.serving.engine import Job
from facekit.serving.protocol import read_request
from facekit.serving.questions import QuestionReader

SERVERS = (FACEKIT, NAIVE, *([VLLM] if importlib.util.find_spec("vllm") is not None else []))
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
    parser.add_argument("--repeats", type=int, default=3, help="rounds of all servers but the naive one")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/serving-DEVICE.json")
    parser.add_argument("--questions", type=int, default=len(ATTRIBUTES), help="about one picture at once, at most 40")
    parser.add_argument("--vllm-options", default=VLLM_OPTIONS, help="arguments of vLLM's engine as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    model, processor = compose()
    with ExitStack() as running_servers:
        most = max(*options.clients, options.questions)
        urls = {
            name: running_servers.enter_context(running(name, most, options.vllm_options))
            for name in (NAIVE, FACEKIT, VLLM)
            if name in options.servers
        }
        rows = measure_load(model, processor, urls, options) + measure_one_picture(model, processor, urls, options)
    device = torch.device("cpu")
    path = options.output or results_path("serving", device, "json")
    write_results(path, environment(device), measure_ceilings(device, torch.float32), rows)


def measure_load(
    model: Any, processor: Any, urls: Mapping[str, str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Many questions about several pictures, from every number of clients."""
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
    for clients in options.clients:
        measured = {
            name: measure_rounds(url, bodies, expected, clients, batches, 1 if name == NAIVE else options.repeats)
            for name, url in urls.items()
        }
        slower = measured[next(iter(urls))]["requests_per_second"]
        for name, figures in measured.items():
            row = {"task": "load", "server": name, "clients": clients, **figures}
            rows.append({**row, "speed_up": figures["requests_per_second"] / slower})
            cells = (f"{rows[-1][key]:.2f}" for key in SHOWN)
            table.add_row(name, str(clients), *cells)
    Console(width=120).print(table)
    return rows


def measure_one_picture(
    model: Any, processor: Any, urls: Mapping[str, str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """All questions about one picture at once, three times with another picture, that no server has seen."""
    seconds: dict[str, list[float]] = {"facekit.ask": [], **{name: [] for name in urls}}
    attributes = ATTRIBUTES[: options.questions]
    questions = [question(attribute) for attribute in attributes]
    for number in range(3):
        picture = draw_picture(options.pictures + number)
        began = time.perf_counter()
        answers = facekit.ask(model, processor, picture, questions, max_new_tokens=options.tokens)
        seconds["facekit.ask"].append(time.perf_counter() - began)
        expected = {(0, attribute): answer for attribute, answer in zip(attributes, answers, strict=True)}
        bodies = [((0, attribute), body(picture, attribute, options.tokens)) for attribute in attributes]
        for name, url in urls.items():
            seconds[name].append(len(bodies) / measure(url, bodies, expected, len(bodies))["requests_per_second"])
    table = Table(title=f"{len(questions)} questions about one picture at once")
    for column in ("asked", "seconds"):
        table.add_column(column, justify="left" if column == "asked" else "right")
    rows: list[dict[str, Any]] = []
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        rows.append({"task": "one picture", "server": name, "questions": len(questions), "seconds": middle})
        table.add_row(name, f"{middle:.2f}")
    Console(width=120).print(table)
    return rows


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


if __name__ == "__main__":
    if not WAITING.items() <= os.environ.items():  # torch reads it when it is imported
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.serving", *sys.argv[1:]], os.environ | WAITING)
    main()
