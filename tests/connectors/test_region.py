from dataclasses import dataclass

import pytest
import torch

from facekit.connectors import RegionConnector, RegionGuidedCrossAttention, RegionLandmarkProjector
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.kernels import use_implementation

# start and stop of the nine regions in the iBUG-68 points, as the paper cuts them
REGION_SLICES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))

SHAPES = [
    {"frames": 1, "grid": (2, 3), "prefix_tokens": 0, "width": 6, "heads": 1, "hidden_width": 3},
    {"frames": 3, "grid": (3, 5), "prefix_tokens": 1, "width": 10, "heads": 2, "hidden_width": 7},
    {"frames": 2, "grid": (4, 3), "prefix_tokens": 5, "width": 12, "heads": 3, "hidden_width": 64},
    {"frames": 2, "grid": (7, 5), "prefix_tokens": 2, "width": 33, "heads": 3, "hidden_width": 5},
]


@dataclass(frozen=True)
class PaperModules:
    """FRLP and FRGCA in float64, inputs for them, and the equations written out."""

    projector: RegionLandmarkProjector
    attention: RegionGuidedCrossAttention
    patch_tokens: torch.Tensor
    landmarks: torch.Tensor
    grid: tuple[int, int]
    prefix_tokens: int

    @property
    def leaves(self):
        parameters = [*self.projector.parameters(), *self.attention.parameters()]
        return [self.patch_tokens, self.landmarks, *parameters]

    def transcribe_frlp(self):
        def mlp(projection, points):
            first, _, second = projection
            hidden = first.weight @ points.reshape(-1) + first.bias
            activated = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
            return second.weight @ activated + second.bias

        frames = []
        for z in self.landmarks:
            h_global = mlp(self.projector.global_projection, z)
            locals_ = self.projector.local_projections.values()
            h_local = [
                mlp(projection, z[start:stop]) for projection, (start, stop) in zip(locals_, REGION_SLICES, strict=True)
            ]
            frames.append(torch.stack([token + h_global for token in h_local]))
        return torch.stack(frames)

    def transcribe_frgca(self, region_tokens):
        module, (rows, cols) = self.attention, self.grid
        heads, head_width = module.num_heads, module.query_weight.shape[0] // module.num_heads
        frames = []
        for h_v, h_l, z in zip(self.patch_tokens, region_tokens, self.landmarks, strict=True):
            query = h_v @ module.query_weight.T + module.query_bias
            key = h_l @ module.key_weight.T + module.key_bias
            value = h_l @ module.value_weight.T + module.value_bias
            centroids = [z[start:stop].mean(dim=0) for start, stop in REGION_SLICES]
            mask = []
            for token in range(len(h_v)):
                row, column = divmod(token - self.prefix_tokens, cols)
                center = torch.tensor([(column + 0.5) / cols, (row + 0.5) / rows], dtype=torch.float64)
                near = [-((centroid - center) ** 2).sum().sqrt() for centroid in centroids]
                mask.append(torch.stack([x * 0 for x in near] if token < self.prefix_tokens else near))
            attended = []
            for head in range(heads):
                own = slice(head * head_width, (head + 1) * head_width)
                scores = query[:, own] @ key[:, own].T / head_width**0.5 + torch.stack(mask)
                weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
                attended.append(weights @ value[:, own])
            frames.append(torch.cat(attended, dim=1) @ module.output_weight.T + module.output_bias + h_v)
        return torch.stack(frames)

    def run_attention(self, region_tokens):
        positions = torch.stack([self.landmarks[:, a:b].mean(dim=1) for a, b in REGION_SLICES], dim=1)
        return self.attention(
            self.patch_tokens,
            region_tokens,
            grid=self.grid,
            region_positions=positions,
            num_prefix_tokens=self.prefix_tokens,
        )


def build_modules(frames, grid, prefix_tokens, width, heads, hidden_width):
    torch.manual_seed(frames + width)
    projector = RegionLandmarkProjector(width, hidden_width).double()
    attention = RegionGuidedCrossAttention(width, num_heads=heads).double()
    for parameter in attention.parameters():  # the gentle start would hide errors below it
        torch.nn.init.normal_(parameter, std=0.5)
    patches = torch.randn(frames, prefix_tokens + grid[0] * grid[1], width, dtype=torch.float64, requires_grad=True)
    landmarks = torch.rand(frames, 68, 2, dtype=torch.float64, requires_grad=True)
    return PaperModules(projector, attention, patches, landmarks, grid, prefix_tokens)


def assert_same_value_and_gradients(output, expected, leaves):
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    output_gradient = torch.randn_like(output)
    options = {"allow_unused": True, "retain_graph": True}
    gradients = torch.autograd.grad(output, leaves, output_gradient, **options)
    literal = torch.autograd.grad(expected, leaves, output_gradient, **options)
    assert any(gradient is not None for gradient in literal)
    for gradient, wanted in zip(gradients, literal, strict=True):
        assert (gradient is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_frlp_is_the_equation_of_the_paper(shape):
    modules = build_modules(**shape)
    assert_same_value_and_gradients(modules.projector(modules.landmarks), modules.transcribe_frlp(), modules.leaves)


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean", "auto"])
@pytest.mark.parametrize("shape", SHAPES)
def test_frlp_and_frgca_are_the_equations_of_the_paper(shape, implementation):
    modules = build_modules(**shape)
    with use_implementation(implementation):
        output = modules.run_attention(modules.projector(modules.landmarks))
    assert_same_value_and_gradients(output, modules.transcribe_frgca(modules.transcribe_frlp()), modules.leaves)


def build_connector(**options):
    torch.manual_seed(0)
    return RegionConnector(7, 12, num_heads=3, landmark_hidden_width=9, **options).double()


def draw_inputs(batch=2, frames=3, grid=(3, 4), prefix_tokens=1):
    torch.manual_seed(1)
    tokens = torch.randn(batch, frames, prefix_tokens + grid[0] * grid[1], 7, dtype=torch.float64)
    return tokens, grid, torch.rand(batch, frames, 68, 2, dtype=torch.float64)


@pytest.mark.parametrize("keep_prefix_tokens", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_connector_is_projector_then_frlp_and_frgca(shape, keep_prefix_tokens):
    torch.manual_seed(2)
    grid, prefix, width, frames = shape["grid"], shape["prefix_tokens"], shape["width"], shape["frames"]
    connector = RegionConnector(
        4, width, num_heads=shape["heads"], keep_prefix_tokens=keep_prefix_tokens, landmark_hidden_width=8
    ).double()
    tokens = torch.randn(2, frames, prefix + grid[0] * grid[1], 4, dtype=torch.float64)
    landmarks = torch.rand(2, frames, 68, 2, dtype=torch.float64)
    output = connector(tokens, grid, landmarks)

    kept = tokens if keep_prefix_tokens else tokens[:, :, prefix:]
    expected = PaperModules(
        connector.landmark_projector,
        connector.cross_attention,
        connector.vision_projector(kept).flatten(0, 1),
        landmarks.flatten(0, 1),
        grid,
        prefix if keep_prefix_tokens else 0,
    )
    literal = expected.transcribe_frgca(expected.transcribe_frlp())
    assert_same_value_and_gradients(output, literal.reshape(2, -1, width), list(connector.parameters()))
    assert output.shape[1] == frames * connector.tokens_per_frame(grid, prefix)


def test_without_landmarks_the_projected_patches_pass_through():
    connector = build_connector()
    tokens, grid, landmarks = draw_inputs()
    projected = connector.vision_projector(tokens[:, :, 1:]).flatten(1, 2)
    assert torch.equal(connector(tokens, grid), projected)
    absent = torch.full_like(landmarks, float("nan"))
    assert torch.equal(connector(tokens, grid, absent), projected)


def test_a_batch_may_mix_frames_with_and_without_landmarks():
    connector = build_connector()
    tokens, grid, landmarks = draw_inputs()
    complete = connector(tokens, grid, landmarks).unflatten(1, (3, 12))
    landmarks[0, 1] = float("nan")
    landmarks[1, 2, 5, 0] = float("nan")  # one missing coordinate makes a frame absent
    mixed = connector(tokens, grid, landmarks).unflatten(1, (3, 12))
    plain = connector(tokens, grid).unflatten(1, (3, 12))
    for sample in range(2):
        for frame in range(3):
            absent = (sample, frame) in {(0, 1), (1, 2)}
            wanted, other = (plain, complete) if absent else (complete, plain)
            torch.testing.assert_close(mixed[sample, frame], wanted[sample, frame], rtol=0, atol=1e-12)
            assert not torch.allclose(mixed[sample, frame], other[sample, frame])


def test_absent_landmarks_give_finite_gradients_that_equal_those_of_the_present_frames():
    connector = build_connector()
    tokens, grid, landmarks = draw_inputs(batch=2, frames=1)
    output_gradient = torch.randn(2, 12, 12, dtype=torch.float64)
    parameters = [*connector.landmark_projector.parameters(), *connector.cross_attention.parameters()]
    alone = torch.autograd.grad(connector(tokens[:1], grid, landmarks[:1]), parameters, output_gradient[:1])
    landmarks[1] = float("nan")
    mixed = torch.autograd.grad(connector(tokens, grid, landmarks), parameters, output_gradient)
    for gradient, wanted in zip(mixed, alone, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_enrichment_starts_gentle_and_every_parameter_learns():
    torch.manual_seed(0)
    connector = RegionConnector(32, 64, keep_prefix_tokens=True)
    tokens, landmarks = torch.randn(2, 2, 17, 32), 0.5 + 0.2 * torch.randn(2, 2, 68, 2)
    plain, enriched = connector(tokens, (4, 4)), connector(tokens, (4, 4), landmarks)
    share = ((enriched - plain).norm() / plain.norm()).item()
    assert 0.02 < share < 1.0
    torch.autograd.backward(enriched, torch.randn_like(enriched))
    for name, parameter in connector.named_parameters():
        if name != "cross_attention.key_bias":  # the softmax cancels it
            assert parameter.grad.abs().max() > 1e-6, name


def test_region_tokens_start_near_unit_variance():
    torch.manual_seed(0)
    tokens = RegionLandmarkProjector(256)(0.5 + 0.2 * torch.randn(64, 68, 2))
    assert tokens.shape == (64, 9, 256)
    assert 0.7 < tokens.var().item() < 1.4


def test_proximity_can_be_switched_off():
    tokens, grid, landmarks = draw_inputs()
    with_mask, without_mask = build_connector(), build_connector(proximity=False)
    without_mask.load_state_dict(with_mask.state_dict())
    assert not torch.allclose(with_mask(tokens, grid, landmarks), without_mask(tokens, grid, landmarks))


def test_attention_of_other_widths_than_the_patches_is_allowed():
    attention = RegionGuidedCrossAttention(10, region_width=6, attention_width=8, num_heads=4, proximity=False)
    assert attention(torch.randn(2, 5, 10), torch.randn(2, 3, 6)).shape == (2, 5, 10)


def test_bfloat16_and_autocast_run_and_keep_the_dtype():
    tokens, grid, landmarks = draw_inputs()
    connector = build_connector()
    expected = connector(tokens, grid, landmarks)
    half = connector.bfloat16()(tokens.bfloat16(), grid, landmarks.float())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=0.05, atol=0.05)
    single = connector.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert single(tokens.float(), grid, landmarks.float()).dtype == torch.bfloat16


def test_meta_device_then_reset_gives_a_working_module():
    with torch.device("meta"):
        connector = RegionConnector(7, 12, num_heads=3)
    connector.to_empty(device="cpu").reset_parameters()
    tokens, grid, landmarks = draw_inputs()
    output = connector(tokens.float(), grid, landmarks.float())
    assert output.isfinite().all()


def test_compiles_as_one_graph_without_looking_at_landmarks():
    connector = build_connector(keep_prefix_tokens=True)
    tokens, grid, landmarks = draw_inputs()
    landmarks[0, 1] = float("nan")
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens, grid, landmarks), connector(tokens, grid, landmarks))


def test_configuration_rebuilds_the_module():
    connector = build_connector(depth=3, proximity=False, keep_prefix_tokens=True)
    config = connector.to_config()
    assert config == {
        "input_width": 7,
        "output_width": 12,
        "depth": 3,
        "num_heads": 3,
        "proximity": False,
        "landmark_hidden_width": 9,
        "keep_prefix_tokens": True,
        "projector": "mlp",
    }
    again = RegionConnector.from_config(config).double()
    again.load_state_dict(connector.state_dict())
    tokens, grid, landmarks = draw_inputs()
    assert torch.equal(again(tokens, grid, landmarks), connector(tokens, grid, landmarks))


def test_spec_options_reach_the_module():
    connector = RegionConnector.from_spec(
        None, input_width=7, output_width=12, num_heads="2", proximity="false", landmark_hidden_width="5"
    )
    assert (connector.num_heads, connector.proximity, connector.landmark_projector.hidden_width) == (2, False, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_head": "2"}, "did you mean 'num_heads'"),
        ({"num_heads": "two"}, "cannot use num_heads=two: it takes an integer"),
        ({"proximity": "maybe"}, "cannot use proximity=maybe: it takes true or false"),
    ],
)
def test_bad_spec_options_are_refused(options, message):
    with pytest.raises(InvalidSpecError, match=message):
        RegionConnector.from_spec(None, input_width=7, output_width=12, **options)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigurationError, match="attention width 12 is not a multiple of num_heads=5"):
        RegionConnector(7, 12, num_heads=5)


def test_landmarks_of_another_batch_are_refused():
    tokens, grid, landmarks = draw_inputs()
    with pytest.raises(ConfigurationError, match=r"landmarks have shape \(1, 3, 68, 2\), expected \(2, 3, 68, 2\)"):
        build_connector()(tokens, grid, landmarks[:1])


def test_the_mask_without_positions_is_refused():
    attention = RegionGuidedCrossAttention(8)
    with pytest.raises(ConfigurationError, match="proximity mask needs region_positions and grid"):
        attention(torch.randn(1, 4, 8), torch.randn(1, 9, 8))
