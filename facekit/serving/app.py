"""``create_app``: the Starlette application, with chat completions, models, faces, the page, health and metrics."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.serving.admission import Admission
from facekit.serving.choices import Choice, Piece, wait_for
from facekit.serving.engine import Answer, Engine, Job
from facekit.serving.looking import (
    FacesRequest,
    RegionMapsRequest,
    describe_faces,
    describe_maps,
    find_maps,
    read_subject,
)
from facekit.serving.metrics import Metrics
from facekit.serving.page import page_routes
from facekit.serving.protocol import ChatRequest, Content, read_request, read_strictly
from facekit.serving.replies import DONE, Reply, event
from facekit.serving.request_error import RequestError
from facekit.serving.served import ServedModel
from facekit.serving.settings import ServerSettings

logger = logging.getLogger(__name__)

_BROKEN = "the model failed on this request; the server's log has the reason"
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Sender: TypeAlias = Callable[[Piece | Answer | BaseException], None]
_Pieces: TypeAlias = "asyncio.Queue[tuple[int, Piece | Answer | BaseException]]"


def create_app(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    settings: ServerSettings,
    *,
    others: Mapping[str, tuple[FaceKitForConditionalGeneration, FaceKitProcessor]] | None = None,
    make_engine: Callable[..., Engine] | Mapping[str, Callable[..., Engine]] = Engine,
) -> Starlette:
    """Make the server of a model.

    Args:
        model: The model, where it is to run.
        processor: Its processor, whose landmarker finds faces.
        settings: Limits and access.
        others: Further models with their processors, by the names that requests call them.
        make_engine: What answers, or by the name of each model; it is called as ``facekit.serving.Engine`` is.

    Returns:
        An ASGI application; its lifespan starts and ends the engine.
    """
    return _Server({settings.name: (model, processor), **(others or {})}, settings, make_engine).app()


@dataclass(frozen=True)
class _Exchange:
    """A request whose answers are under way.

    Args:
        reply: What the parts of its reply have in common.
        choices: Its answers while they are written.
        jobs: What the engine has of them.
        pieces: What has been written and not sent; None for a reply as a whole.
        tells_usage: Whether a stream ends with the numbers of tokens.
    """

    reply: Reply
    choices: list[Choice]
    jobs: list[Job]
    pieces: _Pieces | None
    tells_usage: bool


class _AnswerStream(StreamingResponse):
    """A stream whose answers are given up where it ends early, even before its first piece."""

    def __init__(self, stream: AsyncIterator[bytes], jobs: list[Job]) -> None:
        super().__init__(stream, media_type="text/event-stream")
        self._jobs = jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for job in self._jobs:
                job.cancel()


class _Server:
    def __init__(
        self,
        models: Mapping[str, tuple[FaceKitForConditionalGeneration, FaceKitProcessor]],
        settings: ServerSettings,
        make_engine: Callable[..., Engine] | Mapping[str, Callable[..., Engine]],
    ) -> None:
        self._settings = settings
        self._admission = Admission(settings, self._seconds_until_free)
        self._metrics = Metrics(lambda: self._admission.open)
        makers = make_engine if isinstance(make_engine, Mapping) else dict.fromkeys(models, make_engine)
        self._models = {
            name: ServedModel.of(
                name, *parts, settings, self._metrics.count_batch, makers[name], lambda: self._admission.coming
            )
            for name, parts in models.items()
        }

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            for served in self._models.values():
                served.engine.start()
            yield
            for served in self._models.values():
                await run_in_threadpool(served.engine.close)

        routes = [
            Route("/health", self._health),
            Route("/metrics", self._guarded(self._show_metrics)),
            Route("/v1/models", self._guarded(self._list_models)),
            Route("/v1/models/{name:path}", self._guarded(self._show_model)),
            Route("/v1/chat/completions", self._guarded(self._complete), methods=["POST"]),
            Route("/facekit/faces", self._guarded(self._find_faces), methods=["POST"]),
            Route("/facekit/region_maps", self._guarded(self._show_region_maps), methods=["POST"]),
        ]
        if self._settings.web:
            routes += page_routes(functools.partial(self._guarded, needs_key=False))
        unknown = RequestError(404, "there is no such address here; see /v1/models and /v1/chat/completions")
        other = RequestError(405, "this address does not take that method")
        handlers: Any = {404: lambda *_: _refuse(unknown), 405: lambda *_: _refuse(other)}
        return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)

    def _guarded(self, handler: Handler, *, needs_key: bool = True) -> Handler:
        """A handler for those with the key, whose refusals become replies."""

        @functools.wraps(handler)
        async def guarded(request: Request) -> Response:
            try:
                self._admission.check_host(request)
                if needs_key:
                    self._admission.check_key(request)
                response = await handler(request)
            except RequestError as refusal:
                response = _refuse(refusal)
            except ClientDisconnect:
                response = _refuse(RequestError(499, "the client has gone"))
            except Exception:
                logger.exception("a request failed")
                response = _refuse(RequestError(500, _BROKEN))
            if request.method == "POST":
                self._metrics.requests.labels(str(response.status_code)).inc()
            return response

        return guarded

    async def _health(self, request: Request) -> Response:
        failed = [name for name, served in self._models.items() if not served.engine.is_working]
        return JSONResponse({"status": "failed", "models": failed}, 503) if failed else JSONResponse({"status": "ok"})

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self._metrics.render(), media_type=self._metrics.content_type)

    async def _list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [served.describe() for served in self._models.values()]})

    async def _show_model(self, request: Request) -> Response:
        return JSONResponse(self._served(request.path_params["name"]).describe())

    def _served(self, name: str) -> ServedModel:
        if name in self._models:
            return self._models[name]
        there = " and ".join(f"'{each}'" for each in self._models)
        story = f"there is no model '{name[:100]}' here; this server has {there}"
        raise RequestError(404, story, param="model", code="model_not_found")

    async def _find_faces(self, request: Request) -> Response:
        body = await self._admission.read_body(request)
        with self._admission.place():
            asked = await self._admission.prepare(_read_json, FacesRequest, body)
            return await self._render(describe_faces, self._served(asked.model), asked)

    async def _show_region_maps(self, request: Request) -> Response:
        body = await self._admission.read_body(request)
        with self._admission.place():
            asked = await self._admission.prepare(_read_json, RegionMapsRequest, body)
            served = self._served(asked.model)
            medium = await self._admission.prepare(read_subject, served, asked)
            maps = await asyncio.wrap_future(served.engine.run(find_maps(served, medium)))
            return await self._render(describe_maps, maps, asked)

    async def _render(self, describe: Callable[..., dict[str, Any]], *arguments: Any) -> Response:
        """A large reply, written in a thread so that the others need not wait for it."""
        content = await self._admission.prepare(lambda: json.dumps(describe(*arguments), allow_nan=False).encode())
        return Response(content, media_type="application/json")

    async def _complete(self, request: Request) -> Response:
        began = time.monotonic()
        response = await self._answer(request, began)
        if not isinstance(response, StreamingResponse):  # which is timed at its end
            self._metrics.seconds.observe(time.monotonic() - began)
        return response

    async def _answer(self, request: Request, began: float) -> Response:
        exchange = await self._begin(request)
        if exchange.pieces is None:
            return await self._whole(request, exchange)
        return _AnswerStream(self._stream(exchange, exchange.pieces, began), exchange.jobs)

    async def _begin(self, request: Request) -> _Exchange:
        """Read a request and give its answers to the engine; what the client sent is not kept meanwhile."""
        body = await self._admission.read_body(request)
        self._admission.reserve(1)
        self._admission.coming += 1
        reserved = 1
        try:
            asked = await self._admission.prepare(_read_body, body)
            served = self._served(asked.model)
            count = asked.n or 1
            most = min(self._settings.max_choices, self._admission.bound)
            if count > most:
                raise RequestError(400, f"n={count} is too many; ask for at most {most}", param="n")
            self._admission.reserve(count - 1)
            reserved = count
            question = await self._admission.prepare(served.reader.read, asked)
            pieces: _Pieces | None = asyncio.Queue() if asked.stream else None
            choices = [Choice(index, asked.stops, _sender(pieces, index)) for index in range(count)]
            jobs = [choice.job(question, asked) for choice in choices]
            self._submit(served, jobs)
            reserved = 0  # a job gives its place back when it is done
        finally:
            self._admission.coming -= 1
            self._admission.release(reserved)
        tells_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return _Exchange(Reply(served.name, question.faces, question.prompt_tokens), choices, jobs, pieces, tells_usage)

    def _submit(self, served: ServedModel, jobs: list[Job]) -> None:
        loop = asyncio.get_running_loop()

        def release(future: Any) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._admission.release)

        for job in jobs:
            job.future.add_done_callback(release)
            served.engine.submit(job)

    def _seconds_until_free(self, waiting: int) -> int:
        return max(served.engine.seconds_until_free(waiting) for served in self._models.values())

    async def _whole(self, request: Request, exchange: _Exchange) -> Response:
        answers = await _unless_gone(request, exchange.jobs)
        ended = [choice.finish(answer) for choice, answer in zip(exchange.choices, answers, strict=True)]
        self._count(exchange.reply, answers)
        return JSONResponse(exchange.reply.whole(ended, sum(answer.end.tokens for answer in answers)))

    async def _stream(self, exchange: _Exchange, pieces: _Pieces, began: float) -> AsyncIterator[bytes]:
        reply, choices, jobs = exchange.reply, exchange.choices, exchange.jobs
        answers: list[Answer] = []
        try:
            for index, job in enumerate(jobs):
                job.future.add_done_callback(functools.partial(_send_end, _sender(pieces, index)))
                yield reply.opening(index)
            while len(answers) < len(jobs):
                index, item = await pieces.get()
                if isinstance(item, Piece):
                    yield reply.piece(index, item)
                elif isinstance(item, Answer):
                    answers.append(item)
                    ended = choices[index].finish(item)
                    if ended.rest.text or ended.rest.tokens:
                        yield reply.piece(index, ended.rest)
                    yield reply.ending(index, ended.reason)
                elif isinstance(item, RequestError):
                    yield event(item.body)
                    return
                else:
                    logger.error("an answer failed", exc_info=item)
                    yield event(RequestError(500, _BROKEN).body)
                    return
            self._count(reply, answers)
            if exchange.tells_usage:
                yield reply.final_usage(sum(answer.end.tokens for answer in answers))
            yield DONE
        finally:
            self._metrics.seconds.observe(time.monotonic() - began)

    def _count(self, reply: Reply, answers: list[Answer]) -> None:
        self._metrics.read.inc(reply.prompt_tokens)
        self._metrics.written.inc(sum(answer.end.tokens for answer in answers))


def _sender(pieces: _Pieces | None, index: int) -> Sender | None:
    """Puts what an engine's thread has for a choice into the queue of its stream."""
    if pieces is None:
        return None
    loop = asyncio.get_running_loop()

    def send(item: Piece | Answer | BaseException) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(pieces.put_nowait, (index, item))

    return send


def _send_end(send: Sender | None, future: Any) -> None:
    if send is not None and not future.cancelled():
        send(future.exception() or future.result())


async def _unless_gone(request: Request, jobs: list[Job]) -> list[Answer]:
    """The answers of jobs, which are given up where their client goes away."""
    together: asyncio.Future[Any] = asyncio.gather(*(wait_for(job) for job in jobs))
    gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([together, gone], return_when=asyncio.FIRST_COMPLETED)
        if together.done():
            return list(together.result())
        raise RequestError(499, "the client has gone")
    except RequestError:
        raise
    except Exception as error:
        logger.exception("an answer failed")
        raise RequestError(500, _BROKEN) from error
    finally:
        gone.cancel()
        for job in jobs:
            job.cancel()
        together.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await together


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _read_body(body: bytes) -> ChatRequest:
    return read_request(_parse(body))


def _read_json(kind: type[Content], body: bytes) -> Content:
    return read_strictly(kind, _parse(body))


def _parse(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, "the body is no JSON", code="invalid_json") from error


def _refuse(refusal: RequestError) -> Response:
    return JSONResponse(refusal.body, status_code=refusal.status, headers=refusal.headers)
