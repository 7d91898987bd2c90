"""``ServedModel``: one model of a server, with what prepares its questions and what answers them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.region_maps import region_connector
from facekit.serving.engine import Engine
from facekit.serving.questions import QuestionReader
from facekit.serving.settings import ServerSettings


@dataclass(frozen=True)
class ServedModel:
    """A model of a server.

    Args:
        name: What requests call it.
        engine: Answers with it.
        reader: Prepares its questions.
        created: When it was loaded, in seconds since 1970.
    """

    name: str
    engine: Engine
    reader: QuestionReader
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(
        cls,
        name: str,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        settings: ServerSettings,
        on_batch: Callable[[int, float], None],
        make_engine: Callable[..., Engine] = Engine,
        count_coming: Callable[[], int] = lambda: 0,
    ) -> Self:
        """A model under a server's settings.

        Args:
            name: What requests call it.
            model: The model.
            processor: Its processor.
            settings: The server's.
            on_batch: Called with the size and the seconds of each batch.
            make_engine: What answers; it is called as ``Engine`` is.
            count_coming: Tells how many questions are being prepared.
        """
        engine = make_engine(
            model,
            processor,
            max_batch=settings.max_batch,
            batch_seconds=settings.batch_seconds,
            cached_media=settings.cached_media,
            cached_bytes=settings.cached_bytes,
            on_batch=on_batch,
            count_coming=count_coming,
        )
        return cls(name, engine, QuestionReader(model, processor, settings))

    def describe(self) -> dict[str, Any]:
        """The model's entry in ``/v1/models``."""
        images = self.engine.processor.image_processor
        facekit = {
            "finds_faces": images.landmarker is not None,
            "region_maps": region_connector(self.engine.model) is not None,
            "num_frames": images.num_frames,
        }
        return {
            "id": self.name, "object": "model", "created": self.created, "owned_by": "facekit", "facekit": facekit
        }  # fmt: skip
