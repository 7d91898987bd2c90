"""Fused encoders: the patches of several encoders concatenated in the channels, on one grid.

The spec of several encoders, ``a + b``, is read here alone: ``build_encoder`` takes the spec of one as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.catalog import current_registry
from facekit.encoders.base import VisionEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import InvalidSpecError
from facekit.spec import PartSpec

FUSION = "fusion"


class FusionEncoder(VisionEncoder):
    """Concatenates the tokens of several encoders along the channels.

    All members see the same picture, each in its own size and normalisation. Frames come at the largest member's size,
    framed and normalised as the first member wants them; for another member they are brought back to [0, 1], resized
    (bicubic, antialiased) and normalised anew. The grid is the largest: patches of a coarser member are resampled to
    it bilinearly. Prefix tokens have no position on a grid, so they are kept, concatenated, only where all members have
    the same number of them, and dropped otherwise.

    Args:
        members: The encoders, two or more.
        names: Their registered names, for ``to_config``.

    Raises:
        InvalidSpecError: There are fewer than two members, or not one name for each.
    """

    def __init__(self, members: Sequence[VisionEncoder], names: Sequence[str]) -> None:
        super().__init__()
        if len(members) < 2 or len(members) != len(names):
            raise InvalidSpecError(
                f"a fusion joins two encoders or more, with a name for each, not {len(members)} and {len(names)} names"
            )
        self.members = nn.ModuleList(members)
        self.names = tuple(names)
        self.image_size = max(member.image_size for member in members)
        self.hidden_size = sum(member.hidden_size for member in members)
        self.grid = (max(member.grid[0] for member in members), max(member.grid[1] for member in members))
        counts = {member.num_prefix_tokens for member in members}
        self.num_prefix_tokens = counts.pop() if len(counts) == 1 else 0
        self.transform = enlarge_transform(members[0].transform, self.image_size)

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Encode clips ``(B, T, 3, H, W)`` to ``(B, T, P + N, C)``, C being the sum of the members' widths."""
        prefixes, planes = [], []
        for member in cast("list[VisionEncoder]", list(self.members)):
            tokens = member(convert_pixels(clips, self.transform, member.transform))
            prefixes.append(tokens[:, :, : self.num_prefix_tokens])
            planes.append(resample_patches(tokens[:, :, member.num_prefix_tokens :], member.grid, self.grid))
        return torch.cat([torch.cat(prefixes, dim=-1), torch.cat(planes, dim=-1)], dim=2)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)``, each a clip of its own, to ``(F, P + N, C)``."""
        return self.encode_clips(frames.unsqueeze(1)).squeeze(1)

    @classmethod
    def from_spec(cls, argument: str | None = None, **options: Any) -> Self:
        """Build ``fusion:A + B``; written without ``fusion:`` each member can have options, as in ``A?x=1 + B?y=2``.

        Raises:
            InvalidSpecError: There is no argument, or there are options, which would be a member's.
        """
        if argument is None or options:
            raise InvalidSpecError(
                "several encoders are written as 'openclip:ViT-B-32 + farl:PATH?layer=-2', without a name before them"
            )
        return cls.from_members(split_encoder_specs(argument))

    @classmethod
    def from_members(cls, specs: Sequence[PartSpec]) -> Self:
        """Build the members and join them; raises what their ``from_spec`` raises."""
        return cls([_build_member(spec) for spec in specs], [spec.name for spec in specs])

    def to_config(self) -> dict[str, Any]:
        """Return the members' names and configurations."""
        members = cast("list[VisionEncoder]", list(self.members))
        parts = zip(self.names, members, strict=True)
        return {"members": [{"name": name, **member.to_config()} for name, member in parts]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the members' architectures with untrained weights."""
        names = [values["name"] for values in config["members"]]
        members = []
        for values in config["members"]:
            settings = {key: value for key, value in values.items() if key != "name"}
            members.append(current_registry().load("encoder", values["name"]).from_config(settings))
        return cls(members, names)


def split_encoder_specs(text: str) -> list[PartSpec]:
    """Read the spec of one encoder, or of several with `` + `` (with spaces) between them.

    Raises:
        InvalidSpecError: A spec is empty or malformed.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidSpecError(f"an encoder is named by text such as 'openclip:ViT-B-32 + farl:PATH', not {text!r}")
    members = re.split(r"(?:^|\s)\+(?:\s|$)", text.strip())
    if not all(member.strip() for member in members):
        raise InvalidSpecError(f"the spec {text!r} has nothing on one side of a '+'")
    return [PartSpec.parse(member) for member in members]


def encoder_name(text: str) -> str:
    """Return the registered name of what ``build_encoder`` builds from a spec: ``fusion`` where there are several."""
    specs = split_encoder_specs(text)
    return specs[0].name if len(specs) == 1 else FUSION


def build_encoder(text: str) -> VisionEncoder:
    """Build the encoder that a spec names, or a fusion of the encoders that it names.

    Raises:
        UnknownPartError: There is no encoder of that name.
        InvalidSpecError: A spec is malformed, or its argument or an option cannot be used.
        CheckpointError: Weights that it names are missing or do not fit.
    """
    specs = split_encoder_specs(text)
    return _build_member(specs[0]) if len(specs) == 1 else FusionEncoder.from_members(specs)


def enlarge_transform(transform: ImageTransform, image_size: int) -> ImageTransform:
    """Return a transform for larger frames that show the same part of a picture."""
    edge = transform.shortest_edge
    edge = None if edge is None else round(edge * image_size / transform.image_size)
    return replace(transform, image_size=image_size, shortest_edge=edge)


def convert_pixels(pixels: Tensor, given: ImageTransform, wanted: ImageTransform) -> Tensor:
    """Turn pixels that one transform made into those of another: size and normalisation.

    Args:
        pixels: ``(B, T, 3, H, W)``.
        given: The transform that made them.
        wanted: The other one.

    Returns:
        ``(B, T, 3, H', W')`` in the dtype of ``pixels``.
    """
    same_size = given.image_size == wanted.image_size
    if same_size and (given.mean, given.std) == (wanted.mean, wanted.std):
        return pixels
    mean, std, new_mean, new_std = (
        torch.tensor(values, device=pixels.device).reshape(3, 1, 1)
        for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    pictures = pixels.float() * std + mean
    if not same_size:
        size = (wanted.image_size, wanted.image_size)
        frames = F.interpolate(pictures.flatten(0, 1), size, mode="bicubic", antialias=True, align_corners=False)
        pictures = frames.clamp(0, 1).unflatten(0, pixels.shape[:2])
    return ((pictures - new_mean) / new_std).to(pixels.dtype)


def resample_patches(patches: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Bring patch tokens ``(B, T, N, C)`` from one grid to another, bilinearly with pixel centres aligned."""
    if grid == wanted:
        return patches
    batch = patches.shape[0]
    planes = rearrange(patches, "b t (rows cols) c -> (b t) c rows cols", rows=grid[0])
    planes = F.interpolate(planes, wanted, mode="bilinear", align_corners=False)
    return rearrange(planes, "(b t) c rows cols -> b t (rows cols) c", b=batch)


def _build_member(spec: PartSpec) -> VisionEncoder:
    encoder: VisionEncoder = current_registry().build("encoder", spec)
    return encoder
