"""A real photograph, described by the demo's model, which was trained on drawings only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from facekit.catalog import DEFAULT_LANDMARKER
from facekit.errors import MissingExtraError
from facekit.evaluation.tasks.definitions import ALL_TASKS
from facekit.faces import CroppedFace, open_image, prepare_face
from facekit.faces.landmarker import load_landmarker
from facekit.models.ask import ask
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.presets import FACEKIT_TINY
from facekit.models.processing import FaceKitProcessor

DEFAULT_NAME = "NASA's portrait of Eileen Collins"


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph and what a model says about it.

    Args:
        name: What to call it.
        picture: The whole picture.
        face: The crop that the model sees, with the detected landmarks.
        answers: Question and answer, one pair per task.
    """

    name: str
    picture: Image.Image
    face: CroppedFace
    answers: tuple[tuple[str, str], ...]


def check_photograph(photo: str | Path | None = None) -> None:
    """Make sure that a photograph can be described, before minutes are spent on training.

    Args:
        photo: A path; by default the portrait that scikit-image ships.

    Raises:
        ImageError: The picture cannot be opened.
        FaceNotFoundError: It shows no face.
        MissingExtraError: The landmarker, or for the default picture scikit-image, is not installed.
    """
    landmarker = load_landmarker(FACEKIT_TINY.landmarker or DEFAULT_LANDMARKER)
    prepare_face(_default_picture() if photo is None else photo, landmarker)


def describe_photograph(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, photo: str | Path | None = None
) -> Photograph:
    """Find the face in a photograph and ask the question of every task about it.

    Args:
        model: The model.
        processor: Its processor, which names the landmarker.
        photo: A path; by default a public-domain portrait that scikit-image ships.

    Raises:
        ImageError: The picture cannot be opened.
        FaceNotFoundError: It shows no face.
        MissingExtraError: The landmarker, or for the default picture scikit-image, is not installed.
    """
    picture = _default_picture() if photo is None else open_image(photo)
    face = processor.image_processor.prepare(picture if photo is None else photo)
    questions = [task.question for task in ALL_TASKS]
    answers = ask(model, processor, face.image, questions, landmarks=face.landmarks, max_new_tokens=96)
    name = DEFAULT_NAME if photo is None else Path(photo).name
    return Photograph(name, picture, face, tuple(zip(questions, answers, strict=True)))


def _default_picture() -> Image.Image:
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            "the demo's own photograph comes with scikit-image; pip install 'facekit-mllm[demo]', or give a photo"
        ) from error
    return open_image(data.astronaut())
