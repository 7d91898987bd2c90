"""A model behind an OpenAI-compatible endpoint under test: GPT-4o, or a vLLM server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import SecretStr

from facekit.endpoints.budget import Budget
from facekit.endpoints.client import TIMEOUT, EndpointClient
from facekit.endpoints.outcomes import ACCEPTED, Outcome
from facekit.endpoints.pictures import LARGEST_SIDE, encode_jpeg
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.prices import load_prices, model_price
from facekit.endpoints.requests import EndpointError, Reply, Request, Review
from facekit.endpoints.settings import CallSettings
from facekit.errors import ConfigurationError
from facekit.evaluation.tasks.questions import Question
from facekit.spec import PositiveInt, Range

JPEG_QUALITY = 95
CONCURRENCY, RETRIES = 8, 12


@dataclass(frozen=True, eq=False)
class QuestionMedia:
    """The pictures of a question, as they are; see ``facekit.endpoints.requests.Media``."""

    question: Question

    @property
    def count(self) -> int:
        """How many pictures are sent; one at least of a record."""
        return len(self.question.pictures) or 1

    @property
    def image_side(self) -> int:
        """The largest side that can be."""
        return LARGEST_SIDE

    def encode(self) -> list[bytes]:
        """The pictures as JPEG files; raises ``ImageError`` or ``RecordError``."""
        return [encode_jpeg(picture.convert("RGB"), quality=JPEG_QUALITY) for picture in self.question.open_pictures()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuestionMedia) and self.question.subject == other.question.subject

    def __hash__(self) -> int:
        return hash(self.question.subject)


@dataclass(frozen=True)
class _Asked:
    """A question as the pipeline sees it."""

    index: int
    request: Request
    problem: str | None = None

    def review(self, reply: Reply) -> Review:
        return Review(reply.text.strip())


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint: GPT-4o, or a vLLM server.

    Calls go through facekit's shared client: failed ones are made again with growing waits, pauses that the endpoint
    asks for are kept by all, and keys are struck out of every text.

    Args:
        model: Name of the model at the endpoint.
        base_url: The endpoint; by default what the environment says, else OpenAI's.
        api_key: The key; by default from the environment variable ``OPENAI_API_KEY``.
        concurrency: Calls at a time; unused where there are settings.
        retries: How often a failed call is sent again; unused where there are settings.
        timeout: Seconds that a call may take.
        settings: Concurrency, limits, retries and budget.

    Attributes:
        cost: Dollars so far, by the price table; 0 for a model that it lacks.

    Raises:
        ConfigurationError: ``concurrency`` or ``retries`` is out of range, or there is a budget and no price.
        InvalidSpecError: ``base_url`` is no address.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        concurrency: PositiveInt = CONCURRENCY,
        retries: Annotated[int, Range(0)] = RETRIES,
        timeout: Annotated[float, Range(above=0)] = TIMEOUT,
        settings: CallSettings | None = None,
    ) -> None:
        if concurrency < 1 or retries < 0:
            raise ConfigurationError(f"an endpoint needs concurrency of 1 and more, not {concurrency}, {retries}")
        self.name = f"openai:{model}"
        self.settings = settings or CallSettings(concurrency=concurrency, attempts=retries + 1)
        key = api_key or os.environ.get("OPENAI_API_KEY", "").strip()
        self.client = EndpointClient(
            model, key=SecretStr(key) if key else None, base_url=base_url or os.environ.get("OPENAI_BASE_URL") or None,
            timeout=timeout,
        )  # fmt: skip
        self._price = model_price(load_prices(self.settings.prices), model, required=self.settings.max_cost is not None)
        self.cost = 0.0

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Answer questions, several at a time; see ``ModelUnderTest``.

        Raises:
            ConfigurationError: A call failed for good; the answers that were there before have been yielded.
        """
        with _Conversation(self, questions) as conversation:
            for index, outcome in conversation:
                self.cost += outcome.cost
                if outcome.state != ACCEPTED:
                    conversation.stop(f"the question '{questions[index].id}' ({outcome.reason})")
                    continue
                yield index, outcome.answer
        if conversation.problem is not None:
            raise ConfigurationError(
                f"'{self.name}' gave no answer to {conversation.problem}; run again to go on from here"
            )

    def pipeline(self, outcomes: Any, stop: asyncio.Event) -> Pipeline[_Asked]:
        """What carries out the calls of one ``answer``."""
        budget = Budget(self.settings.max_cost, self.cost)
        return Pipeline.of(self.client, outcomes, self.settings, price=self._price, budget=budget, stop=stop)


class _Conversation:
    """The calls of one ``answer``, made in a thread with an event loop of its own; iterates over their outcomes."""

    def __init__(self, model: EndpointModel, questions: Sequence[Question]) -> None:
        self._model, self._questions = model, questions
        self._outcomes: queue.SimpleQueue[tuple[int, Outcome] | BaseException | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="endpoint", daemon=True)
        self.problem: str | None = None

    def __enter__(self) -> _Conversation:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._thread.join()

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        while (found := self._outcomes.get()) is not None:
            if isinstance(found, EndpointError):
                self.problem = self.problem or f"its questions ({found})"
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found

    def stop(self, problem: str | None = None) -> None:
        """Make no further call; those in flight are waited for."""
        self.problem = self.problem or problem
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def store(self, call: _Asked, outcome: Outcome) -> None:
        self._outcomes.put((call.index, outcome))

    def flush(self) -> None:
        """Nothing is kept back."""

    def _run(self) -> None:
        try:
            asyncio.run(self._talk())
        except BaseException as error:  # noqa: BLE001 - raised again where the outcomes are read
            self._outcomes.put(error)
        finally:
            self._outcomes.put(None)

    async def _talk(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            calls = (_Asked(index, _request(question)) for index, question in enumerate(self._questions))
            await self._model.pipeline(self, self._stop).run("answer", calls, total=len(self._questions))
        finally:
            await self._model.client.close()


def _request(question: Question) -> Request:
    return Request(
        key=hashlib.sha256(question.id.encode()).hexdigest()[:32], system="", prompt=question.text,
        media=QuestionMedia(question), max_tokens=question.max_new_tokens, temperature=0.0, pictures_first=True,
    )  # fmt: skip
