"""The resampler: a fixed cost, its layer against torch's attention, and what it can and cannot tell apart."""

import pytest
import torch
from torch.nn import functional as F

from facekit.connectors import ResamplerConnector
from facekit.connectors.resampler import ResamplerLayer, position_features
from facekit.errors import ConfigurationError, InvalidSpecError


def build(**options):
    torch.manual_seed(0)
    return ResamplerConnector(8, 12, num_tokens=5, num_heads=2, **options)


@pytest.mark.parametrize(("grid", "prefix_tokens"), [((3, 4), 0), ((7, 7), 1), ((1, 1), 5)])
def test_every_grid_costs_the_same(grid, prefix_tokens):
    connector = build()
    tokens = torch.randn(2, 3, prefix_tokens + grid[0] * grid[1], 8)
    assert connector.tokens_per_frame(grid, prefix_tokens) == 5
    assert connector(tokens, grid, torch.rand(2, 3, 68, 2)).shape == (2, 15, 12)


def test_a_layer_is_attention_over_tokens_and_queries_then_an_mlp():
    torch.manual_seed(0)
    layer = ResamplerLayer(8, 2).double()
    queries, tokens = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 7, 8, dtype=torch.float64)
    asked = layer.query_norm(queries)
    seen = torch.cat([layer.token_norm(tokens), asked], dim=1)
    attended, _ = F.multi_head_attention_forward(
        asked.transpose(0, 1),
        seen.transpose(0, 1),
        seen.transpose(0, 1),
        embed_dim_to_check=8,
        num_heads=2,
        in_proj_weight=torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]),
        in_proj_bias=None,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=layer.output.weight,
        out_proj_bias=None,
    )
    expected = queries + attended.transpose(0, 1)
    expected = expected + layer.mlp(expected)
    torch.testing.assert_close(layer(queries, tokens), expected, rtol=0, atol=1e-12)


def test_frames_do_not_see_each_other():
    connector = build()
    tokens = torch.randn(2, 3, 12, 8)
    together = connector(tokens, (3, 4)).unflatten(1, (3, 5))
    for sample in range(2):
        for frame in range(3):
            alone = connector(tokens[sample : sample + 1, frame : frame + 1], (3, 4))
            torch.testing.assert_close(together[sample, frame], alone[0])


def test_places_matter_and_are_told_apart():
    connector, tokens = build(), torch.randn(1, 1, 12, 8)
    assert (connector(tokens, (3, 4)) - connector(tokens.flip(2), (3, 4))).abs().max() > 1e-3
    features = position_features((32, 32), 64, torch.zeros(1))
    distances = torch.cdist(features, features) + 10 * torch.eye(1024)
    assert features.shape == (1024, 64)
    assert distances.min() > 0.5
    assert position_features((2, 2), 7, torch.zeros(1))[:, 4:].abs().max() == 0


def test_prefix_tokens_are_seen_only_where_they_are_kept():
    tokens = torch.randn(1, 1, 2 + 12, 8)
    other = tokens.clone()
    other[:, :, :2] += 1
    ignoring, seeing = build(), build(keep_prefix_tokens=True)
    assert torch.equal(ignoring(tokens, (3, 4)), ignoring(other, (3, 4)))
    assert (seeing(tokens, (3, 4)) - seeing(other, (3, 4))).abs().max() > 1e-3
    assert seeing.tokens_per_frame((3, 4), 2) == 5


def test_queries_start_apart_and_every_parameter_learns():
    connector = build(depth=3, width=16)
    output = connector(torch.randn(2, 1, 12, 8), (3, 4))
    assert output.std(dim=1).min() > 0.05
    output.backward(torch.randn_like(output))
    for name, parameter in connector.named_parameters():
        assert parameter.grad.abs().max() > 1e-7, name


def test_configuration_and_spec_rebuild_the_module():
    connector = ResamplerConnector.from_spec(
        None, input_width=8, output_width=12, num_tokens="5", depth="1", num_heads="4", width="16"
    )
    assert connector.to_config() == {
        "input_width": 8,
        "output_width": 12,
        "num_tokens": 5,
        "depth": 1,
        "num_heads": 4,
        "width": 16,
        "keep_prefix_tokens": False,
    }
    again = ResamplerConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    tokens = torch.randn(1, 1, 12, 8)
    assert torch.equal(again(tokens, (3, 4)), connector(tokens, (3, 4)))


def test_meta_device_then_reset_gives_a_working_module():
    with torch.device("meta"):
        connector = ResamplerConnector(8, 12, num_tokens=5)
    connector.to_empty(device="cpu").reset_parameters()
    output = connector(torch.randn(1, 1, 12, 8), (3, 4))
    assert output.isfinite().all()
    assert output.std() > 0.05


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigurationError, match="resampler width 10 is not a multiple of num_heads=8"):
        ResamplerConnector(10, 12)
    with pytest.raises(ConfigurationError, match="num_tokens of at least 1, not 0"):
        ResamplerConnector(8, 12, num_tokens=0)
    with pytest.raises(InvalidSpecError, match="did you mean 'num_tokens'"):
        ResamplerConnector.from_spec(None, input_width=8, output_width=12, tokens=5)
    with pytest.raises(ConfigurationError, match="fewer than its grid"):
        build()(torch.randn(1, 1, 5, 8), (3, 4))
