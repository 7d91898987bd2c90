"""The MLP connector of LLaVA-1.5: the same small MLP on every token.

It is also the vision projector inside the region-guided connectors, so the layers are built by a function here.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from einops import rearrange
from torch import Tensor, nn

from facekit.connectors.base import Connector, count_prefix_tokens
from facekit.errors import ConfigurationError, InvalidSpecError


def build_projector(input_width: int, output_width: int, depth: int) -> nn.Sequential:
    """Linear layers with GELU between them; depth 2 is LLaVA's ``mlp2x_gelu``, linears at indices 0 and 2.

    Raises:
        ConfigurationError: fewer than one layer, or a width below one.
    """
    if depth < 1 or input_width < 1 or output_width < 1:
        raise ConfigurationError(
            f"a projector needs depth and widths of at least 1, got depth {depth} and {input_width} -> {output_width}"
        )
    layers: list[nn.Module] = [nn.Linear(input_width, output_width)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(output_width, output_width)]
    return nn.Sequential(*layers)


def reset_projector(projector: nn.Sequential) -> None:
    """Draw the projector's weights anew, as ``torch.nn.Linear`` and ``torch.nn.LayerNorm`` do."""
    for layer in projector:
        if isinstance(layer, nn.Linear | nn.LayerNorm):
            layer.reset_parameters()


class MlpConnector(Connector):
    """Linear, GELU, linear on every patch token (LLaVA-1.5, Liu et al. 2023, section 4.1); landmarks are ignored.

    Args:
        input_width: C.
        output_width: D; all hidden layers have it too.
        depth: number of linear layers. In a spec: ``mlp``, ``mlp:mlp3x_gelu``, ``mlp:linear`` or ``mlp?depth=3``.
        keep_prefix_tokens: whether class and register tokens become visual tokens too.

    Raises:
        ConfigurationError: depth or a width below one.
    """

    options: ClassVar = {"depth": int, "keep_prefix_tokens": bool}

    def __init__(self, input_width: int, output_width: int, depth: int = 2, keep_prefix_tokens: bool = False) -> None:
        super().__init__()
        self.input_width = input_width
        self.output_width = output_width
        self.depth = depth
        self.keep_prefix_tokens = keep_prefix_tokens
        self.layers = build_projector(input_width, output_width, depth)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_projector(self.layers)

    @classmethod
    def convert_argument(cls, argument: str) -> dict[str, Any]:
        """Read ``linear`` or ``mlpNx_gelu``, LLaVA's names for the depth.

        Raises:
            InvalidSpecError: the argument is another one.
        """
        match = re.fullmatch(r"mlp(\d+)x_gelu", argument)
        if argument != "linear" and not match:
            raise InvalidSpecError(
                f"MlpConnector takes 'linear' or 'mlpNx_gelu' such as 'mlp2x_gelu', not {argument!r}"
            )
        return {"depth": int(match[1]) if match else 1}

    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """One token per patch, and the prefix tokens where they are kept."""
        return grid[0] * grid[1] + (num_prefix_tokens if self.keep_prefix_tokens else 0)

    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Project every kept token by itself.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.
            landmarks: ignored.

        Returns:
            ``(B, T * n, D)`` with ``n = tokens_per_frame``.

        Raises:
            ConfigurationError: the tokens do not fit the grid or the width.
        """
        prefix_tokens = count_prefix_tokens(tokens, grid, self.input_width)
        kept = tokens if self.keep_prefix_tokens else tokens[:, :, prefix_tokens:]
        return rearrange(self.layers(kept), "b t n d -> b (t n) d")
