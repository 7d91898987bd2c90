"""A panel of judges behind endpoints, which rate every answer within one ledger and one budget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.answers.ratings import RATING_SCHEMA, review_rating
from facekit.data.ledger import FINISHED, Entry, Ledger, LedgerStore, PlacedCall, call_key
from facekit.data.media_files import IMAGE_SIDE, MediaFiles
from facekit.deprecations import renamed_arguments
from facekit.endpoints.addresses import load_answerer, parse_endpoint_spec
from facekit.endpoints.budget import Budget
from facekit.endpoints.interruption import stop_signals
from facekit.endpoints.outcomes import ACCEPTED, FAILED, REJECTED, Ending, ProgressListener
from facekit.endpoints.pictures import check_image_side
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.prices import load_prices, model_price
from facekit.endpoints.requests import Answerer, Request
from facekit.endpoints.settings import CallSettings
from facekit.errors import ConfigurationError
from facekit.evaluation.judging.explanations import RatingRequest

STAGE = "rate"
MAX_TOKENS, SECOND_TRIES = 200, 1
SIGHTLESS = ("template",)
"""Registered annotators that cannot judge."""


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on an answer.

    Args:
        ratings: A number from 1 to 10 for each of ``facekit.answers.ratings.CRITERIA``; None where there is no rating.
        reason: Why there is none.
    """

    ratings: Mapping[str, float] | None
    reason: str | None = None


class JudgePanel:
    """Several judges with one ledger and one budget.

    Args:
        output_dir: Folder of the ledger; the same folder again asks only what is open.
        judges: Spec strings such as ``openai:MODEL?base_url=…``, or what answers requests.
        settings: Speed, limits, budget; several processes are not used.
        image_side: Longest side, in pixels, at which pictures are sent.
        on_progress: Called with the progress a few times a second.
        ask_key: Asks for an API key where the environment has none.

    Attributes:
        ending: Why the last ``rate`` ended; None before it.
        cost: Dollars of all runs in the folder.

    Raises:
        ConfigurationError: There is no judge, one is named twice, one cannot see pictures, a budget is given for one
            without a price, or ``image_side`` is out of its range.
    """

    @renamed_arguments(folder="output_dir")
    def __init__(
        self,
        output_dir: str | Path,
        judges: Sequence[str | Answerer],
        *,
        settings: CallSettings | None = None,
        image_side: int = IMAGE_SIDE,
        on_progress: ProgressListener | None = None,
        ask_key: Callable[[str], str] | None = None,
    ) -> None:
        for spec in judges:
            if isinstance(spec, str) and parse_endpoint_spec(spec).name in SIGHTLESS:
                raise ConfigurationError(f"'{spec}' cannot judge: it does not see pictures; give an endpoint")
        check_image_side(image_side)
        self.folder, self.image_side, self.on_progress = Path(output_dir), image_side, on_progress
        self.settings = settings or CallSettings()
        self.ending: Ending | None = None
        self.cost = 0.0
        answerers = [load_answerer(spec, ask_key=ask_key) for spec in judges]
        self._judges = dict(zip(map(_identity, answerers), answerers, strict=True))
        if not answerers or len(self._judges) < len(answerers):
            raise ConfigurationError("give at least one judge, and none of them twice")
        models = [answerer.model for answerer in answerers]
        self.names = {
            identity: answerer.model if models.count(answerer.model) == 1 else identity
            for identity, answerer in self._judges.items()
        }
        table = load_prices(self.settings.prices)
        needed = self.settings.max_cost is not None
        self._prices = {
            identity: model_price(table, answerer.model, required=needed) for identity, answerer in self._judges.items()
        }

    def rate(self, requests: Sequence[RatingRequest]) -> dict[str, dict[str, Verdict]]:
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
            for answerer in self._judges.values():
                await answerer.close()

    async def _one_judge(
        self, identity: str, requests: Sequence[RatingRequest], ledger: Ledger, budget: Budget, stop: asyncio.Event
    ) -> Ending:
        settings, answerer = self.settings, self._judges[identity]
        if settings.retry_failed:
            versions = {self._version(request) for request in requests}
            for version in versions:
                ledger.reopen(STAGE, {identity: version}, (REJECTED, FAILED))
        finished = {entry.record for entry in self._entries(requests, identity, ledger) if entry.state in FINISHED}
        pipeline = Pipeline.of(
            answerer, LedgerStore(ledger), settings, price=self._prices[identity], budget=budget,
            second_tries=SECOND_TRIES, stop=stop, on_progress=self.on_progress,
        )  # fmt: skip
        calls = (self._call(identity, request) for request in requests if request.id not in finished)
        return await pipeline.run(f"rate, {self.names[identity]}", calls, total=len(requests), done=len(finished))

    def _call(self, identity: str, request: RatingRequest) -> PlacedCall:
        key = (STAGE, request.id, identity, self._version(request))
        if request.problem is not None:
            return PlacedCall(*key, None, review_rating, request.problem)
        asked = Request(
            key=call_key(*key),
            system=request.system,
            prompt=request.prompt,
            media=MediaFiles(request.media, self.image_side),
            max_tokens=MAX_TOKENS,
            schema=RATING_SCHEMA,
        )
        return PlacedCall(*key, asked, review_rating)

    def _verdicts(self, requests: Sequence[RatingRequest], identity: str, ledger: Ledger) -> dict[str, Verdict]:
        return {
            entry.record: Verdict(json.loads(entry.answer)) if entry.state == ACCEPTED else Verdict(None, entry.reason)
            for entry in self._entries(requests, identity, ledger)
        }

    def _entries(self, requests: Sequence[RatingRequest], identity: str, ledger: Ledger) -> Iterator[Entry]:
        wanted = {request.id: self._version(request) for request in requests}
        for version in set(wanted.values()):
            for entry in ledger.entries(STAGE, {identity: version}, list(wanted)):
                if wanted[entry.record] == version:
                    yield entry

    def _version(self, request: RatingRequest) -> str:
        return f"{request.version}-{self.image_side}"


def _identity(answerer: Answerer) -> str:
    """A judge in the ledger: the model, with its address where it is not OpenAI's; never a key."""
    address = getattr(answerer, "base_url", None)
    return answerer.model if address is None else f"{answerer.model} at {address}"
