"""MER-UniBench (Lian et al., ICML 2025, arXiv 2501.16566): emotion in free words over nine sets of clips.

The question is the authors'; scores are those of their ``evaluation.py``: a hit rate where the truth is one emotion of
few, F over wheels where it is free words, weighted F1 of positive against negative where it is a number. Their language
model takes the words out of an answer, and the sentiment out of the words; here an extracting model does. Without one,
words are read by ``named_words``, and of the sets with numbers the sentiment is asked for itself. Sound is not heard.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from facekit.data.records import FaceRecord
from facekit.endpoints.texts import strip_thoughts
from facekit.errors import ConfigurationError
from facekit.evaluation.benchmarks.asking import ask_benchmark, choose_entries, without_thoughts, write_result
from facekit.evaluation.benchmarks.mer_sets import BASIC, MER_SETS, SENTIMENT, MerClip, MerSet, read_mer_sets
from facekit.evaluation.metrics.emotion_wheels import (
    EmotionWheels,
    hit_rate,
    named_words,
    read_word_list,
    wheel_scores,
)
from facekit.evaluation.metrics.scores import require_scikit_learn
from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Reply
from facekit.reports import ProgressListener, as_listener

SETTINGS = ("subtitles", "silent")
"""With what is said in a clip, as the authors ask; or without."""
QUESTION = "Please recognize all possible emotional states of the character."
SENTIMENT_QUESTION = (
    "Which sentiment describes the character's emotional state best? Answer with one word: positive, negative or "
    "neutral."
)
WHEEL_FOLDER = "emotion_wheel"
METRICS = {"basic": "hit rate", "sentiment": "weighted F1", "free": "F over wheels"}
_TOKENS, _SENTIMENT_TOKENS, _EXTRACT_TOKENS = 256, 16, 128
_SENTIMENTS = {"positive": 1, "negative": -1, "neutral": 0}


@dataclass(frozen=True)
class MerSetScore:
    """A model on one set.

    Args:
        name: Name of the set.
        title: Its name in papers.
        metric: What ``value`` is.
        value: The main metric.
        details: ``precision`` and ``recall`` of free words, ``accuracy`` of sentiments.
        count: Clips that were asked about.
        unanswered: Those without an answer.
        unread: Answers without a word of emotion, or without a sentiment.
    """

    name: str
    title: str
    metric: str
    value: float
    details: dict[str, float]
    count: int
    unanswered: int
    unread: int


@dataclass(frozen=True)
class MerUniBenchResult:
    """What a model reached.

    Args:
        model: Its name.
        setting: One of ``SETTINGS``.
        extractor: Name of the model that took words out of answers; empty for the rule.
        mean: Mean of the sets' main metrics.
        sets: By set.
        missing: Sets that are not there and so not in the mean.
        questions: Clips that were asked about.
        seconds: How long it took.
        available: Clips of the sets that are there; more than ``questions`` where a sample was asked.
    """

    model: str
    setting: str
    extractor: str
    mean: float
    sets: tuple[MerSetScore, ...]
    missing: tuple[str, ...]
    questions: int
    seconds: float
    available: int


def run_mer_unibench(
    model: ModelUnderTest,
    root: str | Path,
    *,
    setting: str = "subtitles",
    wheels: str | Path | None = None,
    extractor: ModelUnderTest | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    on_progress: ProgressListener | None = None,
) -> MerUniBenchResult:
    """Put the benchmark to a model.

    Args:
        model: The model.
        root: See ``read_mer_sets``.
        setting: ``subtitles``, what is said in a clip stands in the question; or ``silent``.
        wheels: The authors' folder ``emotion_wheel``; by default the one in ``root``.
        extractor: A language model that takes words out of answers, and the sentiment out of words.
        output_dir: Where answers as they come and ``metrics.json`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask about so many clips: a sample with each set in its share, the same in every run.
        max_new_tokens: Longest answer in tokens; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        ConfigurationError: The setting is unknown, or the folder has another run's answers.
        RecordError: Sets, clips or wheels are missing or malformed.
        MissingExtraError: scikit-learn is not installed.
    """
    if setting not in SETTINGS:
        raise ConfigurationError(f"the settings of MER-UniBench are {', '.join(SETTINGS)}, not {setting!r}")
    require_scikit_learn()
    groups = EmotionWheels.read_folder(Path(root) / WHEEL_FOLDER if wheels is None else wheels)
    found = read_mer_sets(root)
    whole = [clip for clips in found.values() for clip in clips]
    clips = choose_entries(whole, limit, [_key(clip) for clip in whole], [clip.dataset for clip in whole])
    kept: dict[str, Any] = {"output_dir": output_dir, "resume": resume, "benchmark": "mer-unibench"}
    kept |= {"setting": setting, "on_progress": as_listener(on_progress, "run_mer_unibench")}
    started = time.perf_counter()
    direct = extractor is None
    questions = [_question(clip, with_subtitle=setting == "subtitles", direct=direct) for clip in clips]
    replies = ask_benchmark(model, questions, max_new_tokens=max_new_tokens, **kept)
    words = _words(clips, replies, groups, extractor, kept)
    sentiments = _sentiments(clips, replies, words, extractor, kept)
    scores = []
    for name in found:
        places = [place for place, clip in enumerate(clips) if clip.dataset == name]
        if places:
            columns = ([column[place] for place in places] for column in (clips, replies, words, sentiments))
            scores.append(_score(MER_SETS[name], groups, *columns))  # type: ignore[arg-type]  # a column of each
    result = MerUniBenchResult(
        model.name,
        setting,
        "" if extractor is None else extractor.name,
        fmean(score.value for score in scores),
        tuple(scores),
        tuple(each.title for name, each in MER_SETS.items() if name not in found),
        len(clips),
        time.perf_counter() - started,
        len(whole),
    )
    write_result(result, output_dir)
    return result


def weighted_sentiment(truths: Sequence[float], said: Sequence[int]) -> tuple[float, float]:
    """Weighted F1 and accuracy of positive against negative, over clips that are either; 0 where there are none.

    Args:
        truths: The sentiment of each clip; of 0 it is neutral and left out.
        said: 1, -1 or 0; a clip that is said to be neutral counts as said to be negative, as the authors have it.
    """
    pairs = [(truth > 0, answer > 0) for truth, answer in zip(truths, said, strict=True) if truth != 0]
    if not pairs:
        return 0.0, 0.0
    true, answers = zip(*pairs, strict=True)
    metrics = require_scikit_learn()
    return float(metrics.f1_score(true, answers, average="weighted")), float(metrics.accuracy_score(true, answers))


def read_sentiment(answer: str) -> int | None:
    """1, -1 or 0 for the one sentiment that an answer names; None where it names none or several."""
    said = set(re.findall(r"\b(positive|negative|neutral)\b", strip_thoughts(answer)[0].lower()))
    return _SENTIMENTS[said.pop()] if len(said) == 1 else None


def _key(clip: MerClip) -> str:
    return f"{clip.dataset}/{clip.name}"


def _question(clip: MerClip, *, with_subtitle: bool, direct: bool) -> Question:
    is_sentiment = direct and MER_SETS[clip.dataset].kind == SENTIMENT
    text = SENTIMENT_QUESTION if is_sentiment else QUESTION
    if with_subtitle and clip.subtitle:
        text = f"The subtitle of this video is: <Subtitle>{clip.subtitle}</Subtitle>. {text}"
    record = FaceRecord(id=_key(clip), video=clip.video.name)
    tokens = _SENTIMENT_TOKENS if is_sentiment else _TOKENS
    return Question(_key(clip), text, record=record, folder=clip.video.parent, max_new_tokens=tokens)


def _words(
    clips: Sequence[MerClip],
    replies: Sequence[Reply],
    wheels: EmotionWheels,
    extractor: ModelUnderTest | None,
    kept: dict[str, Any],
) -> list[list[str]]:
    """The words of emotion in each answer."""
    texts = [strip_thoughts(reply.text)[0].strip() for reply in replies]
    if extractor is None:
        return [named_words(wheels, text) for text in texts]
    asked = [place for place, text in enumerate(texts) if text]
    questions = [
        Question(
            _key(clips[place]),
            "Which emotions does the main character have, by this description? Reply with the words for them alone, as "
            "a list such as [word, word], and with [] where the description names none.\n\nDescription: "
            f"{texts[place]}",
            max_new_tokens=_EXTRACT_TOKENS,
        )
        for place in asked
    ]
    replies = ask_benchmark(extractor, questions, answers_name="words.jsonl", stage="extract words", **kept)
    found = {
        place: read_word_list(without_thoughts(reply.text).strip()) for place, reply in zip(asked, replies, strict=True)
    }
    return [found.get(place, []) for place in range(len(clips))]


def _sentiments(
    clips: Sequence[MerClip],
    replies: Sequence[Reply],
    words: Sequence[list[str]],
    extractor: ModelUnderTest | None,
    kept: dict[str, Any],
) -> list[int | None]:
    """The sentiment of each answer about a set with numbers: as it says, or as the extracting model takes its words."""
    numbered = [place for place, clip in enumerate(clips) if MER_SETS[clip.dataset].kind == SENTIMENT]
    if extractor is None:
        said = {place: read_sentiment(replies[place].text) for place in numbered}
        return [said.get(place) for place in range(len(clips))]
    said = {place: 0 if not words[place] and replies[place].problem is None else None for place in numbered}
    asked = [place for place in numbered if words[place]]
    if asked:
        questions = [
            Question(
                _key(clips[place]),
                "Is the sentiment of these words for an emotion positive, negative or neutral on the whole? Reply with "
                f"one word.\n\nWords: [{', '.join(words[place])}]",
                max_new_tokens=_SENTIMENT_TOKENS,
            )
            for place in asked
        ]
        found = ask_benchmark(extractor, questions, answers_name="sentiments.jsonl", stage="read sentiments", **kept)
        said |= {place: read_sentiment(reply.text) for place, reply in zip(asked, found, strict=True)}
    return [said.get(place) for place in range(len(clips))]


def _score(
    dataset: MerSet,
    wheels: EmotionWheels,
    clips: Sequence[MerClip],
    replies: Sequence[Reply],
    words: Sequence[list[str]],
    sentiments: Sequence[int | None],
) -> MerSetScore:
    truths = [clip.truth for clip in clips]
    unread = sum(not said for said in words)
    details: dict[str, float] = {}
    if dataset.kind == BASIC:
        value = hit_rate(wheels, cast("list[str]", truths), words)
    elif dataset.kind == SENTIMENT:
        value, details["accuracy"] = weighted_sentiment(cast("list[float]", truths), [each or 0 for each in sentiments])
        unread = sentiments.count(None)
    else:
        found = wheel_scores(wheels, cast("list[tuple[str, ...]]", truths), words)
        value, details = found.f_score, {"precision": found.precision, "recall": found.recall}
    unanswered = sum(reply.problem is not None for reply in replies)
    metric = METRICS[dataset.kind]
    return MerSetScore(dataset.name, dataset.title, metric, value, details, len(clips), unanswered, unread)
