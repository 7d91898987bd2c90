"""The evaluation report: tables, groups, confusions and errors with pictures, as one self-contained page.

It is written with the same numbers as CSV and LaTeX. ``sections.py`` has the contents of the sections,
``report.html.jinja`` their layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.counted import counted
from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.deprecations import renamed_arguments
from facekit.evaluation.judging.ratings import JudgingResult
from facekit.evaluation.metrics.comparison import PairedDifference
from facekit.evaluation.report.exports import to_csv, to_latex
from facekit.evaluation.report.runs import Run
from facekit.evaluation.report.sections import (
    describe_prompts,
    describe_rating,
    describe_task,
    difference_table,
    disparity_table,
    insignificant_findings,
    score_table,
    short_names,
)
from facekit.evaluation.report.sign_off import describe_verdict
from facekit.evaluation.tasks.sampling import SAMPLE_SEED
from facekit.reports import Section, render_page

__all__ = ["CSV_NAME", "LATEX_NAME", "REPORT_NAME", "Run", "write_report"]

REPORT_NAME, CSV_NAME, LATEX_NAME = "report.html", "metrics.csv", "metrics.tex"
_TEMPLATE = "evaluation/report/report.html.jinja"
_MOST_NAMES = 3


@renamed_arguments(folder="output_dir")
def write_report(
    output_dir: str | Path,
    records: RecordSet | str | Path,
    runs: Sequence[Run],
    differences: Sequence[PairedDifference] = (),
    ratings: Sequence[JudgingResult] = (),
) -> Path:
    """Write ``report.html``, ``metrics.csv`` and ``metrics.tex``.

    Args:
        output_dir: Where to write.
        records: The records that were evaluated on; their pictures are shown beside errors.
        runs: The models; the first is the one whose errors and groups are shown in detail.
        differences: Paired comparisons of the models.
        ratings: What judges said of explanations.

    Returns:
        The page's path.
    """
    folder, record_set = Path(output_dir), RecordSet.of(records)
    faces = {record.id: record for record in record_set.records}
    results = [run.result for run in runs]
    names, first = short_names(results), results[0]
    tasks = [describe_task(task, runs[0], faces, record_set) for task in first.tasks]
    page = render_page(
        _TEMPLATE,
        kind="evaluation",
        title=_title(names),
        contents=[
            Section("scores", "Results"),
            Section("disparities", "For whom it fails"),
            *(task["section"] for task in tasks),
            *([Section("ratings", "Explanations")] if ratings else []),
        ],
        result=first,
        prompts=describe_prompts(results),
        seed=SAMPLE_SEED,
        detailed=names[0] if len(results) > 1 else "",
        scores=score_table(results),
        differences=difference_table(differences) if differences else None,
        disparities=disparity_table(first),
        insignificant=insignificant_findings(first),
        verdict=describe_verdict(first),
        tasks=tasks,
        ratings=[describe_rating(rating) for rating in ratings],
    )
    write_text_atomically(folder / CSV_NAME, to_csv(results))
    write_text_atomically(folder / LATEX_NAME, to_latex(results))
    return write_text_atomically(folder / REPORT_NAME, page)


def _title(names: Sequence[str]) -> str:
    """The models' names; with many of them the first and how many there are besides."""
    named = [name for name in names if name]
    if not named:
        return "A model without a name"
    if len(named) > _MOST_NAMES:
        return f"{named[0]} and {counted(len(named) - 1, 'other model')}"
    return " and ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else named[0]
