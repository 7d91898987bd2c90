import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from facekit.kernels import RegionAttentionWeights, absorb_projections, region_attention, stream_region_attention
from facekit.kernels.lean import absorb_projections_lean, stream_region_attention_lean


@given(
    frames=st.integers(0, 4),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    prefix_tokens=st.integers(0, 3),
    regions=st.integers(1, 12),
    width=st.integers(1, 24),
    region_width=st.integers(1, 24),
    heads=st.integers(1, 6),
    head_width=st.integers(1, 9),
    biases=st.booleans(),
    positions=st.booleans(),
    absent=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_values_and_gradients_equal_the_reference_for_any_shape(
    build_case, frames, heads, head_width, absent, seed, **shape
):
    present = [index % 2 == 0 for index in range(frames)] if absent and frames else None
    case = build_case(frames, heads=heads, attention_width=heads * head_width, present=present, seed=seed, **shape)
    torch.testing.assert_close(case.run("lean"), case.run("reference"), rtol=1e-10, atol=1e-12)
    output_gradient = torch.randn(case.patch_tokens.shape, generator=torch.Generator().manual_seed(seed)).double()
    found, expected = (case.gradients(name, output_gradient) for name in ("lean", "reference"))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("threads", [1, 3])
def test_heads_that_do_not_divide_among_the_threads_stay_within_limits(build_case, relative_error, dtype, threads):
    limit = {torch.float32: 2e-5}.get(dtype, 2e-2)
    case = build_case(2, (16, 16), 1, 9, width=160, heads=5, dtype=dtype, present=[True, True])
    exact = case.to(torch.float64)
    output_gradient = torch.randn(case.patch_tokens.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected = exact.gradients("reference", output_gradient.double())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert relative_error(case.run("lean"), exact.run("reference")) <= limit
        found = case.gradients("lean", output_gradient)
    finally:
        torch.set_num_threads(before)
    for name in set(expected) - {"key_bias"}:
        assert found[name].dtype == dtype
        assert relative_error(found[name], expected[name]) <= limit, name


def small_call(build_case, present=None):
    """Leaves with the positions last, and the call of them."""
    case = build_case(2, (2, 2), 1, 3, width=4, region_width=3, attention_width=4, heads=2, present=present)
    leaves = [tensor.requires_grad_() for tensor in (*case.named_leaves().values(), case.region_positions)]

    def run(patch_tokens, region_tokens, *rest):
        weights = RegionAttentionWeights(*rest[:-1])
        tensors = {"patch_tokens": patch_tokens, "region_tokens": region_tokens, "region_positions": rest[-1]}
        return replace(case, weights=weights, **tensors).run("lean")

    return leaves, run


@pytest.mark.parametrize("present", [None, [True, False]])
def test_gradients_and_gradients_of_gradients_equal_finite_differences(build_case, present):
    leaves, run = small_call(build_case, present)
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_whatever_is_frozen_the_other_gradients_stay_the_same(build_case):
    leaves, run = small_call(build_case, [True, False])
    expected = torch.autograd.grad(run(*leaves).square().sum(), leaves)
    names = [*range(len(leaves))]
    subsets = [[name] for name in names] + [[*pair] for pair in itertools.combinations(names, 2)]
    subsets += [[other for other in names if other != name] for name in names]
    for trained in subsets:
        given = [leaf.detach().requires_grad_(index in trained) for index, leaf in enumerate(leaves)]
        run(*given).square().sum().backward()
        for index, leaf in enumerate(given):
            if index in trained:
                torch.testing.assert_close(leaf.grad, expected[index], rtol=1e-12, atol=1e-13)
            else:
                assert leaf.grad is None


def test_a_second_backward_through_a_retained_graph_gives_the_same_bits(build_case):
    leaves, run = small_call(build_case)
    result = run(*leaves).square().sum()
    first = torch.autograd.grad(result, leaves, retain_graph=True)
    second = torch.autograd.grad(result, leaves)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_each_half_is_the_eager_one(build_case):
    case = build_case(heads=3, present=[True, False, True])
    absorbed = absorb_projections(case.region_tokens, case.weights, 3)
    for lean, eager in zip(absorb_projections_lean(case.region_tokens, case.weights, 3), absorbed, strict=True):
        assert lean.is_contiguous()
        torch.testing.assert_close(lean, eager, rtol=1e-12, atol=1e-13)
    rest = (case.weights.output_bias, case.region_positions, case.present, 3, case.grid, case.num_prefix_tokens)
    expected = stream_region_attention(case.patch_tokens, *absorbed, *rest)
    assert torch.equal(stream_region_attention_lean(case.patch_tokens, *absorbed, *rest), expected)


@pytest.mark.parametrize("patch_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_gradients_come_back_in_the_dtype_of_each_leaf(build_case, relative_error, patch_dtype):
    case = build_case(3, width=64, heads=4, dtype=torch.float32)
    case = replace(case, patch_tokens=case.patch_tokens.to(patch_dtype))
    output_gradient = torch.randn(case.patch_tokens.shape, generator=torch.Generator().manual_seed(3))
    expected = case.to(torch.float64).gradients("reference", output_gradient.double())
    with torch.autocast("cpu", torch.bfloat16):  # backward included
        found = case.gradients("lean", output_gradient)
    for name in set(found) - {"key_bias"}:
        assert found[name].dtype == case.named_leaves()[name].dtype
        assert relative_error(found[name], expected[name]) <= 2e-2, name


def test_gradients_are_laid_out_as_their_parameters(build_case):
    case = build_case(width=16, heads=4, dtype=torch.float32)
    for name, gradient in case.gradients("lean", torch.ones_like(case.patch_tokens)).items():
        assert gradient.is_contiguous(), name


class RecordNewTensors(TorchDispatchMode):
    """Records the number of elements of every tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.made = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        result = operation(*args, **(kwargs or {}))
        new = [
            leaf
            for leaf in filter(torch.is_tensor, tree_leaves(result))
            if leaf.untyped_storage().data_ptr() not in given
        ]
        self.made.update(tensor.numel() for tensor in new)
        return result


def test_every_table_and_every_gradient_is_made_once(build_case):
    case = build_case(8, (16, 16), 1, 9, width=128, heads=8, dtype=torch.float32)
    patches, table = 8 * 257 * 128, 8 * (8 * 9) * 128
    output_gradient = torch.ones_like(case.patch_tokens)
    with RecordNewTensors() as record:
        case.gradients("lean", output_gradient)
    assert record.made[table] == 4  # keys and values, and their gradients
    assert record.made[patches] == 3  # the clone that is the leaf, the result, the gradient


def test_activation_checkpointing_gives_the_same_gradients(build_case):
    leaves, run = small_call(build_case)
    expected = torch.autograd.grad(run(*leaves).square().sum(), leaves)
    again = torch.utils.checkpoint.checkpoint(run, *leaves, use_reentrant=False)
    for found, wanted in zip(torch.autograd.grad(again.square().sum(), leaves), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_function_transforms_give_the_gradient(build_case):
    case = build_case()
    weights, geometry = case.weights, {"grid": case.grid, "num_prefix_tokens": case.num_prefix_tokens}

    def loss(query):
        changed = weights._replace(query=query)
        tokens = (case.patch_tokens, case.region_tokens)
        return region_attention(*tokens, changed, num_heads=2, implementation="lean", **geometry).square().sum()

    expected = torch.autograd.functional.jacobian(loss, weights.query)
    torch.testing.assert_close(torch.func.grad(loss)(weights.query), expected)
