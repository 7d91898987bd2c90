"""``facekit datagen``: instruction data from labelled faces, resumable, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.belonging import refuse_alone
from facekit.cli.output import AsJson, progress_display, say, show, show_json
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.datagen.preview import Preview
    from facekit.datagen.workflow import GenerationResult

STOPPED_STATUS, BUDGET_STATUS = 130, 3


def datagen(
    context: typer.Context,
    records: Annotated[
        list[str],
        typer.Argument(
            help="A records file (JSON lines) with labels or groups; or shards, or a dataset: name:folder; several "
            "are merged."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for ledger and results; the same folder again goes on.")],
    recipe: Annotated[
        str, typer.Option(help="fairfacegpt, faceinstruct, or the path of your own YAML.")
    ] = "fairfacegpt",
    annotator: Annotated[
        str, typer.Option(help="Who answers: template, or openai:MODEL?base_url=URL&key_env=NAME.")
    ] = "template",
    judge: Annotated[str | None, typer.Option(help="Who rates the answers, likewise; by default nobody.")] = None,
    aspects: Annotated[str | None, typer.Option(help="Aspects of the recipe, separated by commas.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show sample prompts, calls and cost; ask nobody.")
    ] = False,
    max_cost: Annotated[float | None, typer.Option(help="Dollars for this folder; stops cleanly before more.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price table (YAML).")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls at a time.")] = 16,
    processes: Annotated[int, typer.Option(help="Processes that talk to the endpoint.")] = 1,
    requests_per_minute: Annotated[float | None, typer.Option(help="The endpoint's limit.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="The endpoint's limit.")] = None,
    attempts: Annotated[int, typer.Option(help="Tries of a call that fails for a reason that passes.")] = 6,
    threshold: Annotated[float | None, typer.Option(help="Lowest overall rating that is kept.")] = None,
    image_side: Annotated[int | None, typer.Option(help="Longest side of a sent picture, in pixels.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Use the OpenAI Batch API, for half the price.")] = False,
    poll_seconds: Annotated[float, typer.Option(help="Time between looks at a batch.")] = 60.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again about what failed before.")] = False,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Also write llava, sharegpt, datasets or webdataset; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe faces with a model, filter and rate the answers, and write records to train on."""
    from facekit.datagen.preview import dry_run as preview_run
    from facekit.datagen.recipe import load_recipe
    from facekit.datagen.settings import GenerationSettings
    from facekit.datagen.workflow import generate
    from facekit.endpoints.addresses import load_answerer
    from facekit.endpoints.keys import no_key
    from facekit.endpoints.outcomes import Ending

    if judge is None:
        refuse_alone(context, "--judge", "threshold")
    if not batch:
        refuse_alone(context, "--batch", "poll_seconds")
    settings = GenerationSettings(
        concurrency=concurrency, processes=processes, requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute, max_cost=max_cost, prices=prices, attempts=attempts, threshold=threshold,
        batch=batch, poll_seconds=poll_seconds, retry_failed=retry_failed,
        formats=tuple(format or ()),
    )  # fmt: skip
    chosen = load_recipe(recipe)
    if image_side is not None:
        chosen = chosen.with_image_side(image_side)
    if aspects is not None:
        chosen = chosen.only([name.strip() for name in aspects.split(",")])
    if dry_run:
        _ = load_answerer(annotator, ask_key=no_key)
        preview = preview_run(records, output, chosen, annotator, settings, judge=judge)
        if as_json:
            show_json({"preview": preview, "total_calls": preview.total})
        else:
            _show_preview(preview)
        return
    answering = load_answerer(annotator, ask_key=ask_for_key())
    judging = None if judge is None else load_answerer(judge, ask_key=ask_for_key())
    with progress_display() as progress:
        result = generate(
            records, output, chosen, annotator=answering, judge=judging, settings=settings,
            on_progress=progress,
        )  # fmt: skip
    if as_json:
        show_json(_facts(result))
    else:
        _show(result)
    if result.ending is not Ending.FINISHED:
        say(f"{result.ending.value}; run the same command again to go on")
        raise typer.Exit(BUDGET_STATUS if result.ending is Ending.BUDGET else STOPPED_STATUS)


def _show(result: GenerationResult) -> None:
    written = result.written
    show(
        f"{counted(written.kept, 'answer')} kept, {written.dropped:,} dropped, {written.failed:,} failed, "
        f"{written.pending:,} still open; ${result.cost:.2f} spent"
    )
    for batch_name, count in result.open_batches.items():
        show(f"batch {batch_name} has {counted(count, 'call')}; collect with --batch")
    for name, path in (("records", result.records), ("failures", result.records.with_name("failures.jsonl")),
                       ("report", result.report), ("card", result.card), *result.exports.items()):  # fmt: skip
        show(f"{name:<11}{path}")


def _facts(result: GenerationResult) -> dict[str, Any]:
    return {
        "ending": result.ending.name.lower(),
        "answers": result.written,
        "cost": result.cost,
        "open_batches": result.open_batches,
        "records": result.records,
        "failures": result.records.with_name("failures.jsonl"),
        "report": result.report,
        "card": result.card,
        "exports": result.exports,
    }


def ask_for_key() -> Callable[[str], str] | None:
    """A prompt that asks for an API key at the terminal; None where there is no terminal to ask at."""
    import sys
    from getpass import getpass

    return getpass if sys.stdin.isatty() else None


def _show_preview(preview: Preview) -> None:
    for sample in preview.samples:
        show(f"── {sample.aspect}: {sample.record}", bold=True)
        for title, text in (("system", sample.system), ("prompt", sample.prompt), ("stored question", sample.question)):
            show(f"{title}: {text}")
    for problem in preview.problems:
        show(f"cannot be asked: {problem}")
    for aspect, count in preview.calls.items():
        show(f"{aspect}: {counted(count, 'call')}")
    show(
        f"{counted(preview.records, 'record')}, {counted(preview.total, 'call')}, about "
        f"{preview.prompt_tokens:,} tokens read and at most {preview.longest_answers:,} written"
    )
    if preview.highest_cost is None or preview.lowest_cost is None:
        show("estimated cost: unknown, the price table has no such model (--prices)")
    else:
        show(f"estimated cost: ${preview.lowest_cost:.2f} to ${preview.highest_cost:.2f}")
