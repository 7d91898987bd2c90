"""FaceXBench (Narayan et al., arXiv 2501.10360): reading its folder, asking its questions, its score table.

The benchmark is read as its authors ship it (github.com/Kartik-3004/facexbench): a JSON file per dataset and kind of
question beside a folder of images. Prompts are put together as its ``evaluate.py`` does. Replies are scored by the
published rule, for comparable numbers, and by a strict one beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facekit.answers.option_extraction import extract_published, extract_strict, option_labels
from facekit.data.atomic import write_text_atomically
from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.benchmarks.asking import choose_entries, without_thoughts
from facekit.evaluation.evaluator import METRICS_NAME
from facekit.evaluation.metrics.intervals import RESAMPLES, Interval, bootstrap_intervals
from facekit.evaluation.metrics.weighted import weigh_manipulation
from facekit.evaluation.models.answer_log import ANSWERS_NAME, AnswerLog, resumed_by_default
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.questions import ModelUnderTest, Question
from facekit.reports import ProgressListener, as_listener

SETTINGS = ("zero-shot", "in-context", "chain-of-thought")
THINK_STEP_BY_STEP = "Think step by step, then give the letter of the correct option on the last line."
"""What the chain-of-thought setting adds; the wording is facekit's."""

COLUMNS: dict[str, str] = {
    "overall": "overall",
    "bias_fairness": "bias & fairness",
    "face_recognition": "recognition",
    "fas_deepfakes": "authentication",
    "attributes_expression": "analysis",
    "face_localization": "localization",
    "tools_use": "tools",
}
"""Categories in the order of the papers' table, and what it calls them."""

_TOKENS = {"zero-shot": 64, "in-context": 64, "chain-of-thought": 512}


@dataclass(frozen=True)
class BenchmarkQuestion:
    """One multiple-choice question.

    Args:
        id: File and number, unique in the benchmark.
        category: One of the benchmark's categories.
        sub_category: One of the category's kinds of task.
        dataset: Where the pictures come from.
        num_images: ``single``, ``multiple`` or ``zero`` (a black picture stands in).
        pictures: The pictures, all before the text.
        prompts: The prompt in each of ``SETTINGS``.
        options: The texts of the options, stripped; numbers as text.
        correct: The letter of the right option.
    """

    id: str
    category: str
    sub_category: str
    dataset: str
    num_images: str
    pictures: tuple[Path, ...]
    prompts: dict[str, str]
    options: tuple[str, ...]
    correct: str


@dataclass(frozen=True)
class Share:
    """Right answers among questions.

    Args:
        right: Right ones.
        count: All.
    """

    right: int
    count: int

    @property
    def accuracy(self) -> float:
        """Percent; 0 where there is no question."""
        return 100.0 * self.right / self.count if self.count else 0.0


@dataclass(frozen=True)
class Scoreboard:
    """The scores by one rule of extraction.

    Args:
        overall: All questions, counted alike.
        low: Lower end of the 95 % interval of the overall accuracy, in percent.
        high: Upper end.
        unreadable: Replies in which the rule found no option; they are wrong.
        by_category: Category to share.
        by_sub_category: ``CATEGORY/SUB-CATEGORY`` to share.
        by_images: ``single``, ``multiple`` and ``zero`` to share.
    """

    overall: Share
    low: float
    high: float
    unreadable: int
    by_category: dict[str, Share]
    by_sub_category: dict[str, Share]
    by_images: dict[str, Share]

    @classmethod
    def of(cls, questions: Sequence[BenchmarkQuestion], letters: Sequence[str | None]) -> Scoreboard:
        """Count right letters."""
        right = [question.correct == letter for question, letter in zip(questions, letters, strict=True)]
        ends = bootstrap_intervals(
            weigh_manipulation([True] * len(right), right), np.arange(len(right)), resamples=RESAMPLES
        ).get("accuracy", Interval(0.0, 1.0))
        return cls(
            Share(sum(right), len(right)),
            100.0 * ends.low,
            100.0 * ends.high,
            sum(letter is None for letter in letters),
            _shares([question.category for question in questions], right),
            _shares([f"{question.category}/{question.sub_category}" for question in questions], right),
            _shares([question.num_images for question in questions], right),
        )


@dataclass(frozen=True)
class FaceXBenchResult:
    """The scores of a model.

    Args:
        model: Its name.
        setting: One of ``SETTINGS``.
        published: By the published rule.
        strict: By the strict rule.
        seconds: How long this run took to answer.
        asked: Questions that were asked in this run; the others were in its log.
        available: Questions of the benchmark; more than are scored where a sample was asked. 0 where not known.
    """

    model: str
    setting: str
    published: Scoreboard
    strict: Scoreboard
    seconds: float
    asked: int
    available: int = 0


class _QuestionEntry(BaseModel):
    model_config = ConfigDict(extra="allow")

    image_paths: Annotated[list[str], Field(min_length=1)]
    question_text: str
    options: Annotated[list[str | int | float], Field(min_length=2, max_length=26)]
    correct_answer_option: str

    @model_validator(mode="after")
    def _option_exists(self) -> _QuestionEntry:
        if self.correct_answer_option not in tuple(option_labels(len(self.options))):
            raise ValueError(f"correct_answer_option {self.correct_answer_option!r} is none of the options")
        return self


class _QuestionFile(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)

    category: str
    sub_category: str = Field(alias="sub-category")
    dataset: str
    num_images: str
    questions: dict[str, _QuestionEntry]
    prepend_text: str = ""
    postpend_text: str = ""
    context: str = ""


def read_facexbench(folder: str | Path) -> list[BenchmarkQuestion]:
    """Read the benchmark's folder.

    Args:
        folder: The folder ``benchmark`` with its JSON files and ``images``, or the one that holds it.

    Returns:
        All questions, by file name and number.

    Raises:
        RecordError: The folder has no questions, a file is malformed, or a picture is missing; the message names it.
    """
    root = Path(folder)
    root = root / "benchmark" if (root / "benchmark").is_dir() else root
    paths = sorted(root.glob("*.json"))
    if not paths:
        raise RecordError(f"{root} has no JSON files with questions; give the benchmark's own folder 'benchmark'")
    questions = [question for path in paths for question in _read_file(path)]
    if not questions:
        raise RecordError(f"the files of {root} have no questions; fetch the benchmark again")
    missing = next((path for question in questions for path in question.pictures if not path.is_file()), None)
    if missing is not None:
        raise RecordError(f"the benchmark's picture {missing} is missing; download its images")
    return questions


@resumed_by_default
def run_facexbench(
    model: ModelUnderTest,
    folder: str | Path,
    *,
    setting: str = "zero-shot",
    output_dir: str | Path | None = None,
    resume: bool = False,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    on_progress: ProgressListener | None = None,
) -> FaceXBenchResult:
    """Put the benchmark to a model.

    Args:
        model: The model.
        folder: See ``read_facexbench``.
        setting: ``zero-shot``; ``in-context``, the task is described first; or ``chain-of-thought``.
        output_dir: Where ``answers.jsonl`` (as they come) and ``metrics.json`` are written; None writes nothing.
        resume: Go on with the answers that an earlier run of the same model and setting left there;
            otherwise they are dropped.
        limit: Ask so many questions: a sample with each part in its share, the same in every run.
        max_new_tokens: Longest answer in tokens; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        ConfigurationError: The setting is unknown, or the folder has another run's answers.
        RecordError: See ``read_facexbench``.
    """
    on_progress = as_listener(on_progress, "run_facexbench")
    if setting not in SETTINGS:
        raise ConfigurationError(f"the settings of FaceXBench are {', '.join(SETTINGS)}, not {setting!r}")
    whole = read_facexbench(folder)
    files = [each.id.rpartition("/")[0] for each in whole]
    benchmark = choose_entries(whole, limit, [each.id for each in whole], files)
    tokens = max_new_tokens or _TOKENS[setting]
    questions = [Question(each.id, each.prompts[setting], each.pictures, max_new_tokens=tokens) for each in benchmark]
    target = None if output_dir is None else Path(output_dir)
    started = time.perf_counter()
    with ExitStack() as stack:
        log = None
        if target is not None:
            run = identify_answers(model, benchmark="facexbench", setting=setting)
            log = stack.enter_context(AnswerLog(target / ANSWERS_NAME, run, resume=resume))
        replies = collect_replies(model, questions, log=log, on_progress=on_progress)
        asked = len(questions) if log is None else log.appended
    answers = [without_thoughts(reply.text) for reply in replies]
    boards = [
        Scoreboard.of(benchmark, [rule(answer, each.options) for each, answer in zip(benchmark, answers, strict=True)])
        for rule in (extract_published, extract_strict)
    ]
    seconds = time.perf_counter() - started
    result = FaceXBenchResult(model.name, setting, boards[0], boards[1], seconds, asked, len(whole))
    if target is not None:
        write_text_atomically(target / METRICS_NAME, json.dumps(asdict(result), indent=2) + "\n")
    return result


@cache
def published_rows() -> tuple[dict[str, str | float], ...]:
    """Rows of the papers' table: ``model``, ``source`` and accuracy in percent by key of ``COLUMNS`` where known.

    Sources differ about the same model, so a row is worth no more than the paper that it is from.
    """
    text = (files("facekit.evaluation.benchmarks") / "facexbench_published.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["rows"])


def table_row(board: Scoreboard) -> dict[str, float]:
    """A scoreboard as a row of the papers' table: key of ``COLUMNS`` to percent."""
    shares = {"overall": board.overall, **board.by_category}
    return {name: shares[name].accuracy for name in COLUMNS if name in shares}


def _read_file(path: Path) -> list[BenchmarkQuestion]:
    try:
        file = _QuestionFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read ({error}); fetch the benchmark again") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise RecordError(f"{path}, field '{field}': {problem['msg']}; is it a file of FaceXBench?") from error
    return [
        BenchmarkQuestion(
            f"{path.stem}/{number}",
            file.category,
            file.sub_category,
            file.dataset,
            file.num_images,
            tuple(path.parent / name for name in entry.image_paths),
            {setting: _write_prompt(file, entry, setting) for setting in SETTINGS},
            tuple(str(option).strip() for option in entry.options),
            entry.correct_answer_option,
        )
        for number, entry in file.questions.items()
    ]


def _write_prompt(file: _QuestionFile, entry: _QuestionEntry, setting: str) -> str:
    labels = option_labels(len(entry.options))
    parts = [
        file.context if file.category == "tools_use" else "",
        file.prepend_text if setting == "in-context" else "",
        entry.question_text,
        file.postpend_text,
        *(f"({label}) {option}" for label, option in zip(labels, entry.options, strict=True)),
        THINK_STEP_BY_STEP if setting == "chain-of-thought" else "",
    ]
    return "".join(f"{part}\n" for part in parts if part)


def _shares(keys: Sequence[str], right: Sequence[bool]) -> dict[str, Share]:
    return {
        key: Share(
            sum(hit for name, hit in zip(keys, right, strict=True) if name == key),
            sum(name == key for name in keys),
        )
        for key in sorted(set(keys))
    }
