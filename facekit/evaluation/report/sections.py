"""Sections of the report: tables, dot plots, confusions, errors and ratings, in words and rounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from facekit.data.dataset import RecordSet
from facekit.data.record_media import open_frames
from facekit.data.records import FaceRecord
from facekit.evaluation.judging.explanations import CRITERION_TITLES
from facekit.evaluation.judging.ratings import JudgingResult, RatedPart
from facekit.evaluation.metrics.calibration import measure_calibration
from facekit.evaluation.metrics.comparison import PairedDifference
from facekit.evaluation.report.group_results import GroupComparison
from facekit.evaluation.report.results import EvaluationResult, TaskResult
from facekit.evaluation.report.runs import UNREADABLE, Run, confusion, find_errors
from facekit.evaluation.report.sign_off import Finding, sign_off
from facekit.evaluation.report.tables import describe_rate, format_gap_interval, format_interval, format_metric
from facekit.reports import Cell, Section, Table, format_p_value, image_url, in_words

THUMBNAIL = 168
_MOST_CLASSES = 12
_BESIDE_HEADLINE = {"uar": "UAR", "war": "WAR", "auc": "AUC"}


def short_name(name: str) -> str:
    """The last two parts of a model's folder, and a spec without its options; other names as they are."""
    path = PurePath(name.partition("?")[0])
    return "/".join(path.parts[-2:]) if path.is_absolute() or len(path.parts) > 3 else str(path) if name else ""


def short_names(results: Sequence[EvaluationResult]) -> list[str]:
    """Short names of models; where two would be the same, all are whole."""
    names = [short_name(result.model) for result in results]
    return names if len(set(names)) == len(names) else [result.model for result in results]


_STYLES = {
    "trained": "those that facekit's models are trained on",
    "closed": "closed, with the labels to choose from and the form of the answer",
    "recorded": "not known, the answers are from a file",
}


def describe_prompts(results: Sequence[EvaluationResult]) -> str:
    """What models were asked by, in words, each model's own where they differ; empty where no result says so."""
    styles = [_STYLES.get(result.prompts, result.prompts) for result in results]
    if len(set(styles)) == 1:
        return styles[0]
    return "; ".join(f"of {name} {style}" for name, style in zip(short_names(results), styles, strict=True))


def score_table(results: Sequence[EvaluationResult]) -> Table:
    """Every task's metrics with their intervals, a column per model, beside the baseline."""
    rows: list[list[Cell | str]] = []
    for name in dict.fromkeys(task.task for result in results for task in result.tasks):
        found = [next((task for task in result.tasks if task.task == name), None) for result in results]
        task = next(each for each in found if each is not None)
        for metric, title in {task.headline: task.headline_title, **_BESIDE_HEADLINE}.items():
            if metric in task.metrics:
                baseline = task.baseline.get(metric)
                rows.append(
                    [
                        Cell(task.title, f"{task.sample_words} faces" if task.sample_words else ""),
                        title if task.higher_is_better else f"{title}\N{NO-BREAK SPACE}↓",
                        *("" if each is None else _score(each, metric) for each in found),
                        "" if baseline is None else format_metric(task, baseline),
                        task.unreadable_words,
                    ]
                )
    models = short_names(results) if len(results) > 1 else ["model"]
    return Table.of("results by task", ["task", "metric"], [*models, "baseline", "unreadable"], rows)


def _score(task: TaskResult, metric: str) -> Cell | str:
    if metric not in task.metrics:
        return ""
    interval = format_interval(task, *task.intervals.get(metric, (None, None)))
    return Cell(format_metric(task, task.metrics[metric]), interval, "strong")


def difference_table(differences: Sequence[PairedDifference]) -> Table:
    """Paired differences between models."""
    rows = [
        [
            in_words(each.task),
            f"{each.first} against {each.second}",
            f"{each.difference:+.3f}",
            f"{each.low:+.3f} to {each.high:+.3f}",
            format_p_value(each.p_value),
            format_p_value(each.mcnemar),
        ]
        for each in differences
    ]
    return Table.of("models in pairs", ["task", "models"], ["difference", "95 %", "p", "McNemar"], rows)


def disparity_table(result: EvaluationResult) -> Table | None:
    """The significant differences between groups, in words; None where there are none."""
    rows = [_finding(result[each.task], each) for each in sign_off(result) if each.is_significant]
    return Table.of("differences between groups", ["finding", "what"], ["gap", "p"], rows) if rows else None


def insignificant_findings(result: EvaluationResult) -> list[tuple[str, str]]:
    """The clearest difference of every comparison of groups without a significant one: sentence and p-value."""
    return [
        (f"{result[each.task].title}: {each.sentence}", format_p_value(each.disparity.p_value))
        for each in sign_off(result)
        if not each.is_significant
    ]


def _finding(task: TaskResult, found: Finding) -> list[Cell | str]:
    each, is_metric = found.disparity, found.disparity.kind == "metric"
    return [
        Cell(found.sentence, task.title),
        task.headline_title if is_metric else describe_rate(each),
        Cell(format_metric(task, each.value) if is_metric else f"{each.value:.3f}", format_gap_interval(task, each)),
        format_p_value(each.p_value),
    ]


def describe_task(task: TaskResult, run: Run, faces: dict[str, FaceRecord], records: RecordSet) -> dict[str, Any]:
    """A task's section: confusion, parts, calibration, groups and errors.

    Args:
        task: The task's result.
        run: The model's run, for its predictions.
        faces: The records by id.
        records: The same with their folder.
    """
    entries = [entry for entry in run.predictions if entry["task"] == task.task]
    single = task.task not in ("age", "action_units", "attributes") and not any("item" in entry for entry in entries)
    columns, rows = confusion(entries) if single else ([], [])
    if len(rows) > _MOST_CLASSES:
        columns, rows = [], []
    return {
        "section": Section(Section.of("task", task.task).anchor, task.title),
        "title": task.title,
        "question": task.question,
        "prompts": [(in_words(item), text) for item, text in task.prompts.items() if item],
        "sample": task.sample_words,
        "metric": task.headline_title,
        "columns": columns,
        "confusion": [(truth, [(count, count / max(1, sum(counts))) for count in counts]) for truth, counts in rows],
        "calibration": measure_calibration(entries),
        "groups": [_describe_groups(task, comparison) for comparison in task.groups],
        "intersections": [_describe_groups(task, comparison) for comparison in task.intersections],
        "errors": [
            _describe_error(entry, task, image_url(_middle_frame(faces[entry["id"]], records), side=THUMBNAIL))
            for entry in find_errors(entries, task)
            if entry["id"] in faces
        ],
        "parts": _part_table(task),
        "rules": rule_table(entries),
        "extraction": "" if task.extraction is None else task.extraction.words,
    }


def rule_table(entries: Sequence[dict[str, Any]]) -> Table | None:
    """How answers were read: a row for each rule, or reason why there is no reading; None where no entry says so."""
    counts = Counter((entry["prediction"] is None, entry["rule"]) for entry in entries if "rule" in entry)
    right = Counter(entry["rule"] for entry in entries if "rule" in entry and entry["prediction"] == entry["truth"])
    rows = [
        (rule, str(count), "unreadable" if is_unreadable else f"{right[rule]} of {count}")
        for (is_unreadable, rule), count in sorted(counts.items(), key=lambda each: (each[0][0], -each[1]))
    ]
    return Table.of("how answers were read", ["rule"], ["answers", "equal to the truth"], rows) if rows else None


def _part_table(task: TaskResult) -> Table | None:
    """A row for each label of a task with several at once; None for other tasks."""
    named = {name: name.partition("_")[2] for name in task.metrics if name.startswith(("f1_", "accuracy_"))}
    has_curves = any(f"auc_{label}" in task.metrics for label in named.values())
    rows = []
    for name, label in named.items():
        cells = [in_words(label), format_metric(task, task.metrics[name])]
        cells.append(format_interval(task, *task.intervals.get(name, (None, None))))
        if has_curves:
            cells += _area(task, f"auc_{label}")
        rows.append(cells)
    columns = [task.headline_title, "95 %", *(["AUC", "95 %"] if has_curves else [])]
    title = task.title if task.title.endswith(", one by one") else f"{task.title}, one by one"
    return Table.of(title, ["label"], columns, rows) if rows else None


def _area(task: TaskResult, name: str) -> list[str]:
    """An area under the ROC curve and its interval; empty where all faces are of one kind."""
    value = task.metrics.get(name)
    low, high = task.intervals.get(name, (None, None))
    interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return ["", ""] if value is None else [f"{value:.3f}", interval]


def _describe_error(entry: dict[str, Any], task: TaskResult, picture: str) -> dict[str, str]:
    def words(label: str) -> str:
        return ", ".join(map(in_words, label.split(", "))) if task.task == "attributes" else label

    return {
        "id": entry["id"],
        "picture": picture,
        "item": in_words(entry["item"]) if "item" in entry else "",
        "answer": entry["answer"],
        "rule": entry.get("rule", ""),
        "prediction": words(entry["prediction"] or UNREADABLE),
        "truth": words(entry["truth"]),
        "groups": ", ".join(entry["groups"].values()),
    }


def _describe_groups(task: TaskResult, comparison: GroupComparison) -> dict[str, Any]:
    """A comparison as rows of a dot plot: positions in percent of the axis, which holds every interval."""
    ends = [end for score in comparison.scores for end in (score.value, score.low, score.high) if end is not None]
    low, high = min(ends), max(ends)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin

    def position(value: float | None, otherwise: float) -> float:
        return round(100 * ((otherwise if value is None else value) - low) / (high - low), 2)

    odds = comparison.odds
    return {
        "attribute": comparison.attribute.replace("_", " "),
        "rows": [
            {
                "name": score.group,
                "count": score.count,
                "value": format_metric(task, score.value),
                "interval": format_interval(task, score.low, score.high),
                "at": position(score.value, score.value),
                "from": position(score.low, score.value),
                "to": position(score.high, score.value),
                "small": score.is_small,
                "worst": score.group == comparison.worst and bool(comparison.gap),
            }
            for score in comparison.scores
        ],
        "gap": "" if comparison.gap is None else format_metric(task, comparison.gap),
        "interval": format_interval(task, comparison.gap_low, comparison.gap_high),
        "odds": ""
        if odds is None
        else f"{odds.gap:.3f} ({odds.rate} of {in_words(odds.label)}: {odds.worse} above {odds.better})",
    }


def describe_rating(rating: JudgingResult) -> dict[str, Any]:
    """What judges said of explanations: a table, what is missing, and how far they agree."""
    everyone = (*rating.judges, *((rating.panel,) if rating.panel else ()))
    rows: Iterable[list[Cell | str | int]] = (
        [judge.judge, in_words(part.name), part.count, *(_rated(part, name) for name in CRITERION_TITLES)]
        for judge in everyone
        for part in judge.tasks
    )
    return {
        "judged": short_name(rating.judged),
        "answers": rating.answers,
        "empty": rating.empty,
        "table": Table.of("ratings of explanations", ["judge", "task"], ["answers", *CRITERION_TITLES], rows),
        "unrated": [(each.judge, sum(each.unrated.values())) for each in rating.judges if each.unrated],
        "agreement": ", ".join(
            f"{each.criterion} {'undefined' if each.alpha is None else format(each.alpha, '.2f')}"
            for each in rating.agreement
        ),
    }


def _rated(part: RatedPart, criterion: str) -> Cell | str:
    score = part.scores.get(criterion)
    if score is None:
        return ""
    interval = "" if score.low is None or score.high is None else f"{score.low:.2f} to {score.high:.2f}"
    return Cell(f"{score.mean:.2f}", interval, "strong")


def _middle_frame(record: FaceRecord, records: RecordSet) -> Any:
    frames = open_frames(record, records.folder)
    return frames[len(frames) // 2].image
