"""``facekit demo``: data, training, evaluation and a report, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.output import AsJson, progress_display, say, show, show_json, show_table
from facekit.cli.stopping import stopped_training


def demo(
    output: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/demo"),
    photo: Annotated[
        Path | None, typer.Option(help="A photograph to describe; by default NASA's portrait of Eileen Collins.")
    ] = None,
    connector: Annotated[str, typer.Option(help="The connector; 'mlp' goes without landmarks.")] = "region",
    backbone: Annotated[
        str,
        typer.Option(
            help="The language model. One that has learned before, such as gguf:PATH or hf:NAME, learns by LoRA "
            "adapters, and takes longer: begin with --faces 800 --epochs 1 --batch-size 8 --test-faces 100."
        ),
    ] = "tiny?width=192&depth=3",
    faces: Annotated[int, typer.Option(min=1, help="Drawn faces to train on.")] = 6000,
    test_faces: Annotated[int, typer.Option(min=1, help="Drawn faces to evaluate on.")] = 600,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training faces.")] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces a step.")] = 32,
    seed: Annotated[int, typer.Option(help="Decides faces, weights and order.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw faces, train a tiny Face-LLaVA on them, evaluate it, describe a photograph, and write a report.

    Needs about six minutes on two cores and nothing from the network. Stopped, it goes on where it was.
    """
    from facekit.demo.run import run_demo
    from facekit.demo.settings import DemoSettings
    from facekit.evaluation import metric_table

    settings = DemoSettings(
        connector=connector, backbone=backbone, train_faces=faces, test_faces=test_faces, epochs=epochs,
        batch_size=batch_size, seed=seed,
    )  # fmt: skip
    with stopped_training("the same command goes on"), progress_display() as progress:
        result = run_demo(output, settings, photo=photo, on_progress=progress)
    if as_json:
        answers = [{"question": question, "answer": answer} for question, answer in result.photograph.answers]
        show_json(
            {"model": result.folder, "report": result.report, "evaluation": result.evaluation,
             "photograph": {"name": result.photograph.name, "answers": answers}, "seconds": result.seconds}
        )  # fmt: skip
        return
    show_table(metric_table(result.evaluation))
    show(f"\n{result.photograph.name}, seen by a model that knows drawings only:")
    for question, answer in result.photograph.answers:
        show(f"  {question} {answer}")
    show(f"\nreport  {result.report}")
    show(f"model   {result.folder}")
    show(f'ask it  facekit ask PHOTO "Which expression is shown?" --model {result.folder}')
    say(f"{result.seconds:.0f} s")
