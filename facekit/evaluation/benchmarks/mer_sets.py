"""The nine data sets of MER-UniBench as its authors hand them out: labels, clips and transcripts of the test halves.

``label*.npz`` has a dictionary of clips to ``emo`` or ``val``; OV-MERD+ a CSV. Which entry of a file is the test half,
how numbers stand for emotions, and where the clips lie is that of the authors' loaders
(github.com/zeroQiaoba/AffectGPT, ``my_affectgpt/datasets/datasets``).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.data.confinement import Confinement
from facekit.data.pickled_arrays import read_pickled
from facekit.errors import RecordError
from facekit.evaluation.metrics.emotion_wheels import read_word_list

BASIC, SENTIMENT, FREE = "basic", "sentiment", "free"
"""Kinds of sets: one emotion of few, a positive or negative number, free words."""


@dataclass(frozen=True)
class MerSet:
    """One data set.

    Args:
        name: Its name here.
        title: Its name in papers.
        kind: ``BASIC``, ``SENTIMENT`` or ``FREE``.
        folder: Its folder.
        labels: Its file of labels.
        corpus: The entry of that file.
        clips: The folder of its clips.
        suffixes: Theirs.
        emotions: What numbers stand for; empty where labels are words.
        is_tested: Whether a clip is of the test half.
    """

    name: str
    title: str
    kind: str
    folder: str
    labels: str
    corpus: str
    clips: str
    suffixes: tuple[str, ...] = (".mp4",)
    emotions: tuple[str, ...] = ()
    is_tested: Callable[[str], bool] = bool


@dataclass(frozen=True)
class MerClip:
    """One clip of a test half.

    Args:
        dataset: Name of its set.
        name: Its name there.
        video: The clip.
        truth: The emotion; the free words; or the sentiment, a number.
        subtitle: What is said in it; empty where that is not known.
    """

    dataset: str
    name: str
    video: Path
    truth: str | tuple[str, ...] | float
    subtitle: str = ""


def _of_fifth_session(name: str) -> bool:
    return name[4:5] == "5"


MER_SETS: dict[str, MerSet] = {each.name: each for each in (
    MerSet("mer2023", "MER2023", BASIC, "mer2023-dataset-process", "label-6way.npz", "test1_corpus", "video",
           (".mp4", ".avi")),
    MerSet("mer2024", "MER2024", BASIC, "mer2024-dataset-process", "label-6way.npz", "test1_corpus", "video",
           (".mp4", ".avi")),
    MerSet("meld", "MELD", BASIC, "meld-process", "label.npz", "test_corpus", "subvideo",
           emotions=("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise")),
    MerSet("iemocap", "IEMOCAP", BASIC, "iemocap-process", "label_4way.npz", "whole_corpus", "subvideo-tgt", (".avi",),
           ("happy", "sad", "neutral", "anger"), _of_fifth_session),
    MerSet("cmu-mosi", "CMU-MOSI", SENTIMENT, "cmumosi-process", "label.npz", "test_corpus", "subvideo"),
    MerSet("cmu-mosei", "CMU-MOSEI", SENTIMENT, "cmumosei-process", "label.npz", "test_corpus", "subvideo_new"),
    MerSet("sims", "SIMS", SENTIMENT, "sims-process", "label.npz", "test_corpus", "video"),
    MerSet("sims-v2", "SIMS v2", SENTIMENT, "simsv2-process", "label.npz", "test_corpus", "video_new"),
    MerSet("ov-merd-plus", "OV-MERD+", FREE, "ovmerdplus-process", "ovlabel.csv", "", "video"),
)}  # fmt: skip
"""Name to set, in the order of the paper's table."""

_TRANSCRIPTS = ("transcription-engchi-polish.csv", "transcription_merge.csv", "subtitle_eng.csv")
_SUBTITLE_COLUMNS = ("english", "sentence", "chinese")


def read_mer_sets(root: str | Path) -> dict[str, list[MerClip]]:
    """Read the test halves that are there.

    Args:
        root: The folder that has the sets' folders.

    Returns:
        Name of a set to its clips.

    Raises:
        RecordError: None is there, a file is malformed, or a clip is missing.
    """
    found = {
        name: _read_set(each, Path(root) / each.folder)
        for name, each in MER_SETS.items()
        if (Path(root) / each.folder).is_dir()
    }
    if not found:
        folders = ", ".join(each.folder for each in MER_SETS.values())
        raise RecordError(f"{root} has none of the folders of MER-UniBench: {folders}")
    return found


def _read_set(dataset: MerSet, folder: Path) -> list[MerClip]:
    path = folder / dataset.labels
    truths = _read_free(path) if dataset.kind == FREE else _read_corpus(dataset, path)
    subtitles = _read_subtitles(folder)
    clips = []
    confinement = Confinement(folder, follow_links=False)  # a folder of clips may be a link to another disk
    for name, truth in truths.items():
        confinement.check([str(Path(dataset.clips) / name)], f"{path}, clip '{name}'")
        places = [folder / dataset.clips / f"{name}{suffix}" for suffix in dataset.suffixes]
        video = next((place for place in places if place.is_file()), None)
        if video is None:
            raise RecordError(f"the clip {places[0]} of {dataset.title} is missing; fetch the set again")
        clips.append(MerClip(dataset.name, name, video, truth, subtitles.get(name, "")))
    if not clips:
        raise RecordError(f"{path} has no clips of the test half of {dataset.title}")
    return clips


def _read_corpus(dataset: MerSet, path: Path) -> dict[str, str | float]:
    corpus = read_pickled(path, dataset.corpus)
    if not isinstance(corpus, Mapping):
        raise RecordError(f"{path}: '{dataset.corpus}' is no dictionary of clips")
    truths: dict[str, str | float] = {}
    for name, labels in corpus.items():
        try:
            if dataset.is_tested(str(name)):
                truths[str(name)] = _truth(dataset, labels)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RecordError(f"{path}, clip '{name}': no label of {dataset.title} ({error!r})") from error
    return truths


def _truth(dataset: MerSet, labels: Mapping[str, Any]) -> str | float:
    if dataset.kind == SENTIMENT:
        sentiment = float(labels["val"])
        if not math.isfinite(sentiment):
            raise ValueError(f"{sentiment} is no sentiment")
        return sentiment
    emotion = labels["emo"]
    if isinstance(emotion, str):
        return str(emotion)
    number = np.asarray(emotion).item()
    if number not in range(len(dataset.emotions)):
        raise ValueError(f"there is no emotion {number}")
    return dataset.emotions[int(number)]


def _read_free(path: Path) -> dict[str, tuple[str, ...]]:
    truths: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(_read_table(path, ("name", "openset")), 1):
        if not row["name"] or row["openset"] is None or row["name"] in truths:
            raise RecordError(
                f"{path}, row {number}: needs the name of a clip that no row before it has, and its words"
            )
        truths[row["name"]] = tuple(read_word_list(row["openset"])) or ("neutral",)
    return truths


def _read_subtitles(folder: Path) -> dict[str, str]:
    """What is said in each clip, in English where the set has it."""
    path = next((folder / name for name in _TRANSCRIPTS if (folder / name).is_file()), None)
    if path is None:
        return {}
    rows = _read_table(path, ("name",))
    column = next((name for name in _SUBTITLE_COLUMNS if rows and name in rows[0]), None)
    return {} if column is None else {row["name"]: (row[column] or "").strip() for row in rows if row["name"]}


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str | None]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows: list[dict[str, str | None]] = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} cannot be read ({error}); fetch the set again") from error
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing or not rows:
        raise RecordError(f"{path} needs the columns {', '.join(columns)} and a row for each clip")
    return rows
