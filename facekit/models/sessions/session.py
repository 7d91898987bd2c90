"""``Session``: a model, its processor and media encoded once, for asking and for scoring options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike

from facekit.counted import counted
from facekit.errors import ConfigurationError
from facekit.faces import CroppedClip, CroppedFace, is_video
from facekit.faces.images import ImageSource
from facekit.faces.video import Clip, ClipSource
from facekit.models.image_processing import FaceKitImageProcessor, Medium
from facekit.models.media import take_as_cropped, take_clip_as_cropped
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.encoding import EncodedMedia, MediumTensors, answering_mode, encode_media, join_features
from facekit.models.sessions.likelihood import option_tokens, question_log_likelihoods
from facekit.models.sessions.planning import iterate_answers
from facekit.models.sessions.prompts import check_questions, tokenize_prompts, write_prompt
from facekit.models.sessions.requests import Request, Sampling

AnyMedium: TypeAlias = ImageSource | Clip | Medium
"""A picture or a clip: a path or URL says by its suffix which; an array by its number of axes."""


class Session:
    """Questions about media that were encoded once.

    Args:
        model: The model.
        processor: Its processor.
        media: Its pictures and clips, encoded; see ``Session.open`` and ``Session.open_many``.

    Examples:
        >>> import facekit
        >>> from facekit.models.sessions import Session
        >>> model, processor = facekit.load("runs/demo")
        >>> session = Session.open(model, processor, "photo.jpg")
        >>> answers = session.generate(["How old?", "Which expression?"])
        >>> len(session.score("Is the person smiling?", ["yes", "no"]))
        2
    """

    def __init__(
        self, model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, media: EncodedMedia
    ) -> None:
        self.model, self.processor, self.media = model, processor, media

    @classmethod
    def open(
        cls,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        image: AnyMedium | Sequence[AnyMedium],
        *,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        num_frames: int | None = None,
    ) -> Session:
        """Prepare and encode a picture, a clip or several of them; arguments and errors as in ``facekit.ask``."""
        return cls.of_media(model, processor, _take_media(processor.image_processor, image, landmarks, num_frames))

    @classmethod
    def of_media(
        cls, model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, media: Sequence[Medium]
    ) -> Session:
        """Encode pictures and clips that are cropped already; questions are about all of them.

        Args:
            model: The model.
            processor: Its processor.
            media: What ``processor.image_processor`` cropped with ``prepare`` or ``prepare_clip``, in the order in
                which prompts show them.
        """
        tensors = [medium_tensors(processor.image_processor, medium) for medium in media]
        return cls.open_many(model, processor, [tensors])[0]

    @classmethod
    def open_many(
        cls,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        subjects: Sequence[Sequence[MediumTensors]],
    ) -> list[Session]:
        """Encode the media of several sessions together."""
        return [cls(model, processor, media) for media in encode_media(model, subjects)]

    def write_prompt(self, question: str, system: str | None = None) -> str:
        """Write a question about the session's media; see ``facekit.models.sessions.write_prompt``."""
        return write_prompt(self.processor, question, system, is_clip=self.media.is_clip)

    def request(
        self,
        question: str,
        *,
        system: str | None = None,
        max_new_tokens: int = 64,
        sampling: Sampling | None = None,
        on_text: Callable[[str], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Request:
        """Write a question as a request, to be answered in a batch with those of other sessions; see ``Request``."""
        prompt = self.write_prompt(check_questions(question)[0], system)
        return Request(self.media, prompt, max_new_tokens, sampling, on_text, should_stop)

    def generate(
        self,
        questions: str | Sequence[str],
        *,
        system: str | None = None,
        max_new_tokens: int = 64,
        batch_size: int = 64,
        **generation: Any,
    ) -> list[str]:
        """Answer questions, each by itself, greedily unless ``generation`` says otherwise.

        Args:
            questions: The questions; a single string is one question.
            system: A system message before each question.
            max_new_tokens: Longest answer in tokens.
            batch_size: Questions that are answered at a time.
            **generation: Passed to ``model.generate``.

        Returns:
            An answer for each question, in order.

        Raises:
            ConfigurationError: There is no question, one has no words, a prompt is
                longer than the language model's context, or ``batch_size`` is below 1.
        """
        prompts = [self.write_prompt(question, system) for question in check_questions(questions)]
        return self.generate_from(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, **generation)

    def generate_from(
        self, prompts: Sequence[str], *, max_new_tokens: int = 64, batch_size: int = 64, **generation: Any
    ) -> list[str]:
        """Answer prompts that are written already; see ``generate``.

        Args:
            prompts: Texts with one image or video token per picture or clip, as ``write_prompt`` or
                ``processor.apply_chat_template`` writes them.
            max_new_tokens: Longest answer in tokens.
            batch_size: Prompts that are answered at a time.
            **generation: Passed to ``model.generate``.

        Raises:
            ConfigurationError: There is no prompt, or see ``generate``.
        """
        if not prompts:
            raise ConfigurationError("there is no prompt to answer")
        requests = [Request(self.media, prompt, max_new_tokens) for prompt in prompts]
        answers = dict(iterate_answers(self.model, self.processor, requests, batch_size=batch_size, **generation))
        return [text for index in range(len(prompts)) for text in answers[index]]

    def score(self, question: str, options: Sequence[str], *, system: str | None = None) -> list[float]:
        """Return the log-probability of each option as the answer; the prompt is read once.

        Args:
            question: The question.
            options: The answers to compare.
            system: A system message before the question.

        Raises:
            ConfigurationError: There is no option, or see ``generate``.
        """
        return self.score_each([question], [options], system=system)[0]

    def score_each(
        self, questions: Sequence[str], options: Sequence[Sequence[str]], *, system: str | None = None
    ) -> list[list[float]]:
        """Return the log-probability of the options of several questions; what the prompts share is read once.

        Args:
            questions: The questions.
            options: Of each, the answers to compare.
            system: A system message before each question.

        Raises:
            ConfigurationError: A question has no option, or see ``generate``.
        """
        if not all(options):
            raise ConfigurationError("there is no option to score")
        if any(isinstance(each, str) for each in options):
            raise ConfigurationError("options are a list of texts, such as ['yes', 'no'], and not one text")
        written = [self.write_prompt(question, system) for question in check_questions(questions)]
        rows = tokenize_prompts(self.processor, self.model.config, written, [self.media.frames] * len(written))
        tokens = [
            [self._option_tokens(prompt, option) for option in choices]
            for prompt, choices in zip(written, options, strict=True)
        ]
        with answering_mode(self.model):
            media = join_features([self.media])
            prompts = []
            for row in rows:
                input_ids = row[None].to(self.model.device)
                prompts.append({"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), **media})
            return question_log_likelihoods(self.model, prompts, tokens)

    def _option_tokens(self, prompt: str, option: str) -> list[int]:
        return option_tokens(
            self.processor.tokenizer,
            prompt,
            option,
            add_special_tokens=self.processor.adds_special_tokens(prompt),
            control_tokens=self.processor.control_tokens,
        )


def medium_tensors(image_processor: FaceKitImageProcessor, medium: Medium) -> MediumTensors:
    """Return the tensors of a picture or clip that is cropped already."""
    inputs = image_processor.convert([medium])
    return MediumTensors(inputs["pixel_values"][0], inputs["landmarks"][0], is_clip=isinstance(medium, CroppedClip))


def as_list(image: AnyMedium | Sequence[AnyMedium]) -> list[AnyMedium]:
    """Return several pictures and clips, or the only one, as a list.

    Raises:
        ConfigurationError: There is none.
    """
    if not isinstance(image, (list, tuple)):
        return [cast(AnyMedium, image)]
    if not image:
        raise ConfigurationError("there is no picture to ask about; the list is empty")
    return list(image)


def is_clip(medium: AnyMedium) -> bool:
    """Whether one medium is a clip rather than a picture."""
    return isinstance(medium, CroppedClip) or is_video(medium)


def _take_media(
    settings: FaceKitImageProcessor,
    image: AnyMedium | Sequence[AnyMedium],
    landmarks: ArrayLike | Sequence[ArrayLike | None] | None,
    num_frames: int | None,
) -> list[Medium]:
    media = as_list(image)
    if not isinstance(image, (list, tuple)):
        return [take_medium(settings, media[0], cast("ArrayLike | None", landmarks), num_frames)]
    if num_frames is not None and not any(is_clip(medium) for medium in media):
        raise ConfigurationError(
            "num_frames is for clips, and a list of pictures is several pictures; for the frames of one clip give "
            "facekit.faces.read_clip(pictures)"
        )
    shapes: Sequence[Any] = [None] * len(media) if landmarks is None else list(cast(Sequence[Any], landmarks))
    if len(shapes) != len(media):
        raise ConfigurationError(
            f"{counted(len(media), 'picture')} but landmarks for {len(shapes)}; give one entry for each"
        )
    return [take_medium(settings, *pair, num_frames) for pair in zip(media, shapes, strict=True)]


def take_medium(
    settings: FaceKitImageProcessor, image: AnyMedium, landmarks: ArrayLike | None, num_frames: int | None
) -> Medium:
    """Prepare one picture or clip as ``ask`` takes it; crops are returned as they are."""
    if isinstance(image, (CroppedFace, CroppedClip)):
        return image
    points = None if landmarks is None else np.asarray(landmarks, dtype=np.float32)
    if is_video(image):
        clip = cast(ClipSource, image)
        if points is None:
            return settings.prepare_clip(clip, num_frames)
        return take_clip_as_cropped(clip, points, settings.num_frames if num_frames is None else num_frames)
    picture = cast(ImageSource, image)
    return settings.prepare(picture) if points is None else take_as_cropped(picture, points)
