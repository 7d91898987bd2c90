"""The offline annotator: it fills a recipe's templates with the known labels and with what can be measured.

It needs no network and no model, so it is the default; it says only what is annotated or computed, and fails where a
template needs what the record does not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Self

from facekit.datagen.annotators.measurements import LANDMARK_FACTS, PICTURE_FACTS, landmark_facts, picture_facts
from facekit.datagen.calls import PermanentCallError, Reply, Request
from facekit.datagen.facts import fill
from facekit.errors import ImageError, InvalidSpecError, RecordError

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
            text = await asyncio.to_thread(fill, request.template, Known(request))
        except (RecordError, ImageError) as error:
            raise PermanentCallError(f"the template annotator cannot answer: {error}") from error
        return Reply(text, MODEL, prompt_tokens=0, completion_tokens=0)

    def prepare(self, request: Request) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to release."""


class Known(Mapping[str, Any]):
    """A request's facts, with measurements that are made when a template asks for them."""

    def __init__(self, request: Request) -> None:
        self._facts: dict[str, Any] = dict(request.facts)
        self._request = request

    def __getitem__(self, name: str) -> Any:
        if name not in self._facts and name in PICTURE_FACTS:
            self._facts |= picture_facts(self._request.media[0])
        if name not in self._facts and name in LANDMARK_FACTS and self._request.landmarks is not None:
            self._facts |= landmark_facts(self._request.landmarks)
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        names = {*self._facts, *PICTURE_FACTS}
        return iter(names | set(LANDMARK_FACTS) if self._request.landmarks is not None else names)

    def __len__(self) -> int:
        return sum(1 for _ in self)
