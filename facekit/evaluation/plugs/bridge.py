"""Questions of other suites converted to facekit's, with their pictures and clips.

Suites hand over pictures as objects; models under test take files, and recognise questions about the same picture by
them. So pictures are kept as files while a few hundred questions are answered, one file per picture.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.models.other_models import open_model
from facekit.evaluation.tasks.collecting import collect_replies
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Reply
from facekit.faces import is_video, open_image

QUESTIONS_AT_A_TIME = 256


@dataclass(frozen=True, eq=False)
class SuiteQuestion:
    """A question as a suite has it.

    Args:
        text: What is asked.
        visuals: Pictures, or paths of them, in order; or the path of one video.
        subject: Equal for questions with the same visuals, which are then read once.
        max_new_tokens: Longest answer in tokens.
        options: The answers to score.
    """

    text: str
    visuals: tuple[Image.Image | str | Path, ...]
    subject: Hashable
    max_new_tokens: int = 128
    options: tuple[str, ...] = ()


class SuiteModel:
    """A model under test that answers questions of other suites.

    Args:
        model: A model, or its spec: a folder, ``hf:ID``, ``openai:MODEL`` and so on, see ``open_model``.
        batch_size: Pictures or questions at a time.
        device: Where a model that runs here is put, others ignore it; None leaves it where it is.
        crop: Whether a model of facekit sees the largest face with its landmarks instead of the whole picture.

    Raises:
        ConfigurationError: ``crop`` is given for a model that has no such choice.
    """

    def __init__(
        self,
        model: str | ModelUnderTest,
        *,
        batch_size: int | None = None,
        device: str | None = None,
        crop: bool = False,
    ) -> None:
        self.model = open_model(model, batch_size=batch_size) if isinstance(model, str) else model
        if crop:
            if not isinstance(self.model, FaceKitModel):
                raise ConfigurationError(f"'{self.model.name}' is no model of facekit, so it cannot crop to the face")
            self.model.crop = True
        network = getattr(self.model, "model", None)
        if device is not None and network is not None:
            network.to(device)

    def answer(self, asked: Sequence[SuiteQuestion]) -> list[str]:
        """Answer questions greedily, in their order."""
        return [reply.text for chunk in self._collect(asked, "generation") for reply in chunk]

    def score(self, asked: Sequence[SuiteQuestion]) -> list[dict[str, float]]:
        """Log-probability of the options of every question.

        Raises:
            ConfigurationError: The model gives no likelihoods, or they are no finite numbers.
        """
        scores = []
        for reply in (reply for chunk in self._collect(asked, "likelihood") for reply in chunk):
            if reply.scores is None:
                raise ConfigurationError(f"options cannot be scored by '{self.model.name}': {reply.problem}")
            scores.append(dict(reply.scores))
        return scores

    def _collect(self, asked: Sequence[SuiteQuestion], scoring: str) -> Iterator[list[Reply]]:
        waiting = iter(asked)
        while chunk := list(islice(waiting, QUESTIONS_AT_A_TIME)):
            with TemporaryDirectory(prefix="facekit-") as folder:
                indices: dict[Hashable, int] = {}
                questions = [
                    _question(each, f"{index}", Path(folder), indices.setdefault(each.subject, len(indices)))
                    for index, each in enumerate(chunk)
                ]
                yield collect_replies(self.model, questions, scoring=scoring)


def _question(asked: SuiteQuestion, name: str, folder: Path, subject: int) -> Question:
    if not asked.visuals:
        raise ConfigurationError(f"the question {asked.text[:60]!r} has no picture; this model needs one")
    first = asked.visuals[0]
    if isinstance(first, (str, Path)) and is_video(first):
        if len(asked.visuals) > 1:
            raise ConfigurationError(f"the question {asked.text[:60]!r} has {len(asked.visuals)} clips; give one")
        record = FaceRecord(id=f"clip-{subject}", video=str(Path(first).resolve()))
        return Question(name, asked.text, record=record, folder=folder, max_new_tokens=asked.max_new_tokens,
                        options=asked.options)  # fmt: skip
    pictures = tuple(_keep(visual, folder / f"{subject}-{index}.png") for index, visual in enumerate(asked.visuals))
    return Question(name, asked.text, pictures, max_new_tokens=asked.max_new_tokens, options=asked.options)


def _keep(visual: Image.Image | str | Path, path: Path) -> Path:
    if isinstance(visual, (str, Path)):
        return Path(visual)
    if not path.exists():
        open_image(visual).save(path)
    return path
