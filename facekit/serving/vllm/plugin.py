"""``register``: what vLLM calls in each of its processes, whatever model they serve; it imports no model."""

from __future__ import annotations

from facekit.compat.vllm import announce

ARCHITECTURE = "FaceKitForConditionalGeneration"
MODEL_TYPE = "facekit"


def register() -> None:
    """Let vLLM open facekit's own checkpoints; entry point of the group ``vllm.general_plugins``."""
    announce(
        ARCHITECTURE,
        "facekit.serving.vllm.model:FaceKitForVllm",
        MODEL_TYPE,
        "facekit.models:FaceKitConfig",
    )
