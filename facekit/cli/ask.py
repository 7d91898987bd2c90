"""``facekit ask``: questions about the face in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ask(
    image: Annotated[Path, typer.Argument(help="A picture with a face.")],
    questions: Annotated[list[str], typer.Argument(help="One or more questions.")],
    model: Annotated[Path, typer.Option(help="A folder with a saved model.")] = Path("runs/demo"),
    landmarker: Annotated[
        str | None,
        typer.Option(help="What finds the face: dlib, mediapipe:FILE, fan, given:FILE.npy?coordinates=pixels"),
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Save the crop with its landmarks and regions drawn.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
) -> None:
    """Ask a model about the face in a picture.

    By default it is the model that `facekit demo` trained. An answer is a guess from pixels, not a fact about a person.
    """
    from rich.console import Console
    from rich.markup import escape

    from facekit.errors import ConfigurationError
    from facekit.faces import draw_overlay, open_image
    from facekit.models.ask import ask as ask_model
    from facekit.models.ask import check_questions
    from facekit.models.load import load

    check_questions(questions)
    if overlay is not None and (overlay.suffix.lower() not in (".png", ".jpg", ".jpeg") or not overlay.parent.is_dir()):
        raise ConfigurationError(f"the overlay '{overlay}' must be a .png or .jpg file in a folder that exists")
    open_image(image)  # a picture that cannot be used is found before the model is loaded
    composed, processor = load(model)
    if landmarker is not None:
        processor.image_processor.landmarker = landmarker
    face = processor.image_processor.prepare(image)
    answers = ask_model(composed, processor, face, questions, max_new_tokens=max_new_tokens)
    console = Console()
    for question, answer in zip(questions, answers, strict=True):
        console.print(f"[bold]{escape(question)}[/bold]")
        console.print(escape(answer), highlight=False)
    if overlay is not None:
        draw_overlay(face.image, face.landmarks).save(overlay)
        console.print(f"[dim]overlay: {escape(str(overlay))}[/dim]")
