"""LLaVA JSON and ShareGPT JSON: a list of samples, each with a medium and a conversation.

The two differ in what reads them. LLaVA's code takes any object; LLaMA-Factory reads ShareGPT files through Arrow,
which wants every field to have one type in all samples, and finds the names of fields and roles in
``dataset_info.json``.
Face-LLaVA's files are LLaVA JSON with a ``landmarks_2d`` field: an ``.npy`` in pixels of the 256-pixel face crop, or a
list of such files, one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.data.atomic import open_atomically, write_text_atomically
from facekit.data.confinement import Confinement
from facekit.data.formats.extras import KEY, build_record, extras_of, read_extras
from facekit.data.formats.json_stream import iterate_json_objects
from facekit.data.marks import count_marks, join_parts, strip_leading_marks
from facekit.data.records import FaceRecord, check_landmarks
from facekit.errors import RecordError
from facekit.faces.array_files import read_array

__all__ = [
    "DATASET_INFO",
    "ChatLayout",
    "UnsupportedSampleError",
    "find_layout",
    "read_chat",
    "read_sample",
    "write_chat",
]

DATASET_INFO = "dataset_info.json"
LANDMARK_CROP = 256
"""Side in pixels of the crop that Face-LLaVA's landmarks refer to."""

_TAG = re.compile(r"\s*<(?:image|video)>\s*")
_SYSTEM_ROLES = ("system",)


class UnsupportedSampleError(RecordError):
    """A sample that a record cannot hold: with pictures and clips together, or with a turn that has no words."""


@dataclass(frozen=True)
class ChatLayout:
    """The names of fields and roles, as LLaMA-Factory's ``dataset_info.json`` calls them.

    Args:
        messages: Field with the conversation.
        image: Field with the picture.
        video: Field with the video.
        system: Field with a system prompt beside the conversation, if any.
        role_tag: A message's field with its role.
        content_tag: A message's field with its words.
        user_tag: The user's role.
        assistant_tag: The assistant's role.
    """

    messages: str = "conversations"
    image: str = "image"
    video: str = "video"
    system: str | None = None
    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> ChatLayout:
        """The layout of an entry of ``dataset_info.json``."""
        columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
        named = {
            "messages": columns.get("messages"),
            "image": columns.get("images"),
            "video": columns.get("videos"),
            "system": columns.get("system"),
            **{name: tags.get(name) for name in ("role_tag", "content_tag", "user_tag", "assistant_tag")},
        }
        return cls(**{name: value for name, value in named.items() if value})

    def to_entry(self, file_name: str, *, images: bool, videos: bool) -> dict[str, Any]:
        """The entry of ``dataset_info.json`` for a file that has pictures, videos or both."""
        columns = {"messages": self.messages}
        columns |= {"images": self.image} if images else {}
        columns |= {"videos": self.video} if videos else {}
        names = ("role_tag", "content_tag", "user_tag", "assistant_tag")
        tags = {name: getattr(self, name) for name in names} | {"system_tag": _SYSTEM_ROLES[0]}
        return {"file_name": file_name, "formatting": "sharegpt", "columns": columns, "tags": tags}

    def role_of(self, name: Any, where: str) -> str:
        """Our role for a message's; raises ``RecordError`` for an unknown one."""
        roles = {self.user_tag: "user", self.assistant_tag: "assistant", "system": "system"}
        roles = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"} | roles
        if name not in roles:
            known = f"{self.user_tag}, {self.assistant_tag} or system"
            raise RecordError(f"{where}, field '{self.messages}': the role must be {known}, not {name!r}")
        return roles[name]


def find_layout(path: Path) -> ChatLayout | None:
    """The layout that the ``dataset_info.json`` beside a file gives it, or None.

    Raises:
        RecordError: ``dataset_info.json`` is not a JSON object.
    """
    for entry in _read_info(path.parent / DATASET_INFO).values():
        if isinstance(entry, dict) and entry.get("file_name") == path.name:
            return ChatLayout.from_entry(entry)
    return None


def read_chat(
    path: Path,
    *,
    layout: ChatLayout | None = None,
    media_folder: Path | None = None,
    skip: Callable[[str], None] | None = None,
    lacking: Callable[[Path], None] | None = None,
    refuse: Callable[[int, str, str], None] | None = None,
) -> Iterator[FaceRecord]:
    """Read a LLaVA or ShareGPT file, JSON list or JSON lines.

    The tags ``<image>`` and ``<video>`` of a single medium are taken out of the words; a record knows it anyway. Those
    of several pictures are where they stand, and are kept unless they only begin the first question.

    Args:
        path: The file.
        layout: Names of fields and roles; None for those of ``dataset_info.json``, or the usual ones: LLaVA's, and
            ``messages`` with ``role`` and ``content``, ``images`` and ``videos`` as LLaMA-Factory's examples have them
            (``data/mllm_demo.json``).
        media_folder: The folder that ``landmarks_2d`` is relative to; None for that of the file.
        skip: Called with the reason why a sample that a record cannot hold is left out; without it that is an error.
        lacking: Called with the path of a landmark file that is missing or cannot be used; without it that is an error.
        refuse: Called with number, id and fault of a malformed sample, which is left out; without it that is an error.

    Yields:
        The records, with the paths of the file. A second sample of the same id gets its number added.

    Raises:
        RecordError: The file or a sample is malformed; the message has the sample's number.
    """
    named = layout or find_layout(path)
    seen: set[str] = set()
    confinement = Confinement(media_folder or path.parent, path)
    for number, sample in iterate_json_objects(path):
        where = f"{path}, entry {number}"
        layout = named or _usual_layout(sample)
        identity = str(sample.get("id", f"{path.stem}-{number}"))
        try:
            record = _to_record(sample, layout, where, identity)
            if "landmarks_2d" in sample and record.landmarks is None:
                points = _load_landmarks(sample["landmarks_2d"], confinement, where, lacking)
                record = record.model_copy(update={"landmarks": points})
        except RecordError as error:
            told = str(error).removeprefix(f"{where}: ").removeprefix(f"{where}, ")
            if skip is not None and isinstance(error, UnsupportedSampleError):
                skip(told)
            elif refuse is not None:
                refuse(number, identity, told)
            else:
                raise
            continue
        if record.id in seen:
            record = record.model_copy(update={"id": f"{record.id}-{number}"})
        seen.add(record.id)
        yield record


def read_sample(sample: dict[str, Any], where: str) -> FaceRecord:
    """A sample of LLaVA or ShareGPT in the usual layout as a record, under its id.

    Args:
        sample: With ``id``, a medium and messages.
        where: File and number, for messages.

    Raises:
        RecordError: It is malformed.
    """
    return _to_record(sample, _usual_layout(sample), where, str(sample["id"]))


def write_chat(records: Iterable[FaceRecord], path: Path, *, for_llama_factory: bool) -> None:
    """Write a LLaVA file, or a ShareGPT file with its entry in ``dataset_info.json``.

    Args:
        records: The records.
        path: The JSON file; another file of the same name is replaced.
        for_llama_factory: Keep every field of one type, and write the entry (named after the file).

    Raises:
        RecordError: For LLaMA-Factory, some videos are files and others frames, which one column cannot hold.
    """
    layout = ChatLayout()
    kinds: set[str] = set()
    with open_atomically(path) as file:
        file.write("[")
        for number, record in enumerate(records):
            if record.video is None:
                kinds |= {"image"} if record.media_paths("") else set()
            else:
                kinds.add("file" if isinstance(record.video, str) else "frames")
            if for_llama_factory and {"file", "frames"} <= kinds:
                raise RecordError(
                    f"record {record.id!r}: some videos are files and others lists of frames, and LLaMA-Factory wants "
                    "one kind in a file; export them apart"
                )
            sample = _to_sample(record, layout, for_llama_factory)
            file.write(("," if number else "") + "\n" + json.dumps(sample, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")
    if for_llama_factory:
        info = _read_info(path.parent / DATASET_INFO)
        info[path.stem] = layout.to_entry(path.name, images="image" in kinds, videos=bool(kinds - {"image"}))
        write_text_atomically(path.parent / DATASET_INFO, json.dumps(info, indent=2, ensure_ascii=False) + "\n")


def _to_sample(record: FaceRecord, layout: ChatLayout, for_llama_factory: bool) -> dict[str, Any]:
    kind = "image" if record.video is None else "video"
    media: Any = record.image or record.images or record.video
    count = len(record.images) if record.images is not None else 0 if media is None else 1
    if for_llama_factory:
        media = [media] if kind == "video" else record.images or ([] if media is None else [media])
    names = {"user": layout.user_tag, "assistant": layout.assistant_tag, "system": "system"}
    messages = [{layout.role_tag: names[turn.role], layout.content_tag: turn.content} for turn in record.conversations]
    users = [message for message in messages if message[layout.role_tag] == layout.user_tag]
    if users and not any(count_marks(message[layout.content_tag]) for message in users):
        users[0][layout.content_tag] = f"<{kind}>\n" * count + users[0][layout.content_tag]
    extras = extras_of(record)
    return {
        "id": record.id,
        **({} if media is None else {kind: media}),
        layout.messages: messages,
        KEY: json.dumps(extras, ensure_ascii=False, allow_nan=False) if for_llama_factory else extras,
    }


def _usual_layout(sample: Mapping[str, Any]) -> ChatLayout:
    """The layout of a sample without an entry in ``dataset_info.json``, by the names that it has."""
    usual = ChatLayout()
    messages = usual.messages if usual.messages in sample or "messages" not in sample else "messages"
    turns = sample.get(messages)
    first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
    tags = ("role", "content") if "role" in first else (usual.role_tag, usual.content_tag)
    image = usual.image if usual.image in sample or "images" not in sample else "images"
    video = usual.video if usual.video in sample or "videos" not in sample else "videos"
    return ChatLayout(messages=messages, image=image, video=video, role_tag=tags[0], content_tag=tags[1])


def _words_of(value: Any, where: str) -> str:
    """What a message says: words, a number, or a list of these, or of entries as in Hugging Face's messages."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        try:
            return join_parts(value)
        except ValueError as error:
            raise RecordError(f"{where}: {error}") from error
    if isinstance(value, list) and not any(isinstance(part, (dict, list)) for part in value):
        return ", ".join(words for part in value if (words := _words_of(part, where)))
    raise UnsupportedSampleError(f"{where}: a message that is neither words, a number nor a list of these")


def _to_record(sample: dict[str, Any], layout: ChatLayout, where: str, identity: str) -> FaceRecord:
    extras = read_extras(sample.get(KEY), where)
    media = _media(sample, layout, where, (extras or {}).get("clip") == "frames")
    messages = sample.get(layout.messages)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise RecordError(f"{where}: the field '{layout.messages}' must be a list of messages")
    turns = [
        (layout.role_of(message.get(layout.role_tag), where), _words_of(message.get(layout.content_tag), where))
        for message in messages
    ]
    if layout.system and sample.get(layout.system):
        turns.insert(0, ("system", str(sample[layout.system])))
    if extras is None:
        several = "images" in media
        turns = [(role, words if several and role == "user" else _without_tags(words)) for role, words in turns]
    else:
        several = True
    if several:
        turns = _without_leading_tags(turns, len(media.get("images") or media))
    if any(not words.strip() for _, words in turns):
        raise UnsupportedSampleError(f"{where}: a message without words")
    return build_record(where, identity, media, turns, extras)


def _media(sample: dict[str, Any], layout: ChatLayout, where: str, frames: bool) -> dict[str, Any]:
    image, video = sample.get(layout.image), sample.get(layout.video)
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if isinstance(video, list) and len(video) == 1 and not (frames and isinstance(video[0], str)):
        video = video[0]
    if image and not video and isinstance(image, (str, list)):
        return {"image" if isinstance(image, str) else "images": image}
    if video and not image and isinstance(video, (str, list)):
        return {"video": video}
    if image or video:
        raise UnsupportedSampleError(f"{where}: pictures and clips together")
    return {}


def _without_leading_tags(turns: list[tuple[str, str]], media: int) -> list[tuple[str, str]]:
    """Messages without the tags that the first question begins with, where it shows all media there."""
    index = next((index for index, (role, _) in enumerate(turns) if role == "user"), None)
    tags = sum(count_marks(words) for role, words in turns if role == "user")
    if index is None or tags != media:
        return turns
    words = strip_leading_marks(turns[index][1])
    return turns if count_marks(turns[index][1]) < tags or count_marks(words) else [
        *turns[:index], ("user", words), *turns[index + 1 :]
    ]  # fmt: skip


def _without_tags(words: str) -> str:
    return _TAG.sub(lambda match: " " if match.start() > 0 and match.end() < len(words) else "", words)


def _load_landmarks(
    value: Any, confinement: Confinement, where: str, lacking: Callable[[Path], None] | None
) -> list[Any] | None:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        return None
    confinement.check(names, f"{where}, field 'landmarks_2d'")
    path = confinement.folder / names[0]
    try:
        frames = []
        for name in names:
            path = confinement.folder / name
            pixels = read_array(path)
            is_numeric = pixels.dtype.kind in "fiu"
            frames.append(pixels.astype(np.float64) / LANDMARK_CROP if is_numeric else pixels)
            check_landmarks(frames[-1])
        points = (
            frames[0] if len(frames) == 1 else np.concatenate([each.reshape(-1, *each.shape[-2:]) for each in frames])
        )
    except (OSError, ValueError) as error:
        if lacking is None:
            raise RecordError(f"{where}, field 'landmarks_2d': {path} cannot be used ({error})") from error
        lacking(path)
        return None
    rows: list[Any] = points.round(6).tolist()
    return rows


def _read_info(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error}); repair or remove it") from error
    if not isinstance(info, dict):
        raise RecordError(f"{path} must be a JSON object with one entry per dataset; repair or remove it")
    return info
