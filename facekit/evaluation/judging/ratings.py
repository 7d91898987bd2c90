"""Rating statistics: means with intervals by task, group and judge, and agreement between judges.

An empty answer is rated lowest without asking anybody, as unreadable answers elsewhere count as wrong. What a judge
left unrated is counted with its reasons and left out of its means; the panel's means are over the answers that every
judge rated, so that one judge's failures do not tilt them.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from facekit.answers.ratings import CRITERIA, HIGHEST, LOWEST
from facekit.data.atomic import open_atomically
from facekit.errors import CheckpointError, ConfigurationError
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.fairness.groups import group_codes, subject_of
from facekit.evaluation.judging.explanations import JudgedAnswer, RatingRequest, write_request
from facekit.evaluation.judging.panel import Verdict
from facekit.evaluation.metrics.agreement import Agreement, PairAgreement, compare_judges, measure_agreement
from facekit.evaluation.metrics.intervals import bootstrap_intervals, number_clusters
from facekit.evaluation.metrics.weighted import WeightedMetrics
from facekit.evaluation.report.group_results import SMALLEST_GROUP

JUDGING_NAME, RATINGS_NAME = "judging.json", "ratings.jsonl"
ALL_ANSWERS, MEAN_OF_TASKS, PANEL = "all answers", "mean of tasks", "all judges"
OPEN = "not asked yet"


@dataclass(frozen=True)
class RatingScore:
    """A mean rating.

    Args:
        mean: From 1 to 10.
        low: Lower end of its 95 % interval; None where none was computed.
        high: Upper end.
    """

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RatedPart:
    """The ratings of some answers: those of a task, or of a group.

    Args:
        name: The task, ``ALL_ANSWERS``, ``MEAN_OF_TASKS``, or the group.
        count: Answers with a rating.
        scores: Criterion to mean.
        attribute: What the groups differ in; empty for tasks.
    """

    name: str
    count: int
    scores: Mapping[str, RatingScore]
    attribute: str = ""

    @property
    def is_small(self) -> bool:
        """Whether there are too few answers to conclude from."""
        return self.count < SMALLEST_GROUP


@dataclass(frozen=True)
class JudgeRatings:
    """The ratings of one judge, or of all of them together.

    Args:
        judge: Its name, or ``PANEL``.
        rated: Answers with a rating.
        unrated: Reason to number of answers without one.
        tasks: By task, then over all answers; with several tasks also the plain mean of theirs.
        groups: By demographic group, over all answers.
    """

    judge: str
    rated: int
    unrated: Mapping[str, int]
    tasks: tuple[RatedPart, ...]
    groups: tuple[RatedPart, ...]

    def __getitem__(self, name: str) -> RatedPart:
        return next(part for part in self.tasks if part.name == name)


@dataclass(frozen=True)
class JudgingResult:
    """The results of a judging.

    Args:
        answers: Number of answers.
        empty: How many of them said nothing, and were rated lowest without asking.
        judges: One by one.
        panel: Their mean, over the answers that all rated; None with one judge.
        agreement: Krippendorff's alpha by criterion, over the answers that judges were asked about; empty with one.
        pairs: Every pair of judges.
        judged: The model that gave the answers, where it is known.
        cost: Dollars.
    """

    answers: int
    empty: int
    judges: tuple[JudgeRatings, ...]
    panel: JudgeRatings | None = None
    agreement: tuple[Agreement, ...] = ()
    pairs: tuple[PairAgreement, ...] = ()
    judged: str = ""
    cost: float = 0.0

    @property
    def summary(self) -> JudgeRatings:
        """The panel, or the only judge."""
        return self.panel or self.judges[0]

    def write(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        path = Path(path)
        with open_atomically(path) as file:
            file.write(json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote; raises ``CheckpointError`` where it is not that."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            values["judges"] = tuple(map(_read_judge, values["judges"]))
            values["panel"] = _read_judge(values["panel"]) if values["panel"] else None
            values["agreement"] = tuple(Agreement(**entry) for entry in values["agreement"])
            values["pairs"] = tuple(PairAgreement(**entry) for entry in values["pairs"])
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{path} is not the result of a judging ({error}); give a judging.json of facekit judge"
            ) from error


@dataclass(frozen=True, eq=False)
class _Table:
    """Ratings ``(J, n, C)`` of judges, answers and criteria, NaN where there is none."""

    judges: tuple[str, ...]
    answers: Sequence[JudgedAnswer]
    values: np.ndarray
    reasons: tuple[Mapping[str, int], ...] = field(default=())


class Judges(Protocol):
    """A rater: a ``facekit.evaluation.judging.panel.JudgePanel``, or an object of one's own."""

    def rate(self, requests: Sequence[RatingRequest]) -> Mapping[str, Mapping[str, Verdict]]:
        """Rate answers.

        Returns:
            Name of the judge, to the request's id, to the verdict; missing ones are still open.
        """


def judge_answers(
    answers: Sequence[JudgedAnswer],
    judges: Judges,
    *,
    output_dir: str | Path | None = None,
    statistics: Statistics | None = None,
    judged: str = "",
) -> JudgingResult:
    """Have answers rated, and summarise the ratings.

    Args:
        answers: The answers, see ``facekit.evaluation.judging.explanations``.
        judges: Who rates them.
        output_dir: Where ``ratings.jsonl`` is written, one line per answer with every judge's ratings; None writes
            nothing.
        statistics: Bootstrap and permutation settings; only the bootstrap is used.
        judged: Name of the model that gave the answers.

    Returns:
        The result; ``cost`` is for the caller to fill in.

    Raises:
        ConfigurationError: There are no answers, two have the same id, or a judge returned a rating that is none.
    """
    if not answers or len({answer.id for answer in answers}) < len(answers):
        raise ConfigurationError("judging needs at least one answer, and answers with different ids")
    requests = [write_request(answer) for answer in answers]
    verdicts = _rate(
        judges, [request for request, answer in zip(requests, answers, strict=True) if not answer.is_empty]
    )
    table = _tabulate(answers, requests, verdicts)
    if output_dir is not None:
        _write_ratings(Path(output_dir) / RATINGS_NAME, table)
    return _summarise(table, statistics or Statistics(), judged)


def _rate(judges: Any, requests: Sequence[RatingRequest]) -> Mapping[str, Mapping[str, Verdict]]:
    if hasattr(judges, "rate"):
        rated: Mapping[str, Mapping[str, Verdict]] = judges.rate(requests)
        return rated
    warnings.warn("judge_answers takes an object with a method 'rate'", DeprecationWarning, stacklevel=3)
    called: Mapping[str, Mapping[str, Verdict]] = judges(requests)
    return called


def _tabulate(
    answers: Sequence[JudgedAnswer],
    requests: Sequence[RatingRequest],
    verdicts: Mapping[str, Mapping[str, Verdict]],
) -> _Table:
    values = np.full((len(verdicts), len(answers), len(CRITERIA)), np.nan)
    reasons = []
    for row, (judge, given) in enumerate(verdicts.items()):
        missing: Counter[str] = Counter()
        for index, (answer, request) in enumerate(zip(answers, requests, strict=True)):
            verdict = given.get(request.id)
            if answer.is_empty:
                values[row, index] = LOWEST
            elif verdict is None or verdict.ratings is None:
                missing[(verdict.reason if verdict else None) or OPEN] += 1
            else:
                values[row, index] = _check(judge, answer, verdict.ratings)
        reasons.append(dict(missing))
    return _Table(tuple(verdicts), answers, values, tuple(reasons))


def _check(judge: str, answer: JudgedAnswer, ratings: Mapping[str, float]) -> list[float]:
    numbers = [ratings.get(name) for name in CRITERIA]
    if not all(number is not None and LOWEST <= number <= HIGHEST for number in numbers):
        raise ConfigurationError(
            f"the judge '{judge}' rated '{answer.id}' with {dict(ratings)}; it needs {', '.join(CRITERIA)}, each from "
            f"{LOWEST:g} to {HIGHEST:g}"
        )
    return [float(number) for number in numbers if number is not None]


def _summarise(table: _Table, statistics: Statistics, judged: str) -> JudgingResult:
    empty = np.array([answer.is_empty for answer in table.answers])
    clusters = number_clusters([subject_of(answer.record) for answer in table.answers])
    judges = tuple(
        _rate_parts(name, table.values[row], table.answers, clusters, statistics, table.reasons[row])
        for row, name in enumerate(table.judges)
    )
    if len(judges) < 2:
        return JudgingResult(len(empty), int(empty.sum()), judges, judged=judged)
    together = table.values.mean(0)
    lacking = int(np.isnan(together[:, 0]).sum())
    unrated = {"not rated by every judge": lacking} if lacking else {}
    asked, seeded = np.flatnonzero(~empty), {"resamples": statistics.resamples, "seed": statistics.seed}
    numbered = number_clusters([str(clusters[index]) for index in asked])
    agreement: list[Agreement] = []
    pairs: list[PairAgreement] = []
    for column, criterion in enumerate(CRITERIA):
        ratings = table.values[:, asked, column]
        if len(asked):
            agreement.append(measure_agreement(criterion, ratings, numbered, **seeded))
            pairs += compare_judges(criterion, dict(zip(table.judges, ratings, strict=True)))
    return JudgingResult(
        len(empty),
        int(empty.sum()),
        judges,
        _rate_parts(PANEL, together, table.answers, clusters, statistics, unrated),
        tuple(agreement),
        tuple(pairs),
        judged,
    )


def _rate_parts(
    judge: str,
    values: np.ndarray,
    answers: Sequence[JudgedAnswer],
    clusters: np.ndarray,
    statistics: Statistics,
    unrated: Mapping[str, int],
) -> JudgeRatings:
    tasks = sorted({answer.task for answer in answers})
    masks = {("", task): np.array([answer.task == task for answer in answers]) for task in tasks}
    masks["", ALL_ANSWERS] = np.ones(len(answers), dtype=bool)
    records = [answer.record for answer in answers]
    for attribute in sorted({name for record in records for name in record.groups}):
        names, codes = group_codes(records, attribute)
        masks |= {(attribute, name): codes == index for index, name in enumerate(names)}
    rated = ~np.isnan(values[:, 0])
    weighted = _weigh_means(values, masks, tasks)
    points = {key: float(found[0]) for key, found in weighted(np.ones((1, len(answers)))).items()}
    intervals = {}
    if statistics.resamples:
        intervals = bootstrap_intervals(weighted, clusters, resamples=statistics.resamples, seed=statistics.seed)
    parts = []
    counts = {key: int((mask & rated).sum()) for key, mask in masks.items()}
    counts["", MEAN_OF_TASKS] = counts["", ALL_ANSWERS] if len(tasks) > 1 else 0
    for (attribute, name), count in counts.items():
        keys = {criterion: _key(attribute, name, criterion) for criterion in CRITERIA}
        scores = {
            criterion: RatingScore(
                points[key], *((intervals[key].low, intervals[key].high) if key in intervals else ())
            )
            for criterion, key in keys.items()
            if count and not np.isnan(points[key])
        }
        if scores:
            parts.append(RatedPart(name, count, scores, attribute))
    return JudgeRatings(
        judge,
        int(rated.sum()),
        unrated,
        tuple(part for part in parts if not part.attribute),
        tuple(part for part in parts if part.attribute),
    )


def _weigh_means(
    values: np.ndarray, masks: Mapping[tuple[str, str], np.ndarray], tasks: Sequence[str]
) -> WeightedMetrics:
    """Means of ratings ``(n, C)`` over parts of the answers, as a function of answer weights."""
    rated = ~np.isnan(values)
    filled = np.where(rated, values, 0.0)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for (attribute, name), mask in masks.items():
            above, below = weights @ (filled * mask[:, None]), weights @ (rated * mask[:, None]).astype(float)
            means = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
            found |= {_key(attribute, name, criterion): means[:, index] for index, criterion in enumerate(CRITERIA)}
        for criterion in CRITERIA:
            each = np.stack([found[_key("", task, criterion)] for task in tasks])
            known = ~np.isnan(each)
            total = np.where(known, each, 0.0).sum(0)
            count = known.sum(0)
            found[_key("", MEAN_OF_TASKS, criterion)] = np.divide(
                total, count, out=np.full_like(total, np.nan), where=count > 0
            )
        return found

    return metrics


def _key(attribute: str, name: str, criterion: str) -> str:
    return "\n".join((attribute, name, criterion))


def _write_ratings(path: Path, table: _Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as lines:
        for index, answer in enumerate(table.answers):
            ratings = {
                judge: dict(zip(CRITERIA, table.values[row, index].tolist(), strict=True))
                for row, judge in enumerate(table.judges)
                if not np.isnan(table.values[row, index, 0])
            }
            entry = {"id": answer.id, "task": answer.task, "known": answer.known, "question": answer.question,
                     "answer": answer.answer, "ratings": ratings, "groups": answer.record.groups}  # fmt: skip
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _read_judge(entry: dict[str, Any]) -> JudgeRatings:
    parts = {
        kind: tuple(
            RatedPart(**{**part, "scores": {name: RatingScore(**score) for name, score in part["scores"].items()}})
            for part in entry[kind]
        )
        for kind in ("tasks", "groups")
    }
    return JudgeRatings(**{**entry, **parts})
