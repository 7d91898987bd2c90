"""Landmark tokens behind the patches: their place, their number, and what stands for absent landmarks."""

import pytest
import torch

from facekit.connectors import LandmarkTokenConnector, PointLandmarkProjector, RegionLandmarkProjector
from facekit.errors import ConfigurationError, InvalidSpecError

GRID = (4, 6)


def build(**options):
    torch.manual_seed(0)
    return LandmarkTokenConnector(7, 12, landmark_hidden_width=9, **options)


def draw(batch=2, frames=3, prefix_tokens=1):
    torch.manual_seed(1)
    tokens = torch.randn(batch, frames, prefix_tokens + 24, 7)
    return tokens, torch.rand(batch, frames, 68, 2)


@pytest.mark.parametrize("count", [9, 68])
def test_every_frame_is_its_patches_and_then_its_landmark_tokens(count):
    connector = build(landmark_tokens=count)
    tokens, landmarks = draw()
    per_frame = connector.tokens_per_frame(GRID, 1)
    assert per_frame == 24 + count
    frames = connector(tokens, GRID, landmarks).unflatten(1, (3, per_frame))
    torch.testing.assert_close(frames[:, :, :24], connector.vision_projector(tokens[:, :, 1:]))
    expected = connector.landmark_projector(landmarks.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(frames[:, :, 24:], expected)


def test_nine_tokens_are_those_of_the_region_landmark_projector():
    assert isinstance(build().landmark_projector, RegionLandmarkProjector)


def test_sixty_eight_tokens_depend_on_their_own_landmark_alone():
    torch.manual_seed(0)
    projector = PointLandmarkProjector(16)
    landmarks = torch.rand(1, 68, 2)
    moved = landmarks.clone()
    moved[0, 30] += 0.1
    changed = (projector(moved) - projector(landmarks)).abs().sum(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == [30]
    same_place = projector(torch.full((1, 68, 2), 0.5))[0]
    assert (same_place[0] - same_place[1]).abs().max() > 0.1  # the point's own vector tells equal places apart


def test_point_tokens_start_near_unit_variance():
    torch.manual_seed(0)
    assert 0.5 < PointLandmarkProjector(256)(0.5 + 0.2 * torch.randn(64, 68, 2)).var().item() < 2.0


@pytest.mark.parametrize("count", [9, 68])
def test_absent_landmarks_become_learned_tokens_and_cost_the_same(count):
    connector = build(landmark_tokens=count)
    tokens, landmarks = draw()
    landmarks[0, 1] = float("nan")
    landmarks[1, 2, 5, 0] = float("nan")
    mixed = connector(tokens, GRID, landmarks).unflatten(1, (3, 24 + count))
    without = connector(tokens, GRID).unflatten(1, (3, 24 + count))
    for sample in range(2):
        for frame in range(3):
            absent = (sample, frame) in {(0, 1), (1, 2)}
            assert torch.equal(mixed[sample, frame, 24:], connector.absent_tokens) == absent
    assert torch.equal(without[:, :, 24:], connector.absent_tokens.expand(2, 3, -1, -1))
    assert mixed.isfinite().all()


def test_every_parameter_learns_and_absent_frames_give_finite_gradients():
    connector = build()
    tokens, landmarks = draw()
    landmarks[0, 1] = float("nan")
    output = connector(tokens, GRID, landmarks)
    output.backward(torch.randn_like(output))
    for name, parameter in connector.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-6, name


def test_over_pixel_shuffle_patches_cost_a_quarter():
    connector = build(projector="pixel-shuffle")
    tokens, landmarks = draw()
    assert connector.tokens_per_frame(GRID, 1) == 6 + 9
    assert connector(tokens, GRID, landmarks).shape == (2, 3 * 15, 12)


def test_prefix_tokens_can_be_kept():
    connector = build(keep_prefix_tokens=True)
    tokens, landmarks = draw(prefix_tokens=2)
    assert connector.tokens_per_frame(GRID, 2) == 26 + 9
    assert connector(tokens, GRID, landmarks).shape == (2, 3 * 35, 12)


def test_configuration_rebuilds_the_module():
    connector = build(landmark_tokens=68, depth=3, projector="pixel-shuffle")
    again = LandmarkTokenConnector.from_config(connector.to_config())
    again.load_state_dict(connector.state_dict())
    tokens, landmarks = draw()
    assert torch.equal(again(tokens, GRID, landmarks), connector(tokens, GRID, landmarks))


def test_meta_device_then_reset_gives_a_working_module():
    with torch.device("meta"):
        connector = LandmarkTokenConnector(7, 12, landmark_tokens=68)
    connector.to_empty(device="cpu").reset_parameters()
    tokens, landmarks = draw()
    assert connector(tokens, GRID, landmarks).isfinite().all()


def test_bfloat16_and_autocast_keep_one_dtype():
    tokens, landmarks = draw()
    assert build().bfloat16()(tokens.bfloat16(), GRID, landmarks).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert build()(tokens, GRID, landmarks).dtype == torch.bfloat16


def test_compiles_as_one_graph_without_looking_at_landmarks():
    connector = build()
    tokens, landmarks = draw()
    landmarks[0, 1] = float("nan")
    compiled = torch.compile(connector, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens, GRID, landmarks), connector(tokens, GRID, landmarks))


def test_what_does_not_fit_is_refused():
    tokens, landmarks = draw()
    with pytest.raises(ConfigurationError, match="landmark_tokens=5 is neither 9"):
        build(landmark_tokens=5)
    with pytest.raises(ConfigurationError, match=r"landmarks have shape \(1, 3, 68, 2\), expected \(2, 3, 68, 2\)"):
        build()(tokens, GRID, landmarks[:1])
    with pytest.raises(InvalidSpecError, match="did you mean 'landmark_tokens'"):
        LandmarkTokenConnector.from_spec(None, input_width=7, output_width=12, landmark_token=9)
