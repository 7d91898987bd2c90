"""What an evaluation or a benchmark would ask, without a model: nothing is opened, called or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.data.dataset import RecordSet
from facekit.errors import ConfigurationError
from facekit.evaluation.benchmarks.suite import run_benchmark
from facekit.evaluation.models.other_models import check_model, default_prompt_style, scores_options
from facekit.evaluation.tasks.asked import plan_questions, plan_tasks
from facekit.evaluation.tasks.definitions import ALL_TASKS, Task
from facekit.evaluation.tasks.prompts import RECORDED, PromptStyle
from facekit.evaluation.tasks.questions import Question
from facekit.models.source import ModelSource

_MOST_PARTS = 40


@dataclass(frozen=True)
class PlannedPart:
    """Questions of one kind that would be asked.

    Args:
        name: A task, or a part of a benchmark.
        questions: How many questions.
        faces: How many faces, such as ``200 of 5,000``; empty for benchmarks.
        max_new_tokens: Longest answer.
        prompt: What is asked; of several questions the first.
    """

    name: str
    questions: int
    faces: str
    max_new_tokens: int
    prompt: str


@dataclass(frozen=True)
class Preview:
    """What would be asked.

    Args:
        model: The model's name.
        prompts: The style of the prompts; empty for a benchmark, which has its own.
        scoring: ``generation`` or ``likelihood``; empty where a benchmark decides.
        parts: By task or part.
    """

    model: str
    prompts: str
    scoring: str
    parts: tuple[PlannedPart, ...]

    @property
    def questions(self) -> int:
        """All questions."""
        return sum(part.questions for part in self.parts)


def preview_evaluation(
    model: str | ModelSource,
    records: RecordSet | str | Path,
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    scoring: str = "generation",
    prompts: str | Path | PromptStyle | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
) -> Preview:
    """Say what ``evaluate_model`` would ask; arguments and errors are its own, and of the model ``check_model``'s."""
    record_set = RecordSet.of(records)
    source = model if isinstance(model, ModelSource) else ModelSource(model)
    check_model(source)
    if scoring not in ("generation", "likelihood"):
        raise ConfigurationError(f"scoring is 'generation' or 'likelihood', not {scoring!r}")
    if scoring == "likelihood" and not scores_options(source):
        raise ConfigurationError(f"the model '{source.path}' gives no likelihoods; use scoring 'generation'")
    style = PromptStyle.of(default_prompt_style(source) if prompts is None else prompts)
    planned = plan_tasks(record_set, tasks, scoring, prompts=style, limit=limit, max_new_tokens=max_new_tokens)
    parts = []
    for each in planned:
        questions = plan_questions(record_set, [each])
        sampled = len(each.indices) < each.labelled
        faces = f"{len(each.indices):,} of {each.labelled:,}" if sampled else f"{each.labelled:,}"
        prompt = "" if style.name == RECORDED else questions[0].text
        parts.append(PlannedPart(each.task.name, len(questions), faces, each.task.max_new_tokens, prompt))
    return Preview(str(source.path), style.name, scoring, tuple(parts))


def preview_benchmark(model: str | ModelSource, name: str, root: str | Path, **options: Any) -> Preview:
    """Say what ``run_benchmark`` would ask; arguments and errors are its own, and of models ``check_model``'s."""
    source = model if isinstance(model, ModelSource) else ModelSource(model)
    check_model(source)
    listener = _ScoringListener(source) if scores_options(source) else _Listener(source)
    if options.get("extractor") is not None:
        check_model(options["extractor"])
        options["extractor"] = _Listener(ModelSource(options["extractor"]))
    try:
        run_benchmark(listener, name, root, output_dir=None, **options)
    except _Heard as heard:
        return Preview(str(source.path), "", heard.scoring, tuple(_parts(heard.questions)))
    return Preview(str(source.path), "", "", ())


def _parts(questions: Sequence[Question]) -> Iterator[PlannedPart]:
    names = [question.id.rpartition("/")[0] for question in questions]
    counts = Counter(names)
    if len(counts) > _MOST_PARTS:
        names, counts = [""] * len(questions), Counter({"": len(questions)})
    for name, count in counts.items():
        first = questions[names.index(name)]
        yield PlannedPart(name or "all", count, "", first.max_new_tokens, first.text)


class _Heard(Exception):  # noqa: N818 - no error: it ends the benchmark once its questions are known
    def __init__(self, questions: Sequence[Question], scoring: str) -> None:
        self.questions, self.scoring = questions, scoring


class _Listener:
    """A model that only listens."""

    def __init__(self, source: ModelSource) -> None:
        self.name = str(source.path)

    def answer(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        raise _Heard(questions, "generation")


class _ScoringListener(_Listener):
    def score_options(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, float]]]:
        raise _Heard(questions, "likelihood")
