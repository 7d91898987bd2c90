"""Judges of answers that did not come from a recipe: requests made elsewhere, through the same pipeline and ledger.

Evaluation writes the requests and reads the verdicts; the two rooms share no class, so what a request needs is a
protocol here. One folder has one ledger and one budget for all judges and runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from facekit.datagen.annotators.endpoint import parse_annotator_spec
from facekit.datagen.calls import RATE, Annotator, Call, Request, call_key
from facekit.datagen.ledger import ACCEPTED, FAILED, FINISHED, REJECTED, Entry, Ledger
from facekit.datagen.pipeline import Ending, Pipeline, ProgressListener
from facekit.datagen.plan import BATCH, in_batches
from facekit.datagen.prices import UNKNOWN_PRICE, Budget, Price, find_price, load_prices, require_price
from facekit.datagen.quality.rating import RATING_SCHEMA, review_rating
from facekit.datagen.retry import RetryPolicy
from facekit.datagen.settings import GenerationSettings
from facekit.datagen.workflow import load_annotator, stop_signals
from facekit.errors import ConfigurationError

IMAGE_SIDE, MAX_TOKENS, SECOND_TRIES = 512, 200, 1
SIGHTLESS = ("template",)
"""Annotators that cannot judge."""


class RatingRequest(Protocol):
    """What a judge is asked about one answer; any object with these."""

    @property
    def id(self) -> str:
        """Names the answer; another answer has another id."""

    @property
    def version(self) -> str:
        """Changes with the prompt's wording."""

    @property
    def system(self) -> str:
        """The system prompt."""

    @property
    def prompt(self) -> str:
        """The question, which asks for the criteria of ``facekit.datagen.quality.rating.CRITERIA``."""

    @property
    def media(self) -> tuple[str, ...]:
        """Paths of the pictures."""

    @property
    def problem(self) -> str | None:
        """Why the judge cannot be asked; None where it can."""


@dataclass(frozen=True)
class JudgeVerdict:
    """What a judge came to.

    Args:
        ratings: Criterion to a number from 1 to 10; None where there is no rating.
        reason: Why there is none.
    """

    ratings: Mapping[str, float] | None
    reason: str | None = None


class JudgePanel:
    """Several judges with one ledger and one budget.

    Args:
        folder: Folder of the ledger; the same folder again asks only what is open.
        judges: Spec strings such as ``openai:MODEL?base_url=…``, or annotators.
        settings: Speed, limits, budget; batches and several processes are not used.
        image_side: Longest side, in pixels, at which pictures are sent.
        on_progress: Told about progress a few times a second.
        ask_key: Asks for an API key where the environment has none.

    Attributes:
        ending: Why the last ``rate`` ended; None before it.
        cost: Dollars of all runs in the folder.

    Raises:
        ConfigurationError: There is no judge, one is named twice, one cannot see pictures, or a budget is given for
            one without a price.
    """

    def __init__(
        self,
        folder: str | Path,
        judges: Sequence[str | Annotator],
        *,
        settings: GenerationSettings | None = None,
        image_side: int = IMAGE_SIDE,
        on_progress: ProgressListener | None = None,
        ask_key: Callable[[str], str] | None = None,
    ) -> None:
        for spec in judges:
            if isinstance(spec, str) and parse_annotator_spec(spec).name in SIGHTLESS:
                raise ConfigurationError(f"'{spec}' cannot judge: it does not see pictures; give an endpoint")
        self.folder, self.image_side, self.on_progress = Path(folder), image_side, on_progress
        self.settings = settings or GenerationSettings()
        self.ending: Ending | None = None
        self.cost = 0.0
        annotators = [load_annotator(spec, ask_key=ask_key) for spec in judges]
        self._judges = dict(zip(map(_identity, annotators), annotators, strict=True))
        if not annotators or len(self._judges) < len(annotators):
            raise ConfigurationError("give at least one judge, and none of them twice")
        models = [annotator.model for annotator in annotators]
        self.names = {
            identity: annotator.model if models.count(annotator.model) == 1 else identity
            for identity, annotator in self._judges.items()
        }
        table = load_prices(self.settings.prices)
        self._prices = {identity: self._price(table, annotator) for identity, annotator in self._judges.items()}

    def rate(self, requests: Sequence[RatingRequest]) -> dict[str, dict[str, JudgeVerdict]]:
        """Have every request rated by every judge, but for what the ledger has; connections are closed afterwards.

        Returns:
            Judge to a request's id to its verdict; requests that are still open are left out.

        Raises:
            EndpointError: No call can succeed; what was answered is in the ledger.
        """
        with Ledger(self.folder) as ledger:
            try:
                asyncio.run(self._all_judges(requests, ledger))
            finally:
                self.cost = ledger.spent()
            return {self.names[identity]: self._verdicts(requests, identity, ledger) for identity in self._judges}

    async def _all_judges(self, requests: Sequence[RatingRequest], ledger: Ledger) -> None:
        stop, budget = asyncio.Event(), Budget(self.settings.max_cost, ledger.spent())
        try:
            with stop_signals(stop):
                for identity in self._judges:
                    self.ending = await self._one_judge(identity, requests, ledger, budget, stop)
                    if self.ending is not Ending.FINISHED:
                        return
        finally:
            for annotator in self._judges.values():
                await annotator.close()

    async def _one_judge(
        self, identity: str, requests: Sequence[RatingRequest], ledger: Ledger, budget: Budget, stop: asyncio.Event
    ) -> Ending:
        settings, annotator = self.settings, self._judges[identity]
        if settings.retry_failed:
            versions = {self._version(request) for request in requests}
            for version in versions:
                ledger.reopen(RATE, {identity: version}, (REJECTED, FAILED))
        finished = {entry.record for entry in self._entries(requests, identity, ledger) if entry.state in FINISHED}
        pipeline = Pipeline(
            annotator, ledger, self._prices[identity], budget,
            concurrency=settings.concurrency, requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute, policy=RetryPolicy(settings.attempts, settings.backoff),
            second_tries=SECOND_TRIES, stop=stop, on_progress=self.on_progress,
        )  # fmt: skip
        calls = (self._call(identity, request) for request in requests if request.id not in finished)
        return await pipeline.run(f"rate, {self.names[identity]}", calls, total=len(requests), done=len(finished))

    def _call(self, identity: str, request: RatingRequest) -> Call:
        place = (RATE, request.id, identity, self._version(request))
        if request.problem is not None:
            return Call(*place, None, review_rating, request.problem)
        asked = Request(
            key=call_key(*place),
            system=request.system,
            prompt=request.prompt,
            media=request.media,
            image_side=self.image_side,
            max_tokens=MAX_TOKENS,
            schema=RATING_SCHEMA,
        )
        return Call(*place, asked, review_rating)

    def _verdicts(self, requests: Sequence[RatingRequest], identity: str, ledger: Ledger) -> dict[str, JudgeVerdict]:
        return {
            entry.record: JudgeVerdict(json.loads(entry.answer))
            if entry.state == ACCEPTED
            else JudgeVerdict(None, entry.reason)
            for entry in self._entries(requests, identity, ledger)
        }

    def _entries(self, requests: Sequence[RatingRequest], identity: str, ledger: Ledger) -> Iterator[Entry]:
        for batch in in_batches(requests, BATCH):
            wanted = {request.id: self._version(request) for request in batch}
            for version in set(wanted.values()):
                for entry in ledger.entries(RATE, {identity: version}, list(wanted)):
                    if wanted[entry.record] == version:
                        yield entry

    def _version(self, request: RatingRequest) -> str:
        return f"{request.version}-{self.image_side}"

    def _price(self, table: dict[str, Price], annotator: Annotator) -> Price:
        if self.settings.max_cost is not None:
            return require_price(table, annotator.model)
        return find_price(table, annotator.model) or UNKNOWN_PRICE


def _identity(annotator: Annotator) -> str:
    """A judge in the ledger: the model, with its address where it is not OpenAI's; never a key."""
    address = getattr(annotator, "base_url", None)
    return annotator.model if address is None else f"{annotator.model} at {address}"
