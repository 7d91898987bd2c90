"""The offline annotator: it fills a recipe's templates with the known labels and with what can be measured.

It needs no network and no model, so it is the default; it says only what is annotated or computed, and fails where a
template needs what the record does not have.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from facekit.datagen.annotators.measurements import LANDMARK_FACTS, PICTURE_FACTS, landmark_facts, picture_facts
from facekit.datagen.calls import PermanentCallError, Reply, Request
from facekit.datagen.facts import fill, template_names
from facekit.errors import ImageError, InvalidSpecError, RecordError, VideoError
from facekit.faces.video import read_clip

MODEL = "template"


class TemplateAnnotator:
    """Answers from the templates of a recipe's aspects."""

    model = MODEL

    @classmethod
    def from_spec(cls, argument: str | None = None, **options: Any) -> Self:
        """Build from the spec string ``template``, which has neither argument nor options."""
        options.pop("ask_key", None)
        if argument is not None or options:
            raise InvalidSpecError("the annotator 'template' takes no argument and no options")
        return cls()

    async def answer(self, request: Request) -> Reply:
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

    def prepare(self, request: Request) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to release."""


def known_facts(request: Request) -> dict[str, Any]:
    """A request's facts, with the measurements that its template asks for.

    Raises:
        ImageError: If the picture is to be measured and cannot be read.
        VideoError: If the video file cannot be read.
    """
    facts = dict(request.facts)
    asked = template_names(request.template or "") - set(facts)
    if asked & set(PICTURE_FACTS):
        clip = request.clip
        facts |= picture_facts(
            request.media[0] if clip is None else read_clip(request.media[0], 1, among=clip.among).frames[0]
        )
    if asked & set(LANDMARK_FACTS) and request.landmarks is not None:
        facts |= landmark_facts(request.landmarks)
    return facts
