"""FaceBench (Wang et al., CVPR 2025, arXiv 2503.21457): four types of questions, five views, conditions.

Questions are read as the authors ship them (github.com/CVI-SZU/FaceBench): one JSON object a line, pictures in
``images`` beside it. Prompts are those of its ``inference.py``; scores are those of its ``evaluation.py``, by view and
type. An answer that is no option word for word goes to a language model there; here the options that it names count.
Open answers are compared whole (its script takes the first entry of a list), and ROUGE is without stemming.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facekit.data.records import describe_problem
from facekit.errors import RecordError
from facekit.evaluation.benchmarks.asking import ask_benchmark, choose_entries, without_thoughts, write_result
from facekit.evaluation.metrics.scores import averaged_scores
from facekit.evaluation.metrics.text_overlap import normalize_words, rouge_scores, sentence_bleu
from facekit.evaluation.tasks.questions import ModelUnderTest, Question
from facekit.reports import ProgressListener, as_listener

TYPES = {"TFQ": "true or false", "SCQ": "single choice", "MCQ": "multiple choice", "OEQ": "open"}
HEADLINES = {"TFQ": "accuracy", "SCQ": "accuracy", "MCQ": "f1_macro", "OEQ": "rougeL"}
_DIRECTLY = " Please return the answer directly without additional explanation."
_BLEU = {"bleu": (0.25,) * 4, "bleu_1": (1, 0, 0, 0), "bleu_2": (0, 1, 0, 0), "bleu_3": (0, 0, 1, 0)}


class FaceBenchQuestion(BaseModel):
    """One question, with the authors' names.

    Attributes:
        question_id: Unique among those of a picture.
        question_type: ``TFQ``, ``SCQ``, ``MCQ`` or ``OEQ``.
        image_id: Name of the picture.
        text: The question.
        instruction: How to answer.
        options: The options; none for open questions.
        conditions: ``option Y`` and ``option N`` to the questions that follow from such an answer.
        gt_answer: The right answer, or several.
        metadata: ``view``, ``attribute_level`` and ``image_source``.
    """

    model_config = ConfigDict(extra="allow")

    question_id: str
    question_type: Literal["TFQ", "SCQ", "MCQ", "OEQ"]
    image_id: Annotated[str, Field(min_length=1)]
    text: str
    instruction: str = ""
    options: list[str] = Field(default_factory=list)
    conditions: dict[str, list[str]] = Field(default_factory=dict)
    gt_answer: str | list[str]
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What is asked."""
        return "\n".join([self.text, *(self.options or [""]), self.instruction + _DIRECTLY])

    @property
    def truths(self) -> list[str]:
        """The right answers."""
        return [self.gt_answer] if isinstance(self.gt_answer, str) else self.gt_answer

    @property
    def view(self) -> str:
        """Appearance, accessories, surrounding, psychology or identity; in lower case."""
        return str(self.metadata.get("view", "unknown")).lower()


@dataclass(frozen=True)
class TypeScore:
    """Questions of one type in one view.

    Args:
        view: The view; empty for all.
        question_type: A key of ``TYPES``.
        count: Questions that were answered.
        missed: Questions that were not.
        metrics: Means over those answered.
        conditional: Mean of the headline metric where an answer counts only if those that it follows from are right.
    """

    view: str
    question_type: str
    count: int
    missed: int
    metrics: dict[str, float]
    conditional: float

    @property
    def headline(self) -> float:
        """The metric that stands for the type."""
        return self.metrics.get(HEADLINES[self.question_type], float("nan"))


@dataclass(frozen=True)
class FaceBenchResult:
    """What a model reached.

    Args:
        model: Its name.
        questions: How many were asked.
        scores: By view and type; those over all views first.
        seconds: How long it took.
        available: Questions of the benchmark; more than ``questions`` where a sample was asked. 0 where not known.
    """

    model: str
    questions: int
    scores: tuple[TypeScore, ...]
    seconds: float
    available: int = 0


def read_facebench(root: str | Path) -> list[tuple[Path, FaceBenchQuestion]]:
    """Read the questions with the folders of their files.

    Args:
        root: A folder with ``.jsonl`` files, or one of them.

    Raises:
        RecordError: There is none, or a line is malformed.
    """
    root = Path(root)
    paths = [root] if root.is_file() else sorted(root.glob("*.jsonl"))
    if not paths:
        raise RecordError(f"{root} has no .jsonl files with questions of FaceBench")
    found = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} cannot be read ({error})") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    found.append((path.parent, FaceBenchQuestion.model_validate_json(line)))
                except ValidationError as error:
                    raise RecordError(f"{path}, line {number}: {describe_problem(error)}") from error
    return found


def run_facebench(
    model: ModelUnderTest,
    root: str | Path,
    *,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    on_progress: ProgressListener | None = None,
) -> FaceBenchResult:
    """Put the benchmark to a model.

    Args:
        model: The model.
        root: See ``read_facebench``; pictures are in ``images`` there, or beside the file.
        output_dir: Where ``answers.jsonl`` and ``metrics.json`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask so many questions: a sample with each part in its share, the same in every run.
        max_new_tokens: Longest answer in tokens; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        RecordError: Questions or pictures are missing or malformed.
        ConfigurationError: The folder has another run's answers.
    """
    whole = read_facebench(root)
    keys = [f"{each.image_id}/{each.question_id}" for _, each in whole]
    entries = choose_entries(whole, limit, keys, [f"{each.view}/{each.question_type}" for _, each in whole])
    started = time.perf_counter()
    questions = [
        Question(f"{each.image_id}/{each.question_id}", each.prompt, (_picture(folder, each.image_id),))
        for folder, each in entries
    ]
    replies = ask_benchmark(
        model,
        questions,
        output_dir=output_dir,
        resume=resume,
        on_progress=as_listener(on_progress, "run_facebench"),
        max_new_tokens=max_new_tokens,
        benchmark="facebench",
    )
    scores = score_facebench([each for _, each in entries], [without_thoughts(reply.text) for reply in replies])
    seconds = time.perf_counter() - started
    result = FaceBenchResult(model.name, len(entries), tuple(scores), seconds, len(whole))
    write_result(result, output_dir)
    return result


def score_facebench(questions: Sequence[FaceBenchQuestion], answers: Sequence[str]) -> list[TypeScore]:
    """Score answers by view and type.

    Args:
        questions: The questions.
        answers: Empty where there is none.
    """
    scored = [score_answer(*pair) for pair in zip(questions, answers, strict=True)]
    kept = _conditional(questions, scored)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        for view in ("", question.view):
            groups[view, question.question_type].append(place)
    found = []
    for view, kind in sorted(groups, key=lambda key: (key[0], list(TYPES).index(key[1]))):
        places = groups[view, kind]
        answered = [metrics for place in places if (metrics := scored[place]) is not None]
        means = {name: sum(each[name] for each in answered) / len(answered) for name in (answered or [{}])[0]}
        conditional = sum(kept[place] for place in places) / len(places)
        found.append(TypeScore(view, kind, len(answered), len(places) - len(answered), means, conditional))
    return found


def score_answer(question: FaceBenchQuestion, answer: str) -> dict[str, float] | None:
    """Metrics of one answer; None where there is none."""
    if not answer.strip():
        return None
    if question.question_type == "OEQ":
        said, known = normalize_words(answer.lower()).split(), normalize_words(question.truths[0].lower()).split()
        bleu = {name: sentence_bleu(said, known, weights) for name, weights in _BLEU.items()}
        return {**bleu, **rouge_scores(answer, question.truths[0])}
    chosen = named_options(answer, question.options)
    if question.question_type == "MCQ":
        truth, said_ones = ([option in each for option in question.options] for each in (question.truths, chosen))
        scores = averaged_scores(truth, said_ones, weighted=False)
        # of two classes that each item is in one of, the micro average is the accuracy
        return {"f1_macro": scores["f1"], "f1_micro": scores["accuracy"], "accuracy": scores["accuracy"]}
    only = chosen[0] if len(chosen) == 1 else None
    options = sorted(set(question.options))
    truth, said_ones = ([option == each for option in options] for each in (question.truths[0], only))
    return {**averaged_scores(truth, said_ones, weighted=True), "accuracy": float(only == question.truths[0])}


def named_options(answer: str, options: Sequence[str]) -> list[str]:
    """The options that an answer is or names, in their order; of options within each other the longest."""
    if answer in options:
        return [answer]
    text, distinct = answer.casefold(), list(dict.fromkeys(options))
    found = [
        (match.start(), -match.end(), option)
        for option in distinct
        for match in re.finditer(rf"(?<!\w){re.escape(option.casefold())}(?!\w)", text)
    ]
    named: set[str] = set()
    furthest = 0
    for (_, last), alike in itertools.groupby(sorted(found), key=lambda each: each[:2]):
        if -last > furthest:  # no span that began before it, or with it and is longer, holds it
            furthest = -last
            named.update(option for *_, option in alike)
    return [option for option in distinct if option in named]


def _conditional(questions: Sequence[FaceBenchQuestion], scored: Sequence[Mapping[str, float] | None]) -> list[float]:
    """Headline metric of every answer, 0 where an answer that it follows from is wrong."""
    parents: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        for follower in (name for names in question.conditions.values() for name in names):
            parents[question.image_id, follower].append(place)

    def value(place: int) -> float:
        metrics = scored[place]
        return 0.0 if metrics is None else metrics[HEADLINES[questions[place].question_type]]

    def holds(place: int, seen: frozenset[int]) -> bool:
        above = parents[questions[place].image_id, questions[place].question_id]
        return all(each in seen or (value(each) == 1.0 and holds(each, seen | {each})) for each in above)

    return [value(place) if holds(place, frozenset({place})) else 0.0 for place in range(len(questions))]


def _picture(folder: Path, name: str) -> Path:
    inside = folder / "images" / name
    return inside if inside.is_file() else folder / name
