"""``facekit train``: train a composed model on a records file, or by a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.stopping import stopped_training

if TYPE_CHECKING:
    from facekit.data.dataset import RecordSet
    from facekit.models.modeling import FaceKitForConditionalGeneration
    from facekit.models.processing import FaceKitProcessor
    from facekit.models.source import ModelSource

_GO_ON = "the same command with --resume goes on"
_WITH_RECIPES = ("context", "arguments", "output", "resume", "dry_run")


@with_model_options(without=("device_map",))
def train(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECORDS | recipe=NAME KEY=VALUE…",
            help="A records file (JSON lines) with conversations; or a recipe's name or file and overrides, such as "
            "records=faces.jsonl output=runs/mine stage=region lr=5e-5.",
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="Where the model, checkpoints and the loss plot go.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Start from this model, a folder or hub id, not from a new one.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of parts.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Spec of the encoder.")] = None,
    video_encoder: Annotated[str | None, typer.Option(help="Spec of the encoder of clips.")] = None,
    connector: Annotated[str | None, typer.Option(help="Spec of the connector.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Spec of the language model.")] = None,
    parts: Annotated[str, typer.Option(help="Trainable parts: encoder, connector, language_model.")] = (
        "connector,language_model"
    ),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; this or --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the records; this or --steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    cache_features: Annotated[bool, typer.Option(help="Encode every picture once; needs a frozen encoder.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the newest whole checkpoint.")] = False,
    *,
    opening: ModelOptions,
    seed: Annotated[int, typer.Option(help="Decides new weights and the order of records.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With a recipe: show the trainable parts and the estimated memory, and stop."),
    ] = False,
) -> None:
    """Train a model on records; the loss counts the assistant's words only."""
    from rich.console import Console
    from rich.markup import escape

    from facekit.errors import ConfigurationError
    from facekit.reports import ProgressDisplay
    from facekit.training import TrainingSettings
    from facekit.training import train as train_model
    from facekit.training.loop.distributed import is_main_process, leave_processes

    if any(word.startswith("recipe=") for word in arguments):
        _refuse_options(context)
        with stopped_training(_GO_ON):
            _train_recipe(arguments, output, resume=resume, dry_run=dry_run)
        leave_processes()
        return
    if len(arguments) > 1 or output is None or dry_run:
        raise ConfigurationError("training needs one records file and --output, or recipe=NAME and its overrides")
    settings = TrainingSettings(
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        parts=tuple(part.strip() for part in parts.split(",")),
        cache_features=cache_features,
        seed=seed,
    )
    parts_of_model = {
        "preset": preset, "encoder": encoder, "video_encoder": video_encoder, "connector": connector,
        "backbone": backbone,
    }  # fmt: skip
    source = opening.source(model or "", device="cpu")
    composed, processor = _open_model(source, seed, parts_of_model)
    console = Console(quiet=not is_main_process())
    with stopped_training(_GO_ON), ProgressDisplay() as progress:
        result = train_model(composed, processor, arguments[0], output, settings, resume=resume, on_progress=progress)
    leave_processes()
    console.print(f"model  [bold]{escape(str(result.model_folder))}[/bold]")
    console.print(f"loss   {escape(str(result.plot_path))}")


def _open_model(
    source: ModelSource, seed: int, parts: Mapping[str, Any]
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    from facekit.errors import ConfigurationError
    from facekit.models.create import create

    if not source.path:
        return create(**parts, **source.options, seed=seed)
    if any(parts.values()):
        raise ConfigurationError("--model names a whole model; leave --preset, --encoder, … out, or leave it out")
    return source.load()


def _refuse_options(context: typer.Context) -> None:
    """Refuse what a recipe says by itself; two ways to say it would leave open which one counts."""
    from facekit.errors import ConfigurationError

    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _WITH_RECIPES and source is not None and source.name == "COMMANDLINE":
            raise ConfigurationError(f"--{name.replace('_', '-')} does not go with a recipe; write it as key=value")


def _train_recipe(arguments: Sequence[str], output: Path | None, *, resume: bool, dry_run: bool) -> None:
    from rich.console import Console

    from facekit.reports import ProgressDisplay
    from facekit.training.loop.distributed import is_main_process
    from facekit.training.recipes.recipe import load_recipe
    from facekit.training.recipes.stages import Listeners, plan_recipe, run_recipe
    from facekit.training.recipes.tables import plan_table

    name, overrides = _read_words(arguments, output)
    recipe, console = load_recipe(name, overrides), Console(quiet=not is_main_process())
    if dry_run:
        for plan in plan_recipe(recipe):
            console.print(plan_table(plan), highlight=False)
        return
    with ProgressDisplay() as progress:
        results = run_recipe(
            recipe,
            resume=resume,
            on_progress=progress,
            listeners=Listeners(
                on_plan=lambda plan: console.print(plan_table(plan), highlight=False),
                metrics=_measure,
            ),
        )
    if not results:
        console.print(f"nothing left to train: all stages have ended in {recipe.output}", markup=False, soft_wrap=True)
    for result in results:
        lines = (("model", result.training.model_folder), ("loss", result.training.plot_path), ("page", result.summary))
        for label, path in lines:
            console.print(f"{result.stage}  {label:<6}{path}", markup=False, highlight=False, soft_wrap=True)


def _read_words(arguments: Sequence[str], output: Path | None) -> tuple[str, list[str]]:
    """Return the recipe's name and the overrides; a word without ``=`` is the records file."""
    from facekit.errors import ConfigurationError

    overrides = [word if "=" in word else f"records={word}" for word in arguments]
    names = [word.removeprefix("recipe=") for word in overrides if word.startswith("recipe=")]
    if len(names) > 1:
        raise ConfigurationError(f"one recipe at a time, not {' and '.join(names)}")
    overrides = [word for word in overrides if not word.startswith("recipe=")]
    return names[0], overrides if output is None else [*overrides, f"output={output}"]


def _measure(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, records: RecordSet, tasks: Sequence[str]
) -> Mapping[str, float]:
    from facekit.evaluation import evaluate, load_tasks

    result = evaluate(model, processor, records, load_tasks(tasks))
    return {f"{task.task}, {task.headline_title}": task.score for task in result.tasks}
