"""Examples to batches: the five tensors, padded on the right.

Training pads on the right, generation on the left; the latter is the processor's work, so this is only for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from facekit.data.dataset import FaceExample
from facekit.data.packing import segment_mask
from facekit.data.supervision import IGNORED
from facekit.errors import ConfigurationError


@dataclass(frozen=True)
class FaceCollator:
    """Stacks examples into the tensors that the model takes.

    Args:
        pad_token_id: Fills ``input_ids`` beyond a conversation's end; it is masked.
        multiple: The length of a batch is rounded up to a multiple of this.
        with_indices: Add ``example_indices`` ``(B,)``, for tokens of the encoder that are kept by index.
    """

    pad_token_id: int
    multiple: int = 1
    with_indices: bool = False

    def __call__(self, examples: Sequence[FaceExample]) -> dict[str, Tensor]:
        """Return the batch.

        Args:
            examples: All of the same number of frames.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels`` ``(B, L)``, ``landmarks`` ``(B, T, 68, 2)``, and, where
            the examples have them, ``pixel_values`` ``(B, T, 3, H, W)``. Where questions are packed, also
            ``position_ids`` ``(B, L)``, and ``attention_mask`` is a bool ``(B, 1, L, L)``, true where a token (row)
            sees another.

        Raises:
            ConfigurationError: There is no example, or the numbers of frames differ.
        """
        if not examples:
            raise ConfigurationError("there are no examples to collate")
        frames = sorted({len(example.landmarks) for example in examples})
        if len(frames) > 1:
            raise ConfigurationError(
                f"a batch mixes examples of {frames} frames; train images and clips of one length at a time"
            )
        lengths = torch.tensor([len(example.input_ids) for example in examples])
        batch = {
            "input_ids": self._pad([example.input_ids for example in examples], self.pad_token_id),
            "labels": self._pad([example.labels for example in examples], IGNORED),
            "landmarks": torch.stack([example.landmarks for example in examples]),
        }
        width = batch["input_ids"].shape[1]
        batch["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
        if all(example.segments is not None for example in examples):
            batch["attention_mask"] = segment_mask(self._pad([example.segments for example in examples], -1))
            batch["position_ids"] = self._pad([example.position_ids for example in examples], 0)
        pixels = [example.pixel_values for example in examples if example.pixel_values is not None]
        if len(pixels) == len(examples):
            batch["pixel_values"] = torch.stack(pixels)
        if self.with_indices:
            batch["example_indices"] = torch.tensor([example.index for example in examples])
        return batch

    def _pad(self, rows: Sequence[Tensor | None], value: int) -> Tensor:
        padded = pad_sequence([row for row in rows if row is not None], batch_first=True, padding_value=value)
        missing = -padded.shape[1] % self.multiple
        return torch.nn.functional.pad(padded, (0, missing), value=value)
