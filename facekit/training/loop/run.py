"""A training run as an object: its model, records and settings, its resumption, training and saving."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from facekit.compat.trl import require_trl
from facekit.data.absent_landmarks import tell_absent_landmarks
from facekit.data.atomic import save_together
from facekit.data.collation import FaceCollator
from facekit.data.dataset import RecordSet
from facekit.data.mixing import ShardSources
from facekit.data.record_facts import facts_of, is_dialogue
from facekit.data.shortened import ShortenedRecord
from facekit.errors import CheckpointError, ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.models.native.processing import NativeProcessor
from facekit.models.native.region import REGION_FOLDER
from facekit.models.placement import refuse_divided
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener
from facekit.training.loop.arguments import check_names, check_settings, dataset_options, trainer_arguments
from facekit.training.loop.checkpoints import STATE_NAME, find_checkpoint, find_damage, is_finished, step_of
from facekit.training.loop.compiled import compiled_layers
from facekit.training.loop.distributed import first_problem, is_main_process, load_whole_weights, whole_again
from facekit.training.loop.face_trainer import FaceTrainer
from facekit.training.loop.identity import prepare_run
from facekit.training.loop.prefix_attention import split_attention
from facekit.training.loop.saving import FailedWrites
from facekit.training.preferences.trainers import PreferenceRows, train_preferences
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.corrupt import SKIPPED_NAME, SkippingDataset
from facekit.training.records.features import FeaturesOnDisk, KeptFeatures, encode_dataset
from facekit.training.records.streamed import StreamedDataset, open_dataset
from facekit.training.trainable.adapters import ADAPTER_FOLDER, Adapters
from facekit.training.trainable.float_types import trained_in_float32
from facekit.training.trainable.parts import gradient_checkpointing
from facekit.training.trainable.quantized import is_quantized, unpack
from facekit.training.trainable.trained_weights import holds_trained_only, load_trained
from facekit.training.watching.validation import PeriodicValidation
from facekit.training.watching.validation_loss import LossValidation

logger = logging.getLogger(__name__)

RUN_FOLDER = "training"
_WEIGHTS = (
    "model*.safetensors", "model.safetensors.index.json", f"{REGION_FOLDER}/*", f"{ADAPTER_FOLDER}/{REGION_FOLDER}/*",
)  # fmt: skip


@dataclass
class TrainingRun:
    """One run of ``train``.

    Args:
        model: The model, trained in place.
        processor: Its processor.
        dataset: Its examples.
        settings: What to do.
        output_dir: Where the model is saved; checkpoints and losses go to its folder ``training``.
        arguments: The trainer's arguments.
        checkpoint: Where the run goes on from; None for a fresh start.
        late_failure: The first callback that failed after the last step, and its error.
        rows: What is learned from in place of the records' answers, once they are checked.
    """

    model: FaceKitForConditionalGeneration
    processor: FaceKitProcessor
    dataset: SkippingDataset | StreamedDataset
    settings: TrainingSettings
    output_dir: Path
    arguments: TrainingArguments
    checkpoint: Path | None = None
    late_failure: tuple[str, Exception] | None = None
    rows: PreferenceRows | None = None

    @classmethod
    def open(
        cls,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        records: RecordSet | str | Path | ShardSources,
        output_dir: Path,
        settings: TrainingSettings,
    ) -> Self:
        """Open the records and check that settings, model and devices fit; errors as in ``train``."""
        refuse_divided(model, "training")
        check_names(settings)
        folder = output_dir / RUN_FOLDER
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and settings.max_tokens is not None and settings.max_tokens > context:
            logger.warning("max_tokens=%d is more than the language model reads, %d", settings.max_tokens, context)
        options = dataset_options(settings, context)
        if settings.is_preference:
            require_trl()
        dataset = open_dataset(records, processor, options, settings, folder / SKIPPED_NAME)
        if settings.is_preference:
            _require_whole_epochs(dataset)
        arguments = trainer_arguments(folder, settings, _count_examples(dataset))
        check_settings(model, settings, arguments)
        return cls(model, processor, dataset, settings, output_dir, arguments)

    @property
    def folder(self) -> Path:
        """Where checkpoints, losses and the list of skipped records are."""
        return self.output_dir / RUN_FOLDER

    @property
    def shortened_records(self) -> tuple[ShortenedRecord, ...]:
        """Records of which some questions are left out."""
        return tuple(self.dataset.shortened.entries())

    def find_start(self, *, resume: bool) -> None:
        """Make the folder ready and find the checkpoint to go on from; see ``prepare_run``."""
        source = self.dataset.records if isinstance(self.dataset, SkippingDataset) else self.dataset
        self.checkpoint = prepare_run(self.folder, self.settings, source, self.model, resume=resume)
        if self.checkpoint is None:
            self.dataset.skipped.forget()
            self.dataset.shortened.forget()

    def check_records(self, on_progress: ProgressListener | None = None) -> None:
        """Leave out the records that cannot be used, before the first step; shards are checked as they are read.

        Raises:
            RecordError: They are more than ``settings.skip_limit`` allows; all are listed.
        """
        if isinstance(self.dataset, StreamedDataset):
            logger.info("shards cannot be checked beforehand; samples that cannot be used are skipped as they are read")
            return
        if is_main_process():
            tell_absent_landmarks(self.model, self.dataset.records.records)
        if self.settings.independent_turns:
            _tell_dialogues(self.dataset)
        self.dataset.check(
            is_resumed=self.checkpoint is not None,
            open_media=self.settings.check_media,
            with_answers=self.settings.dpo is None,
            on_progress=on_progress,
        )
        examples = _count_examples(self.dataset)
        if self.settings.is_preference:
            self.rows = PreferenceRows.of(self.dataset.records, self.settings, self.processor, self.dataset.options)
            examples = self.rows.examples
        self.arguments = trainer_arguments(self.folder, self.settings, examples)

    def train(self, callbacks: Sequence[TrainerCallback]) -> TrainerState:
        """Train from the start that was found to the end, or load the end where nothing is left to train.

        Args:
            callbacks: For the trainer.

        Returns:
            The trainer's state after the last step.
        """
        watching = [each for each in callbacks if isinstance(each, (LossValidation, PeriodicValidation))]
        watched = next((each for each in watching if isinstance(each, LossValidation)), None)
        if self.checkpoint is not None and _has_ended(self.checkpoint, watching):
            logger.info("%s is the end of its run; nothing is left to train", self.checkpoint)
            self._load(self._find_best(watched) or self.checkpoint)
            ended: TrainerState = TrainerState.load_from_json(str(self.checkpoint / STATE_NAME))
            return ended
        tokens = self._keep_tokens()
        with whole_again(self.model) as trained:
            state = self._loop(trained, tokens, callbacks)
        best = self._find_best(watched)
        if best is not None and step_of(best) != state.global_step:
            logger.info("the model of step %d has the lowest validation loss and is kept", step_of(best))
            self._load(best)
        return state

    def _find_best(self, watched: LossValidation | None) -> Path | None:
        """The checkpoint with the lowest validation loss, where it is to be kept and is whole."""
        if watched is None or not watched.keep_best or watched.best is None:
            return None
        folder = self.folder / f"checkpoint-{watched.best.step}"
        damage = find_damage(folder, watched.best.step)
        if damage is not None:
            logger.warning("the best checkpoint %s cannot be used (%s); the last weights are kept", folder, damage)
            return None
        return folder

    def _load(self, checkpoint: Path) -> None:
        (load_trained if holds_trained_only(checkpoint) else load_whole_weights)(self.model, checkpoint)

    def save(self, adapters: Adapters | None) -> None:
        """Save the trained model, unpacked and with its adapters merged, and the adapters beside it.

        Raises:
            CheckpointError: The disk is full, or fails; what was there before is unchanged.
        """
        failed = FailedWrites()
        saving = save_together(self.output_dir, replacing=_WEIGHTS) if is_main_process() else nullcontext()
        with failed.keeping(), saving as folder:
            if adapters is not None and folder is not None:
                adapters.save(folder / ADAPTER_FOLDER)
                if isinstance(self.processor, NativeProcessor):
                    self.processor.save_settings(folder / ADAPTER_FOLDER)
                if is_native(self.model):
                    self.model.save_region(folder / ADAPTER_FOLDER)
            if is_quantized(self.model):
                unpack(self.model.language_model)
            if adapters is not None:
                adapters.merge()
            if folder is not None:
                self.model.save_pretrained(folder)
                self.processor.save_pretrained(folder)
        problem = first_problem(failed.problem)
        if problem is None:
            return
        last = find_checkpoint(self.folder)
        kept = f"{last} is whole; make room on the disk and resume" if last else "make room on the disk"
        raise CheckpointError(f"the trained model could not be saved in {self.output_dir} ({problem}); {kept}") from (
            failed.error
        )

    def _keep_tokens(self) -> KeptFeatures | None:
        """Tokens of frozen encoders, which replace pixels where the settings ask for it."""
        if isinstance(self.dataset, StreamedDataset):
            logger.info("%d samples in shards", self.dataset.total)
            return None
        tokens: KeptFeatures | None = None
        if self.settings.cache_features:
            self.model.to(self.arguments.device)
            autocasts = self.settings.precision == "bfloat16"
            tokens = in_memory = encode_dataset(self.model, self.dataset, autocasts=autocasts)
            logger.info("kept the encoders' tokens of %d media, %.0f MiB", len(in_memory), in_memory.nbytes / 2**20)
        elif self.settings.feature_cache is not None:
            tokens = FeaturesOnDisk(self.model, self.dataset, self.settings)
        if tokens is not None:
            self.dataset.drop_pixels()
        return tokens

    def _loop(
        self,
        model: FaceKitForConditionalGeneration,
        tokens: KeptFeatures | None,
        callbacks: Sequence[TrainerCallback],
    ) -> TrainerState:
        settings, tokenizer = self.settings, self.processor.tokenizer
        if settings.is_preference:
            return self._learn_preferences(model, callbacks)
        trainer = FaceTrainer(
            model=model,
            args=self.arguments,
            train_dataset=self.dataset,
            data_collator=FaceCollator(tokenizer.pad_token_id or 0, with_indices=True, row_tokens=settings.row_tokens),
            processing_class=self.processor,
            callbacks=list(callbacks),
            settings=settings,
            record_ids=self.dataset.record_ids,
            features=tokens,
        )
        trainer.remove_callback(PrinterCallback)
        if trainer.loss_validation is not None:
            trainer.hold_out(trainer.loss_validation.records)
        with ExitStack() as stack:
            if tokens is not None:
                stack.callback(tokens.flush)
            stack.enter_context(trained_in_float32(model, settings))
            if settings.gradient_checkpointing:
                stack.enter_context(gradient_checkpointing(model, settings.parts))
            if settings.independent_turns or settings.row_tokens is not None:
                stack.enter_context(split_attention(model.language_model))
            stack.enter_context(compiled_layers(model.language_model, settings))
            trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
        trainer.guard.check()
        self.late_failure = trainer.late_failure
        return trainer.state

    def _learn_preferences(
        self, model: FaceKitForConditionalGeneration, callbacks: Sequence[TrainerCallback]
    ) -> TrainerState:
        assert isinstance(self.dataset, SkippingDataset)  # opening has refused shards
        assert self.rows is not None
        with ExitStack() as stack:
            stack.enter_context(trained_in_float32(model, self.settings))
            if self.settings.gradient_checkpointing:
                stack.enter_context(gradient_checkpointing(model, self.settings.parts))
            trainer = train_preferences(
                model, self.processor, self.dataset.records, self.rows, self.settings, self.folder, callbacks,
                self.checkpoint,
            )  # fmt: skip
        self.late_failure = trainer.late_failure
        state: TrainerState = trainer.state
        return state


def _has_ended(checkpoint: Path, watching: Sequence[LossValidation | PeriodicValidation]) -> bool:
    """Whether a checkpoint is a run's last one, or validation ended the run there; validation reads what it saw."""
    for each in watching:
        each.read(step_of(checkpoint))
    return is_finished(checkpoint) or any(each.ended_at(step_of(checkpoint)) for each in watching)


def _require_whole_epochs(dataset: SkippingDataset | StreamedDataset) -> None:
    """Refuse what TRL's trainers do not do: read a stream, or see records by their shares."""
    if isinstance(dataset, StreamedDataset):
        raise ConfigurationError("rewards and pairs need a records file, not a folder of shards")
    mixture = dataset.records.mixture
    if mixture is not None and mixture.weights is not None:
        raise ConfigurationError(
            "weights of records files are for training on their own answers; grpo and dpo take every question or pair "
            "once an epoch, so leave the weights out"
        )


def _count_examples(dataset: SkippingDataset | StreamedDataset) -> int:
    return len(dataset) if isinstance(dataset, SkippingDataset) else dataset.total


def _tell_dialogues(dataset: SkippingDataset) -> None:
    """Say where ``independent_turns`` changes nothing, because nobody said that the questions stand alone."""
    records = dataset.records.records
    dialogues = int(is_dialogue(facts_of(records)).sum())
    if dialogues:
        logger.warning(
            "independent_turns leaves the dialogues of %d of %d records as they are; where their questions stand "
            'alone, the records say so by "independent_questions": true',
            dialogues,
            len(records),
        )
