"""Pixels to visual tokens without a language model: ``build_part``, and ``FaceKitVisionModel`` for serving engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from facekit.catalog import current_registry
from facekit.connectors.base import Connector
from facekit.encoders.base import VisionEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError
from facekit.models.configuration import FaceKitConfig
from facekit.models.visual_tokens import map_by_length, read_frame_counts


class VisualParts(nn.Module):
    """Encoder and connector, and what a model does with them; the base of all models that have both.

    Attributes:
        encoder: Sees images, and clips where there is no other.
        video_encoder: Sees clips of more than one frame, or None.
        connector: Projects the tokens of both.
    """

    encoder: VisionEncoder
    video_encoder: VisionEncoder | None
    connector: Connector

    @property
    def tokens_per_frame(self) -> int:
        """How many visual tokens an image costs."""
        return self.connector.tokens_per_frame(self.encoder.grid, self.encoder.num_prefix_tokens)

    @property
    def tokens_per_video_frame(self) -> int:
        """How many visual tokens a frame of a clip costs."""
        encoder = self.encoder_for(2)
        return self.connector.tokens_per_frame(encoder.grid, encoder.num_prefix_tokens)

    def count_visual_tokens(self, frames: int) -> int:
        """How many visual tokens an image (1 frame) or a clip of that many frames costs."""
        return frames * (self.tokens_per_frame if frames == 1 else self.tokens_per_video_frame)

    def encoder_for(self, frames: int) -> VisionEncoder:
        """The encoder that sees images (1 frame) or clips of that many frames."""
        return self.encoder if frames == 1 or self.video_encoder is None else self.video_encoder

    def get_image_features(
        self, pixel_values: Tensor, landmarks: Tensor | None = None, num_frames: Tensor | None = None
    ) -> Tensor:
        """Encode and project images or clips; each as if it were alone, because frames attend to each other.

        Args:
            pixel_values: ``(B_media, T, 3, H, W)``; T is 1 for images, and that of the longest clip where lengths
                are mixed.
            landmarks: ``(B_media, T, 68, 2)``, iBUG-68, x then y in [0, 1] of these pixels; NaN rows are absent.
            num_frames: ``(B_media,)``, how many frames of each are real, the first ones; by default all T.

        Returns:
            ``(B_media, n, D)`` with n the visual tokens of the longest; the rows of shorter ones end in zeros.

        Raises:
            ConfigurationError: ``num_frames`` does not fit ``pixel_values``.
        """
        media, longest = pixel_values.shape[:2]
        if num_frames is None:  # without a look at how many there are: an exported graph takes any number
            return self._encode(pixel_values, landmarks)
        lengths = read_frame_counts(num_frames, media, longest) or [longest] * media
        if len(set(lengths)) <= 1:
            frames = lengths[0] if lengths else longest
            return self._encode(pixel_values[:, :frames], None if landmarks is None else landmarks[:, :frames])

        def encode(frames: int, rows: list[int]) -> Tensor:
            points = None if landmarks is None else landmarks[rows, :frames]
            return self._encode(pixel_values[rows, :frames], points)

        return pad_sequence(map_by_length(lengths, encode), batch_first=True)

    def project_tokens(self, tokens: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Project the tokens of an encoder, for callers that keep those of a frozen one.

        Args:
            tokens: ``(B_media, T, P + N, C)`` of ``encoder_for(T)``.
            landmarks: ``(B_media, T, 68, 2)``.

        Returns:
            ``(B_media, T * n, D)`` with n the tokens per frame.
        """
        landmarks = None if landmarks is None else landmarks.to(tokens.device)
        projected: Tensor = self.connector(tokens, self.encoder_for(tokens.shape[1]).grid, landmarks)
        return projected

    def _encode(self, pixel_values: Tensor, landmarks: Tensor | None) -> Tensor:
        encoder = self.encoder_for(pixel_values.shape[1])
        parameter = next(encoder.parameters())
        return self.project_tokens(encoder(pixel_values.to(parameter.device, parameter.dtype)), landmarks)

    def describe_cost(self) -> str:
        """How many visual tokens an image, and a frame of a clip, costs, in words."""
        image, video = self.tokens_per_frame, self.tokens_per_video_frame
        return f"{image} a frame" if image == video else f"{image} an image, {video} a frame of a clip"

    def check_visual_parts(self) -> None:
        """Make sure that encoders and connector fit.

        Raises:
            ConfigurationError: Their widths differ, or two encoders see different pixels.
        """
        encoders = [("encoder", self.encoder)]
        if self.video_encoder is not None:
            encoders.append(("video encoder", self.video_encoder))
            image, video = self.encoder.transform, self.video_encoder.transform
            if (image.image_size, image.mean, image.std) != (video.image_size, video.mean, video.std):
                raise ConfigurationError(
                    f"the encoder sees {_describe_pixels(image)}, the video encoder {_describe_pixels(video)}; one "
                    "processor serves both, so choose two that take the same pixels"
                )
        expected = self.connector.input_width
        for name, encoder in encoders:
            if encoder.hidden_size != expected:
                raise ConfigurationError(
                    f"the {name} has width {encoder.hidden_size} but the connector's input has width {expected}"
                )


class FaceKitVisionModel(VisualParts):
    """Encoder and connector of a configuration, without its language model, with untrained weights.

    It is what a serving engine that runs the language model itself needs of facekit: ``get_image_features`` and
    ``tokens_per_frame``. Its parameters have the names that they have in the whole model (``encoder.…``,
    ``video_encoder.…``, ``connector.…``), so that a checkpoint's tensors of these names fit.

    Args:
        config: Of the whole model.

    Raises:
        ConfigurationError: The configuration names no encoder or no connector, or their widths or pixels do not fit.
        UnknownPartError: A part's name is not registered here.

    Examples:
        >>> import torch
        >>> from facekit.models import FaceKitConfig, FaceKitVisionModel
        >>> from safetensors.torch import load_file
        >>> config = FaceKitConfig.from_pretrained("runs/demo")
        >>> vision = FaceKitVisionModel(config).eval()
        >>> tensors = load_file("runs/demo/model.safetensors")
        >>> vision.load_state_dict({name: tensors[name] for name in vision.state_dict()})
        <All keys matched successfully>
        >>> pixel_values, landmarks = torch.rand(2, 1, 3, 96, 96), torch.rand(2, 1, 68, 2)
        >>> features = vision.get_image_features(pixel_values, landmarks)  # (B, n, D), as the language model reads them
    """

    def __init__(self, config: FaceKitConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_part("encoder", config.encoder)
        self.video_encoder = None if config.video_encoder is None else build_part("encoder", config.video_encoder)
        self.connector = build_part("connector", config.connector)
        self.check_visual_parts()


@overload
def build_part(kind: Literal["encoder"], config: Mapping[str, Any] | None) -> VisionEncoder: ...


@overload
def build_part(kind: Literal["connector"], config: Mapping[str, Any] | None) -> Connector: ...


def build_part(kind: Literal["encoder", "connector"], config: Mapping[str, Any] | None) -> VisionEncoder | Connector:
    """Build an encoder or a connector with untrained weights from its part of a ``FaceKitConfig``.

    It is built on the CPU and gets the default floating type of torch.

    Args:
        kind: ``encoder`` or ``connector``.
        config: ``config.encoder``, ``config.video_encoder`` or ``config.connector``: the registered ``name``, and what
            the part's ``to_config`` gave.

    Raises:
        ConfigurationError: There is no name, or the values do not fit each other.
        UnknownPartError: No such part is registered here.
        MissingExtraError: A package that it requires is not installed.
    """
    if not config or "name" not in config:
        raise ConfigurationError(f"the configuration names no {kind}: it needs {{'name': ..., ...}}")
    settings = {key: value for key, value in config.items() if key != "name"}
    part = current_registry().load(kind, config["name"])
    dtype = torch.get_default_dtype()
    with _real_construction():
        built: VisionEncoder | Connector = part.from_config(settings).to(dtype)
        return built


def part_config(name: str, part: VisionEncoder | Connector) -> dict[str, Any]:
    """What ``build_part`` rebuilds a part from: its registered name, and what its ``to_config`` gives.

    Raises:
        ConfigurationError: ``to_config`` has a value under ``name`` itself, by which the part could not be found again.
    """
    settings = part.to_config()
    if "name" in settings:
        raise ConfigurationError(
            f"to_config of '{name}' has a key 'name', which holds the registered name; give the value another key"
        )
    return {"name": name, **settings}


def _describe_pixels(transform: ImageTransform) -> str:
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (transform.mean, transform.std))
    return f"{transform.image_size} px of mean ({mean}) and deviation ({std})"


@contextmanager
def _real_construction() -> Iterator[None]:
    """Build on the CPU in float32, whatever device and type are the default: tables computed there must be exact."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
