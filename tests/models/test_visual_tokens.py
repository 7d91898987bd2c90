"""Visual tokens of different numbers find their places, and numbers that do not fit are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.errors import ConfigurationError
from facekit.models.visual_tokens import map_by_length, merge_visual_tokens, read_frame_counts, rows_of_media


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4).filter(any),
    gaps=st.integers(0, 2),
    spare=st.integers(0, 2),
)
def test_merging_equals_writing_token_by_token(rows, gaps, spare):
    """Each row has some media, which cost that many tokens, with ``gaps`` words around each."""
    counts = [count for row in rows for count in row]
    length = max(sum(row) + gaps * (len(row) + 1) for row in rows) + 1
    is_visual = torch.zeros(len(rows), length, dtype=torch.bool)
    features = torch.zeros(len(counts), max(counts) + spare, 2)
    embeds = -torch.rand(len(rows), length, 2)
    expected, owners, medium = embeds.clone(), [], 0
    for number, row in enumerate(rows):
        place = gaps
        for count in row:
            for token in range(count):
                features[medium, token] = torch.tensor([medium + 1.0, token + 1.0])
                expected[number, place + token] = features[medium, token]
            is_visual[number, place : place + count] = True
            place += count + gaps
            owners.append(number)
            medium += 1
    assert torch.equal(merge_visual_tokens(is_visual, embeds, features, counts), expected)
    assert rows_of_media(is_visual, counts).tolist() == owners


def test_gradients_reach_real_tokens_only():
    features = torch.ones(2, 3, 1, requires_grad=True)
    is_visual = torch.tensor([[True, False, True, True, True]])
    merge_visual_tokens(is_visual, torch.zeros(1, 5, 1), features, [1, 3]).sum().backward()
    assert features.grad.squeeze(-1).tolist() == [[1, 0, 0], [1, 1, 1]]


def test_rows_without_media_own_none():
    assert rows_of_media(torch.zeros(2, 3, dtype=torch.bool), []).tolist() == []
    with pytest.raises(ConfigurationError, match="3 image tokens cannot be shared by 2 images or clips"):
        rows_of_media(torch.ones(1, 3, dtype=torch.bool), [1, 1])


def test_frame_counts_are_read():
    assert read_frame_counts(None, 3, 8) is None
    assert read_frame_counts(torch.tensor([1, 8, 3]), 3, 8) == [1, 8, 3]
    assert read_frame_counts(torch.tensor([9]), 1) == [9]


@pytest.mark.parametrize(
    ("num_frames", "message"),
    [
        (torch.tensor([1, 2]), "one integer for each of 3 images or clips"),
        (torch.tensor([1.0, 2.0, 3.0]), "one integer for each of 3"),
        (torch.tensor([[1], [2], [3]]), "one integer for each of 3"),
        (torch.tensor([1, 0, 3]), "num_frames has 0; an image or clip has from 1 to 8, the frames of pixel_values"),
        (torch.tensor([1, 9, 3]), "num_frames has 9"),
    ],
)
def test_frame_counts_that_do_not_fit_are_refused(num_frames, message):
    with pytest.raises(ConfigurationError, match=message):
        read_frame_counts(num_frames, 3, 8)


@given(st.lists(st.integers(1, 4), max_size=9))
def test_media_of_one_length_are_computed_in_one_call_and_keep_their_order(lengths):
    calls = []

    def compute(length, rows):
        calls.append((length, rows))
        return torch.tensor(rows) * 10 + length

    results = map_by_length(lengths, compute)
    assert [int(each) for each in results] == [row * 10 + length for row, length in enumerate(lengths)]
    assert [length for length, _ in calls] == sorted(set(lengths))
