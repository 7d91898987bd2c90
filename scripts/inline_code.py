"""Inline code of the documentation: where a line may end inside it.

An option such as ``--dry-run`` stays in one piece, and a long name or path may go on in the next line after ``_``,
``.``, ``/`` and the like. Left to itself, a browser breaks options after their hyphens, and names in narrow tables
between any two letters. Nothing is added to the text: what is copied is what was written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement

from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

if TYPE_CHECKING:
    from markdown import Markdown

_LONG = 12
_WORD = re.compile(r"\S+")
_OPTION = re.compile(r"--?[a-z][\w-]{0,28}")
_BREAK = re.compile(r"(?<=[_./:=,?])(?=\w\w)")


class _BreakPoints(Treeprocessor):
    def run(self, root: Element) -> None:
        blocks = {code for block in root.iter("pre") for code in block.iter("code")}
        for code in list(root.iter("code")):
            if code.text and not len(code) and code not in blocks:
                _mark(code, code.text)


def _mark(code: Element, text: str) -> None:
    """Replace the text of ``code`` by itself with marks of where its lines may end."""
    code.text = AtomicString("")
    last: Element | None = None

    def write(piece: str) -> None:
        if last is None:
            code.text = AtomicString((code.text or "") + piece)
        else:
            last.tail = AtomicString((last.tail or "") + piece)

    position = 0
    for word in _WORD.finditer(text):
        write(text[position : word.start()])
        position = word.end()
        if _OPTION.fullmatch(word[0]):
            last = SubElement(code, "span", {"class": "option"})
            last.text = AtomicString(word[0])
            continue
        first, *others = _BREAK.split(word[0]) if len(word[0]) > _LONG else [word[0]]
        write(first)
        for piece in others:
            last = SubElement(code, "wbr")
            write(piece)
    write(text[position:])


class InlineCode(Extension):
    """The extension, for ``markdown_extensions`` in ``mkdocs.yml``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (the name that Markdown calls)
        """Mark the code when headings have their identifiers."""
        md.treeprocessors.register(_BreakPoints(md), "inline_code", 1)


def makeExtension(**options: Any) -> InlineCode:  # noqa: N802 (the name that Markdown calls)
    """Return the extension, as Markdown asks for it."""
    return InlineCode(**options)
