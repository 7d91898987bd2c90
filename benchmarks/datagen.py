"""How fast answers come in: the pipeline beside a sequential client, and the ledger with 100,000 records.

One server on this machine answers each call after a fixed time. In one run it is asked by a bare client that only
writes prepared bytes to as many sockets (the server's own capacity), by the pipeline over each of its transports, and
by a sequential client that makes the same calls one after the other through the ``openai`` package. The bare client
and the pipelines take turns. Start-up of a run of which all but the last of 100,000 records are answered is timed in a
process of its own, with its peak memory.

    python -m benchmarks.datagen                    # 50 ms a call, 64 calls at a time
    python -m benchmarks.datagen --processes 4      # more processes that talk to the server
    python -m benchmarks.datagen --part ledger      # one of the two measurements; the other's results stay
    python -m benchmarks.datagen --quick            # a few seconds, to see that it runs
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.harness import RESULTS_FOLDER, environment
from facekit.data.labels import FaceLabels
from facekit.data.ledger import Entry, Ledger, LedgerStore, PlacedCall, now
from facekit.data.records import FaceRecord, write_records
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.plan import plan_annotations
from facekit.datagen.recipe import Recipe, load_recipe
from facekit.endpoints.budget import Budget
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.dialect import Dialect
from facekit.endpoints.messages import request_body
from facekit.endpoints.outcomes import ACCEPTED
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.pool import ClientPool
from facekit.endpoints.prices import UNKNOWN_PRICE
from facekit.endpoints.transports import TRANSPORTS

SERVER = Path(__file__).parent.parent / "tests" / "shared" / "chat_server.py"
IMAGE_SIDE = 448
PIPELINE = "pipeline, {}"
RECORD_ANSWER = "The face is oval, the brows are level and the lips closed. " * 8

RESUME = """
import json, re, sys, time
started = time.perf_counter()
import asyncio
from pathlib import Path
from facekit.data.ledger import Ledger
from facekit.datagen.plan import plan_annotations, survey_once
from facekit.datagen.recipe import load_recipe
from facekit.datagen.calls import ANNOTATE
import facekit.datagen.workflow
imported = time.perf_counter()
records, folder = Path(sys.argv[1]), Path(sys.argv[2])
recipe = load_recipe("fairfacegpt")
with Ledger(folder) as ledger:
    overview = survey_once(records, recipe, ledger)
    counts = ledger.counts(ANNOTATE, recipe.prompt_versions())
    spent = ledger.spent()
    first = next(plan_annotations(records, recipe, ledger))
ready = time.perf_counter()
print(json.dumps({"records": overview.records, "stored": sum(counts.values()), "first": first.record,
                  "import_seconds": imported - started, "seconds": ready - started,
                  "peak_bytes": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024}))
"""


@dataclass(frozen=True)
class Rate:
    """One measurement of calls per second.

    Args:
        client: Who asked.
        calls: Calls made.
        seconds: Clock.
        processor_seconds: Of this process and its ended children.
    """

    client: str
    calls: int
    seconds: float
    processor_seconds: float

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds


@contextmanager
def running_server(latency: float) -> Iterator[int]:
    """A server in a process of its own; yields its port."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--latency", str(latency)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def make_faces(folder: Path, count: int) -> Path:
    """Noise pictures of a common size, with groups; enough of them that no client sees one twice in a turn."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    records = []
    for index in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        coarse.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC).save(folder / "images" / f"{index}.jpg")
        records.append(face_record(f"face-{index}", f"images/{index}.jpg"))
    return write_records(folder / "records.jsonl", records)


def face_record(identifier: str, image: str) -> FaceRecord:
    """A record as FairFace gives it."""
    groups = {"gender": "woman", "race": "East Asian", "age_group": "20-29"}
    return FaceRecord(id=identifier, image=image, groups=groups, labels=FaceLabels(), source="benchmark")


def planned_calls(faces: Path, recipe: Recipe, count: int) -> list[PlacedCall]:
    """The first calls of the recipe about the faces."""
    calls = list(islice(plan_annotations(faces, recipe, None), count))
    assert len(calls) == count
    return calls


async def ask_bare(port: int, body: bytes, calls: int, concurrency: int) -> None:
    """The least that a client can do: prepared bytes on open connections."""
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    left = iter(range(calls))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(concurrency)))


async def ask_with_pipeline(
    port: int, calls: list[PlacedCall], folder: Path, concurrency: int, processes: int, transport: str
) -> float:
    """The pipeline, with a new ledger; returns the seconds from the first call to the last stored answer."""
    endpoint = EndpointClient("benchmark", base_url=f"http://127.0.0.1:{port}/v1", transport=transport)
    worker = ClientPool(endpoint, processes) if processes > 1 else endpoint
    with Ledger(folder) as ledger:
        warm = Pipeline(worker, LedgerStore(ledger), UNKNOWN_PRICE, Budget(), concurrency=concurrency)
        await warm.run("warm-up", iter(calls[: 4 * concurrency]), total=4 * concurrency)
        pipeline = Pipeline(worker, LedgerStore(ledger), UNKNOWN_PRICE, Budget(), concurrency=concurrency)
        started = time.perf_counter()
        await pipeline.run(ANNOTATE, iter(calls), total=len(calls))
        seconds = time.perf_counter() - started
        stored = sum(ledger.counts(ANNOTATE, {call.aspect: call.version for call in calls}).values())
    assert stored == len(calls), f"{stored} of {len(calls)} calls were stored"
    await worker.close()
    await endpoint.close()
    return seconds


async def ask_in_sequence(port: int, calls: list[PlacedCall]) -> None:
    """One call after the other."""
    endpoint = EndpointClient("benchmark", base_url=f"http://127.0.0.1:{port}/v1")
    for call in calls:
        assert call.request is not None
        call.review(await endpoint.answer(call.request))
    await endpoint.close()


def prepared_body(call: PlacedCall, port: int) -> bytes:
    """The bytes of one call as the pipeline sends it."""

    async def encode() -> bytes:
        assert call.request is not None
        endpoint = EndpointClient("benchmark", base_url=f"http://127.0.0.1:{port}/v1")
        pictures = await endpoint.data_urls(call.request)
        await endpoint.close()
        body = request_body(call.request, "benchmark", pictures, Dialect())
        return json.dumps(body).encode()

    return asyncio.run(encode())


def measure_rates(work: Path, arguments: argparse.Namespace) -> list[Rate]:
    """Bare client and pipeline in turns, then the sequential client."""
    recipe = load_recipe("fairfacegpt").with_image_side(IMAGE_SIDE)
    faces = make_faces(work / "faces", -(-arguments.calls // len(recipe.aspects)))
    calls = planned_calls(faces, recipe, arguments.calls)
    rates = []
    gc.freeze()  # what the harness imports, PyTorch above all, is no garbage of a client's
    with running_server(arguments.latency) as port:
        body = prepared_body(calls[0], port)
        asyncio.run(ask_bare(port, body, 4 * arguments.concurrency, arguments.concurrency))
        for turn in range(arguments.turns):
            started, processor = time.perf_counter(), processor_seconds()
            asyncio.run(ask_bare(port, body, arguments.calls, arguments.concurrency))
            rates.append(_rate("bare client", arguments.calls, started, processor))
            for transport in TRANSPORTS:
                processor = processor_seconds()
                seconds = asyncio.run(
                    ask_with_pipeline(
                        port, calls, work / f"{transport}-{turn}", arguments.concurrency, arguments.processes, transport
                    )
                )
                used = processor_seconds() - processor
                rates.append(Rate(PIPELINE.format(transport), arguments.calls, seconds, used))
        started, processor = time.perf_counter(), processor_seconds()
        asyncio.run(ask_in_sequence(port, calls[: arguments.sequential_calls]))
        rates.append(_rate("sequential client", arguments.sequential_calls, started, processor))
    return rates


def processor_seconds() -> float:
    """Processor time of this process and of the children that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _rate(client: str, calls: int, started: float, processor: float) -> Rate:
    return Rate(client, calls, time.perf_counter() - started, processor_seconds() - processor)


def measure_resume(work: Path, count: int) -> dict[str, float]:
    """Start-up of a run of which all but the last record are answered, in a process of its own."""
    records = [face_record(f"face-{index:07d}", f"images/{index}.jpg") for index in range(count)]
    landmarks = np.random.default_rng(0).random((68, 2)).round(5).tolist()
    path = write_records(work / "many.jsonl", (r.model_copy(update={"landmarks": landmarks}) for r in records))
    recipe = load_recipe("fairfacegpt")
    versions = recipe.prompt_versions()
    with Ledger(work / "many") as ledger:
        for start in range(0, count - 1, 1000):
            ledger.store(
                *(
                    Entry(ANNOTATE, record.id, aspect, version, ACCEPTED, RECORD_ANSWER, "m", now(), 900, 120, 0.001, 1)
                    for record in records[start : min(start + 1000, count - 1)]
                    for aspect, version in versions.items()
                )
            )
    del records
    command = [sys.executable, "-c", RESUME, str(path), str(work / "many")]
    first, found = (
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(2)
    )
    found["first_seconds"] = first["seconds"]
    assert (found["records"], found["stored"]) == (count, (count - 1) * len(versions))
    found["ledger_bytes"] = (work / "many" / "ledger.sqlite").stat().st_size
    return found


def report_rates(console: Console, rates: list[Rate], latency: float, concurrency: int) -> dict[str, float]:
    """Print the table; returns the pipeline's share of the server's capacity by transport."""
    table = Table(title=f"{latency * 1000:g} ms a call, {concurrency} calls at a time")
    for column in ("client", "calls", "calls/s, median", "calls/s, all turns", "processor ms a call"):
        table.add_column(column)
    medians = {}
    for client in dict.fromkeys(rate.client for rate in rates):
        mine = [rate for rate in rates if rate.client == client]
        medians[client] = statistics.median(rate.per_second for rate in mine)
        each = statistics.median(1000 * rate.processor_seconds / rate.calls for rate in mine)
        table.add_row(
            client, f"{mine[0].calls:,}", f"{medians[client]:,.1f}",
            ", ".join(f"{rate.per_second:,.0f}" for rate in mine), f"{each:.2f}",
        )  # fmt: skip
    console.print(table)
    shares = {}
    for transport in TRANSPORTS:
        reached = medians[PIPELINE.format(transport)]
        shares[transport] = reached / medians["bare client"]
        console.print(
            f"With transport={transport} the pipeline reaches {100 * shares[transport]:.1f} % of what the bare client "
            f"gets from the server ({concurrency / latency:,.0f} calls/s at best), "
            f"{reached / medians['sequential client']:.1f} times the sequential client."
        )
    return shares


def report_resume(console: Console, resume: dict[str, float]) -> None:
    """Print what start-up takes."""
    console.print(
        f"Ledger: {resume['records']:,} records, {resume['stored']:,} answers, {resume['ledger_bytes'] / 2**20:,.0f} "
        f"MiB; first open call after {resume['seconds']:.2f} s ({resume['import_seconds']:.2f} s of it imports; "
        f"{resume['first_seconds']:.2f} s where the records file is new), peak memory "
        f"{resume['peak_bytes'] / 2**20:,.0f} MiB."
    )


def main() -> None:
    """Measure, print, and write ``benchmarks/results/datagen.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the server takes for a call")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--calls", type=int, default=8000, help="calls of the bare client and of the pipeline, a turn")
    parser.add_argument("--sequential-calls", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--records", type=int, default=100_000, help="records in the ledger")
    parser.add_argument("--part", choices=("rates", "ledger", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="few calls and records; writes no results")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.calls, arguments.turns, arguments.records, arguments.sequential_calls = 320, 1, 500, 20
    console, path = Console(), RESULTS_FOLDER / "datagen.json"
    document = json.loads(path.read_text()) if path.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.part in ("rates", "both"):
            rates = measure_rates(Path(folder), arguments)
            shares = report_rates(console, rates, arguments.latency, arguments.concurrency)
            document["rates"] = {
                "environment": environment(torch.device("cpu")), "settings": settings_of(arguments),
                "share_of_capacity": shares,
                "turns": [asdict(rate) | {"per_second": rate.per_second} for rate in rates],
            }  # fmt: skip
        if arguments.part in ("ledger", "both"):
            resume = measure_resume(Path(folder), arguments.records)
            report_resume(console, resume)
            document["ledger"] = {"environment": environment(torch.device("cpu")), "resume": resume}
    if arguments.quick:
        return
    RESULTS_FOLDER.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"results: {path}", soft_wrap=True)


def settings_of(arguments: argparse.Namespace) -> dict[str, float]:
    """What the rates were measured with."""
    names = ("latency", "concurrency", "processes", "calls", "turns")
    machine = {"cores": len(os.sched_getaffinity(0)), "load_average_after": os.getloadavg()[0]}
    return {name: getattr(arguments, name) for name in names} | machine | {"image_side": IMAGE_SIDE}


if __name__ == "__main__":
    main()
