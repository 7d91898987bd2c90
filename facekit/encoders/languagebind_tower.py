"""LanguageBind's image and video tower: CLIP's vision transformer with attention over time in every layer.

Its modules bear the names of the official state dict, the spelling ``pre_layrnorm`` among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.compat.transformers_model import ACTIVATIONS
from facekit.encoders.positions import resample_frame_positions
from facekit.errors import ConfigurationError


@dataclass(frozen=True)
class LanguageBindSettings:
    """Entries of ``vision_config`` in LanguageBind's ``config.json`` that decide the architecture, under its names.

    Args:
        hidden_size: C.
        intermediate_size: Hidden width of the MLPs.
        num_hidden_layers: Layers of the whole tower; an encoder keeps those up to the one it reads.
        num_attention_heads: Heads, in space and in time.
        image_size: Height and width of the frames, in pixels.
        patch_size: Height and width of a patch.
        hidden_act: Activation of the MLPs, by transformers' name; the released towers have ``gelu``.
        layer_norm_eps: Added to variances.
        add_time_attn: Whether layers attend over time: the video tower does, the image tower does not.
        num_frames: T, the frames of a clip in training; 8 in the released video tower.

    Raises:
        ConfigurationError: Sizes do not fit each other, or the activation is unknown.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    add_time_attn: bool = False
    num_frames: int = 1

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ConfigurationError(
                f"LanguageBind's hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads"
            )
        if self.image_size % self.patch_size:
            raise ConfigurationError(
                f"encoder 'languagebind' takes an image_size that is a multiple of {self.patch_size}, "
                f"not {self.image_size}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ConfigurationError(f"LanguageBind's hidden_act '{self.hidden_act}' is no activation of transformers")
        if min(self.num_frames, self.num_hidden_layers) < 1:
            raise ConfigurationError("LanguageBind's num_frames and num_hidden_layers must be at least 1")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // self.patch_size
        return side, side


class LanguageBindTower(nn.Module):
    """Patch embedding, pre-norm and the first layers of a LanguageBind vision tower (Zhu et al. 2024, section 3).

    Args:
        settings: The architecture.
        num_layers: How many layers to build; those after them, and the norm after the last, are not.
    """

    def __init__(self, settings: LanguageBindSettings, num_layers: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(settings)
        self.pre_layrnorm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.encoder = LayerStack(settings, num_layers)

    def forward(self, clips: Tensor) -> Tensor:
        """Turn clips ``(B, T, 3, H, W)`` into ``(B, T, 1 + N, C)``, class token first."""
        batch = clips.shape[0]
        tokens = self.pre_layrnorm(self.embeddings(rearrange(clips, "b t c h w -> (b t) c h w")))
        return self.encoder(rearrange(tokens, "(b t) n c -> b t n c", b=batch))


class Embeddings(nn.Module):
    """Class token, patches and learned positions.

    Args:
        settings: The architecture.
    """

    def __init__(self, settings: LanguageBindSettings) -> None:
        super().__init__()
        width, patch = settings.hidden_size, settings.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, patch, bias=False)
        self.position_embedding = nn.Embedding(1 + settings.grid[0] * settings.grid[1], width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class token and the positions, as small as CLIP's."""
        nn.init.normal_(self.class_embedding, std=self.class_embedding.shape[0] ** -0.5)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(F, 3, H, W)`` into ``(F, 1 + N, C)``."""
        patches = rearrange(self.patch_embedding(frames), "f c rows cols -> f (rows cols) c")
        classes = self.class_embedding.expand(frames.shape[0], 1, -1)
        return torch.cat([classes, patches], dim=1) + self.position_embedding.weight


class LayerStack(nn.Module):
    """The layers, one after another.

    Args:
        settings: The architecture.
        num_layers: How many to build.
    """

    def __init__(self, settings: LanguageBindSettings, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(settings) for _ in range(num_layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``(B, T, 1 + N, C)`` into tokens of the same shape."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class Layer(nn.Module):
    """Attention over time where the tower has it, attention over space, MLP; each after a norm and with a residual.

    Args:
        settings: The architecture.
    """

    def __init__(self, settings: LanguageBindSettings) -> None:
        super().__init__()
        width, eps = settings.hidden_size, settings.layer_norm_eps
        self.self_attn = Attention(width, settings.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, settings.intermediate_size, settings.hidden_act)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.attends_over_time = settings.add_time_attn
        if self.attends_over_time:
            self.temporal_embedding = nn.Parameter(torch.empty(1, settings.num_frames, width))
            self.temporal_attn = Attention(width, settings.num_attention_heads)
            self.temporal_layer_norm1 = nn.LayerNorm(width, eps=eps)
            nn.init.normal_(self.temporal_embedding, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``(B, T, 1 + N, C)`` into tokens of the same shape."""
        if self.attends_over_time:
            tokens = self.attend_over_time(tokens)
        batch = tokens.shape[0]
        tokens = rearrange(tokens, "b t n c -> (b t) n c")
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))
        tokens = tokens + self.mlp(self.layer_norm2(tokens))
        return rearrange(tokens, "(b t) n c -> b t n c", b=batch)

    def attend_over_time(self, tokens: Tensor) -> Tensor:
        """Let the T tokens of each patch attend to one another, in both directions.

        A clip of another length than the trained one gets its temporal embeddings by linear resampling. A single frame
        gets none, as in the official code where ``num_frames`` is 1; the attention then sees that frame alone.
        """
        batch, frames = tokens.shape[:2]
        tokens = rearrange(tokens, "b t n c -> (b n) t c")
        if frames > 1:
            tokens = tokens + resample_frame_positions(self.temporal_embedding, frames)
        tokens = tokens + self.temporal_attn(self.temporal_layer_norm1(tokens))
        return rearrange(tokens, "(b n) t c -> b t n c", b=batch)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, under CLIP's names.

    Args:
        width: C.
        num_heads: Heads, a divisor of C.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``(S, L, C)``, S sequences of length L, into tokens of the same shape."""
        query, key, value = (
            rearrange(project(tokens), "s l (h e) -> s h l e", h=self.num_heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(rearrange(mixed, "s h l e -> s l (h e)"))


class Mlp(nn.Module):
    """Two linear layers around an activation, under CLIP's names.

    Args:
        width: C.
        hidden_width: Between the layers.
        activation: transformers' name of the activation.
    """

    def __init__(self, width: int, hidden_width: int, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.activation = ACTIVATIONS[activation]
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn ``(..., C)`` into the same shape."""
        return self.fc2(self.activation(self.fc1(tokens)))
