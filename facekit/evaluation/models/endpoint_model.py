"""A model behind an OpenAI-compatible endpoint under test: GPT-4o, or a vLLM server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import SecretStr

from facekit.endpoints.addresses import OPENAI
from facekit.endpoints.budget import Budget
from facekit.endpoints.client import TIMEOUT, EndpointClient
from facekit.endpoints.keys import DEFAULT_VARIABLE, read_key
from facekit.endpoints.outcomes import ACCEPTED, GAVE_UP, Ending, Outcome, OutcomeStore
from facekit.endpoints.pictures import LARGEST_SIDE, encode_jpeg
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.prices import load_prices, model_price
from facekit.endpoints.replies import CONTENT_FILTER, LENGTH
from facekit.endpoints.requests import EndpointError, Reply, Request, Review
from facekit.endpoints.settings import CallSettings
from facekit.errors import ConfigurationError
from facekit.evaluation.tasks.prompts import CLOSED
from facekit.evaluation.tasks.questions import Question, Unanswered
from facekit.spec import Range

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
        text = reply.text.strip() or (reply.refusal or "")
        if not text and reply.finish_reason == CONTENT_FILTER:
            return Review("", "the endpoint's content filter")
        if not text and reply.finish_reason == LENGTH:
            return Review("", "the longest answer was used up before its first word")
        return Review(text)


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
        transport: Who posts the calls, see ``EndpointClient``.
        settings: Concurrency, limits, retries, and the budget of one ``EndpointModel``.

    Attributes:
        cost: Dollars so far, by the price table; 0 for a model that it lacks.
        identity: What a resumed run is compared by beside the name.

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
        concurrency: int = CONCURRENCY,
        retries: int = RETRIES,
        timeout: float = TIMEOUT,
        transport: str | None = None,
        settings: CallSettings | None = None,
    ) -> None:
        if concurrency < 1 or retries < 0:
            raise ConfigurationError(
                f"an endpoint needs concurrency of at least 1 and retries of at least 0, not {concurrency}, {retries}"
            )
        self.name, self.prompt_style = f"openai:{model}", CLOSED
        self.settings = settings or CallSettings(concurrency=concurrency, attempts=retries + 1)
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        key = api_key or os.environ.get(DEFAULT_VARIABLE, "").strip()
        self.client = EndpointClient(
            model, key=SecretStr(key) if key else None, base_url=base_url, timeout=timeout, transport=transport
        )
        self.identity = {"base_url": base_url or OPENAI}
        self._price = model_price(load_prices(self.settings.prices), model, required=self.settings.max_cost is not None)
        self.cost = 0.0

    @classmethod
    def from_spec(
        cls,
        argument: str,
        *,
        base_url: str | None = None,
        key_env: str | None = None,
        concurrency: Annotated[int, Range(1, 1000)] = CONCURRENCY,
        retries: Annotated[int, Range(0, 99)] = RETRIES,
        timeout: Annotated[float, Range(above=0)] = TIMEOUT,
        transport: Literal["openai", "aiohttp"] | None = None,
        requests_per_minute: Annotated[float, Range(above=1)] | None = None,
        tokens_per_minute: Annotated[float, Range(above=1)] | None = None,
        max_cost: Annotated[float, Range(0)] | None = None,
        prices: str | None = None,
    ) -> Self:
        """Build from the spec string ``openai:MODEL?base_url=…&key_env=NAME&concurrency=…``.

        Args:
            argument: The model.
            base_url: The endpoint; by default what the environment says, else OpenAI's.
            key_env: The environment variable that has the key; the key itself is never an option.
            concurrency: Calls at a time.
            retries: How often a failed call is sent again.
            timeout: Seconds that a call may take.
            transport: Who posts the calls.
            requests_per_minute: The endpoint's limit.
            tokens_per_minute: The endpoint's limit of tokens read and written.
            max_cost: Dollars for one run; needs the model's price.
            prices: A price table of one's own.

        Raises:
            ConfigurationError: There is no key in ``key_env``, or a budget and no price.
            InvalidSpecError: ``base_url`` is no address.
        """
        settings = CallSettings(
            concurrency=concurrency, attempts=retries + 1, requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute, max_cost=max_cost, prices=prices,
        )  # fmt: skip
        key = None if key_env is None else read_key(key_env).get_secret_value()
        return cls(argument, base_url=base_url, api_key=key, timeout=timeout, transport=transport, settings=settings)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str | Unanswered]]:
        """Answer questions, several at a time; see ``ModelUnderTest``.

        A question that the endpoint refuses, or whose picture cannot be opened, is unanswered.

        Raises:
            ConfigurationError: No call can succeed, or the budget is used up; what was answered has been yielded.
        """
        with _Conversation(self, questions) as conversation:
            for index, outcome in conversation:
                self.cost += outcome.cost
                if outcome.state == ACCEPTED:
                    yield index, outcome.answer
                else:
                    yield index, Unanswered(outcome.reason or "no answer", is_final=outcome.state != GAVE_UP)
        if conversation.problem is not None:
            raise ConfigurationError(f"'{self.name}': {conversation.problem}; run again to go on from here")

    def pipeline(self, outcomes: OutcomeStore[_Asked], stop: asyncio.Event) -> Pipeline[_Asked]:
        """The pipeline of the calls of one ``answer``."""
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
                self.problem = str(found)
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found

    def stop(self) -> None:
        """Make no further call; those in flight are waited for."""
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
            ending = await self._model.pipeline(self, self._stop).run("answer", calls, total=len(self._questions))
            if ending is Ending.BUDGET:
                self.problem = f"the budget of ${self._model.settings.max_cost:g} is used up"
        finally:
            await self._model.client.close()


def _request(question: Question) -> Request:
    return Request(
        key=hashlib.sha256(question.id.encode()).hexdigest()[:32],
        system="",
        prompt=question.text,
        media=QuestionMedia(question) if question.has_pictures else None,
        max_tokens=question.max_new_tokens,
        temperature=0.0,
        pictures_first=True,
    )
