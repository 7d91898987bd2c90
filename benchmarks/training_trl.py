"""TRL's ``SFTTrainer`` on the model and the questions of ``benchmarks.training``, where TRL is installed.

TRL packs no samples that have pictures, so each question is a sample with a picture of its own, padded to the
longest. A step is ``SFTTrainer.training_step`` (its fused head, its metrics, accelerate's backward pass) on a batch of
its own data loader; gradient checkpointing, which it switches on by itself, is off, as it is for the other ways.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceExample
from facekit.models.modeling import FaceKitForConditionalGeneration

if TYPE_CHECKING:
    from trl import SFTTrainer


class ComposedForTrl(FaceKitForConditionalGeneration):
    """A composed model with the ``base_model`` that TRL's fused head takes hidden states from."""

    @property
    def base_model(self) -> Any:
        """Everything before the head."""
        return self._before_head

    def _before_head(self, **inputs: Any) -> BaseModelOutput:
        kept: list[Tensor] = []

        def keep(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            kept.append(given[0])
            return (given[0][:1, :1], *given[1:])

        handle = self.get_output_embeddings().register_forward_pre_hook(keep)
        try:
            FaceKitForConditionalGeneration.forward(self, **inputs)
        finally:
            handle.remove()
        return BaseModelOutput(last_hidden_state=kept[0])


@dataclass
class TrlStep:
    """A step of TRL's trainer.

    Attributes:
        trainer: The trainer.
        batch: One batch of its data loader: all questions of a step.
        labelled: Tokens that its loss covers.
    """

    trainer: SFTTrainer
    batch: dict[str, Tensor]
    labelled: int

    def loss(self) -> Tensor:
        """What the trainer would go backward from."""
        loss: Tensor = self.trainer.compute_loss(self.trainer.model, dict(self.batch), num_items_in_batch=self._items)
        return loss

    def run(self) -> None:
        """Forward and backward, as the trainer's loop calls it; its metrics are dropped as a log would."""
        self.trainer.training_step(self.trainer.model, dict(self.batch), num_items_in_batch=self._items)
        self.trainer._metrics["train"].clear()

    @property
    def _items(self) -> Tensor:
        return torch.tensor(self.labelled, device=self.batch["labels"].device)


def trl_version() -> str | None:
    """The version of TRL, or None where it is not installed."""
    return version("trl") if importlib.util.find_spec("trl") else None


def build_trl_step(model: FaceKitForConditionalGeneration, examples: Sequence[FaceExample], pad_token: int) -> TrlStep:
    """Put a model into TRL's trainer; it stays usable without.

    Args:
        model: The model, which becomes a ``ComposedForTrl``.
        examples: The questions of a step, each with its picture.
        pad_token: Fills rows up.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from trl import SFTConfig, SFTTrainer

    model.__class__ = ComposedForTrl
    words = {"<end>": 0, "<pad>": 1}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<end>")), eos_token="<end>", pad_token="<pad>"
    )
    collator = FaceCollator(pad_token)

    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        batch = collator([examples[row["number"]] for row in rows])
        return {name: value for name, value in batch.items() if name != "landmarks"}

    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, per_device_train_batch_size=len(examples), max_steps=1, max_length=None,
            gradient_checkpointing=False, bf16=False, use_cpu=model.device.type == "cpu", report_to=[],
            disable_tqdm=True, remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True},
        )  # fmt: skip
        trainer = SFTTrainer(
            model,
            settings,
            data_collator=collate,
            train_dataset=Dataset.from_list([{"number": number} for number in range(len(examples))]),
            processing_class=tokenizer,
        )
    (batch,) = trainer.get_train_dataloader()
    with torch.no_grad():
        outputs = trainer.model(**batch, use_cache=False, fused_lm_head=True)
    return TrlStep(trainer, dict(batch), int(outputs.label_mask.sum()))
