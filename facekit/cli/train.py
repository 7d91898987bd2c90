"""``facekit train``: train a composed model on a records file, or by a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, progress_display, show, show_json
from facekit.cli.stopping import stopped_training
from facekit.cli.train_recipe import train_recipe
from facekit.cli.trained import tell_left_out, training_facts
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.mixing import DataSource
    from facekit.models.modeling import FaceKitForConditionalGeneration
    from facekit.models.processing import FaceKitProcessor
    from facekit.models.source import ModelSource
    from facekit.training import LossValidation

_GO_ON = "the same command with --resume goes on"
_WITH_RECIPES = ("context", "arguments", "output", "resume", "dry_run", "as_json")


@with_model_options(without=("device_map",))
def train(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECORDS… | recipe=NAME KEY=VALUE…",
            help="Records files (JSON lines) with conversations; or a recipe's name or file and overrides, such as "
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
    weights: Annotated[
        str | None, typer.Option(help="Shares of several records files in an epoch, such as 4,2,1.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 for automatic mixed precision.")] = "float32",
    torch_compile: Annotated[
        bool, typer.Option("--torch-compile", help="Compile the language model's layers; needs a compiler.")
    ] = False,
    optimizer: Annotated[str, typer.Option(help="adamw, muon, adamw_8bit, paged_adamw_8bit, …")] = "adamw",
    schedule: Annotated[str, typer.Option(help="Of the learning rate: cosine, linear, constant, …")] = "cosine",
    lora_rank: Annotated[
        int | None, typer.Option(help="Train adapters of this rank in place of the language model's weights.")
    ] = None,
    lora_alpha: Annotated[int | None, typer.Option(help="Adapters are scaled by alpha / rank; by default 2.")] = None,
    lora_dropout: Annotated[float, typer.Option(help="Dropout of the adapters' input.")] = 0.0,
    lora_targets: Annotated[
        str, typer.Option(help="Adapted modules, such as q_proj,v_proj, or all-linear.")
    ] = "all-linear",
    validation: Annotated[
        Path | None, typer.Option(help="Records whose loss is computed five times; the best model is kept.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many validation losses that are no improvement.")
    ] = None,
    report_to: Annotated[str | None, typer.Option(help="Reporters, such as wandb,tensorboard.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load; by default as suits the machine.")] = None,
    cache_features: Annotated[bool, typer.Option(help="Encode every picture once; needs a frozen encoder.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the newest whole checkpoint.")] = False,
    *,
    opening: ModelOptions,
    seed: Annotated[int, typer.Option(help="Decides new weights and the order of records.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With a recipe: show the trainable parts and the estimated memory, and stop."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on records; the loss counts the assistant's words only."""
    from facekit.errors import ConfigurationError
    from facekit.training import TrainingSettings
    from facekit.training import train as train_model
    from facekit.training.loop.distributed import is_main_process, leave_processes

    if any(word.startswith("recipe=") for word in arguments):
        _refuse_options(context)
        with stopped_training(_GO_ON):
            train_recipe(arguments, output, resume=resume, dry_run=dry_run, as_json=as_json)
        leave_processes()
        return
    overrides = [word for word in arguments if "=" in word and not Path(word).exists()]
    if output is None or dry_run or overrides:
        raise ConfigurationError("training needs records files and --output, or recipe=NAME and its overrides")
    sources = _weigh(arguments, weights)
    settings = TrainingSettings(
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        **_adapters(parts, lora_rank, lora_alpha, lora_dropout, lora_targets),
        precision=precision,
        torch_compile=torch_compile,
        device=opening.device,
        optimizer=optimizer,
        schedule=schedule,
        report_to=None if report_to is None else tuple(name.strip() for name in report_to.split(",")),
        workers=workers,
        cache_features=cache_features,
        seed=seed,
    )
    parts_of_model = {
        "preset": preset, "encoder": encoder, "video_encoder": video_encoder, "connector": connector,
        "backbone": backbone,
    }  # fmt: skip
    source = opening.source(model or "", device="cpu")
    composed, processor = _open_model(source, seed, parts_of_model)
    watching = _watch(validation, output, patience)
    with stopped_training(_GO_ON), progress_display() as progress:
        result = train_model(
            composed, processor, sources, output, settings, resume=resume, on_progress=progress, callbacks=watching
        )
    leave_processes()
    if not is_main_process():
        return
    tell_left_out(result)
    if as_json:
        show_json({"stages": [{"stage": None, **training_facts(result)}]})
        return
    show(f"model  {result.model_folder}")
    show(f"loss   {result.plot_path}")


def _weigh(paths: Sequence[str], weights: str | None) -> str | list[DataSource]:
    """One records file as it is, or several with their weights."""
    from facekit.data.mixing import DataSource
    from facekit.errors import ConfigurationError

    if weights is None:
        return paths[0] if len(paths) == 1 else [DataSource(path) for path in paths]
    try:
        shares = [float(share) for share in weights.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"--weights are numbers, such as 4,2,1, not '{weights}'") from error
    if len(shares) != len(paths):
        raise ConfigurationError(
            f"{counted(len(shares), 'weight')} for {counted(len(paths), 'records file')}; give each file one"
        )
    return [DataSource(*each) for each in zip(paths, shares, strict=True)]


def _adapters(parts: str, rank: int | None, alpha: int | None, dropout: float, targets: str) -> dict[str, Any]:
    """The parts to train, with adapters in place of the language model where they are asked for."""
    from facekit.errors import ConfigurationError

    named = [part.strip() for part in parts.split(",")]
    if rank is None:
        if alpha is not None or dropout or targets != "all-linear":
            raise ConfigurationError("--lora-alpha, --lora-dropout and --lora-targets go with --lora-rank")
        return {"parts": tuple(named)}
    modules = targets if targets == "all-linear" else tuple(name.strip() for name in targets.split(","))
    whole = ("language_model", "llm")
    parts_with_adapters = [part for part in named if part not in whole and not part.endswith(".lora")]
    lora = {"rank": rank, "alpha": 2 * rank if alpha is None else alpha, "dropout": dropout, "targets": modules}
    return {"parts": (*parts_with_adapters, "language_model.lora"), "lora": lora}


def _watch(validation: Path | None, output: Path, patience: int | None) -> list[LossValidation]:
    from facekit.data.dataset import RecordSet
    from facekit.errors import ConfigurationError
    from facekit.training import LossValidation
    from facekit.training.loop.trainer import RUN_FOLDER
    from facekit.training.watching.validation_loss import LOSS_NAME

    if validation is None:
        if patience is not None:
            raise ConfigurationError("--patience goes by the loss of --validation records; name them")
        return []
    path = output / RUN_FOLDER / LOSS_NAME
    return [LossValidation(RecordSet.read(validation), path, keep_best=True, patience=patience)]


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
