from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.kernels import RegionAttentionWeights, absorb_projections, stream_region_attention
from facekit.kernels.streaming import patch_proximity

FORWARD_LIMIT = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
GRADIENT_LIMIT = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-2}

shapes = st.fixed_dictionaries(
    {
        "frames": st.integers(1, 4),
        "grid": st.tuples(st.integers(1, 9), st.integers(1, 9)),
        "prefix_tokens": st.integers(0, 3),
        "regions": st.integers(1, 64),
        "width": st.integers(1, 48),
        "region_width": st.integers(1, 48),
        "biases": st.booleans(),
        "positions": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)


def assert_gradients_close(case, implementation, limit, relative_error):
    """Compare all gradients with the float64 reference of the same rounded inputs."""
    exact = case.to(torch.float64)
    output_gradient = torch.randn(case.patch_tokens.shape, generator=torch.Generator().manual_seed(7))
    output_gradient = output_gradient.to(case.patch_tokens.dtype)
    expected = exact.gradients("reference", output_gradient.double())
    for name, gradient in case.gradients(implementation, output_gradient).items():
        assert gradient.dtype == case.patch_tokens.dtype, name
        if name == "key_bias":  # analytically zero: the softmax cancels it
            assert gradient.double().norm() <= limit * expected["value_bias"].norm(), name
        else:
            assert relative_error(gradient, expected[name]) <= limit, name


@given(shapes, st.integers(1, 8), st.integers(1, 24))
@settings(max_examples=60, deadline=None)
def test_absorbed_equals_reference_for_any_shape(build_case, relative_error, shape, heads, head_width):
    case = build_case(**shape, heads=heads, attention_width=heads * head_width)
    assert relative_error(case.run("absorbed"), case.run("reference")) <= 1e-12
    single = case.to(torch.float32)
    assert relative_error(single.run("absorbed"), single.to(torch.float64).run("reference")) <= 1e-5


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("grid", "prefix_tokens", "regions"),
    [((14, 14), 0, 5), ((16, 16), 0, 9), ((16, 16), 1, 9), ((32, 32), 0, 9), ((7, 11), 5, 17)],
)
def test_values_and_gradients_stay_within_limits(
    build_case, relative_error, implementation, dtype, grid, prefix_tokens, regions
):
    case = build_case(2, grid, prefix_tokens, regions, width=256, heads=8, dtype=dtype)
    expected = case.to(torch.float64).run("reference")
    output = case.run(implementation)
    assert output.dtype == dtype
    assert relative_error(output, expected) <= FORWARD_LIMIT[dtype]
    assert_gradients_close(case, implementation, GRADIENT_LIMIT[dtype], relative_error)


def test_a_wide_head_stays_within_limits(build_case, relative_error):
    case = build_case(2, (16, 16), 1, 9, width=1024, heads=2, dtype=torch.float32)
    assert relative_error(case.run("absorbed"), case.to(torch.float64).run("reference")) <= 1e-5
    assert_gradients_close(case, "absorbed", 2e-5, relative_error)


@pytest.mark.parametrize("present", [None, [True, False]])
def test_absorbed_passes_gradcheck_in_every_input(build_case, present):
    case = build_case(2, (2, 2), 1, 3, width=4, region_width=3, attention_width=4, heads=2, present=present)
    leaves = [tensor.requires_grad_() for tensor in case.named_leaves().values()]
    positions = case.region_positions.requires_grad_()

    def run(patch_tokens, region_tokens, *rest):
        changed = replace(
            case,
            patch_tokens=patch_tokens,
            region_tokens=region_tokens,
            weights=RegionAttentionWeights(*rest[:-1]),
            region_positions=rest[-1],
        )
        return changed.run("absorbed")

    assert torch.autograd.gradcheck(run, [*leaves, positions])


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
def test_absent_frames_pass_through_and_send_no_gradient_even_from_nan(build_case, implementation):
    case = build_case(3, present=[True, False, True], dtype=torch.float32)
    case.region_tokens[1] = float("nan")
    case.region_positions[1] = float("nan")
    output = case.run(implementation)
    assert torch.equal(output[1], case.patch_tokens[1])
    assert output.isfinite().all()
    assert not torch.equal(output[0], case.patch_tokens[0])

    output_gradient = torch.ones_like(output)
    gradients = case.gradients(implementation, output_gradient)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert torch.equal(gradients["patch_tokens"][1], output_gradient[1])
    assert not gradients["region_tokens"][1].any()
    assert gradients["region_tokens"][0].any()


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
def test_a_present_frame_is_not_changed_by_absent_neighbours(build_case, implementation):
    case = build_case(3, present=[False, True, False])
    alone = replace(
        case,
        patch_tokens=case.patch_tokens[1:2],
        region_tokens=case.region_tokens[1:2],
        region_positions=case.region_positions[1:2],
        present=None,
    )
    torch.testing.assert_close(case.run(implementation)[1:2], alone.run(implementation), rtol=0, atol=1e-13)


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
def test_no_frames_give_an_empty_output_and_zero_gradients(build_case, implementation):
    case = build_case(frames=0)
    assert case.run(implementation).shape == case.patch_tokens.shape
    gradients = case.gradients(implementation, torch.empty(case.patch_tokens.shape))
    assert all(not gradient.any() for gradient in gradients.values())
    assert gradients["query"].shape == case.weights.query.shape


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
def test_strides_do_not_matter(build_case, implementation):
    case = build_case(dtype=torch.float32)

    def scatter(tensor):
        """Equal values, every second element of a larger tensor, axes reversed in memory."""
        reversed_axes = tensor.permute(*reversed(range(tensor.ndim)))
        wide = torch.full((*reversed_axes.shape[:-1], 2 * reversed_axes.shape[-1]), float("nan"), dtype=tensor.dtype)
        wide[..., ::2] = reversed_axes
        return wide[..., ::2].permute(*reversed(range(tensor.ndim)))

    strided = replace(
        case,
        patch_tokens=scatter(case.patch_tokens),
        region_tokens=scatter(case.region_tokens),
        weights=RegionAttentionWeights(*map(scatter, case.weights)),
        region_positions=scatter(case.region_positions),
    )
    assert not strided.patch_tokens.is_contiguous()
    torch.testing.assert_close(strided.run(implementation), case.run(implementation), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
def test_runs_are_bitwise_equal(build_case, implementation):
    case = build_case(8, (16, 16), 1, 9, width=128, heads=8, dtype=torch.float32)
    output_gradient = torch.ones_like(case.patch_tokens)
    first, second = (case.gradients(implementation, output_gradient) for _ in range(2))
    assert torch.equal(case.run(implementation), case.run(implementation))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
@pytest.mark.parametrize("patch_dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_dtype_of_the_patches(build_case, relative_error, implementation, patch_dtype):
    case = build_case(3, width=64, heads=4, present=[True, False, True], dtype=torch.float32)
    case = replace(case, patch_tokens=case.patch_tokens.to(patch_dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = case.run(implementation)
    assert output.dtype == patch_dtype
    assert torch.equal(output[1], case.patch_tokens[1])
    assert relative_error(output, case.to(torch.float64).run("reference")) <= 1e-2


def test_autocast_gradients_come_back_in_the_dtype_of_each_leaf(build_case, relative_error):
    case = build_case(3, width=64, heads=4, dtype=torch.float32)
    output_gradient = torch.randn(case.patch_tokens.shape, generator=torch.Generator().manual_seed(3))
    expected = case.to(torch.float64).gradients("reference", output_gradient.double())
    with torch.autocast("cpu", torch.bfloat16):
        gradients = case.gradients("absorbed", output_gradient)
    for name in set(gradients) - {"key_bias"}:
        assert gradients[name].dtype == torch.float32
        assert relative_error(gradients[name], expected[name]) <= 2e-2, name


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean", "auto"])
def test_compiles_as_one_graph_forward_and_backward(build_case, implementation):
    case = build_case(2, present=[True, False], dtype=torch.float32)
    compiled = torch.compile(
        lambda *leaves: with_leaves(case, leaves).run(implementation), fullgraph=True, backend="aot_eager"
    )
    leaves = [tensor.detach().requires_grad_() for tensor in case.named_leaves().values()]
    output = compiled(*leaves)
    torch.testing.assert_close(output, case.run(implementation), rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(output, leaves, torch.ones_like(output))
    expected = case.gradients(implementation, torch.ones_like(output))
    for gradient, name in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


def with_leaves(case, leaves):
    return replace(case, patch_tokens=leaves[0], region_tokens=leaves[1], weights=RegionAttentionWeights(*leaves[2:]))


def test_gradient_reaches_the_positions(build_case):
    case = build_case()
    case.region_positions.requires_grad_()
    gradient = torch.autograd.grad(case.run("absorbed").sum(), case.region_positions)[0]
    expected = torch.autograd.grad(case.run("reference").sum(), case.region_positions)[0]
    assert gradient.any()
    torch.testing.assert_close(gradient, expected)


def test_a_region_on_a_patch_center_has_a_finite_gradient():
    positions = torch.tensor([[[0.5, 0.5]]], requires_grad=True)
    proximity = patch_proximity(positions, (1, 1))
    proximity.sum().backward()
    assert proximity.item() == 0.0
    assert positions.grad.isfinite().all()


def test_proximity_is_minus_the_distance_in_image_coordinates_and_zero_for_prefix_tokens():
    positions = torch.tensor([[[0.75, 0.25], [0.25, 0.25]]])  # x, y
    proximity = patch_proximity(positions, grid=(1, 2), num_prefix_tokens=1)
    # centres: (0.25, 0.5) and (0.75, 0.5)
    expected = torch.tensor([[[0.0, 0.0], [-(0.3125**0.5), -0.25], [-0.25, -(0.3125**0.5)]]])
    torch.testing.assert_close(proximity, expected)


def test_proximity_of_half_precision_positions_is_computed_in_float32():
    positions = torch.rand(1, 3, 2).to(torch.bfloat16)
    proximity = patch_proximity(positions, (4, 4))
    assert proximity.dtype == torch.float32
    torch.testing.assert_close(proximity, patch_proximity(positions.float(), (4, 4)))


def test_the_streaming_half_is_the_operation_after_absorption(build_case):
    case = build_case(heads=3, present=[True, True, False])
    absorbed = absorb_projections(case.region_tokens, case.weights, case.num_heads)
    output = stream_region_attention(
        case.patch_tokens,
        *absorbed,
        case.weights.output_bias,
        case.region_positions,
        case.present,
        case.num_heads,
        case.grid,
        case.num_prefix_tokens,
    )
    torch.testing.assert_close(output, case.run("reference"), rtol=0, atol=1e-12)
