"""One picture or clip, many questions: it is prepared and encoded once, and read once by the language model.

It is apart because it is what most users call, and all that they call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from facekit.errors import ConfigurationError
from facekit.faces import CroppedClip, CroppedFace, is_video
from facekit.faces.images import ImageSource
from facekit.faces.video import ClipSource
from facekit.models.image_processing import Medium
from facekit.models.media import take_as_cropped, take_clip_as_cropped
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.prefix import generate_answers
from facekit.models.processing import FaceKitProcessor


def ask(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    image: ImageSource | ClipSource | Medium,
    questions: str | Sequence[str],
    *,
    landmarks: ArrayLike | None = None,
    num_frames: int | None = None,
    system: str | None = None,
    max_new_tokens: int = 64,
    **generation: Any,
) -> list[str]:
    """Ask questions about a picture or clip; each is answered by itself, greedily unless ``generation`` says otherwise.

    Args:
        model: The model.
        processor: Its processor.
        image: A PIL image, a path, a URL or an array; or a clip: the path or URL of a video file, an animated GIF, an
            array ``(frames, H, W, 3)`` or a list of pictures; or what ``processor.image_processor`` cropped with
            ``prepare`` or ``prepare_clip``, for questions at several times, or to see what the model sees.
        questions: The questions; a single string is one question.
        landmarks: ``(68, 2)``, for a clip ``(frames, 68, 2)``, in [0, 1] of a picture that is cropped to the face
            already; without it the face is found, cropped, and its landmarks are detected.
        num_frames: Frames to choose of a clip, in place of the processor's.
        system: A system message before each question.
        max_new_tokens: Longest answer in tokens.
        **generation: Passed to ``model.generate``, or ``batch_size``, the questions answered at a time; see
            ``facekit.models.prefix.generate_answers``.

    Returns:
        An answer for each question, in order; for a single string a list with one answer.

    Raises:
        ConfigurationError: There is no question, or one has no words or holds the image or video token.
        ImageError: The picture or, as ``VideoError``, the clip cannot be opened.
        FaceNotFoundError: It shows no face.
    """
    is_clip = isinstance(image, CroppedClip) or is_video(image)
    prompts = [write_prompt(processor, question, system, is_clip=is_clip) for question in check_questions(questions)]
    medium = _take_medium(processor, image, landmarks, num_frames)
    return generate_answers(
        model,
        processor,
        processor.image_processor.convert([medium]),
        prompts,
        frames=len(medium.frames) if isinstance(medium, CroppedClip) else 1,
        max_new_tokens=max_new_tokens,
        **generation,
    )


def check_questions(questions: str | Sequence[str]) -> list[str]:
    """Return questions as a list.

    Raises:
        ConfigurationError: There is none, or one has no words.
    """
    listed = [questions] if isinstance(questions, str) else list(questions)
    if not listed:
        raise ConfigurationError("there is no question to answer")
    for question in listed:
        if not isinstance(question, str) or not question.strip():
            raise ConfigurationError(f"a question needs words, unlike {question!r}")
    return listed


def write_prompt(
    processor: FaceKitProcessor, question: str, system: str | None = None, *, is_clip: bool = False
) -> str:
    """Write a question about one picture or clip as the language model's chat template has it.

    Args:
        processor: The model's processor.
        question: The question.
        system: A system message before it.
        is_clip: Whether it is about a clip.

    Returns:
        A prompt with one image or video token, up to the start of the answer.

    Raises:
        ConfigurationError: The question has no words, or holds the image or video token.
    """
    medium = {"type": "video" if is_clip else "image"}
    user = {"role": "user", "content": [medium, {"type": "text", "text": question}]}
    chat = [user] if system is None else [{"role": "system", "content": system}, user]
    return processor.apply_chat_template(chat, add_generation_prompt=True)


def _take_medium(
    processor: FaceKitProcessor,
    image: ImageSource | ClipSource | Medium,
    landmarks: ArrayLike | None,
    num_frames: int | None,
) -> Medium:
    if isinstance(image, (CroppedFace, CroppedClip)):
        return image
    points = None if landmarks is None else np.asarray(landmarks, dtype=np.float32)
    settings = processor.image_processor
    if is_video(image):
        clip = cast(ClipSource, image)
        if points is None:
            return settings.prepare_clip(clip, num_frames)
        return take_clip_as_cropped(clip, points, settings.num_frames if num_frames is None else num_frames)
    picture = cast(ImageSource, image)
    return settings.prepare(picture) if points is None else take_as_cropped(picture, points)
