"""``facekit inspect``: a checkpoint's parts, sizes and memory, without loading it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, show, show_json, show_table

if TYPE_CHECKING:
    from rich.table import Table

    from facekit.models.interoperability import CheckpointReport


class _Precision(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


@with_model_options()
def inspect(
    checkpoint: Annotated[str, typer.Argument(help="A folder or hub id that facekit loads.")],
    batch: Annotated[int, typer.Option(min=1, max=1 << 20, help="Sequences at a time.")] = 1,
    tokens: Annotated[int, typer.Option(min=1, max=1 << 24, help="Length of each, visual tokens included.")] = 2048,
    parts: Annotated[str, typer.Option(help="The trainable parts, where there are no adapters.")] = (
        "connector,language_model"
    ),
    *,
    opening: ModelOptions,
    precision: Annotated[
        _Precision | None,
        typer.Option(help="Of training; by default bfloat16 where the weights have 16 bits, else float32."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a checkpoint is: parts, shapes, parameters, and the memory it needs; only headers are read.

    The memory is an estimate: weights, keys and values, gradients, AdamW's moments and activations with gradient
    checkpointing.
    """
    from facekit.models.interoperability import inspect_checkpoint

    learning = tuple(part.strip() for part in parts.split(","))
    report = inspect_checkpoint(checkpoint, **opening.given)
    trainable = report.trainable_parameters(learning)
    training = report.training_memory(batch, tokens, learning, precision=None if precision is None else precision.value)
    generating = report.inference_memory(batch, tokens)
    who = "adapters" if report.adapter_parameters else ", ".join(learning)
    if as_json:
        show_json(
            {
                "folder": report.folder,
                "format": report.format.value,
                "description": report.description,
                "base": report.base,
                "parts": report.parts,
                "adapter_parameters": report.adapter_parameters,
                "parameters": report.parameters,
                "num_bytes": report.num_bytes,
                "trainable_parameters": trainable,
                "trained_parts": list(learning),
                "tokens_per_image": report.tokens_per_image,
                "tokens_per_video_frame": report.tokens_per_video_frame,
                "batch": batch,
                "tokens": tokens,
                "generation_bytes": generating,
                "training_bytes": training.total,
            }
        )
        return
    show(f"{report.folder}: {report.description}", bold=True)
    if report.base is not None:
        show(f"base model: {report.base}")
    show_table(_parts_table(report))
    show(f"trainable   {trainable:,} ({who})")
    of_clips = f"{report.tokens_per_video_frame} a frame of a clip" if report.tokens_per_video_frame else "no clips"
    show(f"tokens      {report.tokens_per_image} an image, {of_clips}")
    show(
        f"memory      {_gigabytes(generating)} to generate, {_gigabytes(training.total)} to train with gradient "
        f"checkpointing; estimated for {batch} x {tokens} tokens"
    )


def _parts_table(report: CheckpointReport) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("part", "kind", "shape", "parameters", "size", "type"):
        table.add_column(column, justify="right" if column in ("parameters", "size") else "left", overflow="fold")
    for part in report.parts:
        row = (
            part.name,
            part.kind,
            part.shape,
            f"{part.parameters:,}",
            _gigabytes(part.num_bytes),
            ", ".join(part.dtypes),
        )
        table.add_row(*(escape(cell) for cell in row))
    if report.adapter_parameters:
        table.add_row("adapters", "lora", "", f"{report.adapter_parameters:,}", "", "")
    table.add_section()
    table.add_row("together", "", "", f"{report.parameters:,}", _gigabytes(report.num_bytes), "")
    return table


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
