"""The Triton operator against a float64 oracle: on a GPU where there is one, else in Triton's interpreter."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from facekit.errors import ConfigurationError
from facekit.kernels import triton_region_attention as module
from facekit.kernels.triton_region_attention import stream_region_attention_triton
from facekit.kernels.triton_tiling import column_layout

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LARGE_BLOCKS = "scores=128x64x8x4,apply=64x128x4x3,tables=64x128x8x3,fused=0"
FUSED = "fused=64x128x4x4"
TOLERANCE = {torch.float32: (1e-5, 2e-5), torch.bfloat16: (1e-2, 2e-2), torch.float16: (1e-2, 2e-2)}


@dataclass(frozen=True)
class Arguments:
    patch_tokens: torch.Tensor
    absorbed_keys: torch.Tensor
    score_bias: torch.Tensor
    absorbed_values: torch.Tensor
    output_bias: torch.Tensor | None
    region_positions: torch.Tensor | None
    present: torch.Tensor | None
    num_heads: int
    grid: tuple[int, int] | None
    num_prefix_tokens: int

    def call(self, function=stream_region_attention_triton):
        return function(*(getattr(self, field.name) for field in fields(self)))

    def leaves(self):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if torch.is_tensor(value) and value.is_floating_point()}

    def with_leaves(self, change):
        return replace(self, **{name: change(tensor) for name, tensor in self.leaves().items()})


def draw(frames=2, grid=(5, 7), prefix=1, width=72, heads=2, regions=9, dtype=torch.float32, present=None, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(DEVICE, dtype)

    return Arguments(
        normal(frames, prefix + grid[0] * grid[1], width),
        normal(frames, heads * regions, width, scale=width**-0.5),
        normal(frames, heads * regions),
        normal(frames, heads * regions, width),
        normal(width),
        torch.rand(frames, regions, 2, generator=generator).to(DEVICE),
        None if present is None else torch.tensor(present, device=DEVICE),
        heads,
        grid,
        prefix,
    )


def oracle(tokens, keys, score_bias, values, output_bias, positions, present, heads, grid, prefix):
    """The definition, in the dtype of its arguments."""
    frames, patches, _ = tokens.shape
    scores = (tokens @ keys.mT + score_bias[:, None]).reshape(frames, patches, heads, -1)
    if positions is not None:
        index = torch.arange(grid[0] * grid[1], dtype=tokens.dtype, device=tokens.device)
        centers = torch.stack([(index % grid[1] + 0.5) / grid[1], (index // grid[1] + 0.5) / grid[0]], dim=-1)
        distance = torch.linalg.vector_norm(positions[:, None] - centers[None, :, None], dim=-1)
        scores = torch.cat([scores[:, :prefix], scores[:, prefix:] - distance[:, :, None]], dim=1)
    output = tokens + scores.softmax(-1).flatten(2) @ values
    if output_bias is not None:
        output = output + output_bias
    return output if present is None else torch.where(present[:, None, None], output, tokens)


def value_and_gradients(arguments, function, output_gradient):
    arguments = arguments.with_leaves(lambda tensor: tensor.detach().clone().requires_grad_())
    output = arguments.call(function)
    leaves = arguments.leaves()
    gradients = torch.autograd.grad(output, list(leaves.values()), output_gradient.to(output.dtype))
    return output.detach(), dict(zip(leaves, gradients, strict=True))


def relative_error(value, expected):
    return ((value.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


def assert_agrees_with_oracle(arguments):
    dtype = arguments.patch_tokens.dtype
    output_gradient = torch.randn(arguments.patch_tokens.shape, generator=torch.Generator().manual_seed(1))
    output_gradient = output_gradient.to(DEVICE, dtype)
    exact = arguments.with_leaves(torch.Tensor.double)
    expected, expected_gradients = value_and_gradients(exact, oracle, output_gradient)
    output, gradients = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)

    forward, backward = TOLERANCE[dtype]
    assert output.dtype == dtype
    assert relative_error(output, expected) <= forward
    for name, gradient in gradients.items():
        assert gradient.dtype == getattr(arguments, name).dtype, name
        # One region alone has weight one: the exact gradient of its score is zero, which has no relative error.
        slack = 1e-4 if arguments.absorbed_keys.shape[1] == arguments.num_heads else 0.0
        error = (gradient.double() - expected_gradients[name]).norm().item()
        assert error <= backward * expected_gradients[name].norm().item() + slack, name


@pytest.mark.parametrize(
    ("frames", "grid", "prefix", "width", "heads", "regions"),
    [
        (2, (5, 7), 1, 72, 2, 9),
        (1, (3, 2), 0, 40, 8, 9),
        (2, (4, 3), 2, 50, 1, 1),
        (1, (5, 5), 0, 33, 3, 5),
        (1, (4, 6), 1, 40, 5, 17),
        (1, (3, 5), 0, 24, 3, 64),
        (2, (1, 9), 0, 130, 8, 5),
        (1, (9, 1), 3, 20, 7, 33),
    ],
)
def test_float32_agrees_with_float64_in_value_and_in_every_gradient(frames, grid, prefix, width, heads, regions):
    assert_agrees_with_oracle(draw(frames, grid, prefix, width, heads, regions))


@pytest.mark.parametrize("seed", range(5))
def test_random_small_shapes_agree_with_float64(seed):
    choice = random.Random(seed)
    frames, prefix, heads = choice.randint(1, 3), choice.randint(0, 2), choice.randint(1, 8)
    grid = choice.randint(1, 5), choice.randint(1, 5)
    assert_agrees_with_oracle(
        draw(frames, grid, prefix, choice.randint(1, 90), heads, choice.randint(2, 20), seed=seed)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("regions", [5, 9])
def test_half_precision_stays_within_its_rounding(dtype, regions):
    assert_agrees_with_oracle(draw(width=96, heads=8, regions=regions, dtype=dtype))


@pytest.mark.parametrize("tiling", [LARGE_BLOCKS, FUSED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_route_through_the_kernels_gives_the_same_answers(monkeypatch, tiling, dtype):
    monkeypatch.setenv("FACEKIT_TRITON_TILING", tiling)
    assert_agrees_with_oracle(draw(grid=(9, 8), width=200, heads=8, dtype=dtype))


@pytest.mark.parametrize("tiling", ["fused=0", FUSED])
@pytest.mark.parametrize(("heads", "regions"), [(8, 5), (8, 9), (3, 17)])
def test_large_scores_in_either_block_of_columns_overflow_nothing(monkeypatch, tiling, heads, regions):
    """The exponentials are relative to the largest score of all regions, whichever block of columns holds it."""
    monkeypatch.setenv("FACEKIT_TRITON_TILING", tiling)
    main = column_layout(heads, regions).main
    assert 0 < main < regions
    arguments = draw(frames=3, grid=(2, 2), width=24, heads=heads, regions=regions)
    biases = arguments.score_bias.reshape(3, heads, regions)
    biases[0, :, main:] += 100.0  # e^100 is beyond float32
    biases[1, :, :main] += 100.0
    biases[2] -= 200.0
    assert_agrees_with_oracle(arguments)


@pytest.mark.parametrize("tiling", ["fused=0", FUSED])
def test_an_absent_frame_passes_through_untouched_and_its_nan_reaches_nothing(monkeypatch, tiling):
    monkeypatch.setenv("FACEKIT_TRITON_TILING", tiling)
    arguments = draw(frames=3, grid=(3, 4), heads=2, present=[True, False, True])
    for name in ("absorbed_keys", "score_bias", "absorbed_values", "region_positions"):
        getattr(arguments, name)[1] = float("nan")
    output_gradient = torch.randn_like(arguments.patch_tokens)
    output, gradients = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)

    assert torch.equal(output[1], arguments.patch_tokens[1])
    assert torch.equal(gradients["patch_tokens"][1], output_gradient[1])
    for name in ("absorbed_keys", "score_bias", "absorbed_values", "region_positions"):
        assert gradients[name][1].abs().max() == 0, name
    finite = arguments.with_leaves(lambda tensor: torch.nan_to_num(tensor).double())
    expected, expected_gradients = value_and_gradients(finite, oracle, output_gradient)
    assert relative_error(output, expected) <= 1e-5
    for name, gradient in gradients.items():
        assert relative_error(gradient, expected_gradients[name]) <= 2e-5, name


def test_an_absent_frame_of_nan_patches_sends_nothing_to_shared_gradients():
    arguments = draw(frames=2, grid=(2, 2), present=[True, False])
    arguments.patch_tokens[1] = float("nan")
    _, gradients = value_and_gradients(
        arguments, stream_region_attention_triton, torch.ones_like(arguments.patch_tokens)
    )
    for name in ("absorbed_keys", "absorbed_values", "score_bias", "output_bias", "region_positions"):
        assert gradients[name].isfinite().all(), name


def test_positions_and_output_bias_may_be_left_out():
    assert_agrees_with_oracle(replace(draw(grid=(3, 4)), region_positions=None, output_bias=None, grid=None))


def test_a_region_on_a_patch_centre_has_a_finite_gradient():
    arguments = draw(frames=1, grid=(2, 2), prefix=0, regions=5)
    arguments.region_positions[0, 0] = torch.tensor([0.25, 0.75])
    assert_agrees_with_oracle(arguments)


def test_strided_arguments_give_the_same_bits_as_contiguous_ones():
    arguments = draw(grid=(3, 4), present=[True, False])
    strided = arguments.with_leaves(lambda tensor: torch.stack([tensor, tensor], dim=-1)[..., 0])
    strided = replace(strided, present=arguments.present.repeat_interleave(2)[::2])
    expanded = torch.ones((), device=DEVICE).expand(arguments.patch_tokens.shape)
    output, gradients = value_and_gradients(strided, stream_region_attention_triton, expanded)
    expected, expected_gradients = value_and_gradients(arguments, stream_region_attention_triton, expanded)

    assert not strided.patch_tokens.is_contiguous()
    assert torch.equal(output, expected)
    assert all(torch.equal(gradients[name], expected_gradients[name]) for name in gradients)


@pytest.mark.parametrize("empty", [{"frames": 0}, {"grid": (0, 3), "prefix": 0}])
def test_no_frames_or_no_patches_give_empty_outputs_and_zero_gradients(empty):
    arguments = draw(**empty)
    output, gradients = value_and_gradients(
        arguments, stream_region_attention_triton, torch.ones_like(arguments.patch_tokens)
    )
    assert output.shape == arguments.patch_tokens.shape
    for name, gradient in gradients.items():
        assert gradient.shape == getattr(arguments, name).shape
        assert not gradient.any(), name


@pytest.mark.parametrize(
    "wanted", [("patch_tokens",), ("absorbed_keys", "absorbed_values"), ("output_bias",), ("region_positions",)]
)
def test_gradients_that_are_asked_for_alone_equal_those_asked_for_together(wanted):
    arguments = draw(grid=(3, 4), heads=3)
    output_gradient = torch.randn_like(arguments.patch_tokens)
    _, together = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)
    alone = arguments.with_leaves(torch.Tensor.clone)
    leaves = [getattr(alone, name).requires_grad_() for name in wanted]
    gradients = torch.autograd.grad(alone.call(), leaves, output_gradient)

    for name, gradient in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(gradient, together[name], rtol=1e-5, atol=1e-6)


def test_two_runs_give_equal_bits():
    arguments = draw(frames=3, heads=8, grid=(4, 4))
    output_gradient = torch.randn_like(arguments.patch_tokens)
    first, first_gradients = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)
    second, second_gradients = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)

    assert torch.equal(first, second)
    assert all(torch.equal(first_gradients[name], second_gradients[name]) for name in first_gradients)


@pytest.mark.parametrize("complete", [True, False])
def test_the_operator_keeps_the_contract_of_torch_library(complete):
    arguments = draw(frames=2, grid=(2, 3), width=24, present=[True, False] if complete else None)
    arguments = arguments.with_leaves(torch.Tensor.requires_grad_)
    if not complete:
        arguments = replace(arguments, output_bias=None, region_positions=None)
    flat = (*(getattr(arguments, field.name) for field in fields(arguments)[:8]), *arguments.grid, 1)
    results = torch.library.opcheck(torch.ops.facekit.stream_region_attention.default, flat)
    assert set(results.values()) == {"SUCCESS"}


def test_it_compiles_to_one_graph_with_the_same_answers():
    arguments = draw(grid=(3, 4), width=48)
    output_gradient = torch.randn_like(arguments.patch_tokens)
    compiled = torch.compile(stream_region_attention_triton, backend="aot_eager", fullgraph=True)
    output, gradients = value_and_gradients(arguments, compiled, output_gradient)
    expected, expected_gradients = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)

    assert torch.equal(output, expected)
    assert all(torch.equal(gradients[name], expected_gradients[name]) for name in gradients)


def test_activation_checkpointing_changes_no_gradient():
    arguments = draw(grid=(3, 4), width=48)
    output_gradient = torch.randn_like(arguments.patch_tokens)

    def checkpointed(*values):
        return checkpoint(stream_region_attention_triton, *values, use_reentrant=False)

    _, gradients = value_and_gradients(arguments, checkpointed, output_gradient)
    _, expected = value_and_gradients(arguments, stream_region_attention_triton, output_gradient)
    assert all(torch.equal(gradients[name], expected[name]) for name in gradients)


def test_under_autocast_it_computes_in_autocasts_dtype_and_gradients_keep_theirs():
    arguments = draw(grid=(3, 4), width=48)
    with torch.autocast(DEVICE, torch.bfloat16):
        output, gradients = value_and_gradients(
            arguments, stream_region_attention_triton, torch.ones_like(arguments.patch_tokens)
        )
    expected = arguments.with_leaves(torch.Tensor.double).call(oracle)

    assert output.dtype == torch.bfloat16
    assert 1e-5 < relative_error(output, expected) <= 1e-2
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def test_a_second_derivative_is_refused():
    arguments = draw(frames=1, grid=(2, 2)).with_leaves(torch.Tensor.requires_grad_)
    (gradient,) = torch.autograd.grad(arguments.call().sum(), arguments.patch_tokens, create_graph=True)
    with pytest.raises(RuntimeError, match="stream_region_attention_backward"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_tokens": torch.zeros(2, 36, 72, dtype=torch.float64)}, "float64; use implementation 'absorbed'"),
        ({"absorbed_keys": torch.zeros(2, 18, 72, dtype=torch.bfloat16)}, "absorbed_keys has dtype torch.bfloat16"),
        ({"absorbed_keys": torch.zeros(2, 130, 72)}, "130 absorbed rows are not 2 heads times 1 to 64 regions"),
        ({"num_heads": 4}, "18 absorbed rows are not 4 heads"),
        ({"absorbed_values": torch.zeros(2, 18, 71)}, r"absorbed_values has shape \(2, 18, 71\)"),
        ({"score_bias": torch.zeros(2, 17)}, r"score_bias has shape \(2, 17\)"),
        ({"grid": (5, 5)}, r"36 patch tokens are not 1 prefix tokens plus grid \(5, 5\)"),
        ({"grid": None}, "give the grid"),
        ({"output_bias": torch.zeros(71)}, r"output_bias has shape \(71,\)"),
        ({"present": torch.ones(3, dtype=torch.bool)}, r"present has shape \(3,\)"),
        ({"present": torch.ones(2)}, "present has dtype torch.float32"),
        ({"region_positions": torch.zeros(2, 8, 2)}, r"region_positions has shape \(2, 8, 2\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_numbers(change, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(draw(), **change).call()


def test_without_triton_the_module_imports_and_the_call_names_the_package():
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from facekit.errors import MissingExtraError\n"
        "from facekit.kernels.triton_region_attention import stream_region_attention_triton as stream\n"
        "x, table, bias = torch.zeros(1, 4, 8), torch.zeros(1, 2, 8), torch.zeros(1, 2)\n"
        "try:\n"
        "    stream(x, table, bias, table, None, None, None, 2, None, 0)\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install triton" in answer.stdout


def test_on_the_cpu_without_the_interpreter_the_remedies_are_named():
    program = (
        "import torch\n"
        "from facekit.errors import ConfigurationError\n"
        "from facekit.kernels.triton_region_attention import stream_region_attention_triton as stream\n"
        "x, table, bias = torch.zeros(1, 4, 8), torch.zeros(1, 2, 8), torch.zeros(1, 2)\n"
        "try:\n"
        "    stream(x, table, bias, table, None, None, None, 2, None, 0)\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert "TRITON_INTERPRET=1" in answer.stdout
    assert "'absorbed'" in answer.stdout


def test_the_operator_module_has_the_signature_of_its_eager_twin():
    import inspect

    from facekit.kernels.streaming import stream_region_attention

    ours = inspect.signature(module.stream_region_attention_triton)
    assert list(ours.parameters) == list(inspect.signature(stream_region_attention).parameters)
