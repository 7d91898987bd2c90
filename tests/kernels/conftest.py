"""Random inputs of region attention, as one value that can be cast, differentiated and run."""

from dataclasses import dataclass, replace

import pytest
import torch

from facekit.kernels import RegionAttentionWeights, region_attention


@dataclass(frozen=True)
class RegionAttentionCase:
    """Arguments of one call."""

    patch_tokens: torch.Tensor
    region_tokens: torch.Tensor
    weights: RegionAttentionWeights
    num_heads: int
    grid: tuple[int, int] | None
    region_positions: torch.Tensor | None
    num_prefix_tokens: int = 0
    present: torch.Tensor | None = None

    def run(self, implementation):
        return region_attention(
            self.patch_tokens,
            self.region_tokens,
            self.weights,
            num_heads=self.num_heads,
            grid=self.grid,
            region_positions=self.region_positions,
            num_prefix_tokens=self.num_prefix_tokens,
            present=self.present,
            implementation=implementation,
        )

    def to(self, target):
        """Cast everything but the positions, which keep float32 or better, or move everything to a device."""
        positions = self.region_positions
        if positions is not None and target in (torch.float64, "cuda"):
            positions = positions.to(target)
        return replace(
            self,
            patch_tokens=self.patch_tokens.to(target),
            region_tokens=self.region_tokens.to(target),
            weights=RegionAttentionWeights(*(None if w is None else w.to(target) for w in self.weights)),
            region_positions=positions,
        )

    def named_leaves(self):
        """Every differentiable input that is given, except the positions."""
        named = {"patch_tokens": self.patch_tokens, "region_tokens": self.region_tokens}
        named.update({name: w for name, w in self.weights._asdict().items() if w is not None})
        return named

    def gradients(self, implementation, output_gradient):
        """Gradients of ``<output, output_gradient>`` by name, from fresh leaves."""
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in self.named_leaves().items()}
        weights = RegionAttentionWeights(*(leaves.get(name) for name in RegionAttentionWeights._fields))
        case = replace(
            self, patch_tokens=leaves["patch_tokens"], region_tokens=leaves["region_tokens"], weights=weights
        )
        output = case.run(implementation)
        gradients = torch.autograd.grad(output, list(leaves.values()), output_gradient.to(output.dtype))
        return dict(zip(leaves, gradients, strict=True))


@pytest.fixture(scope="session")
def build_case():
    def build(
        frames=3,
        grid=(3, 4),
        prefix_tokens=1,
        regions=5,
        width=24,
        region_width=None,
        attention_width=None,
        heads=2,
        *,
        biases=True,
        positions=True,
        present=None,
        dtype=torch.float64,
        seed=0,
    ):
        generator = torch.Generator().manual_seed(seed)
        region_width = region_width or width
        attention_width = attention_width or width

        def draw(*shape, scale=1.0):
            return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

        def bias(size):
            return draw(size) if biases else None

        weights = RegionAttentionWeights(
            draw(attention_width, width, scale=width**-0.5),
            bias(attention_width),
            draw(attention_width, region_width, scale=region_width**-0.5),
            bias(attention_width),
            draw(attention_width, region_width, scale=region_width**-0.5),
            bias(attention_width),
            draw(width, attention_width, scale=attention_width**-0.5),
            bias(width),
        )
        case = RegionAttentionCase(
            draw(frames, prefix_tokens + grid[0] * grid[1], width),
            draw(frames, regions, region_width),
            weights,
            heads,
            grid,
            torch.rand(frames, regions, 2, generator=generator, dtype=torch.float64) if positions else None,
            prefix_tokens,
            None if present is None else torch.tensor(present),
        )
        return case.to(dtype)

    return build


@pytest.fixture(scope="session")
def relative_error():
    def measure(value, expected):
        return ((value.double() - expected.double()).norm() / expected.double().norm()).item()

    return measure
