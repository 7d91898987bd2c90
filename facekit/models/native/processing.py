"""``NativeProcessor``: facekit's face finding and crop in front of the processor of another library's model.

Prompts are written by the base's own chat template, and a picture becomes the very text that its own processor writes
for it. Every picture is resized to one square first, so all cost the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from PIL import Image
from transformers import PreTrainedTokenizerBase

from facekit.errors import CheckpointError, ConfigurationError, first_line
from facekit.models.chat import Message
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.interoperability.recognition import NATIVE_SETTINGS
from facekit.models.processing import FaceKitProcessor

DEFAULT_SIZE = 448
"""Side of a picture for processors that take any size."""

_MEAN, _STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # pixels in [0, 1]: the base's own processor does the rest


class NativeProcessor(FaceKitProcessor):
    """The processor of a native base.

    Args:
        image_processor: Finds and crops faces; its ``image_size`` is the side of the square that the base's own
            processor is given, which decides its tiles and tokens.
        tokenizer: Of the base's own processor.
        native: The base's own processor, with a chat template.
        image_token_id: What every visual token is in ``input_ids``.

    Raises:
        ConfigurationError: The processor has no chat template or no image token, or its image token cannot be written
            as text.
    """

    def __init__(
        self,
        image_processor: FaceKitImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        native: Any,
        image_token_id: int,
    ) -> None:
        template = getattr(native, "chat_template", None) or tokenizer.chat_template
        mark = getattr(native, "image_token", None)
        name = type(native).__name__
        if template is None:
            raise ConfigurationError(f"{name} has no chat template, so facekit cannot write questions for its model")
        if not isinstance(mark, str):
            raise ConfigurationError(f"{name} names no image token, so facekit cannot put pictures into its prompts")
        super().__init__(image_processor, tokenizer, image_token=mark, chat_template=template)
        self.native = native
        self.image_token_id = image_token_id
        self._measured_size = 0
        self._measure()

    @classmethod
    def from_folder(cls, native: Any, image_token_id: int, folder: Path) -> Self:
        """Read the settings of ``save_pretrained``, where there are some, beside a base's own files.

        Raises:
            CheckpointError: They cannot be read.
        """
        path = folder / NATIVE_SETTINGS
        if not path.is_file():
            return cls(face_images(native), native.tokenizer, native, image_token_id)
        try:
            images = FaceKitImageProcessor(**json.loads(path.read_text(encoding="utf-8"))["image_processor"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"'{path}' cannot be read: {first_line(error)}") from error
        return cls(images, native.tokenizer, native, image_token_id)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> list[str]:
        """Write the base's own files, and facekit's settings beside them."""
        written = self.native.save_pretrained(save_directory, *args, **kwargs)
        return [*(written or ()), str(self.save_settings(Path(save_directory)))]

    def save_settings(self, folder: Path) -> Path:
        """Write facekit's settings alone, as beside adapters."""
        kept = ("image_size", "landmarker", "crop_margin", "on_no_face", "image_mean", "image_std")
        values = self.image_processor.to_dict()
        settings = {"image_processor": {name: values[name] for name in kept}}
        path = folder / NATIVE_SETTINGS
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return path

    @property
    def picture_text(self) -> str:
        """What stands for a picture in a prompt's text, as the base's own processor writes it."""
        self._measure()
        return self._picture_text

    @property
    def tokens_per_frame(self) -> int:
        """How many visual tokens a picture costs."""
        self._measure()
        return self._tokens

    @tokens_per_frame.setter
    def tokens_per_frame(self, value: int) -> None:
        self._tokens = value

    def count_visual_tokens(self, frames: int) -> int:
        """How many visual tokens a picture costs.

        Raises:
            ConfigurationError: It is a clip.
        """
        if frames != 1:
            raise ConfigurationError(
                f"{type(self.native).__name__} is given pictures, not clips; give frames as a list of pictures"
            )
        return self.tokens_per_frame

    def media_texts(self, frames: Sequence[int]) -> list[str]:
        """What stands for each picture in a prompt's text."""
        for count in frames:
            self.count_visual_tokens(count)
        return [self.picture_text] * len(frames)

    def expand_image_tokens(self, text: str, frames: int | Sequence[int] = 1) -> str:
        """Replace every image token of a prompt by what the base's own processor writes for a picture."""
        self.media_texts([frames] if isinstance(frames, int) else frames)
        return text.replace(self.image_token, self.picture_text)

    def lay_out(self, messages: Sequence[Message]) -> list[Message]:
        """Messages of plain text, with an image token for each picture, as lists of entries."""
        return [{**message, "content": self._entries(message["content"])} for message in messages]

    def _entries(self, content: str) -> list[dict[str, str]]:
        """Text with image tokens as the entries that chat templates of vision-language models take."""
        if self.video_token in content:
            self.count_visual_tokens(2)
        entries: list[dict[str, str]] = []
        for index, words in enumerate(content.split(self.image_token)):
            if index:
                entries.append({"type": "image"})
            words = words.removeprefix("\n") if index else words
            if words:
                entries.append({"type": "text", "text": words})
        return entries

    def count_expanded(self, text: str) -> int:
        """How many visual tokens a text has whose image tokens are expanded."""
        return text.count(self.picture_text) * self._tokens

    def _measure(self) -> None:
        """Let the base's own processor write a picture of the size in use, where that is another than before."""
        side = self.image_processor.image_size
        if side == self._measured_size:
            return
        blank = Image.new("RGB", (side, side), (127, 127, 127))
        ids = self.native(text=[self.image_token], images=[[blank]], add_special_tokens=False)["input_ids"][0]
        self._picture_text = str(self.tokenizer.decode(ids))
        self._tokens = list(ids).count(self.image_token_id)
        self._measured_size = side
        again = self.tokenizer(self._picture_text, add_special_tokens=False)["input_ids"]
        if list(again) != list(ids) or not self._tokens:
            raise ConfigurationError(
                f"{type(self.native).__name__} writes pictures as tokens that have no text, which facekit cannot use"
            )


def read_image_token(native: Any, processor: Any) -> int:
    """What every visual token of a model in its own class is in ``input_ids``.

    Raises:
        ConfigurationError: It has no such token, or its processor takes no pictures.
    """
    image_token_id = getattr(native.config, "image_token_id", None)
    if image_token_id is None or not hasattr(processor, "image_processor"):
        raise ConfigurationError(
            f"{type(native).__name__} puts no image tokens among its words, so facekit cannot use it; choose a base of "
            "another family"
        )
    return int(image_token_id)


def face_images(native: Any) -> FaceKitImageProcessor:
    """The processor that crops faces for a base, with the size that its own processor takes or ``DEFAULT_SIZE``."""
    size = getattr(native.image_processor, "size", None)
    side = getattr(size, "height", None) or (size.get("height") if isinstance(size, dict) else None)
    return FaceKitImageProcessor(int(side or DEFAULT_SIZE), _MEAN, _STD)
