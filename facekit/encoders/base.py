"""The interface of vision encoders, which third-party packages subclass too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn

from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class VisionEncoder(nn.Module, ABC):
    """Turns frames into prefix tokens and a row-major grid of patch tokens.

    Attributes:
        hidden_size: Width C of the tokens.
        grid: Rows and columns of patches per frame.
        num_prefix_tokens: P, the number of class and register tokens before the patches; 0 after
            ``leave_out_prefix_tokens``.
        image_size: Height and width in pixels of the frames it takes (they are square).
        transform: How a picture becomes ``pixel_values``, as the encoder was trained.
    """

    hidden_size: int
    grid: tuple[int, int]
    num_prefix_tokens: int
    image_size: int
    transform: ImageTransform
    _prefix_tokens_left_out: int = 0

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str | None = None, *args: Any, **options: Any) -> Self:
        """Build the encoder that a spec string names, with its pretrained weights if it names any.

        Args:
            argument: What stands after the ``:`` of the spec: a model name, a hub id or a path.
            *args: None; it stands here so that a subclass may name its options.
            **options: The spec's options. A subclass names them as keyword-only arguments with types, by which
                ``facekit.spec`` reads their text.

        Raises:
            InvalidSpecError: The argument or an option cannot be used.
            CheckpointError: Weights that the spec names are missing or do not fit.
        """

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Return JSON-ready values from which ``from_config`` rebuilds the architecture, without weights."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights, reading no file and no hub."""

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)`` to tokens ``(F, P + N, C)``: prefix tokens, then patches row by row."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode images or clips.

        Args:
            pixel_values: ``(B, T, 3, H, W)``, normalised by ``transform``; T is 1 for an image. In any floating
                type, and on the device of the weights.

        Returns:
            ``(B, T, P + N, C)``.

        Raises:
            ConfigurationError: Shape, type or device is another one.
        """
        if not torch.compiler.is_compiling():
            self._check_pixels(pixel_values)
        return self.encode_clips(pixel_values)[:, :, self._prefix_tokens_left_out :]

    def _check_pixels(self, pixel_values: Tensor) -> None:
        size = (3, self.image_size, self.image_size)
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[2:]) != size:
            raise ConfigurationError(
                f"pixel_values must be (B, T, {size[0]}, {size[1]}, {size[2]}), not {tuple(pixel_values.shape)}"
            )
        if not pixel_values.is_floating_point():
            raise ConfigurationError(
                f"pixel_values must be normalised floating values, not {pixel_values.dtype}; prepare pictures "
                "with FaceKitProcessor or the encoder's transform"
            )
        weight = next(self.parameters(), None)
        if weight is not None and not weight.is_meta and pixel_values.device != weight.device:
            raise ConfigurationError(
                f"pixel_values are on {pixel_values.device} but the encoder is on {weight.device}; move them with "
                f".to('{weight.device}')"
            )

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Encode clips ``(B, T, 3, H, W)`` to ``(B, T, P + N, C)``.

        Here this is done frame by frame; an encoder that looks across time overrides it. The prefix tokens are all
        there, whether ``forward`` leaves them out or not.
        """
        tokens = self.encode_frames(clips.flatten(0, 1))
        return tokens.unflatten(0, tuple(clips.shape[:2]))

    def leave_out_prefix_tokens(self) -> None:
        """Give patches only from now on; class and register tokens still take part inside."""
        self._prefix_tokens_left_out += self.num_prefix_tokens
        self.num_prefix_tokens = 0

    def train(self, mode: bool = True) -> Self:
        """Set the training mode, but leave batch norms on their stored statistics.

        Statistics of a batch would make a face's tokens depend on the other faces, and would drift in a frozen encoder.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()
        return self

    def describe_features(self, features: Any, *, class_token: bool) -> None:
        """Take the description of the tokens from the module that makes them, at the end of a constructor.

        Args:
            features: A module with ``hidden_size``, ``grid`` and ``num_prefix_tokens``.
            class_token: Whether the prefix tokens are given out.
        """
        self.hidden_size, self.grid = features.hidden_size, features.grid
        self.num_prefix_tokens = features.num_prefix_tokens
        if not class_token:
            self.leave_out_prefix_tokens()
        self.train(self.training)

    @property
    def num_patches(self) -> int:
        """N, the number of patches per frame."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens_per_frame(self) -> int:
        """P + N."""
        return self.num_prefix_tokens + self.num_patches
