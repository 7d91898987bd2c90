"""``facekit eval``: evaluation on a records file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.belonging import refuse_alone
from facekit.cli.engine_options import (
    EngineArguments,
    EngineName,
    answered_by,
    beside_engine,
    check_engines,
    choose_engines,
)
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, progress_display, say, show_json, show_table
from facekit.cli.previews import DryRun, show_previews
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.evaluation import EvaluationResult

_PROMPTS = (
    "trained (facekit's own), closed (with labels and form of the answer), or a YAML file with a prompt for each task; "
    "by default closed for models that facekit did not train."
)
_EXTRACT = "A language model at an endpoint that maps answers to labels where the rules read none."
_MODEL = "A folder with a saved model, hf:ID, openai:MODEL?base_url=URL, or predictions:FILE."


@with_model_options()
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help=_MODEL)],
    records: Annotated[Path, typer.Argument(help="A records file (JSON lines) with labels.")],
    tasks: Annotated[
        str | None, typer.Option(help="Names, separated by commas; by default the five with labels.")
    ] = None,
    training_records: Annotated[
        Path | None, typer.Option(help="Records whose commonest labels make the baseline.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where metrics and predictions go.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures at a time.")] = None,
    scoring: Annotated[str, typer.Option(help="generation, or likelihood: the most likely option.")] = "generation",
    prompts: Annotated[str | None, typer.Option(help=_PROMPTS)] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Faces of each task: a sample with every label in its share.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer in tokens; models that think need thousands.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the answers that are in --output.")] = False,
    compare: Annotated[
        list[str] | None, typer.Option(help="Another model to compare with; may be given again.")
    ] = None,
    extract: Annotated[str | None, typer.Option(metavar="openai:MODEL", help=_EXTRACT)] = None,
    extract_every: Annotated[bool, typer.Option(help="Let --extract read every answer.")] = False,
    ratings: Annotated[
        list[Path] | None, typer.Option(help="A judging.json of facekit judge to put into the page; may be repeated.")
    ] = None,
    engine: EngineName = "transformers",
    engine_options: EngineArguments = None,
    dry_run: DryRun = False,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: every task with intervals beside a baseline, and by demographic group."""
    from dataclasses import replace

    from facekit.data.dataset import RecordSet
    from facekit.errors import ConfigurationError
    from facekit.evaluation import (
        ALL_TASKS,
        JudgingResult,
        Run,
        compare_runs,
        comparison_table,
        evaluate_model,
        group_table,
        is_own_model,
        load_tasks,
        metric_table,
        open_extractor,
        open_model,
        preview_evaluation,
        sign_off_table,
        write_report,
    )
    from facekit.evaluation.models.other_models import check_extractor, default_prompt_style

    if compare and output is None:
        raise ConfigurationError("--compare keeps each model's predictions; say where with --output")
    if output is None:
        refuse_alone(context, "--output", "resume")
    if ratings and output is None:
        raise ConfigurationError("--ratings go into the report; say where it goes with --output")
    if extract_every and extract is None:
        raise ConfigurationError("--extract-every needs a model; say which with --extract openai:MODEL")
    asking: dict[str, Any] = {"scoring": scoring, "prompts": prompts, "limit": limit, "max_new_tokens": max_new_tokens}
    rated = [JudgingResult.read(path) for path in ratings or ()]
    chosen = ALL_TASKS if tasks is None else load_tasks(name.strip() for name in tasks.split(","))
    source = opening.source(model)
    sources = [replace(source, path=spec) for spec in (model, *(compare or ()))]
    sources = [beside_engine(engine, each) if is_own_model(each) else each for each in sources]
    if dry_run:
        check_engines(engine, engine_options, sources, scoring)
        if extract is not None:
            check_extractor(extract)
        _ = None if training_records is None else RecordSet.of(training_records)
        previews = [preview_evaluation(each, records, chosen, **asking) for each in sources]
        show_previews(previews, output, as_json=as_json)
        return
    for each in sources[1:]:  # or its fault is told after the first has answered
        if str(each.path).startswith("predictions:"):
            open_model(each)
        else:
            default_prompt_style(each)
    starters = choose_engines(engine, engine_options, sources, scoring)
    extractor = None if extract is None else open_extractor(extract, every=extract_every)
    runs, results = {}, []
    for number, each in enumerate(sources):
        under_test = open_model(each, batch_size=batch_size)
        folder = output if output is None or number == 0 else output / f"compare-{number}"
        with answered_by(starters[number], under_test), progress_display() as progress:
            result = evaluate_model(
                under_test,
                records,
                chosen,
                **asking,
                training_records=training_records,
                output_dir=folder,
                resume=resume,
                extractor=extractor,
                on_progress=progress,
            )
        results.append(result)
        if not as_json:
            for table in (metric_table(result), group_table(result), sign_off_table(result)):
                show_table(table)
        _say_how_asked(result, getattr(under_test, "cost", None))
        if folder is not None:
            runs[f"{number + 1}. {under_test.name}"] = folder / "predictions.jsonl"
    differences = compare_runs(records, runs, chosen, limit=limit) if compare else ()
    if differences and not as_json:
        show_table(comparison_table(differences))
    report = None
    if output is not None:
        found = [Run.read(path.parent) for path in runs.values()]
        report = write_report(output, records, found, differences, rated)
        say(f"report  {report}")
    if as_json:
        show_json({"results": results, "differences": differences, "report": report})


def _say_how_asked(result: EvaluationResult, cost: float | None) -> None:
    for task in result.tasks:
        if task.extraction is not None:
            say(f"{task.title}: {task.extraction.words}")
    rate = f"{result.questions_per_second:.1f} a second"
    spent = "" if cost is None else f", ${cost:.2f} spent"
    say(f"prompts: {result.prompts}")
    say(f"{counted(result.questions, 'question')} in {result.seconds:.1f} s, {rate}{spent}")
