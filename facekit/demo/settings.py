"""Settings of a demo run: parts, sizes and seed, and the mark that it leaves in its folder.

The mark is what lets a second run with the same settings go on, and keeps another one from mixing with it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from facekit.data.atomic import require_writable, write_text_atomically
from facekit.data.identity import list_differences
from facekit.errors import ConfigurationError
from facekit.spec import PartSpec
from facekit.training.recipes.settings import TrainingSettings

MARK_NAME = "demo.json"

CROP_MARGIN = 0.4
"""Margin around the face of a photograph, as a fraction of it: landmarks then spread over the crop as they do over the
drawings, about 0.55 of its side. A model that has seen only one framing knows no other."""


@dataclass(frozen=True)
class DemoSettings:
    """Settings of a demo.

    Args:
        connector: Spec of the connector.
        encoder: Spec of the vision encoder; it stays as it is.
        backbone: Spec of the language model: ``tiny`` learns from random weights, any other keeps its own and learns by
            LoRA adapters.
        train_faces: Drawn faces to learn from.
        test_faces: Drawn faces to be evaluated on; none of them is among the former.
        epochs: Passes over the training faces.
        batch_size: Faces per step.
        learning_rate: Peak learning rate; adapters learn at half of it.
        seed: Decides faces, weights and order.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    connector: str = "region"
    encoder: str = "tiny?pretrained=synthetic-faces"
    backbone: str = "tiny?width=192&depth=3"
    train_faces: int = 6000
    test_faces: int = 600
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train_faces", "test_faces", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"the demo needs {name} of at least 1, not {getattr(self, name)}")
        if not 0.0 < self.learning_rate < 1.0:
            raise ConfigurationError(f"the demo's learning_rate lies between 0 and 1, not at {self.learning_rate}")

    @property
    def adapts(self) -> bool:
        """Whether the language model has learned before, so that only adapters of it are trained."""
        return PartSpec.parse(self.backbone).name != "tiny"

    @property
    def training(self) -> TrainingSettings:
        """The settings of the training run."""
        whole: dict[str, Any] = {"parts": ("connector", "language_model"), "logits": "all"}
        adapted: dict[str, Any] = {
            "parts": ("connector", "language_model.lora"),
            "learning_rates": {"language_model.lora": self.learning_rate / 2},
            "independent_turns": True,
        }
        return TrainingSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            cache_features=True,
            seed=self.seed,
            **(adapted if self.adapts else whole),
        )


@dataclass
class DemoMark:
    """What a demo's folder says about itself.

    Args:
        settings: The demo's settings.
        seconds: How long each stage took.
        finished: The stages that are done.
    """

    settings: DemoSettings
    seconds: dict[str, float] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    @classmethod
    def claim(cls, folder: Path, settings: DemoSettings) -> Self:
        """Mark an empty folder, or take up the mark of a demo with the same settings.

        Raises:
            ConfigurationError: The folder holds another demo, or something else.
        """
        path = folder / MARK_NAME
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                before = dict(found["settings"])
                mark = cls(settings, dict(found["seconds"]), list(found["finished"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{path} is damaged ({error}); choose another folder") from error
            differences = list_differences(before, asdict(settings))
            if differences:
                raise ConfigurationError(
                    f"{folder} holds a demo with other settings ({', '.join(differences)}); choose another folder or "
                    "remove it"
                )
            return mark
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigurationError(f"{folder} is not empty and holds no demo; choose another folder")
        mark = cls(settings)
        require_writable(folder)
        mark.write(folder)
        return mark

    def write(self, folder: Path) -> None:
        """Write the mark."""
        write_text_atomically(folder / MARK_NAME, json.dumps(asdict(self), indent=2) + "\n")
