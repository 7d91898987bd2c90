"""``facekit train``: train a composed model on a records file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    records: Annotated[Path, typer.Argument(help="A records file (JSON lines) with conversations.")],
    output: Annotated[Path, typer.Option(help="Where the model, checkpoints and the loss plot go.")],
    model: Annotated[Path | None, typer.Option(help="Start from this saved model, not from a new one.")] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of parts.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Spec of the encoder.")] = None,
    connector: Annotated[str | None, typer.Option(help="Spec of the connector.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Spec of the language model.")] = None,
    parts: Annotated[str, typer.Option(help="What learns: encoder, connector, language_model.")] = (
        "connector,language_model"
    ),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; this or --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the records; this or --steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    cache_features: Annotated[bool, typer.Option(help="Encode every picture once; needs a frozen encoder.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the newest whole checkpoint.")] = False,
    seed: Annotated[int, typer.Option(help="Decides new weights and the order of records.")] = 0,
) -> None:
    """Train a model on records; the loss counts the assistant's words only."""
    from rich.console import Console
    from rich.markup import escape

    from facekit.errors import ConfigurationError
    from facekit.models.create import create
    from facekit.models.load import load
    from facekit.training import RichProgress, TrainingSettings
    from facekit.training import train as train_model

    settings = TrainingSettings(
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        parts=tuple(part.strip() for part in parts.split(",")),
        cache_features=cache_features,
        seed=seed,
    )
    if model is not None:
        if any((preset, encoder, connector, backbone)):
            raise ConfigurationError("--model names a whole model; leave --preset, --encoder, … out, or leave it out")
        composed, processor = load(model)
    else:
        composed, processor = create(preset=preset, encoder=encoder, connector=connector, backbone=backbone, seed=seed)
    console = Console()
    with RichProgress() as progress:
        result = train_model(
            composed, processor, records, output, settings, resume=resume, on_progress=progress.for_training()
        )
    console.print(f"model  [bold]{escape(str(result.model_folder))}[/bold]")
    console.print(f"loss   {escape(str(result.plot_path))}")
