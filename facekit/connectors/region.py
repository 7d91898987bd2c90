"""The region-guided connector of the Face-LLaVA paper (FRLP and FRGCA), and its two modules on their own.

FRLP turns the 68 landmarks into one token per face region; FRGCA lets every patch attend to them. The form of the
released code, which differs, is in ``region_released.py``.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from facekit.connectors.mlp import reset_projector
from facekit.connectors.pixel_shuffle import (
    ProjectingConnector,
    build_vision_projector,
    check_prefix_tokens,
    shuffled_grid,
)
from facekit.errors import ConfigurationError
from facekit.faces import FACE_REGIONS, region_centroids
from facekit.faces.regions import NUM_LANDMARKS
from facekit.kernels import RegionAttentionWeights, region_attention
from facekit.kernels.reference import region_attention_probabilities

LANDMARK_SPREAD = (
    0.2  # standard deviation of a face's landmarks about the image centre, of which only the order matters
)
GELU_SECOND_MOMENT = 0.425  # E[gelu(x)²] for a standard normal x


class PresentLandmarks(NamedTuple):
    """Landmarks without gaps, and which of them are real.

    Attributes:
        landmarks: ``(F, 68, 2)``, finite; absent frames hold the image centre.
        present: ``(F,)`` bool.
    """

    landmarks: Tensor
    present: Tensor


def separate_absent_landmarks(landmarks: Tensor) -> PresentLandmarks:
    """Replace the NaN rows that stand for missing landmarks, so that no NaN reaches a weight's gradient.

    Args:
        landmarks: ``(F, 68, 2)``; a frame with any non-finite number is absent.
    """
    present = torch.isfinite(landmarks).all(dim=-1).all(dim=-1)
    return PresentLandmarks(torch.where(present[:, None, None], landmarks, 0.5), present)


def flatten_landmarks(landmarks: Tensor, batch: int, frames: int) -> Tensor:
    """Return landmarks ``(B, T, 68, 2)`` as ``(B * T, 68, 2)``.

    Raises:
        ConfigurationError: they are not those of that many samples and frames.
    """
    expected = (batch, frames, NUM_LANDMARKS, 2)
    if tuple(landmarks.shape) != expected:
        raise ConfigurationError(f"landmarks have shape {tuple(landmarks.shape)}, expected {expected}")
    return rearrange(landmarks, "b t l xy -> (b t) l xy")


def choose_landmark_width(output_width: int, hidden_width: int | None) -> int:
    """Return the hidden width of landmark MLPs: as given, or a quarter of ``output_width``, at least 64.

    Raises:
        ConfigurationError: a width below one.
    """
    hidden_width = max(64, output_width // 4) if hidden_width is None else hidden_width
    if output_width < 1 or hidden_width < 1:
        raise ConfigurationError(
            f"the landmark projector needs widths of at least 1, got {hidden_width} hidden and {output_width} out"
        )
    return hidden_width


def build_landmark_mlp(points: int, hidden_width: int, output_width: int) -> nn.Sequential:
    """Linear, GELU, linear on the coordinates of some landmarks, ``(F, 2 * points)`` to ``(F, output_width)``."""
    return nn.Sequential(nn.Linear(2 * points, hidden_width), nn.GELU(), nn.Linear(hidden_width, output_width))


def reset_landmark_mlp(mlp: nn.Module) -> None:
    """Draw weights for which landmarks that spread 0.2 about the image centre give tokens near unit variance."""
    first, second = (layer for layer in mlp.modules() if isinstance(layer, nn.Linear))
    nn.init.normal_(first.weight, std=first.in_features**-0.5 / LANDMARK_SPREAD)
    with torch.no_grad():
        first.bias.copy_(-0.5 * first.weight.sum(dim=1))
    nn.init.normal_(second.weight, std=(0.5 / (GELU_SECOND_MOMENT * second.in_features)) ** 0.5)
    nn.init.zeros_(second.bias)


class RegionLandmarkProjector(nn.Module):
    """Face-Region Landmark Projector (FRLP): 68 landmarks to one token per face region.

    ``h_l[m] = MLP_m(z_m) + MLP(z)``: a projection of each region's own points, plus one of all 136 numbers (Face-LLaVA,
    arXiv 2504.07198, section 4). Each MLP is linear, GELU, linear.

    The first layers start with weights scaled to landmarks that spread 0.2 about the image centre, the centre folded
    into the bias, and the second so that tokens have unit variance: raw coordinates differ between expressions by
    hundredths, which usual initialisation would drown. The equation is unchanged.

    Args:
        output_width: D, the width of the region tokens.
        hidden_width: the MLPs' hidden width; by default a quarter of ``output_width``, at least 64.

    Raises:
        ConfigurationError: a width below one.
    """

    def __init__(self, output_width: int, hidden_width: int | None = None) -> None:
        super().__init__()
        hidden_width = choose_landmark_width(output_width, hidden_width)
        self.output_width = output_width
        self.hidden_width = hidden_width
        self.local_projections = nn.ModuleDict(
            {name: build_landmark_mlp(len(points), hidden_width, output_width) for name, points in FACE_REGIONS.items()}
        )
        self.global_projection = build_landmark_mlp(NUM_LANDMARKS, hidden_width, output_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew; see the class for the scale."""
        for mlp in (*self.local_projections.values(), self.global_projection):
            reset_landmark_mlp(mlp)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Project the landmarks of each frame.

        Args:
            landmarks: ``(F, 68, 2)``, finite, x then y in ``[0, 1]``.

        Returns:
            ``(F, 9, D)``, regions in the order of ``facekit.faces.FACE_REGIONS``.
        """
        local_tokens = [
            self.local_projections[name](rearrange(landmarks[:, points.start : points.stop], "f l xy -> f (l xy)"))
            for name, points in FACE_REGIONS.items()
        ]
        global_token = self.global_projection(rearrange(landmarks, "f l xy -> f (l xy)"))  # (F, D)
        return torch.stack(local_tokens, dim=1) + global_token[:, None]  # (F, M, D)


class RegionGuidedCrossAttention(nn.Module):
    """Face-Region Guided Cross-Attention (FRGCA): patches attend to face regions, near ones more.

    ``linear(softmax(Q Kᵀ / sqrt(d) + m_RPP) V) + h_v`` with ``Q = linear(h_v)`` and ``K, V = linear(h_l)`` (Face-LLaVA,
    arXiv 2504.07198, section 4), through ``facekit.kernels.region_attention``.

    The projections are bare parameters, as in ``torch.nn.MultiheadAttention``: the operation absorbs their weights, so
    a tool that replaces ``Linear`` modules by adapters or quantised ones must not find them here.

    Query, key and value start at unit gain and the output at a tenth of it: the enrichment is gentle from the first
    step, and every parameter that can have a gradient has one (an output of zero would leave all others without).

    Args:
        width: D, of the patch tokens.
        region_width: E, of the region tokens; by default D.
        attention_width: A, over all heads; by default D.
        num_heads: H.
        proximity: whether the scores carry the region-patch proximity mask.

    Raises:
        ConfigurationError: ``attention_width`` is not a multiple of ``num_heads``.
    """

    output_gain = 0.1

    def __init__(
        self,
        width: int,
        region_width: int | None = None,
        attention_width: int | None = None,
        num_heads: int = 8,
        proximity: bool = True,
    ) -> None:
        super().__init__()
        region_width = width if region_width is None else region_width
        attention_width = width if attention_width is None else attention_width
        if num_heads < 1 or attention_width < 1 or attention_width % num_heads:
            raise ConfigurationError(
                f"attention width {attention_width} is not a multiple of num_heads={num_heads}; "
                f"choose num_heads among the divisors of {attention_width}"
            )
        self.num_heads = num_heads
        self.proximity = proximity
        self.query_weight = nn.Parameter(torch.empty(attention_width, width))
        self.query_bias = nn.Parameter(torch.empty(attention_width))
        self.key_weight = nn.Parameter(torch.empty(attention_width, region_width))
        self.key_bias = nn.Parameter(torch.empty(attention_width))
        self.value_weight = nn.Parameter(torch.empty(attention_width, region_width))
        self.value_bias = nn.Parameter(torch.empty(attention_width))
        self.output_weight = nn.Parameter(torch.empty(width, attention_width))
        self.output_bias = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew; see the class for the scale."""
        for weight, gain in (
            (self.query_weight, 1.0),
            (self.key_weight, 1.0),
            (self.value_weight, 1.0),
            (self.output_weight, self.output_gain),
        ):
            nn.init.normal_(weight, std=gain * weight.shape[1] ** -0.5)
        for bias in (self.query_bias, self.key_bias, self.value_bias, self.output_bias):
            nn.init.zeros_(bias)

    def projections(self) -> RegionAttentionWeights:
        """The four projections as the operation takes them."""
        return RegionAttentionWeights(
            self.query_weight,
            self.query_bias,
            self.key_weight,
            self.key_bias,
            self.value_weight,
            self.value_bias,
            self.output_weight,
            self.output_bias,
        )

    def forward(
        self,
        patch_tokens: Tensor,
        region_tokens: Tensor,
        *,
        grid: tuple[int, int] | None = None,
        region_positions: Tensor | None = None,
        num_prefix_tokens: int = 0,
        present: Tensor | None = None,
    ) -> Tensor:
        """Enrich the patches of each frame.

        Args:
            patch_tokens: ``(F, P + N, D)``.
            region_tokens: ``(F, M, E)``.
            grid: rows and columns of the patches.
            region_positions: ``(F, M, 2)``, centroids of the regions in ``[0, 1]``; unused without ``proximity``.
            num_prefix_tokens: P; prefix tokens attend by content alone.
            present: ``(F,)`` bool; other frames pass through.

        Returns:
            ``(F, P + N, D)``.

        Raises:
            ConfigurationError: shapes disagree, or ``proximity`` is on and positions or grid are missing.
        """
        if self.proximity and (region_positions is None or grid is None):
            raise ConfigurationError(
                "the proximity mask needs region_positions and grid; give them, or proximity=False"
            )
        return region_attention(
            patch_tokens,
            region_tokens,
            self.projections(),
            num_heads=self.num_heads,
            grid=grid,
            region_positions=region_positions if self.proximity else None,
            num_prefix_tokens=num_prefix_tokens,
            present=present,
        )


class LandmarkGuidedConnector(ProjectingConnector):
    """The base of both forms of the region-guided connector: project the patches, then enrich them by landmarks.

    A subclass sets ``landmark_projector`` and ``cross_attention`` beside what ``ProjectingConnector`` needs.
    """

    uses_landmarks = True
    landmark_projector: nn.Module
    cross_attention: nn.Module

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_projector(self.vision_projector)
        self.landmark_projector.reset_parameters()  # type: ignore[operator]
        self.cross_attention.reset_parameters()  # type: ignore[operator]

    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Project, and enrich the frames that have landmarks; others pass through as the projector made them.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.
            landmarks: ``(B, T, 68, 2)``; frames with NaN are absent, and a batch may mix both. None leaves FRLP and
                FRGCA out altogether; NaN rows instead keep them in the graph, with zero gradients, which distributed
                training needs.

        Returns:
            ``(B, T * n, D)`` with ``n = tokens_per_frame``.

        Raises:
            ConfigurationError: tokens or landmarks do not fit the grid, the width or each other.
        """
        patch_tokens, prefix_tokens = self.project_frames(tokens, grid)  # (B*T, P + N, D), N now counting blocks
        batch, frames = tokens.shape[:2]
        if landmarks is not None:
            known = separate_absent_landmarks(flatten_landmarks(landmarks, batch, frames))
            region_tokens = self.landmark_projector(known.landmarks.to(patch_tokens.dtype))  # (B*T, M, D)
            patch_tokens = self.cross_attention(
                patch_tokens,
                region_tokens,
                grid=shuffled_grid(grid, self.downsampling),
                region_positions=region_centroids(known.landmarks),
                num_prefix_tokens=prefix_tokens,
                present=known.present,
            )
        return rearrange(patch_tokens, "(b t) n d -> b (t n) d", b=batch, t=frames)

    def attention_maps(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor) -> Tensor:
        """How much each patch attends to each face region; arguments as in ``forward``.

        Returns:
            ``(B, T, H, M, rows, columns)``, probabilities that sum to one over the M regions; with
            ``projector="pixel-shuffle"`` rows and columns count blocks. NaN in frames without landmarks.

        Raises:
            ConfigurationError: tokens or landmarks do not fit the grid, the width or each other.
        """
        patch_tokens, prefix_tokens = self.project_frames(tokens, grid)
        batch, frames = tokens.shape[:2]
        known = separate_absent_landmarks(flatten_landmarks(landmarks, batch, frames))
        attention = self.cross_attention
        cells = shuffled_grid(grid, self.downsampling)
        maps = region_attention_probabilities(
            patch_tokens,
            self.landmark_projector(known.landmarks.to(patch_tokens.dtype)),
            attention.projections(),  # type: ignore[operator]
            attention.num_heads,  # type: ignore[arg-type]
            cells,
            region_centroids(known.landmarks) if getattr(attention, "proximity", False) else None,
            prefix_tokens,
        )[:, :, prefix_tokens:]  # (B*T, H, N, M)
        maps = torch.where(known.present[:, None, None, None], maps, torch.nan)
        return rearrange(maps, "(b t) h (r c) m -> b t h m r c", b=batch, t=frames, r=cells[0], c=cells[1])


class RegionConnector(LandmarkGuidedConnector):
    """Vision projector, FRLP and FRGCA: the connector of the Face-LLaVA paper, over any of the vision projectors.

    With ``projector="pixel-shuffle"`` it is InternVL's connector with region attention behind it: blocks of 2 x 2
    patches are the tokens that attend, on the coarser grid of their centres.

    Args:
        input_width: C.
        output_width: D.
        depth: linear layers of the vision projector.
        num_heads: H of FRGCA; divides D.
        proximity: whether near regions count more (the paper's mask).
        landmark_hidden_width: hidden width of FRLP's MLPs; by default a quarter of D, at least 64.
        keep_prefix_tokens: whether class and register tokens become visual tokens too; they attend by content alone.
        projector: ``mlp``, one token per patch, or ``pixel-shuffle``, one per 2 x 2 patches.

    Raises:
        ConfigurationError: a width or depth below one, D not a multiple of ``num_heads``, no projector of that name,
            or prefix tokens kept beside blocks of patches, whose width they do not have.
    """

    options: ClassVar = {
        "depth": int,
        "num_heads": int,
        "proximity": bool,
        "landmark_hidden_width": int,
        "keep_prefix_tokens": bool,
        "projector": str,
    }

    def __init__(
        self,
        input_width: int,
        output_width: int,
        depth: int = 2,
        num_heads: int = 8,
        proximity: bool = True,
        landmark_hidden_width: int | None = None,
        keep_prefix_tokens: bool = False,
        projector: str = "mlp",
    ) -> None:
        super().__init__()
        self.input_width = input_width
        self.output_width = output_width
        self.depth = depth
        self.num_heads = num_heads
        self.proximity = proximity
        self.keep_prefix_tokens = keep_prefix_tokens
        self.projector = projector
        self.vision_projector, self.downsampling = build_vision_projector(projector, input_width, output_width, depth)
        check_prefix_tokens(keep_prefix_tokens, self.downsampling)
        self.landmark_projector = RegionLandmarkProjector(output_width, landmark_hidden_width)
        self.landmark_hidden_width = self.landmark_projector.hidden_width
        self.cross_attention = RegionGuidedCrossAttention(output_width, num_heads=num_heads, proximity=proximity)
