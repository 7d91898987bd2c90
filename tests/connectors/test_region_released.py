import pytest
import torch

from facekit.connectors import ReleasedLandmarkProjector, ReleasedRegionConnector, ReleasedRegionCrossAttention
from facekit.errors import ConfigurationError

REGION_SLICES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = ReleasedRegionCrossAttention(24, num_heads=4).double()
    for bias in (module.in_proj_bias, module.out_proj_bias, module.norm.bias):
        torch.nn.init.normal_(bias)
    return module


def torch_twin(module, patch_tokens, region_tokens):
    """The released equations over torch's own attention, with the same parameters."""
    multihead = torch.nn.MultiheadAttention(24, module.num_heads, batch_first=True).double()
    weights = {
        "in_proj_weight": module.in_proj_weight,
        "in_proj_bias": module.in_proj_bias,
        "out_proj.weight": module.out_proj_weight,
        "out_proj.bias": module.out_proj_bias,
    }
    attended, _ = torch.func.functional_call(multihead, weights, (patch_tokens, region_tokens, region_tokens))
    return 0.1 * module.linear(module.norm(patch_tokens + attended)) + patch_tokens


def test_released_attention_equals_torch_multihead_attention_in_value_and_gradients(attention):
    patch_tokens = torch.randn(3, 17, 24, dtype=torch.float64, requires_grad=True)
    region_tokens = torch.randn(3, 9, 24, dtype=torch.float64, requires_grad=True)
    leaves = [patch_tokens, region_tokens, *attention.parameters()]
    output, expected = attention(patch_tokens, region_tokens), torch_twin(attention, patch_tokens, region_tokens)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    output_gradient = torch.randn_like(output)
    gradients = torch.autograd.grad(output, leaves, output_gradient)
    literal = torch.autograd.grad(expected, leaves, output_gradient)
    for gradient, wanted in zip(gradients, literal, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_released_projector_is_one_linear_per_region_plus_the_global_one():
    projector = ReleasedLandmarkProjector(5)
    landmarks = torch.rand(2, 68, 2)
    flat = landmarks.reshape(2, 136)
    expected = torch.stack(
        [
            layer(flat[:, 2 * start : 2 * stop]) + projector.global_layer(flat)
            for layer, (start, stop) in zip(projector.region_layers.values(), REGION_SLICES, strict=True)
        ],
        dim=1,
    )
    torch.testing.assert_close(projector(landmarks), expected)


def test_absent_frames_pass_through_with_finite_gradients():
    torch.manual_seed(0)
    connector = ReleasedRegionConnector(6, 16, num_heads=2)
    tokens, landmarks = torch.randn(2, 1, 4, 6), torch.rand(2, 1, 68, 2)
    landmarks[1] = float("nan")
    output, plain = connector(tokens, (2, 2), landmarks), connector(tokens, (2, 2))
    assert torch.equal(output[1], plain[1])
    assert not torch.allclose(output[0], plain[0])
    output.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in connector.parameters())


def test_kept_class_tokens_are_enriched_like_patches():
    connector = ReleasedRegionConnector(6, 16, num_heads=2, keep_prefix_tokens=True)
    tokens, landmarks = torch.randn(1, 2, 1 + 6, 6), torch.rand(1, 2, 68, 2)
    output = connector(tokens, (2, 3), landmarks)
    assert output.shape == (1, 14, 16)
    assert connector.tokens_per_frame((2, 3), 1) == 7
    # without a mask no token knows its place, so an order of tokens is an order of results
    torch.testing.assert_close(
        connector(tokens.flip(2), (2, 3), landmarks), output.unflatten(1, (2, 7)).flip(2).flatten(1, 2)
    )


def test_configuration_rebuilds_the_module_with_the_same_state_layout():
    connector = ReleasedRegionConnector(6, 16, depth=1, num_heads=2, keep_prefix_tokens=True)
    again = ReleasedRegionConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    assert again.to_config() == connector.to_config()
    names = set(connector.cross_attention.state_dict())
    assert names == {
        "in_proj_weight", "in_proj_bias", "out_proj_weight", "out_proj_bias",
        "norm.weight", "norm.bias", "linear.weight", "linear.bias",
    }  # fmt: skip


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigurationError, match="width 12 is not a multiple of num_heads=8"):
        ReleasedRegionCrossAttention(12)
