"""A model of facekit under test: every picture is encoded once, and many questions about it share one reading of it.

Few questions about many pictures are answered question by question, a batch of pictures each; many questions about a
picture are answered picture by picture from one copy of its keys and values. Both ways give the same answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.data.dataset import load_media
from facekit.errors import ConfigurationError
from facekit.evaluation.models.likelihood import option_log_likelihoods, option_tokens
from facekit.evaluation.tasks.questions import Question
from facekit.faces import open_image, pad_to_square
from facekit.models.ask import write_prompt
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.prefix import evaluation_mode, generate_answers
from facekit.models.processing import FaceKitProcessor

SHARED_FROM = 8
"""From so many questions about one picture on, they are answered together from its keys and values."""


@dataclass(frozen=True, eq=False)
class _Subject:
    """Pictures that are asked about: encoded ``(M, n, D)``, frames of each, and the places of the questions."""

    features: Tensor
    frames: int
    is_clip: bool
    places: list[int]


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
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        self.model, self.processor, self.name = model, processor, name
        self.batch_size, self.crop, self.shared_from = batch_size, crop, shared_from

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Answer questions greedily; see ``ModelUnderTest``."""
        for subjects in self._encode_in_batches(questions):
            columns: dict[tuple[str, int, int, int, bool], list[tuple[_Subject, int]]] = defaultdict(list)
            for subject in subjects:
                pictures = len(subject.features)
                if len(subject.places) >= self.shared_from and pictures == 1:
                    yield from self._answer_together(subject, questions)
                    continue
                for place in subject.places:
                    question = questions[place]
                    key = (question.text, question.max_new_tokens, pictures, subject.frames, subject.is_clip)
                    columns[key].append((subject, place))
            for column in sorted(columns.values(), key=lambda rows: len(questions[rows[0][1]].text)):
                yield from self._answer_column(column, questions)

    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        """Log-probability of each question's options; see ``ScoresOptions``."""
        tokenizer = self.processor.tokenizer
        for subjects in self._encode_in_batches(questions):
            for subject in subjects:
                for place in subject.places:
                    question = questions[place]
                    prompt = self._write_prompt(question, len(subject.features), is_clip=subject.is_clip)
                    inputs = self.processor.tokenize([prompt], frames=subject.frames, return_tensors="pt")
                    adds = self.processor.adds_special_tokens(prompt)
                    ids = [
                        option_tokens(tokenizer, prompt, option, add_special_tokens=adds) for option in question.options
                    ]
                    with torch.inference_mode(), evaluation_mode(self.model):
                        scores = option_log_likelihoods(
                            self.model,
                            {**inputs.to(self.model.device), "image_features": subject.features},
                            ids,
                        )
                    yield place, dict(zip(question.options, scores, strict=True))

    def _encode_in_batches(self, questions: Sequence[Question]) -> Iterator[list[_Subject]]:
        places: dict[object, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            places[question.subject].append(place)
        groups = list(places.values())
        for start in range(0, len(groups), self.batch_size):
            yield self._encode(groups[start : start + self.batch_size], questions)

    def _encode(self, groups: Sequence[list[int]], questions: Sequence[Question]) -> list[_Subject]:
        media = [self._open(questions[places[0]]) for places in groups]
        subjects: dict[int, _Subject] = {}
        for frames in sorted({pixels.shape[1] for pixels, _ in media}):
            members = [index for index, (pixels, _) in enumerate(media) if pixels.shape[1] == frames]
            with torch.inference_mode(), evaluation_mode(self.model):
                features = self.model.get_image_features(
                    torch.cat([media[index][0] for index in members]),
                    torch.cat([media[index][1] for index in members]).to(self.model.device),
                )
            parts = features.split([len(media[index][0]) for index in members])
            for index, part in zip(members, parts, strict=True):
                record = questions[groups[index][0]].record
                is_clip = record is not None and record.video is not None
                subjects[index] = _Subject(part, frames, is_clip, groups[index])
        return [subjects[index] for index in range(len(groups))]

    def _open(self, question: Question) -> tuple[Tensor, Tensor]:
        """Pixels ``(M, T, 3, H, W)`` and landmarks ``(M, T, 68, 2)`` of a question's pictures."""
        if question.record is not None:
            pixels, points = load_media(question.record, question.folder, self.processor)
            return pixels[None], points[None]
        settings = self.processor.image_processor
        if self.crop:
            faces = [settings.prepare(path) for path in question.pictures]
        else:
            faces = [pad_to_square(open_image(path)) for path in question.pictures]
        inputs = settings.convert(faces)
        return inputs["pixel_values"], inputs["landmarks"]

    def _answer_together(self, subject: _Subject, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        for limit in sorted({questions[place].max_new_tokens for place in subject.places}):
            places = [place for place in subject.places if questions[place].max_new_tokens == limit]
            answers = generate_answers(
                self.model,
                self.processor,
                {"image_features": subject.features},
                [self._write_prompt(questions[place], 1, is_clip=subject.is_clip) for place in places],
                frames=subject.frames,
                max_new_tokens=limit,
                batch_size=self.batch_size,
            )
            yield from zip(places, answers, strict=True)

    def _answer_column(
        self, column: Sequence[tuple[_Subject, int]], questions: Sequence[Question]
    ) -> Iterator[tuple[int, str]]:
        """Answer one question about several subjects: equal prompts, so nothing is padded."""
        first, place = column[0]
        prompt = self._write_prompt(questions[place], len(first.features), is_clip=first.is_clip)
        ids = self.processor.tokenize([prompt], frames=first.frames, return_tensors="pt")["input_ids"]
        input_ids = ids.to(self.model.device).expand(len(column), -1)
        with torch.inference_mode(), evaluation_mode(self.model):
            tokens = self.model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                image_features=torch.cat([subject.features for subject, _ in column]),
                max_new_tokens=questions[place].max_new_tokens,
                do_sample=False,
            )
        texts = self.processor.batch_decode(tokens[:, ids.shape[1] :], skip_special_tokens=True)
        for (_, asked), text in zip(column, texts, strict=True):
            yield asked, text.strip()

    def _write_prompt(self, question: Question, pictures: int, *, is_clip: bool) -> str:
        if pictures == 1:
            return write_prompt(self.processor, question.text, is_clip=is_clip)
        content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": question.text}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
