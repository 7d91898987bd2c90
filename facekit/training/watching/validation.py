"""Validation during training: answers to a few fixed records, and metrics, at chosen steps.

Metrics come from a callable that is passed in: training knows no evaluation. Validation leaves the random state of the
run untouched, so a run with it learns what it learns without.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from facekit.compat.bitsandbytes import restore_layout
from facekit.data.atomic import write_text_atomically
from facekit.data.conversation_layout import split_exchanges
from facekit.data.dataset import RecordSet
from facekit.data.marks import count_marks, split_marks
from facekit.data.record_media import media_frames, open_frames, open_media
from facekit.data.records import FaceRecord
from facekit.data.supervision import media_lead, place_media, without_leading_marks
from facekit.errors import CheckpointError, FaceKitError, RecordError, first_line
from facekit.models.control_tokens import unescape_control_tokens
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions import Session
from facekit.training.loop.distributed import shards_weights, share_from_main

logger = logging.getLogger(__name__)

VALIDATION_NAME = "validation.jsonl"
_LOOKS_PER_RUN = 5
_LONGEST_ANSWER = 96
_MOST_QUESTIONS = 8

MetricFunction = Callable[
    [FaceKitForConditionalGeneration, FaceKitProcessor, RecordSet, Sequence[str]], Mapping[str, float]
]
"""Computes metrics by name: of a model, its processor, records and the names of tasks."""


class Measured(dict[str, float]):
    """Metrics by name, with their 95 % intervals, from a ``MetricFunction`` that knows them.

    Args:
        values: The metrics.
        intervals: Lower and upper end of each.
        lower_is_better: Names of those that fall as the model gets better, such as an error.
    """

    def __init__(
        self,
        values: Mapping[str, float],
        intervals: Mapping[str, tuple[float, float]] | None = None,
        lower_is_better: Collection[str] = (),
    ) -> None:
        super().__init__(values)
        self.intervals = dict(intervals or {})
        self.lower_is_better = frozenset(lower_is_better)


@dataclass(frozen=True)
class ValidationAnswer:
    """A model's answer about a validation record.

    Args:
        record: The record's id.
        question: What was asked.
        answer: What the model said.
        truth: What the record says.
    """

    record: str
    question: str
    answer: str
    truth: str


@dataclass(frozen=True)
class ValidationPoint:
    """One look at a model.

    Args:
        step: The optimiser step after which it was taken.
        answers: About the fixed records.
        metrics: By name; empty where none were asked for.
        intervals: Lower and upper end of their 95 % intervals, where they are known.
        lower_is_better: Metrics that fall as the model gets better.
        fallen: Metrics that are worse than their whole interval at the run's first look.
    """

    step: int
    answers: tuple[ValidationAnswer, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()
    fallen: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line of ``validation.jsonl``."""
        entry = json.loads(line)
        answers = tuple(ValidationAnswer(**answer) for answer in entry["answers"])
        return cls(
            int(entry["step"]),
            answers,
            {name: float(value) for name, value in entry["metrics"].items()},
            {name: (float(low), float(high)) for name, (low, high) in entry.get("intervals", {}).items()},
            tuple(entry.get("lower_is_better", ())),
            tuple(entry.get("fallen", ())),
        )

    def fallen_since(self, first: ValidationPoint) -> list[str]:
        """Metrics that are worse than the whole 95 % interval of an earlier look, by name."""
        fallen = []
        for name, (low, high) in first.intervals.items():
            now = self.metrics.get(name)
            if now is not None and (now > high if name in first.lower_is_better else now < low):
                fallen.append(name)
        return sorted(fallen)


def read_validation(path: Path) -> list[ValidationPoint]:
    """Read ``validation.jsonl``; none where there is no such file.

    Raises:
        CheckpointError: It is damaged.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [ValidationPoint.from_json(line) for line in lines if line]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it, and the run goes on without it") from error


class PeriodicValidation(TrainerCallback):
    """Looks at a model every so many steps and at the end, and writes ``validation.jsonl``.

    In a run of several processes the first one looks; where weights are in pieces (FSDP, ZeRO-3) nobody does.

    Args:
        processor: The model's processor.
        records: Validation records with conversations.
        path: Where ``validation.jsonl`` goes.
        every: Steps between two looks; None for a fifth of the run.
        faces: How many records, the first ones, are asked about.
        metrics: Computes metrics, or None.
        tasks: Tasks that it is given.
        metric_faces: How many records, the first ones, it is given.
        autocast: Type that the run computes in, or None for that of the weights.
        on_point: Called after every look.
        first: Look before the first step, too, so that later looks are compared with the model as it was.
        stop_on_fall: End the run at a look at which a metric is worse than its whole interval at the first.
    """

    def __init__(
        self,
        processor: FaceKitProcessor,
        records: RecordSet,
        path: Path,
        *,
        every: int | None = None,
        faces: int = 4,
        metrics: MetricFunction | None = None,
        tasks: Sequence[str] = (),
        metric_faces: int = 64,
        autocast: torch.dtype | None = None,
        on_point: Callable[[ValidationPoint], None] | None = None,
        first: bool = False,
        stop_on_fall: bool = False,
    ) -> None:
        self.processor = processor
        self.shown = records.select(range(min(faces, len(records))))
        self.measured = records.select(range(min(metric_faces, len(records))))
        self.path = path
        self.every = every
        self.metrics = metrics if tasks else None
        self.tasks = tuple(tasks)
        self.autocast = autocast
        self.on_point = on_point
        self.first, self.stop_on_fall = first, stop_on_fall
        self.log: Callable[[dict[str, float]], None] | None = None
        self.points: list[ValidationPoint] = []
        self.seconds = 0.0

    def attach(self, log: Callable[[dict[str, float]], None]) -> None:
        """Send metrics to the reporters of a run by way of the trainer's ``log``."""
        self.log = log

    def read(self, step: int) -> None:
        """Keep what an interrupted run saw up to a step; raises ``CheckpointError`` where the file is damaged."""
        self.points = [point for point in read_validation(self.path) if point.step <= step]

    def ended_at(self, step: int) -> bool:
        """Whether a fall ended the run at a step, of what was read."""
        return self.stop_on_fall and bool(self.points and self.points[-1].fallen) and self.points[-1].step == step

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: FaceKitForConditionalGeneration | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what an interrupted run saw up to the step from which this one goes on; look first, where asked.

        Raises:
            RecordError: No record can be opened that metrics are computed on.
        """
        self.read(state.global_step)
        if state.is_world_process_zero and not shards_weights():
            self._leave_out_damaged()
        is_due = self.first and not self.points and state.is_world_process_zero and not shards_weights()
        if is_due and model is not None:
            self._take(model, state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: FaceKitForConditionalGeneration | None = None,
        **kwargs: Any,
    ) -> None:
        """Look, where it is time."""
        every = self.every or max(1, math.ceil(state.max_steps / _LOOKS_PER_RUN))
        is_due = state.global_step % every == 0 or state.global_step >= state.max_steps
        if not is_due or model is None:
            return
        if shards_weights():
            if state.is_world_process_zero:
                logger.warning("validation is left out where weights are in pieces; evaluate the checkpoints instead")
            return
        point = self._take(model, state.global_step) if state.is_world_process_zero else None
        if point is not None and point.fallen:
            ending = "; the run ends" if self.stop_on_fall else ""
            told = ", ".join(point.fallen)
            logger.warning("step %d: worse than at step %d: %s%s", point.step, self.points[0].step, told, ending)
        if self.stop_on_fall and share_from_main(point is not None and bool(point.fallen)):
            control.should_save = control.should_training_stop = True  # in all processes

    def _leave_out_damaged(self) -> None:
        """Leave out what cannot be opened, with a warning, instead of ending the run where it is looked at."""
        damaged: set[str] = set()
        count = self.processor.image_processor.num_frames
        for record in {each.id: each for each in (*self.shown.records, *self.measured.records)}.values():
            try:
                open_frames(record, self.shown.folder, count)
            except (FaceKitError, OSError) as error:
                damaged.add(record.id)
                logger.warning("validation record %r is left out: %s", record.id, first_line(error))
        if damaged:
            self.shown, self.measured = (
                each.select([index for index, record in enumerate(each.records) if record.id not in damaged])
                for each in (self.shown, self.measured)
            )
        if self.metrics is not None and not len(self.measured):
            raise RecordError("not one of the validation records can be opened; see the warnings")

    def _take(self, model: FaceKitForConditionalGeneration, step: int) -> ValidationPoint:
        """Look, write it down and tell."""
        started = time.perf_counter()
        point = self.look(model, step)
        if self.points:
            point = replace(point, fallen=tuple(point.fallen_since(self.points[0])))
        self.points.append(point)
        lines = [json.dumps(asdict(each), ensure_ascii=False) for each in self.points]
        try:
            write_text_atomically(self.path, "\n".join(lines) + "\n")
        except OSError as error:
            logger.warning("%s cannot be written (%s); the training goes on", self.path, first_line(error))
        self.seconds += time.perf_counter() - started
        if self.log is not None and point.metrics:
            self.log({f"eval_{name}": value for name, value in point.metrics.items()})
        if self.on_point is not None:
            self.on_point(point)
        return point

    def look(self, model: FaceKitForConditionalGeneration, step: int) -> ValidationPoint:
        """Ask a model about the fixed records and compute the metrics; its mode and the random state stay."""
        with undisturbed(model, self.autocast):
            answers = [answer for record in self.shown.records for answer in self._ask(model, record)]
            measured: Mapping[str, float] = {}
            if self.metrics is not None:
                measured = self.metrics(model, self.processor, self.measured, self.tasks)
        if not isinstance(measured, Measured):
            measured = Measured(measured)
        lower = tuple(sorted(measured.lower_is_better))
        return ValidationPoint(step, tuple(answers), dict(measured), measured.intervals, lower)

    def _ask(self, model: FaceKitForConditionalGeneration, record: FaceRecord) -> list[ValidationAnswer]:
        pairs = questions_of(record)
        if not pairs:
            return []
        media = open_media(record, self.shown.folder, self.processor)
        session = Session.open_many(model, self.processor, [media])[0]
        prompts = [self._write_prompt(question, system, session.media.is_clip) for system, question, _ in pairs]
        answers = session.generate_from(prompts, max_new_tokens=_LONGEST_ANSWER)
        return [
            ValidationAnswer(record.id, unescape_control_tokens(question), answer, truth)
            for (_, question, truth), answer in zip(pairs, answers, strict=True)
        ]

    def _write_prompt(self, question: str, system: str | None, is_clip: Sequence[bool]) -> str:
        """The prompt of a question, with the media before it or where it marks them."""
        kinds = iter(["video" if each else "image" for each in is_clip])
        entries = [{"type": next(kinds)} if each["type"] == "image" else each for each in split_marks(question)]
        entries = [*({"type": kind} for kind in kinds), *entries]
        opening = [] if system is None else [{"role": "system", "content": system}]
        prompt: str = self.processor.apply_chat_template(
            [*opening, {"role": "user", "content": entries}], add_generation_prompt=True
        )
        return prompt


def questions_of(record: FaceRecord) -> list[tuple[str | None, str, str]]:
    """The first questions of a record, each as system message, question and answer; of a dialogue the first one.

    A question marks its pictures where they stand between its words; it is left out where it does not show all.
    """
    media = len(media_frames(record, len(record.media_paths(""))))
    try:
        turns = place_media(record.conversations, media)
    except RecordError:
        return []  # nothing can be learned from it either
    is_about_all = media_lead(turns)
    opening, exchanges = split_exchanges(without_leading_marks(turns) if is_about_all else turns)
    system = next((turn.content for turn in opening if turn.role == "system"), None)
    pairs = []
    for exchange in exchanges[: _MOST_QUESTIONS if record.independent_questions and is_about_all else 1]:
        answer = next((turn.content for turn in exchange if turn.role == "assistant"), None)
        question = exchange[0].content.strip()
        if answer is not None and question and count_marks(question) == (0 if is_about_all else media):
            pairs.append((system, question, answer))
    return pairs


@contextmanager
def undisturbed(model: FaceKitForConditionalGeneration, autocast: torch.dtype | None = None) -> Iterator[None]:
    """Evaluation mode and a random state of its own inside the ``with`` block; both are as before afterwards.

    Compiled layers run as they were written: generation would compile each anew.

    Args:
        model: The model.
        autocast: Type to compute in; None for that of the weights.
    """
    training = {module: module.training for module in model.modules()}
    device = model.device
    devices = [device] if device.type == "cuda" else []
    model.eval()
    try:
        with (
            torch.random.fork_rng(devices=devices),
            torch.compiler.set_stance("force_eager"),
            torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None),
        ):
            yield
    finally:
        for module, was_training in training.items():
            module.training = was_training
        restore_layout(model.language_model)
