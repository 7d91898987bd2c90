"""``open_adapter``: a LoRA adapter over a checkpoint, as far as vLLM takes it beside the checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import ConfigurationError
from facekit.models.interoperability.adapters import adapter_tensors
from facekit.models.interoperability.recognition import Recognition
from facekit.models.interoperability.weights import shorten

_TAKEN = re.compile(r"(language_model\.)?(model\..+|lm_head)\.lora_[AB]\.weight")
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class ServedAdapter:
    """An adapter that vLLM takes.

    Args:
        folder: Of its files.
        rank: The least of the ranks for which vLLM keeps room that is not below the adapter's.
    """

    folder: Path
    rank: int


def open_adapter(recognised: Recognition) -> ServedAdapter:
    """Return an adapter for vLLM, which passes over what does not belong to the language model, or fails at it.

    Args:
        recognised: The adapter's folder.

    Raises:
        ConfigurationError: It changes more than the layers of a language model.
        CheckpointError: Its file is missing or damaged.
    """
    others = sorted(name for name in adapter_tensors(recognised.folder) if not _TAKEN.fullmatch(name))
    if others:
        raise ConfigurationError(
            f"the adapter in '{recognised.folder}' has {shorten(others)}, and vLLM takes LoRA of the language model's "
            f"layers alone; write one model with 'facekit export {recognised.folder} FOLDER --merge-lora' and open that"
        )
    ranks = [recognised.config.get("r") or 0, *(recognised.config.get("rank_pattern") or {}).values()]
    return ServedAdapter(recognised.folder, next((rank for rank in _RANKS if rank >= max(ranks)), _RANKS[-1]))
