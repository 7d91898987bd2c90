"""``ask``: questions about a picture, a clip or several of them, encoded once and read once by the language model.

It is what most users call; ``facekit.models.Session`` keeps what it encoded for further questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike
from torch import nn

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import Session, check_questions, write_prompt
from facekit.models.sessions.session import AnyMedium, as_list, is_clip


def ask(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    image: AnyMedium | Sequence[AnyMedium],
    questions: str | Sequence[str],
    *,
    landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
    num_frames: int | None = None,
    system: str | None = None,
    max_new_tokens: int = 64,
    **generation: Any,
) -> list[str]:
    """Ask questions about a picture, a clip or several of them.

    Each question is answered by itself, greedily unless ``generation`` says otherwise.

    Args:
        model: The model.
        processor: Its processor.
        image: A PIL image, a path, a URL or an array; or a clip: the path or URL of a video file, an animated GIF, an
            array ``(frames, H, W, 3)`` or the ``Clip`` that ``facekit.faces.read_clip`` makes of a list of frames; or
            what ``processor.image_processor`` cropped with ``prepare`` or ``prepare_clip``, for questions at several
            times, or to see what the model sees. A list of these is several pictures and clips, which the questions
            are about together, in this order.
        questions: The questions; a single string is one question.
        landmarks: ``(68, 2)``, for a clip ``(frames, 68, 2)``, in [0, 1] of a picture that is cropped to the face
            already; without it the face is found, cropped, and its landmarks are detected. For a list of pictures a
            list of the same length, with None for one without.
        num_frames: Frames to choose of a clip, in place of the processor's.
        system: A system message before each question.
        max_new_tokens: Longest answer in tokens; where the language model's context ends before, the answer does too,
            which is logged.
        **generation: Passed to ``model.generate``, or ``batch_size``, the questions answered at a time.

    Returns:
        An answer for each question, in order; for a single string a list with one answer.

    Raises:
        ConfigurationError: There is no question, one has no words, or a prompt is
            longer than the language model's context.
        ImageError: The picture or, as ``VideoError``, the clip cannot be opened.
        FaceNotFoundError: It shows no face.

    Examples:
        >>> import facekit
        >>> model, processor = facekit.load("runs/demo")
        >>> answers = facekit.ask(model, processor, "photo.jpg", ["How old?", "Which expression?"])
        >>> len(answers)
        2
    """
    if not isinstance(model, nn.Module):
        raise ConfigurationError(f"the model comes first and then its processor, not a {type(model).__name__}")
    clips = [is_clip(medium) for medium in as_list(image)]
    prompts = [write_prompt(processor, question, system, is_clip=clips) for question in check_questions(questions)]
    session = Session.open(model, processor, image, landmarks=landmarks, num_frames=num_frames)
    return session.generate_from(prompts, max_new_tokens=max_new_tokens, **generation)
