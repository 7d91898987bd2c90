"""``facekit ask``: questions about the face in a picture or clip, or with ``--batch`` about many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.ask_batch import BatchOptions, ask_batch
from facekit.cli.engine_options import EngineArguments, EngineName, beside_engine
from facekit.cli.face_finding import OnNoFace, check_face_finding, choose_face_finding
from facekit.cli.limits import MaxFailures
from facekit.cli.model_options import ModelOptions, with_model_options
from facekit.cli.output import AsJson, say, show, show_json
from facekit.cli.startup import starting
from facekit.counted import counted

DEMO = "runs/demo"
BATCH_SIZE, MAX_FAILURES = 64, "0"


@with_model_options()
def ask(
    image: Annotated[
        str | None,
        typer.Argument(
            help="A picture, video file or animated GIF with a face, or its address; before --batch the model."
        ),
    ] = None,
    questions: Annotated[list[str] | None, typer.Argument(help="One or more questions.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="A further picture or video that the questions are about, too; may be given several times."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A folder or hub id that facekit loads.", show_default="runs/demo")
    ] = None,
    landmarker: Annotated[
        str | None,
        typer.Option(
            help="What finds the face: mesh, dlib, mediapipe:FILE, fan, given:FILE.npy?coordinates=pixels, none"
        ),
    ] = None,
    on_no_face: OnNoFace = None,
    overlay: Annotated[Path | None, typer.Option(help="Save the crop with its landmarks and regions drawn.")] = None,
    region_maps: Annotated[
        Path | None, typer.Option(help="Save a picture of which patches attend to which face region.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
    num_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a video to look at; by default as the model was saved.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Ask about all of a records file, a folder of pictures, or a dataset as name:folder."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="With --batch: the file of answers; start again with the same one to go on.")
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            help="With --batch: asked about every one instead of the records' own questions; may be repeated."
        ),
    ] = None,
    find_faces: Annotated[
        bool | None,
        typer.Option(
            "--find-faces/--as-cropped",
            help="With --batch: whether pictures are cropped to their face; by default those of records are crops.",
            show_default=False,
        ),
    ] = None,
    landmarks: Annotated[bool, typer.Option("--landmarks", help="With --batch: list the 68 points of each face.")] = (
        False
    ),
    batch_size: Annotated[int, typer.Option(min=1, help="With --batch: pictures at a time.")] = BATCH_SIZE,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --batch: try again what failed in an earlier run.")
    ] = False,
    max_failures: MaxFailures = MAX_FAILURES,
    engine: EngineName = "transformers",
    engine_options: EngineArguments = None,
    *,
    opening: ModelOptions,
    as_json: AsJson = False,
) -> None:
    """Ask a model about the face in a picture or a video, or about all of a batch.

    By default it is the model that `facekit demo` trained. An answer is a guess from pixels, not a fact about a person.
    A batch is answered into a file of JSON lines, as `facekit ask MODEL --batch records.jsonl --output answers.jsonl`;
    its exit status is 0 where all is well, 1 where more failed than --max-failures, 2 where nothing came out.
    """
    with starting():
        from facekit.data.atomic import explained_writes
        from facekit.errors import ConfigurationError
        from facekit.faces import CroppedFace, draw_clip_overlay, draw_overlay, is_video, open_image, read_clip
        from facekit.faces.sources import describe_source
        from facekit.models.ask import ask as ask_model
        from facekit.models.region_maps import region_maps as find_maps
        from facekit.models.sessions import check_questions

        check_face_finding(landmarker, on_no_face)
    if batch is not None:
        if output is None:
            raise ConfigurationError("--batch writes its answers to a file; say which with --output answers.jsonl")
        if questions or also or overlay or region_maps:
            raise ConfigurationError("--batch takes its questions by --question, and draws nothing; leave the rest out")
        if image is not None and model is not None:
            raise ConfigurationError(f"--batch has one model, not '{image}' and '{model}'; leave one of them out")
        options = BatchOptions(
            batch, output, question or (), landmarker, find_faces, max_new_tokens, num_frames, batch_size, landmarks,
            retry_failed, max_failures, engine, engine_options, on_no_face,
        )  # fmt: skip
        ask_batch(beside_engine(engine, opening.source(image or model or _demo_model())), options, as_json=as_json)
        return
    if output is not None or question:
        raise ConfigurationError("--output and --question go with --batch; for one picture give the questions after it")
    if engine != "transformers" or engine_options is not None:
        raise ConfigurationError("--engine and --engine-options go with --batch; leave them out for one picture")
    _refuse_batch_options(
        {
            "--find-faces" if find_faces else "--as-cropped": find_faces is not None,
            "--landmarks": landmarks,
            "--batch-size": batch_size != BATCH_SIZE,
            "--retry-failed": retry_failed,
            "--max-failures": max_failures != MAX_FAILURES,
        }
    )
    if image is None or not questions:
        missing = "IMAGE" if image is None else "QUESTIONS..."
        raise ConfigurationError(f"Missing argument '{missing}'; see facekit ask --help")
    check_questions(questions)
    _check_order(image, questions)
    model = model or _demo_model()
    for what, path in (("overlay", overlay), ("picture of region maps", region_maps)):
        if path is not None and (path.suffix.lower() not in (".png", ".jpg", ".jpeg") or not path.parent.is_dir()):
            raise ConfigurationError(f"the {what} '{path}' must be a .png or .jpg file in a folder that exists")
    pictures = [image, *(also or ())]
    for each in pictures:  # what cannot be used is found before loading
        if not each.startswith(("http://", "https://")):
            _ = read_clip(each, 1) if is_video(each) else open_image(each)
    with starting():
        composed, processor = opening.source(model).load()
    choose_face_finding(processor, landmarker, on_no_face)
    settings = processor.image_processor
    media = [
        settings.prepare_clip(each, num_frames) if is_video(each) else settings.prepare(each) for each in pictures
    ]  # fmt: skip
    medium = media[0]
    answers = ask_model(composed, processor, media, questions, max_new_tokens=max_new_tokens)
    if overlay is not None:
        is_face = isinstance(medium, CroppedFace)
        drawn = draw_overlay(medium.image, medium.landmarks) if is_face else draw_clip_overlay(medium)
        with explained_writes(f"{overlay} cannot be written"):
            drawn.save(overlay)
        say(f"overlay: {overlay}")
    if region_maps is not None:
        maps = find_maps(composed, processor, medium)
        drawn = maps.draw(next(frame for frame, face in enumerate(maps.faces) if face.landmarks is not None))
        with explained_writes(f"{region_maps} cannot be written"):
            drawn.save(region_maps)
        say(f"region maps: {region_maps}")
    if as_json:
        pairs = [{"question": question, "answer": answer} for question, answer in zip(questions, answers, strict=True)]
        shown = describe_source(image) if image.startswith("data:") else image
        further = {} if also is None else {"also": also}
        show_json({"model": model, "image": shown, **further, "answers": pairs, "overlay": overlay,
                   "region_maps": region_maps})  # fmt: skip
        return
    for asked, answer in zip(questions, answers, strict=True):
        show(asked, bold=True)
        show(answer)


def _refuse_batch_options(given: dict[str, bool]) -> None:
    from facekit.errors import ConfigurationError

    for option, is_given in given.items():
        if is_given:
            raise ConfigurationError(f"{option} goes with --batch; leave it out for one picture")


def _check_order(image: str, questions: list[str]) -> None:
    """Refuse a model or a question where the picture belongs, and say where a question was not quoted."""
    from facekit.errors import ConfigurationError

    if any(_is_file(f"{image}/{name}") for name in ("config.json", "adapter_config.json")):
        raise ConfigurationError(
            f"'{image}' is a model, and a picture comes first: facekit ask PICTURE QUESTION --model {image}"
        )
    is_address = "://" in image or image.startswith("data:")
    if _is_file(questions[0]) and not is_address and not _is_file(image):
        raise ConfigurationError(f"'{questions[0]}' is a file; the picture comes before the questions")
    if len(questions) > 2 and not any(" " in each.strip() for each in questions):
        say(
            f"note: {counted(len(questions), 'question')} of one word each are asked; put a question into quotation "
            "marks"
        )


def _demo_model() -> str:
    """The model of ``facekit demo``, which is never looked for on the hub."""
    from facekit.models.interoperability.recognition import recognise

    return str(recognise(Path(DEMO)).folder)


def _is_file(words: str) -> bool:
    try:
        return Path(words).is_file()
    except (OSError, ValueError):  # too long for a name, or with characters that none has
        return False
