"""A pool of processes for one endpoint, where a single processor core is too slow to keep it busy.

The pipeline, its limits and the ledger stay in one process; encoding pictures and HTTP go to the workers. Calls about
one record go to the same worker, so that its picture is encoded once. A worker ends when its socket closes, which it
also does when the main process is killed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import signal
import socket
import struct
import zlib
from dataclasses import dataclass, field, fields
from typing import Any

from facekit.endpoints.client import EndpointClient
from facekit.endpoints.requests import EndpointError, Media, Reply, Request
from facekit.errors import FaceKitError, first_line

_HEAD = struct.Struct("!I")
_PREPARE = -1


@dataclass
class _Worker:
    process: Any
    socket: socket.socket
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    listener: asyncio.Task[None] | None = None
    waiting: dict[int, asyncio.Future[Reply]] = field(default_factory=dict)


class ClientPool:
    """A client in several processes.

    Args:
        client: Says which endpoint; each process makes its own connections.
        processes: How many.
    """

    def __init__(self, client: EndpointClient, processes: int) -> None:
        self.model = client.model
        options = {
            "key": client.key, "base_url": client.base_url, "timeout": client.timeout,
            "structured": client.structured, "transport": client.transport,
        }  # fmt: skip
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for _ in range(processes):
            ours, theirs = socket.socketpair()
            process = context.Process(target=_worker_main, args=(theirs, client.model, options), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))
        self._number = 0
        self._prepared: Media | None = None

    def prepare(self, request: Request) -> None:
        """Let the process that will be asked encode the picture."""
        worker = self._worker(request)
        if request.media != self._prepared and worker.writer is not None:
            self._prepared = request.media
            _send(worker.writer, (_PREPARE, _stripped(request)))

    async def answer(self, request: Request) -> Reply:
        """Answer one request; see ``facekit.endpoints.requests.Answerer``."""
        worker = self._worker(request)
        if worker.reader is None:
            worker.reader, worker.writer = await self._connect(worker)
        if worker.writer is None or worker.listener is None or worker.listener.done():
            raise EndpointError("a worker process ended; run the same command again")
        self._number += 1
        number = self._number
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        worker.waiting[number] = future
        try:
            _send(worker.writer, (number, _stripped(request)))
            return await future
        finally:
            worker.waiting.pop(number, None)

    async def _connect(self, worker: _Worker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if worker.listener is None:
            opening = asyncio.ensure_future(asyncio.open_connection(sock=worker.socket))
            worker.listener = asyncio.create_task(self._listen(worker, opening))
        while worker.reader is None:
            await asyncio.sleep(0.001)
        assert worker.writer is not None
        return worker.reader, worker.writer

    async def _listen(
        self, worker: _Worker, opening: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    ) -> None:
        reader, writer = await opening
        worker.writer, worker.reader = writer, reader
        try:
            while True:
                number, outcome = await _receive(reader)
                future = worker.waiting.get(number)
                if future is None or future.done():
                    continue
                if isinstance(outcome, Reply):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
        except (asyncio.IncompleteReadError, ConnectionError):
            for future in worker.waiting.values():
                if not future.done():
                    future.set_exception(EndpointError("a worker process ended; run the same command again"))

    def _worker(self, request: Request) -> _Worker:
        return self._workers[zlib.crc32(repr(request.media).encode()) % len(self._workers)]

    async def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            if worker.listener is not None:
                worker.listener.cancel()
            if worker.writer is not None:
                worker.writer.close()
            worker.socket.close()
        for worker in self._workers:
            await asyncio.to_thread(worker.process.join, 5)
            if worker.process.is_alive():
                worker.process.terminate()


def _stripped(request: Request) -> Request:
    """The fields that an endpoint needs, of a request that may have more."""
    return Request(**{each.name: getattr(request, each.name) for each in fields(Request)})


def _send(writer: asyncio.StreamWriter, message: object) -> None:
    payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    writer.write(_HEAD.pack(len(payload)) + payload)


async def _receive(reader: asyncio.StreamReader) -> Any:
    (length,) = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    return pickle.loads(await reader.readexactly(length))


def _worker_main(connection: socket.socket, model: str, options: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(connection, EndpointClient(model, **options)))


async def _serve(connection: socket.socket, client: EndpointClient) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            number, request = await _receive(reader)
            if number == _PREPARE:
                client.prepare(request)
                continue
            task = asyncio.create_task(_answer(client, number, request, writer))
            running.add(task)
            task.add_done_callback(running.discard)
    except (asyncio.IncompleteReadError, ConnectionError):
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    finally:
        await client.close()
        writer.close()


async def _answer(client: EndpointClient, number: int, request: Request, writer: asyncio.StreamWriter) -> None:
    try:
        outcome: Reply | Exception = await client.answer(request)
    except FaceKitError as failure:
        failure.__cause__ = failure.__context__ = None
        outcome = failure
    except Exception as error:  # noqa: BLE001 - whoever waits for the answer must get one
        outcome = EndpointError(f"a worker process failed ({type(error).__name__}: {first_line(error)})")
    _send(writer, (number, outcome))
