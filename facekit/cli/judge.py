"""``facekit judge``: explanations rated by judge models behind endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facekit.cli.datagen import BUDGET_STATUS, STOPPED_STATUS, ask_for_key
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, progress_display, say, show, show_json, show_table
from facekit.cli.previews import DryRun, show_previews
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.evaluation import Preview
    from facekit.evaluation.judging.explanations import JudgedAnswer
    from facekit.evaluation.judging.ratings import JudgingResult
    from facekit.models.source import ModelSource
    from facekit.reports import ProgressDisplay


@with_model_options()
def judge(
    records: Annotated[Path, typer.Argument(help="The records file (JSON lines) with labels.")],
    output: Annotated[Path, typer.Option(help="Folder for ledger and ratings; the same folder again goes on.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Answers to judge, as facekit eval writes them; else the conversations.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Ask this model for explanations first: as in facekit eval.")
    ] = None,
    judges: Annotated[
        list[str] | None, typer.Option("--judge", help="openai:MODEL?base_url=URL&key_env=NAME; may be given again.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody: check which labels are named; gives no ratings.")
    ] = False,
    tasks: Annotated[str | None, typer.Option(help="Names, separated by commas; by default all.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Judge so many answers of every task.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Dollars for this folder; stops cleanly before more.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price table (YAML).")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls at a time.")] = 16,
    requests_per_minute: Annotated[float | None, typer.Option(help="The endpoint's limit.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="The endpoint's limit.")] = None,
    attempts: Annotated[int, typer.Option(help="Tries of a call that fails for a reason that passes.")] = 6,
    backoff: Annotated[float, typer.Option(help="Longest wait after the first failure, in seconds; it doubles.")] = 1.0,
    image_side: Annotated[int, typer.Option(help="Longest side of a sent picture, in pixels.")] = 512,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again about what failed before.")] = False,
    dry_run: DryRun = False,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Have explanations rated: consistency with the image and with the label, completeness, from 1 to 10.

    The exit status is 2 where no answer got a rating.
    """
    from dataclasses import replace

    from facekit.data.atomic import require_writable
    from facekit.endpoints.keys import no_key
    from facekit.endpoints.outcomes import Ending
    from facekit.endpoints.settings import CallSettings
    from facekit.errors import ConfigurationError
    from facekit.evaluation.judging.panel import JudgePanel
    from facekit.evaluation.judging.ratings import JUDGING_NAME, judge_answers

    if offline == bool(judges):
        raise ConfigurationError("give --judge, once or more, for ratings; or --offline, which gives none")
    if predictions is not None and model is not None:
        raise ConfigurationError("give --predictions or --model, not both")
    source = opening.source(model or "")
    if model is None and source.given:
        raise ConfigurationError(f"{source.given[0]} says how --model is opened, and none is given; leave it out")
    settings = CallSettings(
        concurrency=concurrency, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
        max_cost=max_cost, prices=prices, attempts=attempts, backoff=backoff, retry_failed=retry_failed,
    )  # fmt: skip
    panel = None if offline else JudgePanel(
        output, judges or (), settings=settings, image_side=image_side, ask_key=no_key if dry_run else ask_for_key()
    )  # fmt: skip
    if dry_run:
        shown = _preview(records, predictions, source if model else None, tasks, sample, judges or ())
        show_previews(shown, output, as_json=as_json)
        return
    require_writable(output)
    with progress_display() as progress:
        if panel is not None:
            panel.on_progress = progress
        answers = _collect(records, output, predictions, source if model else None, tasks, sample, progress)
        if panel is None:
            _check_offline(answers, output, as_json=as_json)
            return
        result = judge_answers(answers, panel, output_dir=output, judged=model or str(predictions or records))
    result = replace(result, cost=panel.cost)
    path = result.write(output / JUDGING_NAME)
    if as_json:
        show_json(
            {"result": result, "ratings": path, "ending": None if panel.ending is None else panel.ending.name.lower()}
        )
    else:
        _show(result, path)
    if panel.ending is Ending.FINISHED and not any(each.rated for each in result.judges):
        raise typer.Exit(2)
    if panel.ending is not Ending.FINISHED:
        say(f"{panel.ending.value if panel.ending else 'stopped'}; run the same command again to go on")
        raise typer.Exit(BUDGET_STATUS if panel.ending is Ending.BUDGET else STOPPED_STATUS)


def _preview(
    records: Path,
    predictions: Path | None,
    source: ModelSource | None,
    tasks: str | None,
    sample: int | None,
    judges: Sequence[str],
) -> Sequence[Preview]:
    from facekit.evaluation.judging.preview import preview_explanations, preview_judging
    from facekit.evaluation.tasks.definitions import ALL_TASKS, load_tasks

    if source is None:
        return preview_judging(_read(records, predictions, tasks, sample), judges)
    chosen = ALL_TASKS if tasks is None else load_tasks(name.strip() for name in tasks.split(","))
    sampled = f", {counted(sample, 'answer')} of a task" if sample else ""
    say(f"what it says would be rated by {', '.join(judges) or 'nobody'}{sampled}")
    return [preview_explanations(source, records, chosen)]


def _collect(
    records: Path,
    output: Path,
    predictions: Path | None,
    source: ModelSource | None,
    tasks: str | None,
    sample: int | None,
    progress: ProgressDisplay,
) -> tuple[JudgedAnswer, ...]:
    from facekit.evaluation.judging.explanations import ask_for_explanations
    from facekit.evaluation.models.other_models import open_model
    from facekit.evaluation.tasks.definitions import ALL_TASKS, load_tasks

    if source is not None:
        chosen = ALL_TASKS if tasks is None else load_tasks(name.strip() for name in tasks.split(","))
        predictions = ask_for_explanations(
            open_model(source), records, output / "explanations", chosen, resume=True, on_progress=progress
        )
    return _read(records, predictions, tasks, sample)


def _read(records: Path, predictions: Path | None, tasks: str | None, sample: int | None) -> tuple[JudgedAnswer, ...]:
    from facekit.errors import ConfigurationError
    from facekit.evaluation.judging.explanations import read_conversations, read_predictions, sample_answers
    from facekit.evaluation.tasks.definitions import load_tasks

    chosen = None if tasks is None else load_tasks(name.strip() for name in tasks.split(","))
    if predictions is not None:
        answers = read_predictions(predictions, records, chosen)
    else:
        names = None if chosen is None else {task.name for task in chosen}
        answers = tuple(each for each in read_conversations(records) if names is None or each.task in names)
        if not answers:
            raise ConfigurationError(f"no message of {records} belongs to the tasks {tasks}")
    return answers if sample is None else sample_answers(answers, sample)


def _show(result: JudgingResult, path: Path) -> None:
    from facekit.evaluation.judging.rating_tables import (
        agreement_table,
        describe_unrated,
        rating_group_table,
        rating_table,
    )

    show_table(rating_table(result))
    if result.summary.groups:
        show_table(rating_group_table(result))
    if result.agreement:
        show_table(agreement_table(result))
    for each in result.judges:
        if each.unrated:
            show(describe_unrated(each))
    show(f"{counted(result.answers, 'answer')}, {result.empty} empty; ${result.cost:.2f} spent; {path}")


def _check_offline(answers: tuple[JudgedAnswer, ...], output: Path, *, as_json: bool) -> None:
    from facekit.evaluation.judging.label_checks import CANNOT, LABEL_CHECKS_NAME, check_labels, write_label_checks
    from facekit.evaluation.judging.rating_tables import label_check_table

    checks = check_labels(answers)
    path = write_label_checks(output / LABEL_CHECKS_NAME, checks)
    if as_json:
        show_json({"label_checks": checks, "not_judged": CANNOT, "path": path})
        return
    show_table(label_check_table(checks))
    show("no ratings were given; offline, these cannot be judged:")
    for words in CANNOT:
        show(f"- {words}")
    show(str(path))
