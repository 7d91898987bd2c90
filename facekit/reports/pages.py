"""Rendering pages and texts from templates: the one template environment.

A page's template begins with ``{% extends "reports/page.html.jinja" %}`` and fills its blocks; the macros of
``reports/components.html.jinja`` draw tables. Templates are named by their path below ``facekit``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from facekit._version import __version__
from facekit.counted import counted
from facekit.reports.words import format_count, format_duration, format_p_value, in_words

if TYPE_CHECKING:
    from jinja2 import Environment

_PLAIN_SUFFIX = ".md.jinja"


@dataclass(frozen=True)
class Section:
    """An entry of a page's contents.

    Args:
        anchor: The ``id`` of the section.
        title: What the contents call it.
    """

    anchor: str
    title: str

    @classmethod
    def of(cls, kind: str, name: str) -> Section:
        """The entry of one of several sections of a kind, such as one per task.

        Args:
            kind: Prefix of its anchor, distinct from those of other kinds.
            name: What it is about; letters and digits of it go into the anchor.
        """
        return cls(f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}", name)


def render_page(template: str, *, kind: str, title: str, contents: Sequence[Section] = (), **values: Any) -> str:
    """Render a page: one HTML file that loads nothing.

    Args:
        template: Path of the template below ``facekit``, such as ``demo/report.html.jinja``.
        kind: What the page is, such as ``evaluation``; it stands above the title and in the browser's tab.
        title: The page's title.
        contents: The sections that the contents at the top link to; without any there are no contents.
        values: What the template shows; a name that it uses and that is missing raises.

    Returns:
        HTML.

    Raises:
        jinja2.UndefinedError: The template uses a name that it was not given.
        jinja2.TemplateNotFound: There is no such template.
    """
    return environment().get_template(template).render(
        version=__version__, kind=kind, title=title, contents=tuple(contents), **values
    )  # fmt: skip


def render_text(template: str, **values: Any) -> str:
    """Render a Markdown file.

    Args:
        template: Path of the template below ``facekit``; it ends in ``.md.jinja``.
        values: What the template shows; a name that it uses and that is missing raises.

    Returns:
        Markdown. Values go through the filter ``cell``, which keeps pipes, line ends, tags, links and pictures in them
        from being read as markup, or between backticks through ``code``.
    """
    return environment().get_template(template).render(version=__version__, **values)


@cache
def environment() -> Environment:
    """The environment of all templates: HTML is escaped, and a missing name raises."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("facekit", ""),
        autoescape=lambda name: name is None or not name.endswith(_PLAIN_SUFFIX),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        cell=escape_cell,
        code=escape_code,
        count=format_count,
        counted=counted,
        duration=format_duration,
        p_value=format_p_value,
        in_words=in_words,
    )
    return made


def escape_cell(value: object) -> str:
    """A value for a Markdown text or a cell of its tables, on one line and without markup of its own."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|\[\]`*])", r"\\\1", text)


def escape_code(value: object) -> str:
    """A value to stand between backticks in Markdown, on one line."""
    return " ".join(str(value).split()).replace("`", "'")
