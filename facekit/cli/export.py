"""``facekit export``: a checkpoint in another format, for other libraries and engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A folder or hub id that facekit loads: its own, InternVL, LLaVA, an adapter.")
    ],
    output: Annotated[Path, typer.Argument(help="Where the new checkpoint goes.")],
    format: Annotated[
        str, typer.Option("--format", help="facekit, internvl-hf, llava-hf, or language-model (the LLM alone).")
    ] = "facekit",
    merge_lora: Annotated[bool, typer.Option("--merge-lora", help="Merge adapters into the weights.")] = False,
    max_shard_size: Annotated[str, typer.Option(help="The largest weights file.")] = "5GB",
    dtype: Annotated[str | None, typer.Option(help="Floating type of what is written; by default as saved.")] = None,
    tower_root: Annotated[
        Path | None, typer.Option(help="For released Face-LLaVA: the folder with the towers' configurations.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="For other people's checkpoints: a tokenizer in place of theirs.")
    ] = None,
) -> None:
    """Write a checkpoint in a format that other programs read, such as vLLM and SGLang.

    A composition that the format cannot express is refused, and the reason is told.
    """
    from rich.console import Console
    from rich.markup import escape

    from facekit.errors import ConfigurationError
    from facekit.models.interoperability import EXPORT_FORMATS
    from facekit.models.interoperability import export as export_model
    from facekit.models.interoperability.weights import read_size
    from facekit.models.interoperability.writing import refuse_folder_in_use
    from facekit.models.load import load

    if format not in EXPORT_FORMATS:
        raise ConfigurationError(f"there is no export format '{format}'; choose one of {', '.join(EXPORT_FORMATS)}")
    read_size(max_shard_size)
    refuse_folder_in_use(output)
    composed, processor = load(checkpoint, dtype=dtype, tower_root=tower_root, tokenizer=tokenizer)
    folder = export_model(
        composed,
        processor,
        output,
        format,  # type: ignore[arg-type]
        merge_lora=merge_lora,
        max_shard_size=max_shard_size,
    )
    Console().print(f"{escape(format)}  [bold]{escape(str(folder))}[/bold]", highlight=False, soft_wrap=True)
