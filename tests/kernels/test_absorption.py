import pytest
import torch

from facekit.kernels import absorb_projections


@pytest.mark.parametrize("biases", [True, False])
def test_a_patch_times_an_absorbed_key_is_its_scaled_score(build_case, biases):
    case = build_case(frames=2, regions=3, width=7, region_width=5, attention_width=12, heads=4, biases=biases)
    absorbed = absorb_projections(case.region_tokens, case.weights, case.num_heads)
    assert [tuple(tensor.shape) for tensor in absorbed] == [(2, 12, 7), (2, 12), (2, 12, 7)]
    weights = case.weights
    for frame in range(2):
        for head in range(4):
            own = slice(3 * head, 3 * head + 3)
            for region in range(3):
                patch, token = case.patch_tokens[frame, 1], case.region_tokens[frame, region]
                query = weights.query @ patch + (weights.query_bias if biases else 0)
                key = weights.key @ token + (weights.key_bias if biases else 0)
                value = weights.value @ token + (weights.value_bias if biases else 0)
                row = 3 * head + region  # head-major
                score = patch @ absorbed.keys[frame, row] + absorbed.score_bias[frame, row]
                torch.testing.assert_close(score, query[own] @ key[own] / 3**0.5)
                torch.testing.assert_close(absorbed.values[frame, row], weights.output[:, own] @ value[own])
