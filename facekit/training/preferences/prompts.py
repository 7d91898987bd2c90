"""Questions of records as the rows that TRL's trainers take, and the crops behind their pictures.

A picture stands in a row by a name, ``record:17``; the processor finds the crop and its landmarks by it, prepared once
for all answers about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from facekit.data.conversation_layout import ConversationLayout
from facekit.data.dataset import RecordSet
from facekit.data.record_media import media_frames, open_frames
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.faces import CroppedFace
from facekit.models.prepared import PreparedPictures
from facekit.models.processing import FaceKitProcessor
from facekit.training.rewards.columns import REWARDS


@dataclass(frozen=True)
class Prompt:
    """A question about a record's picture.

    Args:
        record: Index of the record.
        question: What is asked.
        task: The task that the question belongs to, where it says.
        system: What stands before it, or None.
    """

    record: int
    question: str
    task: str | None = None
    system: str | None = None

    def row(self) -> dict[str, Any]:
        """The columns ``prompt`` and ``images``."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        return {
            "prompt": [*opening, {"role": "user", "content": self.question}],
            "images": [name_of(self.record)],
        }


def iterate_prompts(records: RecordSet) -> Iterator[Prompt]:
    """Yield the questions that can be asked by themselves about the one picture of a record.

    Of a dialogue that is its first question. Records of clips, of several pictures and of text alone have none: TRL's
    trainers take one picture a question here.
    """
    for index, record in enumerate(records.records):
        if record.image is None:
            continue
        try:
            layout = ConversationLayout.of(record, media_frames(record, 1))
        except RecordError:
            continue
        if not layout.media_lead:
            continue
        system = next((turn.content for turn in layout.opening if turn.role == "system"), None)
        for exchange in layout.exchanges if layout.stands_alone else layout.exchanges[:1]:
            asked = exchange[0]
            yield Prompt(index, asked.content.strip(), asked.task or _task_of(exchange), system)


def _task_of(exchange: Sequence[Any]) -> str | None:
    return next((turn.task for turn in exchange if turn.task is not None), None)


def rewarded_rows(records: RecordSet, rewards: Iterable[str]) -> list[dict[str, Any]]:
    """Rows for GRPO: every question to whose answers one of the rewards has something to say.

    Args:
        records: The records.
        rewards: Names of ``REWARDS``.

    Returns:
        The columns ``prompt``, ``images``, ``task``, ``labels`` (JSON, because rows of a table have the same keys) and
        ``same``.

    Raises:
        RecordError: There is no such question.
    """
    rows, names = [], tuple(rewards)
    for prompt in iterate_prompts(records):
        record = records.records[prompt.record]
        columns = {"task": prompt.task, "labels": record.labels.model_dump_json(exclude_none=True), "same": None}
        if any(_speaks(name, columns) for name in names):
            rows.append({**prompt.row(), **columns})
    if not rows:
        raise RecordError(
            f"no question of {len(records):,} records can be rewarded by {', '.join(names)}: a question needs its "
            "'task', and the record a label for it"
        )
    return rows


def _speaks(name: str, columns: Mapping[str, Any]) -> bool:
    """Whether a reward says something about answers to a question, whatever they are."""
    return REWARDS[name]([""], **{key: [value] for key, value in columns.items()})[0] is not None


def name_of(record: int) -> str:
    """The name by which a record's picture stands in a row."""
    return f"record:{record}"


def processor_of_rows(processor: FaceKitProcessor, records: RecordSet) -> FaceKitProcessor:
    """A copy of a processor that knows the pictures of rows, and writes landmarks into ``pixel_values``.

    Args:
        processor: The model's; it stays as it is.
        records: The records that the rows were made of.
    """

    def open_face(name: str) -> CroppedFace:
        record: FaceRecord = records.records[int(name.partition(":")[2])]
        return open_frames(record, records.folder)[0]

    names = frozenset(name_of(index) for index in range(len(records)))
    twin = copy(processor)
    twin.image_processor = processor.image_processor.with_prepared(PreparedPictures(open_face, names))
    twin.landmarks_in_pixels = True
    return twin
