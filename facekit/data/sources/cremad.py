"""CREMA-D: actors who speak twelve sentences in six emotions.

Source: Cao et al., IEEE TAC 2014. A name is ``actor_sentence_emotion_intensity.flv``; who the actors are stands in
``VideoDemographics.csv``. The emotion is the one that was asked for; there is no official split.
"""

from __future__ import annotations

from collections.abc import Iterator

from facekit.data.labels import Expression, FaceLabels, age_group_of
from facekit.data.records import FaceRecord
from facekit.data.sources.base import GENDERS, VIDEO_SUFFIXES, Source
from facekit.data.sources.tables import Row, read_table

__all__ = ["CremaD"]

EXPRESSIONS: dict[str, Expression] = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
}  # fmt: skip
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
_GENDERS = {name.capitalize(): group for name, group in GENDERS.items()}


class CremaD(Source):
    """CREMA-D with its video files."""

    name = "crema-d"
    layout = "VideoDemographics.csv and the folder VideoFlash with files such as 1001_DFA_ANG_XX.flv"

    def locate(self) -> None:
        """Find the table of actors and the videos, whatever format they were converted to."""
        self.table = self.need_file("VideoDemographics.csv")
        self.folder = self.need_folder("VideoFlash", "VideoMP4", "Video")

    def read(self) -> Iterator[FaceRecord]:
        """Yield the clips in the order of their names."""
        actors = self._actors()
        for path in sorted(self.folder.iterdir()):
            parts = path.stem.split("_")
            if path.suffix.lower() not in VIDEO_SUFFIXES or len(parts) != 4:
                continue
            row = Row(path, None, dict(zip(("actor", "sentence", "emotion", "intensity"), parts, strict=True)))
            expression = row.choose("emotion", EXPRESSIONS)
            intensity = row.choose("intensity", _INTENSITIES)
            yield self.record(
                path,
                labels=FaceLabels(expression=expression),
                groups=row.choose("actor", actors),
                origin={"actor": parts[0], "sentence": parts[1], "intensity": intensity},
            )

    def _actors(self) -> dict[str, dict[str, str]]:
        actors = {}
        for row in read_table(self.table, required=("ActorID", "Age", "Sex", "Race", "Ethnicity")):
            actors[row.text("ActorID")] = {
                "age_group": age_group_of(row.integer("Age", 0, 120)),
                "gender": row.choose("Sex", _GENDERS),
                "race": row.text("Race"),
                "ethnicity": row.text("Ethnicity"),
            }
        return actors
