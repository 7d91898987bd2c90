"""A connector that appends landmarks as tokens of their own to each frame's patches.

It is the plain alternative to region attention: what the landmarks mean for the patches is left to the language model.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from facekit.connectors.mlp import reset_projector
from facekit.connectors.pixel_shuffle import ProjectingConnector, build_vision_projector, check_prefix_tokens
from facekit.connectors.region import (
    RegionLandmarkProjector,
    build_landmark_mlp,
    choose_landmark_width,
    flatten_landmarks,
    reset_landmark_mlp,
    separate_absent_landmarks,
)
from facekit.errors import ConfigurationError
from facekit.faces import FACE_REGIONS
from facekit.faces.regions import NUM_LANDMARKS

ABSENT_SCALE = 0.02  # standard deviation of the tokens for absent landmarks before training


class PointLandmarkProjector(nn.Module):
    """68 landmarks to one token each: ``h[l] = MLP(z_l) + e_l``, one MLP for all points and a learned vector for each.

    Args:
        output_width: D.
        hidden_width: the MLP's hidden width; by default a quarter of ``output_width``, at least 64.

    Raises:
        ConfigurationError: a width below one.
    """

    def __init__(self, output_width: int, hidden_width: int | None = None) -> None:
        super().__init__()
        self.hidden_width = choose_landmark_width(output_width, hidden_width)
        self.projection = build_landmark_mlp(1, self.hidden_width, output_width)
        self.point_embedding = nn.Parameter(torch.empty(NUM_LANDMARKS, output_width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew; point and position start with like variance."""
        reset_landmark_mlp(self.projection)
        nn.init.normal_(self.point_embedding, std=0.5**0.5)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Project each landmark: ``(F, 68, 2)``, finite, in ``[0, 1]``, to ``(F, 68, D)``."""
        return self.projection(landmarks) + self.point_embedding


_PROJECTORS: dict[int, type[RegionLandmarkProjector] | type[PointLandmarkProjector]] = {
    len(FACE_REGIONS): RegionLandmarkProjector,
    NUM_LANDMARKS: PointLandmarkProjector,
}


class LandmarkTokenConnector(ProjectingConnector):
    """Projected patches, then landmark tokens, frame by frame: ``(B, T, P + N, C)`` to ``(B, T * (N + M), D)``.

    The landmark tokens are the M = 9 of FRLP, one per face region (Face-LLaVA, arXiv 2504.07198, section 4, which puts
    them behind attention instead), or M = 68, one per landmark. A frame costs the same with and without landmarks:
    where they are absent, learned tokens replace them, so that the language model sees that they are absent.

    Args:
        input_width: C.
        output_width: D.
        depth: linear layers of the vision projector.
        landmark_tokens: M, 9 or 68.
        landmark_hidden_width: hidden width of the landmark MLPs; by default a quarter of D, at least 64.
        keep_prefix_tokens: whether class and register tokens become visual tokens too.
        projector: ``mlp``, one token per patch, or ``pixel-shuffle``, one per 2 x 2 patches.

    Raises:
        ConfigurationError: a width or depth below one, M neither 9 nor 68, no projector of that name, or prefix tokens
            kept beside blocks of patches.
    """

    uses_landmarks = True
    options: ClassVar = {
        "depth": int,
        "landmark_tokens": int,
        "landmark_hidden_width": int,
        "keep_prefix_tokens": bool,
        "projector": str,
    }

    def __init__(
        self,
        input_width: int,
        output_width: int,
        depth: int = 2,
        landmark_tokens: int = len(FACE_REGIONS),
        landmark_hidden_width: int | None = None,
        keep_prefix_tokens: bool = False,
        projector: str = "mlp",
    ) -> None:
        super().__init__()
        if landmark_tokens not in _PROJECTORS:
            raise ConfigurationError(
                f"landmark_tokens={landmark_tokens} is neither 9, one per face region, nor 68, one per landmark"
            )
        self.input_width = input_width
        self.output_width = output_width
        self.depth = depth
        self.landmark_tokens = landmark_tokens
        self.keep_prefix_tokens = keep_prefix_tokens
        self.projector = projector
        self.vision_projector, self.downsampling = build_vision_projector(projector, input_width, output_width, depth)
        check_prefix_tokens(keep_prefix_tokens, self.downsampling)
        self.landmark_projector: RegionLandmarkProjector | PointLandmarkProjector = _PROJECTORS[landmark_tokens](
            output_width, landmark_hidden_width
        )
        self.landmark_hidden_width = self.landmark_projector.hidden_width
        self.absent_tokens = nn.Parameter(torch.empty(landmark_tokens, output_width))
        nn.init.normal_(self.absent_tokens, std=ABSENT_SCALE)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_projector(self.vision_projector)
        self.landmark_projector.reset_parameters()
        nn.init.normal_(self.absent_tokens, std=ABSENT_SCALE)

    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """One token per patch or block of patches, the prefix tokens where they are kept, and M.

        Raises:
            ConfigurationError: the grid is no multiple of the blocks.
        """
        return super().tokens_per_frame(grid, num_prefix_tokens) + self.landmark_tokens

    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Project the patches and append the landmark tokens of each frame.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.
            landmarks: ``(B, T, 68, 2)``; frames with NaN are absent, and a batch may mix both. None is absent
                everywhere.

        Returns:
            ``(B, T * n, D)`` with ``n = tokens_per_frame``; the last M of each frame are the landmark tokens.

        Raises:
            ConfigurationError: tokens or landmarks do not fit the grid, the width or each other.
        """
        patch_tokens, _ = self.project_frames(tokens, grid)  # (B*T, n - M, D)
        batch, frames = tokens.shape[:2]
        landmark_tokens = self._read_landmarks(landmarks, batch, frames).to(patch_tokens.dtype)  # (B*T, M, D)
        joined = torch.cat([patch_tokens, landmark_tokens], dim=1)
        return rearrange(joined, "(b t) n d -> b (t n) d", b=batch, t=frames)

    def _read_landmarks(self, landmarks: Tensor | None, batch: int, frames: int) -> Tensor:
        absent = self.absent_tokens.expand(batch * frames, -1, -1)
        if landmarks is None:
            return absent
        known = separate_absent_landmarks(flatten_landmarks(landmarks, batch, frames))
        projected = self.landmark_projector(known.landmarks.to(self.absent_tokens.dtype))
        return torch.where(known.present[:, None, None], projected, absent.to(projected.dtype))
