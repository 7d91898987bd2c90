"""``facekit ask --batch``: questions about all records of a file, or all pictures of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facekit.cli.face_finding import choose_face_finding
from facekit.cli.limits import read_limit
from facekit.cli.output import progress_display, say, show, show_json
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.answering import AnsweringResult
    from facekit.models.source import ModelSource


@dataclass(frozen=True)
class BatchOptions:
    """What ``facekit ask --batch`` was given.

    Args:
        origin: What is asked about.
        output: The file of answers.
        questions: Asked about every entry; without any, those of each record.
        landmarker: What finds faces, in place of the model's.
        find_faces: Whether pictures are cropped to their face; None for what ``open_entries`` takes.
        max_new_tokens: Longest answer in tokens.
        num_frames: Frames to choose of a clip.
        batch_size: Entries at a time.
        landmarks: Whether lines list the points of each face.
        retry_failed: Try every failure again.
        max_failures: How many may fail.
        engine: What answers.
        engine_options: Arguments of vLLM's engine, as a JSON object.
        on_no_face: What becomes of a picture without a face; None for the model's rule.
    """

    origin: str
    output: Path
    questions: Sequence[str]
    landmarker: str | None
    find_faces: bool | None
    max_new_tokens: int
    num_frames: int | None
    batch_size: int
    landmarks: bool
    retry_failed: bool
    max_failures: str
    engine: str
    engine_options: str | None
    on_no_face: str | None = None


def ask_batch(source: ModelSource, options: BatchOptions, *, as_json: bool) -> None:
    """Answer a batch, print what came of it, and exit with status 1 or 2 where it failed."""
    from facekit.data.answering import answer_entries, open_entries
    from facekit.models.sessions import check_questions
    from facekit.serving.batch import choose_batch_engine

    allowed = read_limit(options.max_failures)
    if options.questions:
        check_questions(options.questions)
    start_engine = choose_batch_engine(options.engine, options.engine_options, source)
    entries = open_entries(options.origin, find_faces=options.find_faces)
    model, processor = source.load()
    choose_face_finding(processor, options.landmarker, options.on_no_face)
    if options.num_frames is not None:
        processor.image_processor.num_frames = options.num_frames
    with start_engine(model, processor, options.batch_size) as engine, progress_display() as progress:
        result = answer_entries(
            model,
            processor,
            entries,
            options.output,
            options.questions,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
            landmarks=options.landmarks,
            retry_failed=options.retry_failed,
            engine=engine,
            on_progress=progress,
        )
    _show(result, as_json=as_json)
    if not result.answers + result.reused:
        raise typer.Exit(2)
    if result.failed > allowed(result.entries):
        raise typer.Exit(1)


def _show(result: AnsweringResult, *, as_json: bool) -> None:
    if as_json:
        show_json(result)
        return
    before = f", {result.reused:,} answered before" if result.reused else ""
    show(f"{counted(result.answers, 'question')} answered{before}: {result.output}")
    show(f"  {counted(result.entries, 'record')}, {counted(result.failed, 'failure')}")
    for kind, count in result.failures.items():
        show(f"  {count:,} failed: {kind}")
    if result.failures:
        say(f"their lines in {result.output} have the reason as 'problem'")
