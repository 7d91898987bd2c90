"""Which files are pictures and which are videos: the one list of suffixes of each, and what first bytes say.

A name decides where it can. Contents decide where it cannot: a file without a suffix, with one that says nothing, with
one that two kinds share (``.ts`` is MPEG and TypeScript), or whose name begins with a dot, as the companions do that
macOS writes beside pictures.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Literal, TypeAlias

__all__ = ["PICTURE_SUFFIXES", "VIDEO_SUFFIXES", "FileKind", "file_kind", "kind_of_contents", "kind_of_name"]

FileKind: TypeAlias = Literal["picture", "video"]

PICTURE_SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .pnm .pfm .avif .avifs "  # noqa: SIM905 - as two lines
    ".heic .heif .jp2 .j2k .j2c .jpc .jpf .jpx .tga .icb .vda .vst .mpo .jxl .qoi".split()
)
"""Also of formats that ``open_image`` refuses: such a picture is a failure with a reason, not ignored."""

VIDEO_SUFFIXES = tuple(
    ".mp4 .avi .flv .mov .mkv .webm .m4v .mpg .mpeg .3gp .3g2 .asf .m2ts .m2v .mts .ogm .ogv .qt .ts .vob .wmv".split()  # noqa: SIM905 - as one line
)

_SHARED_SUFFIXES = (".ts", ".mts")
_HEAD = 512
_PICTURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II[*+]\0|MM\0[*+]|P[1-7fF]\s"
    rb"|\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51|\0\0\0\x0cJXL |\xff\x0a|qoif"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
_VIDEOS = re.compile(
    rb"....(?:ftyp(?!M4A|M4B)|moov|mdat|wide)|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11"
    rb"|OggS.{0,64}theora|\0\0\x01[\xba\xb3]|\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47",
    re.DOTALL,
)


def kind_of_name(name: str | PurePath) -> FileKind | None:
    """What a file's suffix says, in any case; None where it says nothing certain."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix in _SHARED_SUFFIXES:
        return None
    return "picture" if suffix in PICTURE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None


def kind_of_contents(head: bytes) -> FileKind | None:
    """What the first bytes of a file say; 512 of them suffice."""
    return "picture" if _PICTURES.match(head) else "video" if _VIDEOS.match(head) else None


def file_kind(path: Path) -> FileKind | None:
    """What a file is by its name or, where that does not say, its first bytes; None for anything else.

    Raises:
        OSError: The name does not say and the file cannot be read.
    """
    kind = kind_of_name(path)
    if kind is not None:
        return kind
    with path.open("rb") as file:
        return kind_of_contents(file.read(_HEAD))
