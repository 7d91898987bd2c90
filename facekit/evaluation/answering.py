"""Asking a model the same questions about many pictures: each picture is encoded once for all of its questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from facekit.data.dataset import RecordSet, load_media
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor


def answer_questions(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet,
    questions: Sequence[tuple[str, int]],
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """Answer every question about every picture, each by itself and greedily.

    Args:
        model: The model.
        processor: Its processor.
        records: Records of face crops, with or without landmarks.
        questions: Question and longest answer in tokens.
        batch_size: Pictures at a time.
        on_progress: Called with the number of pictures done and in all.

    Returns:
        Per record the answers in the order of the questions.

    Raises:
        ImageError: A picture cannot be opened.
        RecordError: A record cannot be used.
    """
    prompts = [_write_prompt(processor, question) for question, _ in questions]
    answers: list[list[str]] = []
    with torch.inference_mode(), evaluation_mode(model):
        for start in range(0, len(records), batch_size):
            chunk = records.records[start : start + batch_size]
            media = [load_media(record, records.folder, processor) for record in chunk]
            rows: dict[int, list[str]] = {}
            for frames in sorted({len(pixels) for pixels, _ in media}):
                places = [place for place, (pixels, _) in enumerate(media) if len(pixels) == frames]
                pixels = torch.stack([media[place][0] for place in places])
                points = torch.stack([media[place][1] for place in places])
                features = model.get_image_features(pixels, points.to(model.device))
                columns = [
                    _generate(model, processor, prompt, frames, features, limit)
                    for prompt, (_, limit) in zip(prompts, questions, strict=True)
                ]
                rows.update(zip(places, map(list, zip(*columns, strict=True)), strict=True))
            answers.extend(rows[place] for place in range(len(media)))
            if on_progress is not None:
                on_progress(len(answers), len(records))
    return answers


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off, and back on afterwards where they were on."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _write_prompt(processor: FaceKitProcessor, question: str) -> str:
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    return processor.apply_chat_template([user], add_generation_prompt=True)


def _generate(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    prompt: str,
    frames: int,
    features: Tensor,
    limit: int,
) -> list[str]:
    prompt_ids = processor.tokenize([prompt], frames=frames, return_tensors="pt")["input_ids"].to(model.device)
    input_ids = prompt_ids.expand(len(features), -1)
    tokens = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        image_features=features,
        max_new_tokens=limit,
        do_sample=False,
    )
    texts = processor.batch_decode(tokens[:, prompt_ids.shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]
