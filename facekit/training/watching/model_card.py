"""The model card of a trained stage: the ``README.md`` that the hub shows, with recipe, data, metrics and limits."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml

from facekit.catalog import current_registry
from facekit.data.atomic import write_text_atomically
from facekit.data.formats.card import share_licences
from facekit.reports import render_text
from facekit.training.watching.run_report import StageReport

logger = logging.getLogger(__name__)

CARD_NAME = "README.md"
MARK = "<!-- written by facekit -->"
_TEMPLATE = "training/watching/model_card.md.jinja"


def render_model_card(report: StageReport, folder_name: str) -> str:
    """The text of a model card.

    Args:
        report: What was trained.
        folder_name: What the model's folder is called.

    Returns:
        Markdown with the hub's front matter.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="facekit",
        pipeline_tag="image-text-to-text",
        license="other",
        base_model=list(report.base_models) or None,
        tags=["face", "facekit", report.recipe],
        datasets=None,
    )
    return render_text(
        _TEMPLATE,
        front_matter=data.to_yaml().strip(),
        mark=MARK,
        title=f"{report.recipe}: {report.stage}" if report.stage != report.recipe else report.recipe,
        report=report,
        folder_name=folder_name,
        settings=yaml.safe_dump(report.chosen_settings, sort_keys=False).strip(),
        origins=_origins(report),
        licences=share_licences(report.counts),
        only_drawn=set(report.counts.origins) == {"synthetic"},
    )


def write_model_card(folder: Path, report: StageReport) -> Path | None:
    """Write the card into a model's folder.

    Args:
        folder: The model's folder.
        report: What was trained.

    Returns:
        Its path; None where there is a ``README.md`` that facekit did not write, which is left as it is.
    """
    path = folder / CARD_NAME
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        logger.warning("%s is no card of facekit's and stays as it is", path)
        return None
    return write_text_atomically(path, render_model_card(report, folder.name))


def _origins(report: StageReport) -> list[tuple[str, int, str]]:
    """Datasets of origin with the number of records and the licence."""
    registry = current_registry()
    known = set(registry.names("dataset"))
    return [
        (name, number, registry.part("dataset", name).licence if name in known else "not recorded")
        for name, number in report.counts.origins.most_common()
    ]
