"""One picture, many questions: the picture is prepared and encoded once.

It is apart because it is what most users call, and all that they call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from facekit.errors import ConfigurationError
from facekit.faces import CroppedFace
from facekit.faces.images import ImageSource
from facekit.models.image_processing import take_as_cropped
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor


def ask(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    image: ImageSource | CroppedFace,
    questions: str | Sequence[str],
    *,
    landmarks: ArrayLike | None = None,
    system: str | None = None,
    max_new_tokens: int = 64,
    **generation: Any,
) -> list[str]:
    """Ask questions about a picture; each is answered by itself, greedily unless ``generation`` says otherwise.

    Args:
        model: The model.
        processor: Its processor.
        image: A PIL image, a path, a URL or an array; or a face that ``processor.image_processor.prepare`` cropped,
            for questions at several times, or to see what the model sees.
        questions: The questions; a single string is one question.
        landmarks: ``(68, 2)`` in [0, 1] of a picture that is cropped to the face already; without it the face is
            found, cropped, and its landmarks are detected.
        system: A system message before each question.
        max_new_tokens: Longest answer in tokens.
        **generation: Passed to ``model.generate``.

    Returns:
        An answer for each question, in order; for a single string a list with one answer.

    Raises:
        ConfigurationError: There is no question, or one has no words or holds the image token.
        ImageError: The picture cannot be opened.
        FaceNotFoundError: It shows no face.
    """
    questions = check_questions(questions)
    prompts = [
        processor.apply_chat_template(_write_chat(question, system), add_generation_prompt=True)
        for question in questions
    ]
    face = _take_face(processor, image, landmarks)
    with torch.inference_mode(), _evaluation_mode(model):
        features = model.get_image_features(**processor.image_processor.convert([face]).to(model.device))
        text = processor.tokenize(prompts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
        tokens = model.generate(
            **text,
            image_features=features.expand(len(questions), -1, -1),
            **{"max_new_tokens": max_new_tokens, "do_sample": False, **generation},
        )
    answers = processor.batch_decode(tokens[:, text["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in answers]


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


def _take_face(
    processor: FaceKitProcessor, image: ImageSource | CroppedFace, landmarks: ArrayLike | None
) -> CroppedFace:
    if isinstance(image, CroppedFace):
        return image
    if landmarks is not None:
        return take_as_cropped(image, np.asarray(landmarks, dtype=np.float32))
    return processor.image_processor.prepare(image)


def _write_chat(question: str, system: str | None) -> list[dict[str, Any]]:
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    return [user] if system is None else [{"role": "system", "content": system}, user]


@contextmanager
def _evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
