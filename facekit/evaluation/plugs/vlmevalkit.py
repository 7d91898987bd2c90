"""A model for VLMEvalKit: ``register("my-face-model", "runs/demo")``, then its ``run.py --model my-face-model``.

Written for the interface that VLMEvalKit documents: a class with ``generate_inner(message, dataset)``, a message being
a list of ``{"type": "image" | "text" | "video", "value": …}``. Without the suite the class can be made and used, but
not registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from facekit.deprecations import renamed_function
from facekit.errors import ConfigurationError, MissingExtraError
from facekit.evaluation.plugs.bridge import SuiteModel, SuiteQuestion

try:
    from vlmeval.vlm.base import BaseModel
except ModuleNotFoundError as missing:
    if missing.name != "vlmeval":
        raise
    BaseModel = object


class FaceKitVLM(BaseModel):
    """Any model under test of facekit, as VLMEvalKit wants it.

    All pictures of a message come before its text, whose parts are joined by line breaks; the order in which pictures
    and words alternate is lost.

    Args:
        model: A folder with a model of facekit, or a spec such as ``hf:ID``.
        device: Where the model is put.
        crop: Whether a model of facekit sees the largest face with its landmarks instead of the whole picture.
        max_new_tokens: Longest answer in tokens.
    """

    INSTALL_REQ = False
    INTERLEAVE = True
    VIDEO_LLM = False
    allowed_types = ("text", "image", "video")

    def __init__(self, model: str, *, device: str | None = None, crop: bool = False, max_new_tokens: int = 512) -> None:
        super().__init__()
        if max_new_tokens < 1:
            raise ConfigurationError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
        self.suite = SuiteModel(model, device=device, crop=crop)
        self.max_new_tokens = max_new_tokens

    def generate_inner(self, message: Sequence[Mapping[str, str]], dataset: str | None = None) -> str:
        """Answer one message greedily.

        Args:
            message: Its parts, with ``type`` and ``value``: words, or the path of a picture or a video.
            dataset: Name of the benchmark; nothing depends on it.

        Raises:
            ConfigurationError: A part is of another type, or there is no picture.
        """
        wrong = next((part["type"] for part in message if part["type"] not in self.allowed_types), None)
        if wrong is not None:
            raise ConfigurationError(f"a message has a part of type '{wrong}'; facekit takes text, image and video")
        text = "\n".join(part["value"] for part in message if part["type"] == "text")
        visuals = tuple(part["value"] for part in message if part["type"] != "text")
        return self.suite.answer([SuiteQuestion(text, visuals, visuals, self.max_new_tokens)])[0]


def register_in_vlmevalkit(name: str, model: str, **options: Any) -> None:
    """Add a model to VLMEvalKit's table, under a name for its ``--model``.

    Args:
        name: The name.
        model: See ``FaceKitVLM``.
        **options: See ``FaceKitVLM``.

    Raises:
        MissingExtraError: VLMEvalKit is not installed.
    """
    try:
        from vlmeval.config import supported_VLM
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "VLMEvalKit is not installed; clone github.com/open-compass/VLMEvalKit and run 'pip install -e .' there"
        ) from error
    supported_VLM[name] = partial(FaceKitVLM, model=model, **options)


register = renamed_function("register", register_in_vlmevalkit)
