import math

import pytest
import torch


def transcribe(case):
    """The equation of the paper, one number at a time, in Python floats."""
    frames, tokens, width = case.patch_tokens.shape
    regions = case.region_tokens.shape[1]
    attention_width = case.weights.query.shape[0]
    head_width = attention_width // case.num_heads

    def project(vector, weight, bias):
        return [
            sum(weight[row, column].item() * vector[column] for column in range(len(vector)))
            + (0.0 if bias is None else bias[row].item())
            for row in range(weight.shape[0])
        ]

    output = torch.empty(frames, tokens, width, dtype=torch.float64)
    for frame in range(frames):
        keys = [project(z.tolist(), case.weights.key, case.weights.key_bias) for z in case.region_tokens[frame]]
        values = [project(z.tolist(), case.weights.value, case.weights.value_bias) for z in case.region_tokens[frame]]
        for token in range(tokens):
            patch = case.patch_tokens[frame, token].tolist()
            query = project(patch, case.weights.query, case.weights.query_bias)
            distances = [0.0] * regions
            if case.region_positions is not None and token >= case.num_prefix_tokens:
                row, column = divmod(token - case.num_prefix_tokens, case.grid[1])
                center = ((column + 0.5) / case.grid[1], (row + 0.5) / case.grid[0])
                distances = [math.dist(center, position.tolist()) for position in case.region_positions[frame]]
            attended = []
            for head in range(case.num_heads):
                channels = range(head * head_width, (head + 1) * head_width)
                scores = [
                    sum(query[c] * keys[j][c] for c in channels) / math.sqrt(head_width) - distances[j]
                    for j in range(regions)
                ]
                total = sum(math.exp(score) for score in scores)
                weights = [math.exp(score) / total for score in scores]
                attended += [sum(weights[j] * values[j][c] for j in range(regions)) for c in channels]
            projected = project(attended, case.weights.output, case.weights.output_bias)
            output[frame, token] = torch.tensor(
                [x + y for x, y in zip(patch, projected, strict=True)], dtype=torch.float64
            )
    return output


@pytest.mark.parametrize("implementation", ["reference", "absorbed", "lean"])
@pytest.mark.parametrize("options", [{}, {"biases": False}, {"positions": False}, {"prefix_tokens": 0}, {"heads": 4}])
def test_output_is_the_equation_of_the_paper(build_case, implementation, options):
    case = build_case(frames=2, grid=(3, 2), regions=3, width=7, region_width=5, attention_width=8, **options)
    torch.testing.assert_close(case.run(implementation), transcribe(case), rtol=0, atol=1e-12)


def test_residual_is_added_in_the_dtype_of_the_patches(build_case):
    case = build_case(dtype=torch.bfloat16)
    assert case.run("reference").dtype == torch.bfloat16
