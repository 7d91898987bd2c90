"""``answer_together``: requests about many pictures as one batch, in which what is read once is read once.

Answers of one batch cost a pass over the weights for each token, however many they are, so a batch is parted as little
as can be. Prompts whose pictures end at the same token, which those of one chat template do, are cut at one length: the
beginnings go through the model as one batch, each once, and all questions go on from them as another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.inputs import can_continue
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.generation import SharedBeginning, answer_whole, generate_batch
from facekit.models.sessions.planning import fits_window, shared_length
from facekit.models.sessions.prompts import tokenize_prompts
from facekit.models.sessions.requests import Request, bound_answers

PASS_TOKENS = 128
"""Tokens of a prompt that take about as long to read as one pass over the weights, by which sharing is weighed.

Arithmetic over bandwidth: some 165 on an H200 in bfloat16; about 50 for a tiny model on a CPU, whose passes are calls.
"""


@dataclass(frozen=True)
class _Sharing:
    """Rows that go on from beginnings of one length.

    Args:
        rows: Their indices.
        subjects: Of each, the index of its beginning.
        length: Of the beginnings, in tokens.
    """

    rows: list[int]
    subjects: list[int]
    length: int

    @property
    def saved(self) -> int:
        """Tokens that need not be read."""
        return (len(self.rows) - len(set(self.subjects))) * self.length


def answer_together(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, requests: Sequence[Request]
) -> list[str]:
    """Answer requests in one batch, or in two where one of them saves more reading than a batch of its own costs.

    Requests about the same media hold the same ``EncodedMedia``.

    Args:
        model: The model; it is in evaluation mode while it answers.
        processor: Its processor.
        requests: The requests, all of which are in memory at once.

    Returns:
        An answer for each request, in order.

    Raises:
        ConfigurationError: There is no request, or a prompt does not fit its media or the context.
    """
    if len(requests) < 2:
        return generate_batch(model, processor, requests)
    frames = [each.media.frames for each in requests]
    rows = tokenize_prompts(processor, model.config, [each.prompt for each in requests], frames)
    bounded = bound_answers(requests, rows, model.config)
    texts: dict[int, str] = {}

    def answer(members: Sequence[int], sharing: _Sharing | None) -> None:
        asked, ids = [bounded[row] for row in members], [rows[row] for row in members]
        if sharing is None:
            found = answer_whole(model, processor, asked, ids, {})
        else:
            found = _answer_sharing(model, processor, asked, ids, sharing)
        texts.update(zip(members, (each[0] for each in found), strict=True))

    for sharing in _find_sharing(model, processor, bounded, rows):
        answer(sharing.rows, sharing)
    whole = [row for row in range(len(rows)) if row not in texts]
    if whole:
        answer(whole, None)
    return [texts[row] for row in range(len(rows))]


def _answer_sharing(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    rows: Sequence[Tensor],
    sharing: _Sharing,
) -> list[list[str]]:
    first = {subject: place for place, subject in reversed([*enumerate(sharing.subjects)])}
    places = [first[subject] for subject in range(len(first))]
    ids = torch.stack([rows[place][: sharing.length] for place in places])
    beginning = SharedBeginning.read(model, ids, [requests[place].media for place in places])
    tails = [row[sharing.length :] for row in rows]
    return beginning.answer(model, processor, requests, tails, sharing.subjects, {})


def _find_sharing(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    rows: Sequence[Tensor],
) -> list[_Sharing]:
    """Which rows go on from beginnings; the others are read whole."""
    if not can_continue(model):
        return []
    layouts: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        visual = (row == processor.image_token_id).nonzero()
        if len(visual):
            layouts[int(visual[-1])].append(index)
    chosen = []
    for members in layouts.values():
        sharing = _cut(requests, rows, members, processor.image_token_id)
        limit = max(requests[row].max_new_tokens for row in members)
        longest = max(len(rows[row]) for row in members) + limit
        passes = 1 if len(members) == len(rows) else 1 + limit
        if sharing.saved > PASS_TOKENS * passes and fits_window(model.config, longest):
            chosen.append(sharing)
    return chosen


def _cut(requests: Sequence[Request], rows: Sequence[Tensor], members: list[int], image_token_id: int) -> _Sharing:
    """The longest beginnings of one length that hold all visual tokens."""
    subjects: dict[int, list[int]] = defaultdict(list)
    for row in members:
        subjects[id(requests[row].media)].append(row)
    length = min(shared_length([rows[row] for row in each], image_token_id) for each in subjects.values())
    numbers = {subject: number for number, subject in enumerate(subjects)}
    return _Sharing(members, [numbers[id(requests[row].media)] for row in members], length)
