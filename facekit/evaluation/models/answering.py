"""facekit's models under test: pictures are encoded once and shared by their questions, see ``answer_subjects``."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from facekit.data.absent_landmarks import tell_absent_landmarks
from facekit.data.record_media import open_media
from facekit.errors import ConfigurationError
from facekit.evaluation.tasks.prompts import TRAINED
from facekit.evaluation.tasks.questions import Question, well_formed
from facekit.faces import open_image, pad_to_square
from facekit.models.identity import describe_parts, sample_weights
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import (
    AnsweringEngine,
    AskedPrompt,
    MediumTensors,
    Subject,
    answer_subjects,
    open_subjects,
    write_prompt,
)
from facekit.models.sessions.subjects import SHARED_FROM


class FaceKitModel:
    """A composed model with its processor, as a model under test.

    Args:
        model: The model.
        processor: Its processor.
        name: Its name in reports.
        batch_size: Pictures, or questions about one picture, at a time.
        crop: Whether pictures without a record are cropped to their face; otherwise they are seen whole, without
            landmarks. Records hold face crops already.
        shared_from: Questions about one picture from which on they share its keys and values.
        prompt_style: How tasks are put to it by default; ``closed`` for one that facekit did not train.
        engine: Answers in place of the model, up to twice ``batch_size`` questions at a time.

    Raises:
        ConfigurationError: ``batch_size`` is below 1.
    """

    def __init__(
        self,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        *,
        name: str = "facekit",
        batch_size: int = 64,
        crop: bool = False,
        shared_from: int = SHARED_FROM,
        prompt_style: str = TRAINED,
        engine: AnsweringEngine | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        self.model, self.processor, self.name = model, processor, well_formed(name)
        self.batch_size, self.crop, self.shared_from = batch_size, crop, shared_from
        self.prompt_style, self.engine = prompt_style, engine
        self._has_told = False

    @property
    def identity(self) -> dict[str, str]:
        """Parts and weights, by which a model that was trained on is another one, and how it is asked."""
        template = hashlib.sha256(str(self.processor.chat_template).encode("utf-8", "surrogatepass")).hexdigest()
        return {
            **describe_parts(self.model),
            "weights": sample_weights(self.model),
            "num_frames": str(self.processor.image_processor.num_frames),
            "crop": str(self.crop),
            "chat_template": template[:16],
            "engine_options": "",
            **({} if self.engine is None else self.engine.identity),
        }

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Answer questions greedily; see ``ModelUnderTest``."""
        subjects, groups = self._subjects(questions)
        answers = answer_subjects(
            self.model,
            self.processor,
            subjects,
            batch_size=self.batch_size,
            shared_from=self.shared_from,
            engine=self.engine,
        )
        yield from ((groups[subject][number], text) for subject, number, text in answers)

    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        """Log-probability of each question's options, always by the model itself; see ``ScoresOptions``."""
        subjects, groups = self._subjects(questions)
        for batch in open_subjects(self.model, self.processor, subjects, batch_size=self.batch_size):
            for subject, session in batch:
                members = groups[subject]
                options = [questions[index].options for index in members]
                sums = session.score_each([questions[index].text for index in members], options)
                for index, choices, scores in zip(members, options, sums, strict=True):
                    yield index, dict(zip(choices, scores, strict=True))

    def _subjects(self, questions: Sequence[Question]) -> tuple[list[Subject], list[list[int]]]:
        """What questions are about, and the indices of the questions about each."""
        if not self._has_told:
            self._has_told = True
            tell_absent_landmarks(self.model, (each.record for each in questions if each.record is not None))
        indices: dict[object, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            indices[question.subject].append(index)
        groups = list(indices.values())
        return [self._subject([questions[index] for index in members]) for members in groups], groups

    def _subject(self, questions: Sequence[Question]) -> Subject:
        def write(is_clip: Sequence[bool]) -> list[AskedPrompt]:
            prompts = [write_prompt(self.processor, each.text, is_clip=is_clip) for each in questions]
            return [AskedPrompt(prompt, each.max_new_tokens) for prompt, each in zip(prompts, questions, strict=True)]

        return Subject(lambda: self._open(questions[0]), write)

    def _open(self, question: Question) -> list[MediumTensors]:
        record = question.record
        if record is not None:
            return open_media(record, question.folder, self.processor)
        settings = self.processor.image_processor
        if self.crop:
            faces = [settings.prepare(path) for path in question.pictures]
        else:
            faces = [pad_to_square(open_image(path)) for path in question.pictures]
        inputs = settings.convert(faces)
        return [MediumTensors(*each) for each in zip(inputs["pixel_values"], inputs["landmarks"], strict=True)]
