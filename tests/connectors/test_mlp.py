import pytest
import torch
import torch.nn.functional as F

from facekit.connectors import MlpConnector
from facekit.errors import ConfigurationError, InvalidSpecError


def test_every_patch_goes_through_linear_gelu_linear_and_prefix_tokens_are_dropped():
    connector = MlpConnector(5, 6)
    tokens = torch.randn(2, 3, 2 + 4, 5)
    first, second = connector.layers[0], connector.layers[2]
    expected = F.linear(F.gelu(F.linear(tokens[:, :, 2:], first.weight, first.bias)), second.weight, second.bias)
    output = connector(tokens, (2, 2))
    assert output.shape == (2, 3 * 4, 6)
    torch.testing.assert_close(output, expected.flatten(1, 2))


def test_prefix_tokens_can_be_kept():
    connector = MlpConnector(5, 6, keep_prefix_tokens=True)
    assert connector.tokens_per_frame((2, 3), 4) == 10
    assert connector(torch.randn(1, 2, 10, 5), (2, 3)).shape == (1, 20, 6)
    assert MlpConnector(5, 6).tokens_per_frame((2, 3), 4) == 6


@pytest.mark.parametrize(("argument", "depth"), [(None, 2), ("linear", 1), ("mlp2x_gelu", 2), ("mlp4x_gelu", 4)])
def test_argument_names_the_depth_as_llava_does(argument, depth):
    connector = MlpConnector.from_spec(argument, input_width=3, output_width=4)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in connector.layers) == depth
    assert len(connector.layers) == 2 * depth - 1


def test_depth_can_be_an_option():
    assert MlpConnector.from_spec(None, input_width=3, output_width=4, depth=3, keep_prefix_tokens=True).depth == 3


def test_landmarks_are_ignored():
    connector = MlpConnector(5, 6)
    tokens = torch.randn(1, 1, 4, 5)
    assert torch.equal(connector(tokens, (2, 2), torch.rand(1, 1, 68, 2)), connector(tokens, (2, 2)))


def test_configuration_rebuilds_the_module():
    connector = MlpConnector(5, 6, depth=3, keep_prefix_tokens=True)
    again = MlpConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    tokens = torch.randn(1, 1, 5, 5)
    assert torch.equal(again(tokens, (2, 2)), connector(tokens, (2, 2)))


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        ("resampler", {}, "takes 'linear' or 'mlpNx_gelu'"),
        (None, {"deph": "3"}, "no option 'deph'; did you mean 'depth'"),
        (None, {"depth": "deep"}, "cannot use depth=deep: it takes an integer"),
    ],
)
def test_bad_specs_are_refused(argument, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        MlpConnector.from_spec(argument, input_width=3, output_width=4, **options)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input_width": 3}, "lacks output_width"),
        ({"input_width": 3, "output_width": 4, "dept": 1}, "unknown key 'dept'; did you mean 'depth'"),
    ],
)
def test_bad_configurations_are_refused(config, message):
    with pytest.raises(ConfigurationError, match=message):
        MlpConnector.from_config(config)


def test_a_depth_of_zero_is_refused():
    with pytest.raises(ConfigurationError, match="got depth 0"):
        MlpConnector(3, 4, depth=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 3, 5), "a frame has 3 tokens, fewer than its grid of 2 x 2 patches"),
        ((1, 1, 4, 7), r"tokens have shape \(1, 1, 4, 7\), the connector takes \(B, T, P \+ N, 5\)"),
        ((1, 4, 5), r"tokens have shape \(1, 4, 5\)"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ConfigurationError, match=message):
        MlpConnector(5, 6)(torch.randn(shape), (2, 2))
