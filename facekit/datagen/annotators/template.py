"""The template annotator: fills a recipe's templates with known labels and measurements, offline.

It needs no network and no model, so it is the default; it says only what is annotated or computed, and fails where a
template needs what the record does not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from facekit.data.media_files import MediaFiles
from facekit.datagen.annotators.measurements import LANDMARK_FACTS, PICTURE_FACTS, landmark_facts, picture_facts
from facekit.datagen.calls import AnnotationRequest
from facekit.datagen.facts import fill, template_names
from facekit.endpoints.requests import Media, PermanentCallError, Reply
from facekit.errors import ImageError, InvalidSpecError, RecordError, VideoError
from facekit.faces.images import ImageSource, open_image
from facekit.faces.video import read_clip

MODEL = "template"


class TemplateAnnotator:
    """Answers from the templates of a recipe's aspects."""

    model = MODEL

    @classmethod
    def from_spec(cls, argument: str | None = None, *, ask_key: Callable[[str], str] | None = None) -> Self:
        """Build from the spec string ``template``, which has neither argument nor options nor a key."""
        if argument is not None:
            raise InvalidSpecError("the annotator 'template' takes no argument")
        return cls()

    async def answer(self, request: AnnotationRequest) -> Reply:
        """Fill in the request's template.

        Raises:
            PermanentCallError: If there is no template, or the record lacks what it needs.
        """
        if request.template is None:
            raise PermanentCallError("the recipe has no template for this aspect; use an endpoint, or add one")
        try:
            text = fill(request.template, await asyncio.to_thread(known_facts, request))
        except (RecordError, ImageError, VideoError) as error:
            raise PermanentCallError(f"the template annotator cannot answer: {error}") from error
        return Reply(text, MODEL, prompt_tokens=0, completion_tokens=0)

    def prepare(self, request: AnnotationRequest) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to release."""


def known_facts(request: AnnotationRequest) -> dict[str, Any]:
    """A request's facts, with the measurements that its template asks for.

    Raises:
        ImageError: If the picture is to be measured and cannot be read.
        VideoError: If the video file cannot be read.
    """
    facts = dict(request.facts)
    asked = template_names(request.template or "") - set(facts)
    if asked & set(PICTURE_FACTS):
        facts |= picture_facts(_first_picture(request.media))
    if asked & set(LANDMARK_FACTS) and request.landmarks is not None:
        width, height = open_image(_first_picture(request.media)).size
        facts |= landmark_facts(request.landmarks, width / height)
    return facts


def _first_picture(media: Media | None) -> ImageSource:
    """The first picture, or the first frame that is meant of a video file."""
    if not isinstance(media, MediaFiles):
        raise RecordError("there are no files to measure")
    path, clip = media.paths[0], media.clip
    return path if clip is None else read_clip(path, 1, among=clip.among).frames[0]
