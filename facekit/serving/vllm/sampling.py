"""How vLLM draws an answer's tokens, so that they are those of ``model.generate`` with the checkpoint's settings."""

from __future__ import annotations

import logging
from typing import Any

from transformers import GenerationConfig

from facekit.models.sessions import Sampling

logger = logging.getLogger(__name__)

_NEVER = -100.0
_OTHERS: dict[str, tuple[Any, ...]] = {
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1.0),
    "bad_words_ids": (None,),
    "sequence_bias": (None,),
    "begin_suppress_tokens": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
}
"""Settings that change an answer and are none of vLLM's, with the values at which they change nothing."""


def sampling_options(
    how: Sampling | None, generation: GenerationConfig, *, image_token: int, longest: int
) -> dict[str, Any]:
    """Return arguments of vLLM's ``SamplingParams``.

    Args:
        how: How tokens are drawn; None for the most likely ones.
        generation: The checkpoint's settings, as ``model.generate`` keeps to them.
        image_token: Is never written anyway.
        longest: Longest answer in tokens.
    """
    drawn: dict[str, Any] = {"temperature": 0.0}
    if how is not None:
        drawn = {"temperature": how.temperature, "top_p": how.top_p, "top_k": how.top_k, "seed": how.seed}
    suppressed = {int(token) for token in generation.suppress_tokens or ()} - {image_token}
    if suppressed:
        drawn["logit_bias"] = dict.fromkeys(sorted(suppressed), _NEVER)
    if generation.repetition_penalty is not None:
        drawn["repetition_penalty"] = float(generation.repetition_penalty)
    if generation.min_new_tokens is not None:
        drawn["min_tokens"] = min(int(generation.min_new_tokens), longest)
    return drawn


def warn_of_differences(generation: GenerationConfig) -> None:
    """Log which settings of a checkpoint vLLM does not keep to."""
    missing = [name for name, values in _OTHERS.items() if getattr(generation, name, None) not in values]
    if missing:
        logger.warning(
            "the checkpoint's generation_config.json sets %s, which vLLM does not know; its answers may differ from "
            "those of the engine transformers",
            " and ".join(missing),
        )
