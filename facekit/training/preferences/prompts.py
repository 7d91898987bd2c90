"""Questions of records as the rows that TRL's trainers take, and the crops behind their pictures.

A picture stands in a row by a name, ``record:17`` or, of several, ``record:17.1``; the processor finds the crop and its
landmarks by it, prepared once for all answers about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from facekit.counted import counted
from facekit.data.conversation_layout import ConversationLayout
from facekit.data.dataset import RecordSet
from facekit.data.labels import VERIFICATION
from facekit.data.marks import count_marks, split_marks
from facekit.data.record_media import media_frames, open_frames
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.faces import CroppedFace
from facekit.models.prepared import PreparedPictures
from facekit.models.processing import FaceKitProcessor
from facekit.training.rewards.columns import REWARDS


@dataclass(frozen=True)
class Prompt:
    """A question about a record's picture, or several of them.

    Args:
        record: Index of the record.
        question: What is asked; pictures that do not simply stand before it are marked in it.
        task: The task that the question belongs to, where it says.
        system: What stands before it, or None.
        pictures: Names of the pictures that it is about; by default the record's only one.
    """

    record: int
    question: str
    task: str | None = None
    system: str | None = None
    pictures: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The columns ``prompt`` and ``images``; a question with marks is a list of entries, see ``even_prompts``."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        asked: Any = split_marks(self.question) if count_marks(self.question) else self.question
        return {
            "prompt": [*opening, {"role": "user", "content": asked}],
            "images": list(self.pictures or (name_of(self.record),)),
        }


def even_prompts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose prompts are all of one kind, as a table needs it: text, or lists of entries where one of them is."""
    if all(isinstance(message["content"], str) for row in rows for message in row["prompt"]):
        return rows
    return [{**row, "prompt": [_as_entries(message, len(row["images"])) for message in row["prompt"]]} for row in rows]


def _as_entries(message: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """A message whose content is a list of entries, with the pictures before a question that does not place them."""
    content = message["content"]
    if not isinstance(content, str):
        return dict(message)
    shown = [{"type": "image"}] * (pictures if message["role"] == "user" else 0)
    return {**message, "content": [*shown, {"type": "text", "text": content}]}


def iterate_prompts(records: RecordSet) -> Iterator[Prompt]:
    """Yield the questions that can be asked by themselves about the pictures of a record.

    Of a dialogue that is its first question, with the pictures that it shows. Records of clips and of text alone have
    none.
    """
    for index, record in enumerate(records.records):
        names = picture_names(index, record)
        try:
            layout = ConversationLayout.of(record, media_frames(record, len(names)))
        except RecordError:
            continue
        system = next((turn.content for turn in layout.opening if turn.role == "system"), None)
        for exchange in layout.exchanges if layout.stands_alone else layout.exchanges[:1]:
            asked = exchange[0]
            shown = names if layout.media_lead else names[: count_marks(asked.content)]
            if shown:
                yield Prompt(index, asked.content.strip(), asked.task or _task_of(exchange), system, shown)


def _task_of(exchange: Sequence[Any]) -> str | None:
    return next((turn.task for turn in exchange if turn.task is not None), None)


def rewarded_rows(records: RecordSet, rewards: Iterable[str]) -> list[dict[str, Any]]:
    """Rows for GRPO: every question to whose answers one of the rewards has something to say.

    Args:
        records: The records.
        rewards: Names of ``REWARDS``.

    Returns:
        The columns ``prompt``, ``images``, ``task``, ``labels`` (JSON, because rows of a table have the same keys) and
        ``same``, of questions about two pictures whose task is verification.

    Raises:
        RecordError: There is no such question.
    """
    rows, names = [], tuple(rewards)
    for prompt in iterate_prompts(records):
        record = records.records[prompt.record]
        is_compared = prompt.task == VERIFICATION and len(prompt.pictures) == 2
        columns = {
            "task": prompt.task,
            "labels": record.labels.model_dump_json(exclude_none=True),
            "same": record.same if is_compared else None,
        }
        if any(_speaks(name, columns) for name in names):
            rows.append({**prompt.row(), **columns})
    if not rows:
        raise RecordError(
            f"no question of {counted(len(records), 'record')} can be rewarded by {', '.join(names)}: a question needs "
            "its 'task', and the record a label for it (of verification, 'same')"
        )
    return even_prompts(rows)


def _speaks(name: str, columns: Mapping[str, Any]) -> bool:
    """Whether a reward says something about answers to a question, whatever they are."""
    return REWARDS[name]([""], **{key: [value] for key, value in columns.items()})[0] is not None


def name_of(record: int, picture: int | None = None) -> str:
    """The name by which a record's picture stands in a row; of several it has a number."""
    return f"record:{record}" if picture is None else f"record:{record}.{picture}"


def picture_names(index: int, record: FaceRecord) -> tuple[str, ...]:
    """The names of a record's pictures; none of a clip and of text alone."""
    if record.image is not None:
        return (name_of(index),)
    return tuple(name_of(index, number) for number in range(len(record.images or ())))


def processor_of_rows(processor: FaceKitProcessor, records: RecordSet) -> FaceKitProcessor:
    """A copy of a processor that knows the pictures of rows, and writes landmarks into ``pixel_values``.

    Args:
        processor: The model's; it stays as it is.
        records: The records that the rows were made of.
    """

    def open_face(name: str) -> CroppedFace:
        index, _, picture = name.partition(":")[2].partition(".")
        record: FaceRecord = records.records[int(index)]
        return open_frames(record, records.folder)[int(picture or 0)]

    names = frozenset(name for index, record in enumerate(records.records) for name in picture_names(index, record))
    twin = copy(processor)
    twin.image_processor = processor.image_processor.with_prepared(PreparedPictures(open_face, names))
    twin.landmarks_in_pixels = True
    return twin
