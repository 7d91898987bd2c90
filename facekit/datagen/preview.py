"""A dry run: sample prompts, the number of calls and the estimated cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from facekit.catalog import current_registry
from facekit.data.ledger import LEDGER_NAME, Ledger, PlacedCall
from facekit.datagen.checking import check_batches, check_run
from facekit.datagen.intake import take_in
from facekit.datagen.plan import count_answered, outdate_answers, plan_annotations, survey
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import Recipe, load_recipe
from facekit.datagen.settings import GenerationSettings
from facekit.deprecations import renamed_arguments
from facekit.endpoints.addresses import load_answerer, parse_endpoint_spec
from facekit.endpoints.keys import no_key
from facekit.endpoints.limits import RateLimiter
from facekit.endpoints.prices import UNKNOWN_PRICE, Price, find_price, load_prices, model_price, prompt_tokens
from facekit.endpoints.requests import Request
from facekit.remote.uploads import output_place

ESTIMATED_FROM = 400
"""Calls whose prompts are measured; the rest is taken to be alike."""


@dataclass(frozen=True)
class SamplePrompt:
    """One prompt as it would be sent, and the question that would be stored."""

    aspect: str
    record: str
    system: str
    prompt: str
    question: str


@dataclass(frozen=True)
class Preview:
    """A preview of a run.

    Args:
        records: Records in the file.
        calls: Calls that are still to be made, by aspect.
        samples: One prompt for each aspect.
        problems: Why some of the measured calls cannot be made.
        prompt_tokens: Estimate of the tokens read, all calls together.
        longest_answers: Tokens written if every answer were as long as it may be.
        lowest_cost: Dollars if answers had a third of their longest length; None without a price.
        highest_cost: Dollars if every answer were as long as it may be; None without a price.
    """

    records: int
    calls: dict[str, int]
    samples: list[SamplePrompt]
    problems: list[str]
    prompt_tokens: int
    longest_answers: int
    lowest_cost: float | None
    highest_cost: float | None

    @property
    def total(self) -> int:
        """Number of calls."""
        return sum(self.calls.values())


@renamed_arguments(output="output_dir")
def dry_run(
    records: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    recipe: str | Path | Recipe,
    model: str,
    settings: GenerationSettings | None = None,
    *,
    judge: str | None = None,
) -> Preview:
    """Look at what a run would do; asks nobody, and writes nothing but a conversion that the run would need.

    Args:
        records: As in ``generate``.
        output_dir: The folder of the results; what its ledger has is not asked again.
        recipe: A recipe, its name or path.
        model: The annotator's model, for its price; its name or the annotator's spec string.
        settings: Those of the run.
        judge: The spec string of who rates the answers, whose calls are not counted.

    Raises:
        FaceKitError: What ``generate`` raises before it asks anybody, but for a key that is not there.
    """
    output = output_place(output_dir)
    settings, recipe = settings or GenerationSettings(), recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    check_run(output, recipe, judge, settings)
    records = take_in(records, output)
    specs = [*([model] if _is_spec(model) else []), *([] if judge is None else [judge])]
    answerers = [load_answerer(spec, ask_key=no_key) for spec in specs]
    if _is_spec(model):
        check_batches(settings, *answerers)
        model = answerers[0].model
    prices = load_prices(settings.prices)
    for named in (model, *(each.model for each in answerers)):
        model_price(prices, named, required=settings.max_cost is not None)
    price = find_price(prices, model)
    if price is not None and settings.batch:
        price = price.in_batch()
    overview = survey(records, recipe)
    calls, first = dict(overview.calls), plan_annotations(records, recipe, None)
    if (output / LEDGER_NAME).is_file():
        with Ledger(output) as ledger:
            outdate_answers(records, recipe, ledger)
            answered = count_answered(records, recipe, ledger)
            measured = list(islice(plan_annotations(records, recipe, ledger), ESTIMATED_FROM))
        calls = {aspect: max(0, count - answered[aspect]) for aspect, count in calls.items()}
    else:
        measured = list(islice(first, ESTIMATED_FROM))
    requests = [call.request for call in measured if call.request is not None]
    _check_limits(settings, requests, price)
    share = sum(calls.values()) / max(1, len(requests))
    known = price or next(iter(load_prices().values()))
    read = round(share * sum(prompt_tokens(request, known) for request in requests))
    written = round(share * sum(request.max_tokens for request in requests))
    return Preview(
        overview.records, calls, _samples(measured, recipe),
        sorted({call.problem for call in measured if call.problem})[:5], read, written,
        None if price is None else price.cost(read, written / 3), None if price is None else price.cost(read, written),
    )  # fmt: skip


def _check_limits(settings: GenerationSettings, requests: Sequence[Request], price: Price | None) -> None:
    """Refuse limits that the largest of the measured calls does not fit into."""
    known = price or UNKNOWN_PRICE
    largest = max((prompt_tokens(request, known) + request.max_tokens for request in requests), default=1)
    RateLimiter(settings.requests_per_minute, settings.tokens_per_minute, largest_call=float(largest))


def _samples(calls: list[PlacedCall], recipe: Recipe) -> list[SamplePrompt]:
    samples: dict[str, SamplePrompt] = {}
    for call in calls:
        if call.request is not None and call.aspect not in samples:
            question = stored_question(recipe, call.aspect, call.record)
            samples[call.aspect] = SamplePrompt(
                call.aspect, call.record, call.request.system, call.request.prompt, question
            )
    return list(samples.values())


def _is_spec(text: str) -> bool:
    """Whether a text is an annotator's spec string; a model's own name may have a colon, too (``llava:7b``)."""
    return parse_endpoint_spec(text).name in current_registry().names("annotator")
