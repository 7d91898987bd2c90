"""``facekit export``: a checkpoint in another format, for other libraries and engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.belonging import refuse_alone
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, show, show_json

_FORMATS = (
    "facekit, internvl-hf, llava-hf, language-model or gguf (the LLM alone), "
    "or onnx, torch-export (encoder and connector as a graph)."
)


@with_model_options()
def export(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Argument(help="A folder or hub id that facekit loads: its own, InternVL, LLaVA, an adapter.")
    ],
    output: Annotated[Path, typer.Argument(help="Where the new checkpoint goes.")],
    format: Annotated[str, typer.Option("--format", help=_FORMATS)] = "facekit",
    merge_lora: Annotated[bool, typer.Option("--merge-lora", help="Merge adapters into the weights.")] = False,
    max_shard_size: Annotated[str, typer.Option(help="The largest weights file.")] = "5GB",
    frames: Annotated[
        int, typer.Option(min=1, help="Of onnx and torch-export: frames of the input, 1 for pictures.")
    ] = 1,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint in a format that other programs read, such as vLLM and SGLang.

    A composition that the format cannot express is refused with the reason.
    """
    from facekit.data.atomic import explained_writes
    from facekit.errors import ConfigurationError
    from facekit.models.interoperability import EXPORT_FORMATS
    from facekit.models.interoperability import export as export_model
    from facekit.models.interoperability.weights import read_size
    from facekit.models.interoperability.writing import refuse_folder_in_use

    if format not in EXPORT_FORMATS:
        raise ConfigurationError(f"there is no export format '{format}'; choose one of {', '.join(EXPORT_FORMATS)}")
    if opening.load_in is not None:
        raise ConfigurationError(
            f"a model in {opening.load_in.value} is no whole checkpoint to export; leave --load-in out"
        )
    if opening.device_map is not None:
        raise ConfigurationError("a model to export is read on one device; leave --device-map out")
    if format not in ("onnx", "torch-export"):
        refuse_alone(context, "--format onnx or torch-export", "frames")
    read_size(max_shard_size)
    refuse_folder_in_use(output)
    composed, processor = opening.source(checkpoint, device="cpu").load()
    with explained_writes(f"the export to {output} cannot be written"):
        folder = export_model(
            composed,
            processor,
            output,
            format,  # type: ignore[arg-type]
            merge_lora=merge_lora,
            max_shard_size=max_shard_size,
            frames=frames,
        )
    if as_json:
        show_json({"format": format, "folder": folder})
    else:
        show(f"{format}  {folder}")
