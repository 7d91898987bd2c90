"""Batches are padded on the right and hold the five tensors."""

from __future__ import annotations

import pytest
import torch

from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceExample
from facekit.errors import ConfigurationError


def example(index, length, frames=1, pixels=True, landmark=0.5):
    return FaceExample(
        index=index,
        pixel_values=torch.full((frames, 3, 4, 4), float(index)) if pixels else None,
        landmarks=torch.full((frames, 68, 2), landmark),
        input_ids=torch.arange(1, length + 1),
        labels=torch.tensor([-100] * (length - 1) + [length]),
    )


def test_shorter_examples_are_padded_on_the_right_and_masked():
    batch = FaceCollator(pad_token_id=9)([example(0, 2), example(1, 4)])
    assert batch["input_ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 4]]
    assert batch["labels"].tolist() == [[-100, 2, -100, -100], [-100, -100, -100, 4]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["pixel_values"][:, 0, 0, 0, 0].tolist() == [0.0, 1.0]
    assert sorted(batch) == ["attention_mask", "input_ids", "labels", "landmarks", "pixel_values"]


def test_a_batch_may_mix_present_and_absent_landmarks():
    batch = FaceCollator(0)([example(0, 2), example(1, 2, landmark=float("nan"))])
    assert batch["landmarks"].shape == (2, 1, 68, 2)
    assert batch["landmarks"].isfinite().all(dim=(1, 2, 3)).tolist() == [True, False]


def test_lengths_are_rounded_up_to_a_multiple():
    batch = FaceCollator(0, multiple=8)([example(0, 3), example(1, 5)])
    assert {name: tuple(batch[name].shape) for name in ("input_ids", "labels", "attention_mask")} == dict.fromkeys(
        ("input_ids", "labels", "attention_mask"), (2, 8)
    )
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5]


def test_indices_take_the_place_of_pixels_where_tokens_are_kept():
    batch = FaceCollator(0, with_indices=True)([example(7, 2, pixels=False), example(3, 2, pixels=False)])
    assert batch["example_indices"].tolist() == [7, 3]
    assert "pixel_values" not in batch


def test_images_clips_and_text_alone_mix_in_a_batch():
    batch = FaceCollator(0)([example(1, 2), example(2, 3, frames=3), example(3, 2, frames=0), example(4, 1, frames=2)])
    assert batch["num_frames"].tolist() == [1, 3, 2]
    assert batch["pixel_values"].shape == (3, 3, 3, 4, 4)
    assert batch["pixel_values"][:, :, 0, 0, 0].tolist() == [[1, 0, 0], [2, 2, 2], [4, 4, 0]]
    assert batch["landmarks"].isfinite().all(dim=(2, 3)).sum(dim=1).tolist() == [1, 3, 2]
    assert len(batch["input_ids"]) == 4


def test_clips_of_one_length_need_no_count():
    batch = FaceCollator(0)([example(0, 2, frames=3), example(1, 2, frames=3)])
    assert "num_frames" not in batch
    assert batch["pixel_values"].shape[:2] == (2, 3)


def test_text_alone_has_no_media():
    assert sorted(FaceCollator(0)([example(0, 2, frames=0)])) == ["attention_mask", "input_ids", "labels"]


def test_examples_with_pixels_and_without_do_not_mix():
    with pytest.raises(ConfigurationError, match="1 of 2 examples have pixels"):
        FaceCollator(0)([example(0, 2), example(1, 2, pixels=False)])


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigurationError, match="no examples"):
        FaceCollator(0)([])
