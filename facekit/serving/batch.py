"""``choose_batch_engine``: what answers prompts that are at hand, in ``facekit ask --batch`` and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Protocol

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import AnsweringEngine, MediumTensors
from facekit.models.source import ModelSource
from facekit.serving.engine import Answer, Engine, Job
from facekit.serving.engines import choose_engine
from facekit.serving.request_error import RequestError


class EngineStarter(Protocol):
    """Starts the engine of a model; None stands for the model itself, which answers in batches."""

    def __call__(
        self, model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, batch_size: int
    ) -> AbstractContextManager[AnsweringEngine | None]:
        """Start it; the end of the context ends it.

        Args:
            model: The model.
            processor: Its processor.
            batch_size: Answers that are written together.
        """
        ...


def choose_batch_engine(name: str, options: str | None, source: ModelSource) -> EngineStarter:
    """Return what starts the engine of a batch; nothing is opened before.

    Args:
        name: ``transformers`` or ``vllm``.
        options: Arguments of vLLM's engine, as a JSON object.
        source: The model and how it is opened.

    Raises:
        FaceKitError: As ``facekit.serving.engines.choose_engine`` does.
    """
    make_engine = choose_engine(name, options, source)
    return _no_engine if name == "transformers" else partial(answering, make_engine)


class BatchAnswers:
    """An engine as what ``facekit.models.sessions.answer_subjects`` answers with; see ``AnsweringEngine``.

    Args:
        engine: The engine, which has been started.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def identity(self) -> Mapping[str, str]:
        """What the engine's answers depend on beside the model."""
        return self._engine.identity

    def answer(self, media: Sequence[MediumTensors], prompt: str, max_new_tokens: int) -> Future[str]:
        """Begin a greedy answer, which ends where the future is cancelled.

        The future has a ``ConfigurationError`` where the engine refuses the question, and an ``EngineError`` where it
        has failed.
        """
        job = Job(prompt, tuple(media), b"".join(each.digest() for each in media), max_new_tokens)
        found: Future[str] = Future()
        found.add_done_callback(lambda _: job.cancel() if found.cancelled() else None)
        job.future.add_done_callback(lambda answer: _pass_on(answer, found))
        self._engine.submit(job)
        return found


@contextmanager
def answering(
    make_engine: Callable[..., Engine],
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    batch_size: int,
) -> Iterator[BatchAnswers]:
    """Start an engine and end it.

    Args:
        make_engine: Makes it; called as ``Engine`` is, see ``facekit.serving.engines``.
        model: The model.
        processor: Its processor.
        batch_size: Answers that are written together.

    Yields:
        What answers.
    """
    engine = make_engine(model, processor, max_batch=batch_size)
    engine.start()
    try:
        yield BatchAnswers(engine)
    finally:
        engine.close()


def _no_engine(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, batch_size: int
) -> AbstractContextManager[None]:
    return nullcontext(None)


def _pass_on(answer: Future[Answer], found: Future[str]) -> None:
    """Give a job's answer, or what it failed with, to the one who waits for its text."""
    with suppress(InvalidStateError):  # it has been given up
        try:
            found.set_result(answer.result().text)
        except RequestError as error:
            found.set_exception(ConfigurationError(str(error)))
        except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
            found.set_exception(error)
