from dataclasses import replace

import pytest
import torch

from facekit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "attention width 24 is not a multiple of num_heads=5"),
        ({"num_heads": 0}, "not a multiple of num_heads=0"),
        ({"grid": None}, r"region_positions need grid=\(rows, cols\)"),
        ({"grid": (4, 4)}, r"13 patch tokens are not 1 prefix tokens \+ grid 4 x 4 = 17"),
        ({"num_prefix_tokens": 2}, r"13 patch tokens are not 2 prefix tokens \+ grid 3 x 4 = 14"),
        ({"patch_tokens": torch.zeros(2, 3, 13, 24)}, r"patch_tokens \(2, 3, 13, 24\) .* must have three axes"),
        ({"patch_tokens": torch.zeros(2, 13, 24)}, "patch_tokens have 2 frames and region_tokens 3"),
        ({"patch_tokens": torch.zeros(3, 13, 25)}, r"weights.query has shape \(24, 24\), expected \(24, 25\)"),
        ({"region_tokens": torch.zeros(3, 0, 24)}, "region_tokens have no regions"),
        ({"region_positions": torch.zeros(3, 5, 3)}, r"region_positions has shape \(3, 5, 3\), expected \(3, 5, 2\)"),
        ({"present": torch.ones(2, dtype=torch.bool)}, r"present has shape \(2,\), expected \(3,\)"),
        ({"present": torch.ones(3)}, "present has dtype torch.float32; give a boolean mask"),
        ({"region_tokens": torch.zeros(3, 5, 24).half()}, "region_tokens has dtype torch.float16 and patch_tokens"),
        ({"patch_tokens": torch.zeros(3, 13, 24).long()}, "patch_tokens have dtype torch.int64"),
        ({"present": torch.ones(3, device="meta").bool()}, "present is on meta and patch_tokens on cpu"),
        ({"region_tokens": torch.zeros(3, 5, 24, device="meta")}, "region_tokens is on meta and patch_tokens on cpu"),
    ],
)
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_arguments_that_do_not_fit_are_refused_with_their_numbers(build_case, implementation, changes, message):
    case = replace(build_case(dtype=torch.float32), **changes)
    with pytest.raises(ConfigurationError, match=message):
        case.run(implementation)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("query", torch.zeros(24), r"weights.query has shape \(24,\), expected two axes"),
        ("key", torch.zeros(24, 23), r"weights.key has shape \(24, 23\), expected \(24, 24\) = \(A, E\)"),
        ("value", torch.zeros(23, 24), r"weights.value has shape \(23, 24\)"),
        ("output", torch.zeros(24, 12), r"weights.output has shape \(24, 12\), expected \(24, 24\) = \(D, A\)"),
        ("query_bias", torch.zeros(25), r"weights.query_bias has shape \(25,\), expected \(24,\)"),
        ("output_bias", torch.zeros(1), r"weights.output_bias has shape \(1,\), expected \(24,\)"),
        ("value_bias", torch.zeros(24).double(), "weights.value_bias has dtype torch.float64"),
    ],
)
def test_projections_that_do_not_fit_are_refused_by_name(build_case, name, value, message):
    case = build_case(dtype=torch.float32)
    case = replace(case, weights=case.weights._replace(**{name: value}))
    with pytest.raises(ConfigurationError, match=message):
        case.run("auto")
