"""Report building blocks: pages, pictures as data URLs, tables, charts and progress display.

Nothing here knows what is reported. Names load when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.reports.charts import histogram, line_chart
    from facekit.reports.display import ProgressDisplay
    from facekit.reports.images import file_url, image_url
    from facekit.reports.pages import Section, render_page, render_text
    from facekit.reports.progress import (
        Progress,
        ProgressListener,
        ProgressMeter,
        ProgressState,
        as_listener,
        under_stage,
    )
    from facekit.reports.tables import Cell, Column, Table
    from facekit.reports.words import format_count, format_duration, format_p_value, in_words

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "charts": ["histogram", "line_chart"],
        "display": ["ProgressDisplay"],
        "images": ["file_url", "image_url"],
        "pages": ["Section", "render_page", "render_text"],
        "progress": ["Progress", "ProgressListener", "ProgressMeter", "ProgressState", "as_listener", "under_stage"],
        "tables": ["Cell", "Column", "Table"],
        "words": ["format_count", "format_duration", "format_p_value", "in_words"],
    },
)
