"""``facekit train recipe=NAME``: the stages of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facekit.cli.output import progress_display, say, show, show_json, show_table
from facekit.cli.trained import tell_left_out, training_facts
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.dataset import RecordSet
    from facekit.models.modeling import FaceKitForConditionalGeneration
    from facekit.models.processing import FaceKitProcessor
    from facekit.training.recipes.stages import StagePlan, StageResult
    from facekit.training.watching.validation import ValidationPoint


def train_recipe(arguments: Sequence[str], output: Path | None, *, resume: bool, dry_run: bool, as_json: bool) -> None:
    """Run a recipe, or show its plan, and print where models, losses and pages are.

    Args:
        arguments: ``recipe=NAME``, records files, and overrides ``key=value``.
        output: The folder of the run, where no override names it.
        resume: Go on from the newest whole checkpoint.
        dry_run: Show the plan and stop.
        as_json: Print one JSON object instead of tables and lines.
    """
    from facekit.training.loop.distributed import is_main_process
    from facekit.training.recipes.recipe import load_recipe
    from facekit.training.recipes.stages import Listeners, plan_recipe, run_recipe

    name, overrides = _read_words(arguments, output)
    recipe, first = load_recipe(name, overrides), is_main_process()
    if dry_run:
        plans = plan_recipe(recipe)
        _tell_missing(plans)
        if as_json and first:
            show_json({"stages": [_plan_facts(plan) for plan in plans]})
        for plan in plans if first and not as_json else ():
            _show_plan(plan)
        return
    listeners = Listeners(
        on_plan=_show_plan if first and not as_json else _pass_over,
        metrics=_measure,
        check_tasks=_check_tasks,
        on_point=_tell_fallen if first else _pass_over,
    )
    with progress_display() as progress:
        results = run_recipe(recipe, resume=resume, on_progress=progress, listeners=listeners)
    if not first:
        return
    for result in results:
        tell_left_out(result.training)
    if as_json:
        show_json({"output": recipe.output, "stages": [_result_facts(result) for result in results]})
        return
    if not results:
        show(f"nothing left to train: all stages have ended in {recipe.output}")
    for result in results:
        lines = (("model", result.training.model_folder), ("loss", result.training.plot_path), ("page", result.summary))
        for label, path in lines:
            show(f"{result.stage}  {label:<6}{path}")


def _pass_over(_: object) -> None:
    """Take what is not shown."""


def _show_plan(plan: StagePlan) -> None:
    from facekit.training.recipes.tables import plan_table

    show(f"{plan.stage.name}: from {plan.start} to {plan.folder}", bold=True)
    show_table(plan_table(plan))
    show(f"estimated memory: {plan.estimate}")


def _tell_missing(plans: Sequence[StagePlan]) -> None:
    """Say which records a run would not find: a plan needs none."""
    from facekit.remote.addresses import is_remote_address

    named = [
        [plan.stage.records] if plan.stage.records else [each.records for each in plan.stage.data] for plan in plans
    ]
    for path in dict.fromkeys(path for paths in named for path in paths):
        if not is_remote_address(path) and not path.exists():
            say(f"note: there is no {path}, which the run would read")


def _plan_facts(plan: StagePlan) -> dict[str, Any]:
    return {
        "stage": plan.stage.name,
        "start": plan.start,
        "folder": plan.folder,
        "parts": plan.parts,
        "estimated_bytes": plan.estimate.total,
    }


def _result_facts(result: StageResult) -> dict[str, Any]:
    return {"stage": result.stage, **training_facts(result.training), "page": result.summary, "card": result.card}


def _read_words(arguments: Sequence[str], output: Path | None) -> tuple[str, list[str]]:
    """Return the recipe's name and the overrides; a word without ``=`` is the records file."""
    from facekit.errors import ConfigurationError

    files = [word for word in arguments if "=" not in word]
    stray = next((word for word in arguments if word.startswith("=")), None)
    if stray is not None:
        raise ConfigurationError(f"'{stray}' begins with '='; write key=value, without spaces")
    if len(files) > 1 or (files and any(word.startswith(("records=", "data=")) for word in arguments)):
        raise ConfigurationError(f"a recipe has one records file, or several as data=[{','.join(files)},…]")
    overrides = [word if "=" in word else f"records={word}" for word in arguments]
    if output is not None and any(word.startswith("output=") for word in arguments):
        raise ConfigurationError("the output is named twice, by --output and by output=; leave one of them out")
    names = [word.removeprefix("recipe=") for word in overrides if word.startswith("recipe=")]
    if len(names) > 1:
        raise ConfigurationError(f"one recipe at a time, not {' and '.join(names)}")
    overrides = [word for word in overrides if not word.startswith("recipe=")]
    return names[0], overrides if output is None else [*overrides, f"output={output}"]


def _check_tasks(records: RecordSet, names: Sequence[str]) -> None:
    """Make sure that there are the tasks, and labels of each, before a run that would end at its first validation."""
    from facekit.errors import ConfigurationError
    from facekit.evaluation import load_tasks

    for task in load_tasks(names):
        if all(task.truth(record.labels) is None for record in records.records):
            raise ConfigurationError(
                f"validation.tasks: none of {counted(len(records), 'record')} that are measured on has a label of "
                f"'{task.name}'; leave it out, or raise validation.metric_faces"
            )


def _measure(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, records: RecordSet, tasks: Sequence[str]
) -> Mapping[str, float]:
    from facekit.evaluation import evaluate, load_tasks
    from facekit.training.watching.validation import Measured

    results = evaluate(model, processor, records, load_tasks(tasks)).tasks
    names = {task.task: f"{task.task}, {task.headline_title}" for task in results}
    return Measured(
        {names[task.task]: task.score for task in results},
        {names[task.task]: task.intervals[task.headline] for task in results if task.headline in task.intervals},
        [names[task.task] for task in results if not task.higher_is_better],
    )


def _tell_fallen(point: ValidationPoint) -> None:
    """Say the held-out scores by task where one fell, in red, below its interval at the first look."""
    scores = [
        typer.style(f"{name} {value:.3f} (fell)", fg="red") if name in point.fallen else f"{name} {value:.3f}"
        for name, value in point.metrics.items()
    ]
    if point.fallen:
        say(f"step {point.step}: {'; '.join(scores)}")
