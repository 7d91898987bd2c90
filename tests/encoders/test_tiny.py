"""The tiny encoder: tokens, sizes, building without memory, and the weights in the package."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from facekit.catalog import current_registry
from facekit.encoders.tiny import SHIPPED_WEIGHTS, TinyEncoder, sine_positions
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec


def small_encoder() -> TinyEncoder:
    return TinyEncoder(image_size=64, width=64, depth=1)


def test_the_default_gives_36_patches_and_one_class_token(checks):
    encoder = TinyEncoder.from_spec()
    assert (encoder.image_size, encoder.grid, encoder.num_prefix_tokens) == (96, (6, 6), 1)
    assert 1_000_000 < sum(weight.numel() for weight in encoder.parameters()) < 2_500_000
    checks.interface(encoder)


def test_a_small_one_keeps_the_interface(checks):
    encoder = TinyEncoder.from_spec(image_size=64, width=64, depth=2)
    assert (encoder.hidden_size, encoder.grid, len(encoder.blocks)) == (64, (4, 4), 2)
    checks.interface(encoder)
    checks.independent_frames(encoder)
    checks.round_trip(encoder)
    checks.bfloat16(encoder)


def test_the_stem_keeps_places_in_row_major_order():
    torch.manual_seed(0)
    stem = small_encoder().stem.eval()
    picture = torch.randn(1, 3, 64, 64)
    changed = picture.clone()
    changed[..., 16:32, 48:64] *= -1.0
    with torch.no_grad():
        features = stem(torch.cat([picture, changed]))
    assert features.shape == (2, 64, 4, 4)
    assert int((features[1] - features[0]).norm(dim=0).flatten().argmax()) == 1 * 4 + 3


def test_patches_are_in_row_major_order(checks):
    torch.manual_seed(0)
    checks.row_major(TinyEncoder.from_spec(), smooth=True)


def test_position_embeddings_say_column_then_row():
    positions = sine_positions(3, 5, 16).reshape(3, 5, 16)
    assert positions.shape == (3, 5, 16)
    torch.testing.assert_close(positions[0, :, :8], positions[2, :, :8])
    torch.testing.assert_close(positions[:, 0, 8:], positions[:, 4, 8:])
    assert len({tuple(row.tolist()) for row in positions.reshape(15, 16)}) == 15
    assert float(positions[0, 1, 0]) == pytest.approx(0.8414710, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 6), width=st.integers(1, 4), depth=st.integers(1, 2))
def test_every_allowed_size_gives_the_promised_shape(rows, width, depth):
    encoder = TinyEncoder(image_size=16 * rows, width=32 * width, depth=depth)
    tokens = encoder(torch.zeros(1, 2, 3, 16 * rows, 16 * rows))
    assert tokens.shape == (1, 2, 1 + rows * rows, 32 * width)


def test_gradients_reach_every_weight():
    encoder = small_encoder()
    encoder(torch.randn(1, 1, 3, 64, 64)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_it_can_be_built_without_memory_and_filled_later():
    with torch.device("meta"):
        encoder = small_encoder()
    assert all(weight.is_meta for weight in encoder.parameters())
    assert list(encoder.buffers()) == []
    encoder.load_state_dict(small_encoder().state_dict(), assign=True)
    assert encoder(torch.randn(1, 1, 3, 64, 64)).isfinite().all()


def test_untrained_weights_follow_the_seed():
    torch.manual_seed(3)
    first = small_encoder()
    torch.manual_seed(3)
    second = small_encoder()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_weights_in_the_package_are_small_and_say_how_they_were_made():
    path = SHIPPED_WEIGHTS["synthetic-faces"]
    assert path.stat().st_size < 6_000_000
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["config"]) == TinyEncoder().to_config()
    training = json.loads(metadata["training"])
    assert training["script"] == "scripts/pretrain_tiny_encoder.py"
    assert training["steps"] > 1000
    assert training["held_out"]["manipulation accuracy"] > 0.9


def test_the_weights_in_the_package_are_loaded_whole():
    encoder = TinyEncoder.from_spec(pretrained="synthetic-faces")
    with safe_open(SHIPPED_WEIGHTS["synthetic-faces"], framework="pt") as file:
        assert set(file.keys()) == set(encoder.state_dict())
        for name, weight in encoder.state_dict().items():
            assert weight.dtype == torch.float32
            assert torch.equal(weight, file.get_tensor(name).float())


def test_weights_of_a_file_bring_their_sizes(tmp_path):
    trained = TinyEncoder(image_size=64, width=64, depth=2)
    path = tmp_path / "own.safetensors"
    save_file(trained.state_dict(), path, metadata={"config": json.dumps(trained.to_config())})
    encoder = TinyEncoder.from_spec(pretrained=str(path))
    assert encoder.to_config() == trained.to_config()
    pixels = torch.randn(1, 1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(pixels), trained(pixels))
    with pytest.raises(CheckpointError, match="have width=64, not 96"):
        TinyEncoder.from_spec(pretrained=str(path), width=96)


def test_weights_without_their_sizes_must_fit_the_given_ones(tmp_path):
    trained = TinyEncoder(image_size=64, width=64, depth=2)
    path = tmp_path / "bare.safetensors"
    save_file(trained.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"missing, first 'blocks\.2\."):
        TinyEncoder.from_spec(pretrained=str(path), image_size=64, width=64, depth=3)
    with pytest.raises(CheckpointError, match=r"left over, first 'blocks\.1\."):
        TinyEncoder.from_spec(pretrained=str(path), image_size=64, width=64, depth=1)
    with pytest.raises(CheckpointError, match=r"first 'positions' \(\(1, 16, 64\) for \(1, 36, 64\)\)"):
        TinyEncoder.from_spec(pretrained=str(path), image_size=96, width=64, depth=2)


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights 'synthetic-face': .*shipped weights \(synthetic-faces\)"):
        TinyEncoder.from_spec(pretrained="synthetic-face")
    (tmp_path / "not.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        TinyEncoder.from_spec(pretrained=str(tmp_path / "not.safetensors"))


@pytest.mark.parametrize(
    ("argument", "options", "message"),
    [
        ("large", {}, "takes options but no argument, not 'large'"),
        (None, {"widht": "64"}, r"no option 'widht'; did you mean 'width'\? \(known: depth, image_size"),
        (None, {"heads": "4"}, "no option 'heads'"),
        (None, {"depth": "two"}, "cannot use depth=two: it takes an integer"),
        (None, {"depth": "0"}, "an integer from 1"),
        (None, {"pretrained": ""}, "takes a name or a path"),
    ],
)
def test_what_cannot_be_used_is_named(argument, options, message):
    with pytest.raises(InvalidSpecError, match=message):
        current_registry().build("encoder", PartSpec("tiny", argument, options))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 100}, "image_size that is a multiple of 16, not 100"),
        ({"width": 100}, "width that is a multiple of 32, not 100"),
        ({"depth": 0}, "depth of at least 1, not 0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, message):
    with pytest.raises(ConfigurationError, match=message):
        TinyEncoder(**sizes)
