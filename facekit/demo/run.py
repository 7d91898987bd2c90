"""The demo from end to end: draw faces, train, evaluate, describe a photograph, write the report.

It is a plain composition of what the workshops offer; every stage leaves files behind, and a stage whose files are
there already is not repeated.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import facekit
from facekit.cores import count_usable_cores
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.demo.photograph import Photograph, check_photograph, describe_photograph
from facekit.demo.report import write_report
from facekit.demo.settings import CROP_MARGIN, DemoMark, DemoSettings
from facekit.deprecations import renamed_arguments
from facekit.errors import MissingExtraError
from facekit.evaluation import EvaluationResult, evaluate
from facekit.evaluation.evaluator import METRICS_NAME
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener, as_listener, under_stage
from facekit.training import LossHistory, train

_FEWEST_FACES_PER_WORKER = 200


@dataclass(frozen=True)
class DemoResult:
    """The result of a demo.

    Args:
        folder: The demo's folder, which is also the model's: ``facekit.load`` reads it.
        report: The report, one HTML file.
        evaluation: Metrics on drawn faces that the model had not seen.
        history: The training losses.
        photograph: The photograph and the answers about it.
        stage_seconds: How long each stage took, in this run or in the one that finished it.
    """

    folder: Path
    report: Path
    evaluation: EvaluationResult
    history: LossHistory
    photograph: Photograph
    stage_seconds: dict[str, float]

    @property
    def seconds(self) -> float:
        """How long the whole demo took."""
        return sum(self.stage_seconds.values())


@renamed_arguments(output="output_dir")
def run_demo(
    output_dir: str | Path,
    settings: DemoSettings | None = None,
    *,
    photo: str | Path | None = None,
    on_progress: ProgressListener | None = None,
) -> DemoResult:
    """Run the demo, or what is left of it.

    Args:
        output_dir: A new folder, or one that a demo with the same settings left.
        settings: What to do.
        photo: A photograph to describe; by default a public-domain portrait. It may change between runs.
        on_progress: Called with the progress of each stage.

    Returns:
        Paths and results.

    Raises:
        ConfigurationError: The folder holds something else.
        ImageError: The photograph cannot be opened.
        FaceNotFoundError: It shows no face.
        MissingExtraError: A package of the extra ``demo`` is not installed.
    """
    listener = as_listener(on_progress, "run_demo")
    _require_extra()
    check_photograph(photo)
    folder, settings = Path(output_dir), settings or DemoSettings()
    _create(settings)  # a part that does not exist is told before faces are drawn
    mark = DemoMark.claim(folder, settings)
    with _stage(mark, folder, "draw"):
        training_faces = _draw(folder / "data" / "train", settings.train_faces, "train", settings, listener)
        test_faces = _draw(folder / "data" / "test", settings.test_faces, "test", settings, listener)
    with _stage(mark, folder, "train"):
        model, processor, history = _train(folder, training_faces, settings, listener)
    with _stage(mark, folder, "evaluate"):
        evaluation = _evaluate(folder / "evaluation", model, processor, test_faces, training_faces, listener)
    with _stage(mark, folder, "describe"):
        photograph = describe_photograph(model, processor, photo)
        report = write_report(
            folder, settings, model, training_faces, test_faces, history, evaluation, photograph, mark.seconds
        )
    return DemoResult(folder, report, evaluation, history, photograph, dict(mark.seconds))


@contextmanager
def _stage(mark: DemoMark, folder: Path, name: str) -> Iterator[None]:
    """Add up how long a stage took over all runs until it was finished; finding its files later costs nothing."""
    started = time.perf_counter()
    try:
        yield
    finally:
        if name not in mark.finished:
            mark.seconds[name] = mark.seconds.get(name, 0.0) + time.perf_counter() - started
            mark.write(folder)
    mark.finished = sorted({*mark.finished, name})
    mark.write(folder)


def _draw(folder: Path, count: int, split: str, settings: DemoSettings, listener: ProgressListener | None) -> RecordSet:
    cores = count_usable_cores()
    path = write_synthetic_dataset(
        folder,
        count,
        seed=settings.seed,
        split=split,
        workers=max(1, min(cores, count // _FEWEST_FACES_PER_WORKER)),
        on_progress=listener,
    )
    return RecordSet.read(path)


def _create(settings: DemoSettings) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    return facekit.create(
        preset="facekit-tiny",
        encoder=settings.encoder,
        connector=settings.connector,
        backbone=settings.backbone,
        seed=settings.seed,
    )


def _train(
    folder: Path, faces: RecordSet, settings: DemoSettings, listener: ProgressListener | None
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor, LossHistory]:
    model, processor = _create(settings)
    processor.image_processor.crop_margin = CROP_MARGIN
    result = train(
        model,
        processor,
        faces,
        folder,
        settings.training,
        resume=True,
        on_progress=listener,
    )
    return model, processor, result.history


def _evaluate(
    folder: Path,
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    test_faces: RecordSet,
    training_faces: RecordSet,
    listener: ProgressListener | None,
) -> EvaluationResult:
    if (folder / METRICS_NAME).is_file():
        return EvaluationResult.read(folder / METRICS_NAME)
    return evaluate(
        model,
        processor,
        test_faces,
        training_records=training_faces,
        output_dir=folder,
        batch_size=100,
        on_progress=under_stage(listener, "evaluate"),
    )


def _require_extra() -> None:
    for module, package in (
        ("accelerate", "accelerate"),
        ("matplotlib", "Matplotlib"),
        ("sklearn", "scikit-learn"),
        ("cv2", "OpenCV"),
    ):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(f"the demo needs {package}; pip install 'facekit-mllm[demo]'")
