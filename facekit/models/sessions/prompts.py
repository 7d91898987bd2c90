"""Prompts: questions through the chat template to token ids, refused where they exceed the context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from facekit.errors import ConfigurationError
from facekit.models.processing import FaceKitProcessor


def check_questions(questions: str | Sequence[str]) -> list[str]:
    """Return questions as a list.

    Raises:
        ConfigurationError: There is none, or one has no words or is no text.
    """
    if not isinstance(questions, str | Iterable):
        raise ConfigurationError(f"questions are a text or a list of texts, unlike {questions!r}")
    listed = [questions] if isinstance(questions, str) else list(questions)
    if not listed:
        raise ConfigurationError("there is no question to answer")
    for question in listed:
        if not isinstance(question, str) or not question.strip():
            raise ConfigurationError(f"a question needs words, unlike {question!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in question):  # so Python has bytes that are no UTF-8
            raise ConfigurationError(f"a question is UTF-8 text, unlike {question!r}; check the encoding it comes in")
    return listed


def write_prompt(
    processor: FaceKitProcessor, question: str, system: str | None = None, *, is_clip: bool | Sequence[bool] = False
) -> str:
    """Write a question about pictures and clips as the language model's chat template has it.

    Args:
        processor: The model's processor.
        question: The question.
        system: A system message before it.
        is_clip: Whether it is about a clip; several values for several pictures and clips, in their order.

    Returns:
        A prompt with one image or video token for each, up to the start of the answer.

    Raises:
        ConfigurationError: The question has no words, or the chat template refuses the system message.
    """
    clips = [is_clip] if isinstance(is_clip, bool) else is_clip
    media = [{"type": "video" if each else "image"} for each in clips]
    user = {"role": "user", "content": [*media, {"type": "text", "text": question}]}
    chat: list[dict[str, Any]] = [user] if system is None else [{"role": "system", "content": system}, user]
    prompt: str = processor.apply_chat_template(chat, add_generation_prompt=True)
    return prompt


def tokenize_prompts(
    processor: FaceKitProcessor, config: PreTrainedConfig, prompts: Sequence[str], frames: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Return the token ids of prompts, ``(L,)`` each.

    Args:
        processor: The model's processor.
        config: The model's, which knows the longest context.
        prompts: The prompts.
        frames: Of each prompt, the frames of its pictures and clips.

    Raises:
        ConfigurationError: A prompt does not fit its media, or is longer than the language model's context.
    """
    counts = [count for each in frames for count in each]
    rows = [torch.tensor(ids) for ids in processor.tokenize(list(prompts), frames=counts)["input_ids"]]
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, rows))
    if context is not None and longest >= context:
        raise ConfigurationError(
            f"a prompt has {longest} tokens, visual ones included, but the language model reads {context}; ask a "
            "shorter question, or about fewer frames"
        )
    return rows
