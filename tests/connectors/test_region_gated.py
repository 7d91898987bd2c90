"""Gated region attention: nothing at its start, a gradient for everything from the second step on."""

from __future__ import annotations

import pytest
import torch

from facekit.connectors import GatedRegionCrossAttention, RegionEnrichment, RegionGuidedCrossAttention
from facekit.errors import ConfigurationError


@pytest.fixture
def frames():
    """Tokens of two frames on a grid of 3 x 3, and landmarks, those of the second absent."""
    generator = torch.Generator().manual_seed(2)
    landmarks = torch.rand(2, 68, 2, generator=generator)
    landmarks[1] = torch.nan
    return torch.randn(2, 9, 32, generator=generator), landmarks


def test_at_its_start_tokens_and_deepstack_features_come_back_bit_for_bit(frames):
    tokens, landmarks = frames
    region = RegionEnrichment(32, num_heads=4, deepstack_levels=1)
    enriched, (first, second) = region(tokens, (3, 3), landmarks, (tokens * 2, tokens * 3))
    assert torch.equal(enriched, tokens)
    assert torch.equal(first, tokens * 2)
    assert torch.equal(second, tokens * 3)


def test_the_gain_is_what_multiplies_frgca_channel_by_channel(frames):
    tokens, landmarks = frames
    torch.manual_seed(0)
    gated, plain = GatedRegionCrossAttention(32, num_heads=4), RegionGuidedCrossAttention(32, num_heads=4)
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if name != "gain"})
    regions, places = torch.randn(2, 9, 32), landmarks[:1, :9].expand(2, -1, -1)
    with torch.no_grad():
        gated.gain.copy_(torch.arange(32) / 8)
        added = plain(tokens, regions, grid=(3, 3), region_positions=places) - tokens
        found = gated(tokens, regions, grid=(3, 3), region_positions=places)
    assert torch.allclose(found, tokens + added * torch.arange(32) / 8, atol=1e-5)


def test_the_gain_learns_first_and_then_all_of_it_but_the_keys_bias(frames):
    tokens, landmarks = frames
    torch.manual_seed(0)
    region = RegionEnrichment(32, num_heads=4)
    optimizer = torch.optim.SGD(region.parameters(), lr=0.1)
    learning = []
    for _ in range(2):
        optimizer.zero_grad()
        enriched, _ = region(tokens, (3, 3), landmarks)
        enriched.square().mean().backward()
        learning.append({name for name, value in region.named_parameters() if value.grad.abs().max() > 1e-9})
        assert all(value.grad.isfinite().all() for value in region.parameters())
        optimizer.step()
    assert learning[0] == {"cross_attention.gain"}
    assert learning[1] >= {name for name, _ in region.named_parameters()} - {"cross_attention.key_bias"}
    assert torch.equal(region(tokens, (3, 3), landmarks)[0][1], tokens[1])


def test_tokens_of_another_floating_type_keep_it(frames):
    tokens, landmarks = frames
    region = RegionEnrichment(32, num_heads=4)
    enriched, _ = region(tokens.bfloat16(), (3, 3), landmarks)
    assert torch.equal(enriched, tokens.bfloat16())


def test_a_configuration_builds_the_same_module_and_says_what_is_wrong_with_it():
    region = RegionEnrichment(32, num_heads=2, proximity=False, landmark_hidden_width=5, deepstack_levels=2)
    again = RegionEnrichment.from_config(region.to_config())
    assert again.to_config() == region.to_config()
    again.load_state_dict(region.state_dict())
    with pytest.raises(ConfigurationError, match="unknown key 'num_head'; did you mean 'num_heads'"):
        RegionEnrichment.from_config({"width": 32, "num_head": 2})
    with pytest.raises(ConfigurationError, match="lacks width"):
        RegionEnrichment.from_config({"num_heads": 2})
    with pytest.raises(ConfigurationError, match="attention width 32 is not a multiple of num_heads=3"):
        RegionEnrichment(32, num_heads=3)
