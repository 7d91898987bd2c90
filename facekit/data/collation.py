"""The collator of training: examples to padded batches of five tensors.

Training pads on the right. Generation pads on the left, which the processor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from facekit.data.dataset import FaceExample
from facekit.data.packing import PADDING, pack_rows
from facekit.data.supervision import IGNORED
from facekit.errors import ConfigurationError
from facekit.models.image_processing import stack_media


@dataclass(frozen=True)
class FaceCollator:
    """Stacks examples into the tensors that the model takes.

    Args:
        pad_token_id: Fills ``input_ids`` beyond a conversation's end; it is masked.
        multiple: The length of a batch is rounded up to a multiple of this.
        with_indices: Add ``example_indices`` ``(B,)``, for tokens of the encoder that are kept by index, and where some
            have no picture or several, ``media_counts`` ``(B,)``.
        row_tokens: Put several examples into a row of up to so many tokens; None for one example a row.
    """

    pad_token_id: int
    multiple: int = 1
    with_indices: bool = False
    row_tokens: int | None = None

    def __call__(self, examples: Sequence[FaceExample]) -> dict[str, Tensor]:
        """Return the batch.

        Args:
            examples: Images and clips of any length, and text alone, whose landmarks are of no frame; all with pixels
                or all without.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels`` ``(B, L)``, ``landmarks`` ``(B_media, T, 68, 2)``, and,
            where the examples have them, ``pixel_values`` ``(B_media, T, 3, H, W)``, of the examples that are not text
            alone; of several pictures one after the other. Where lengths differ, T is that of the longest, and
            ``num_frames`` ``(B_media,)`` says how many frames are real. Where questions or examples are packed, there
            are R rows of tokens for B examples, whose media stand in the order of their tokens, and
            ``segments`` and ``position_ids`` ``(R, L)`` in place of ``attention_mask``, which
            ``facekit.data.attention.attention_masks`` makes of them for a given language model.

        Raises:
            ConfigurationError: There is no example, or only some have pixels.
        """
        if not examples:
            raise ConfigurationError("there are no examples to collate")
        rows = pack_rows(examples, self.row_tokens)
        examples = [examples[member] for row in rows for member in row.members]
        batch = {
            "input_ids": self._pad([row.input_ids for row in rows], self.pad_token_id),
            "labels": self._pad([row.labels for row in rows], IGNORED),
        }
        if self.row_tokens is not None or any(example.segments is not None for example in examples):
            batch["segments"] = self._pad([row.segments for row in rows], PADDING)
            batch["position_ids"] = self._pad([row.position_ids for row in rows], 0)
        else:
            lengths = torch.tensor([len(row.input_ids) for row in rows])
            batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
        seen = [example for example in examples if example.media]
        pictured = [example for example in seen if example.pixel_values is not None]
        if pictured and len(pictured) < len(seen):
            raise ConfigurationError(f"{len(pictured)} of {len(seen)} examples have pixels; give all of them or none")
        if seen:
            pixels = [part for each in pictured for part in each.split(each.pixel_values)]
            batch.update(stack_media(pixels, [part for each in seen for part in each.split(each.landmarks)]))
        if self.with_indices:
            batch["example_indices"] = torch.tensor([example.index for example in examples])
            counts = [len(example.media) for example in examples]
            if set(counts) != {1}:
                batch["media_counts"] = torch.tensor(counts)
        return batch

    def _pad(self, rows: Sequence[Tensor], value: int) -> Tensor:
        padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
        missing = -padded.shape[1] % self.multiple
        return torch.nn.functional.pad(padded, (0, missing), value=value)
