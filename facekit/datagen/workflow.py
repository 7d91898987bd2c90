"""Data generation from end to end: plan, annotate, rate, select, write, report. An interrupted run is resumed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from facekit.answers.ratings import review_rating
from facekit.data.atomic import require_writable
from facekit.data.ledger import FINISHED, SUBMITTED, LedgerStore, PlacedCall
from facekit.data.ledger import Ledger as Ledger
from facekit.datagen.annotators.template import MODEL
from facekit.datagen.batches import BatchRunner
from facekit.datagen.calls import ANNOTATE, RATE, Annotator
from facekit.datagen.checking import check_batches, check_run, has_batches
from facekit.datagen.exports import Provenance, write_exports, write_provenance_card
from facekit.datagen.intake import take_in
from facekit.datagen.outputs import RECORDS_NAME, Written, write_outputs, write_summary
from facekit.datagen.plan import Overview, count_answered, plan_annotations, survey_once
from facekit.datagen.quality.answers import review_answer
from facekit.datagen.quality.rating import count_ratings, plan_ratings
from facekit.datagen.quality.report import ReportData, write_report
from facekit.datagen.recipe import Recipe, load_recipe
from facekit.datagen.selection import Selector
from facekit.datagen.settings import GenerationSettings
from facekit.deprecations import renamed_arguments
from facekit.endpoints.addresses import load_answerer as load_annotator
from facekit.endpoints.budget import Budget
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.interruption import stop_signals
from facekit.endpoints.outcomes import FAILED, REJECTED, Ending, ProgressListener
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.pool import ClientPool
from facekit.endpoints.prices import Price, load_prices, model_price
from facekit.endpoints.requests import Reply, Review
from facekit.errors import RecordError
from facekit.remote.uploads import uploaded_folder

logger = logging.getLogger(__name__)

Stage = tuple[str, "Annotator", Price]


@dataclass(frozen=True)
class GenerationResult:
    """The result of a generation run.

    Args:
        ending: Why it ended.
        written: What is in the files.
        cost: Dollars of all runs in this folder.
        records: The records file.
        report: The report.
        card: The dataset card.
        exports: What was written besides, by format.
        open_batches: Calls that are in a batch of the endpoint, by its name.
    """

    ending: Ending
    written: Written
    cost: float
    records: Path
    report: Path
    card: Path
    exports: dict[str, Path]
    open_batches: dict[str, int] = field(default_factory=dict)


@renamed_arguments(output="output_dir")
def generate(
    records: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    recipe: str | Path | Recipe = "fairfacegpt",
    *,
    annotator: str | Annotator = "template",
    judge: str | Annotator | None = None,
    settings: GenerationSettings | None = None,
    on_progress: ProgressListener | None = None,
    ask_key: Callable[[str], str] | None = None,
) -> GenerationResult:
    """Make instruction data from labelled faces.

    Args:
        records: A records file with labels or groups, shards of ``facekit preprocess``, a dataset as ``name:folder`` or
            any file that ``facekit convert`` reads; or several of these, which are merged.
        output_dir: The folder for the ledger and the results, or its address; the same folder again goes on where a run
            stopped.
        recipe: A recipe, its name, or the path of one's own.
        annotator: Who answers, as a spec string or an object.
        judge: Who rates the answers; None rates nothing.
        settings: Speed, limits, budget.
        on_progress: Called with the progress a few times a second.
        ask_key: Asks for an API key where the environment has none.

    Returns:
        What was achieved; ``ending`` says whether anything is left to do.

    Raises:
        RecordError: If the records file is missing or malformed.
        ConfigurationError: If settings, recipe or budget do not fit, or the folder has another recipe's records.
        StorageError: If the disk is full, or another program reads the ledger.
        EndpointError: If no call can succeed; what was answered is in the ledger.
    """
    settings = settings or GenerationSettings()
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    with uploaded_folder(output_dir) as place:
        return _generate(records, place, recipe, annotator, judge, settings, on_progress, ask_key)


def _generate(
    records: str | Path | Sequence[str | Path],
    output_dir: Path,
    recipe: Recipe,
    annotator: str | Annotator,
    judge: str | Annotator | None,
    settings: GenerationSettings,
    on_progress: ProgressListener | None,
    ask_key: Callable[[str], str] | None,
) -> GenerationResult:
    output = require_writable(output_dir)
    check_run(output, recipe, judge, settings)
    taken = take_in(records, output)
    if not taken.is_file():
        raise RecordError(f"records file {taken} cannot be opened (no such file); check the path")
    prices = load_prices(settings.prices)
    answering = load_annotator(annotator, ask_key=ask_key)
    judging = None if judge is None else load_annotator(judge, ask_key=ask_key)
    check_batches(settings, *(each for each in (answering, judging) if each is not None))
    stages: list[Stage] = [(ANNOTATE, answering, _price(prices, answering, settings))]
    if judging is not None:
        stages.append((RATE, judging, _price(prices, judging, settings)))
    with Ledger(output) as ledger:
        _tell_template_answers(ledger, answering, output)
        overview = survey_once(taken, recipe, ledger)
        run = _Run(taken, output, recipe, settings, ledger, overview, on_progress)
        ending = asyncio.run(run.all_stages(stages))
        return run.finish(ending, stages)


def _tell_template_answers(ledger: Ledger, annotator: Annotator, output: Path) -> None:
    """Say that an endpoint is not asked again about what the templates have answered in the same folder."""
    count = 0 if annotator.model == MODEL else ledger.count_answers_of(MODEL)
    if count:
        logger.warning(
            "%s has %s answers of the annotator '%s', which stay; for answers of %s use another folder",
            output,
            f"{count:,}",
            MODEL,
            annotator.model,
        )


def _price(prices: dict[str, Price], annotator: Annotator, settings: GenerationSettings) -> Price:
    found = model_price(prices, annotator.model, required=settings.max_cost is not None)
    return found.in_batch() if settings.batch and has_batches(annotator) else found


@dataclass
class _Run:
    records: Path
    output: Path
    recipe: Recipe
    settings: GenerationSettings
    ledger: Ledger
    overview: Overview
    on_progress: ProgressListener | None

    async def all_stages(self, stages: list[Stage]) -> Ending:
        stop = asyncio.Event()
        budget = Budget(self.settings.max_cost, self.ledger.spent())
        with stop_signals(stop):
            for stage, annotator, price in stages:
                ending = await self._stage(stage, annotator, price, budget, stop)
                if ending is not Ending.FINISHED:
                    return ending
        return Ending.FINISHED

    async def _stage(
        self, stage: str, annotator: Annotator, price: Price, budget: Budget, stop: asyncio.Event
    ) -> Ending:
        recipe, ledger, settings = self.recipe, self.ledger, self.settings
        if stage == ANNOTATE:
            versions = recipe.prompt_versions()
            plan = partial(plan_annotations, self.records, recipe, ledger, by_template=annotator.model == MODEL)
        else:
            versions = recipe.rating_versions()
            plan = partial(plan_ratings, self.records, recipe, ledger)
        if settings.retry_failed:
            ledger.reopen(stage, versions, (REJECTED, FAILED))
        counts = ledger.counts(stage, versions)
        total, done = self._count(stage, has_finished=any(state in FINISHED for _, state in counts))
        try:
            if settings.batch and isinstance(annotator, EndpointClient):
                done = max(0, done - sum(count for (_, state), count in counts.items() if state == SUBMITTED))
                runner = BatchRunner(annotator, ledger, price, budget, settings, stop, self.on_progress)
                return await runner.run(stage, plan, self._review(stage), total=total, done=done)
            worker = annotator
            if settings.processes > 1 and isinstance(annotator, EndpointClient):
                worker = ClientPool(annotator, settings.processes)
            pipeline = self._pipeline(worker, price, budget, stop)
            try:
                return await pipeline.run(stage, plan(), total=total, done=done)
            finally:
                if worker is not annotator:
                    await worker.close()
        finally:
            await annotator.close()

    def _count(self, stage: str, *, has_finished: bool) -> tuple[int, int]:
        """How many calls a stage has about the records of the file, and how many of them are answered."""
        if stage == RATE:
            return count_ratings(self.records, self.recipe, self.ledger)
        total = self.overview.total
        answered = count_answered(self.records, self.recipe, self.ledger).total() if has_finished else 0
        return total, min(total, answered)

    def _pipeline(
        self, annotator: Annotator, price: Price, budget: Budget, stop: asyncio.Event
    ) -> Pipeline[PlacedCall]:
        return Pipeline.of(
            annotator, LedgerStore(self.ledger), self.settings, price=price, budget=budget,
            second_tries=self.recipe.second_tries, stop=stop, on_progress=self.on_progress,
        )  # fmt: skip

    def _review(self, stage: str) -> Callable[[str, Reply], Review]:
        """How answers to an aspect are judged, where the calls themselves are gone."""
        if stage == RATE:
            return lambda aspect, reply: review_rating(reply)
        language = self.recipe.answer_language()
        return lambda aspect, reply: review_answer(reply, self.recipe.aspects[aspect].minimum_words, language)

    def finish(self, ending: Ending, stages: list[Stage]) -> GenerationResult:
        recipe, ledger = self.recipe, self.ledger
        judge = stages[1][1].model if len(stages) > 1 else None
        rated = judge is not None or bool(recipe.rating and ledger.counts(RATE, recipe.rating_versions()))
        threshold = self.settings.threshold or (recipe.rating.threshold if recipe.rating else 0.0)
        data = ReportData(self.records.parent, recipe, rated, threshold)
        selector = Selector(self.records, recipe, ledger, rated, threshold)
        written = write_outputs(selector, self.output, self.records, recipe, data.observe)
        cost = ledger.spent()
        report = write_report(self.output, data, written, cost)
        write_summary(
            self.output,
            {
                "recipe": recipe.name, "recipe_summary": recipe.summary, "prompt_versions": recipe.prompt_versions(),
                "source_records": self.records.name, "annotator": stages[0][1].model,
                "judge": judge, "threshold": threshold if rated else None,
                "ending": ending.value, "cost": cost, **asdict(written),
            },
        )  # fmt: skip
        path = self.output / RECORDS_NAME
        provenance = Provenance(
            recipe, dict(data.models.most_common()), judge, threshold if rated else None, written.reasons,
            self.records.name,
        )  # fmt: skip
        card = write_provenance_card(path, provenance)
        exports = write_exports(path, self.settings.formats) if written.records else {}
        return GenerationResult(ending, written, cost, path, report, card, exports, ledger.calls_in_batches())
