"""Report building blocks: pages, pictures as data URLs, tables, charts and progress display.

Nothing here knows what is reported. Names load when they are first used.
"""

from __future__ import annotations

import lazy_loader

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
