"""The report on near-duplicates: a JSON file with every copy, and a page with counts and examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from facekit.counted import counted
from facekit.data.atomic import write_text_atomically
from facekit.data.duplicates.finding import Copy, Duplicates, Place
from facekit.errors import ConfigurationError, FaceKitError
from facekit.faces import open_image
from facekit.faces.file_kinds import kind_of_name
from facekit.remote.addresses import place_of
from facekit.reports import Cell, Section, Table, image_url, render_page

__all__ = ["check_report_place", "describe_kept_beside", "describe_leaks", "write_report"]

_TEMPLATE = "data/duplicates/report.html.jinja"
_EXAMPLES, _SIDE = 24, 200


def check_report_place(path: Path, origins: Sequence[str]) -> None:
    """Make sure that a report replaces nothing but an earlier one, and that its page has another name than itself.

    Args:
        path: As for ``write_report``.
        origins: What is read.

    Raises:
        ConfigurationError: It would.
    """
    page = path.with_suffix(".html")
    if page == path:
        raise ConfigurationError(f"{path} is where the page goes; name the report itself, such as {path.stem}.json")
    read = {Path(origin).expanduser().resolve() for origin in origins}
    for each in (path, page):
        if each.resolve() in read:
            raise ConfigurationError(f"{each} is what is read, and would be written over; name another output")
    other = page if page.exists() and not path.exists() else path
    if other.exists() and not _is_report(path):
        raise ConfigurationError(f"{other} exists and is no report on near-duplicates; move it, or name another output")


def _is_report(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"distance", "compared", "copies"} <= content.keys()


def write_report(found: Duplicates, path: Path) -> tuple[Path, Path]:
    """Write the report.

    Args:
        found: What was found.
        path: The JSON file; the page is beside it, with the suffix ``.html``.

    Returns:
        The JSON file and the page.

    Raises:
        OutputError: They cannot be written.
    """
    content = {
        "distance": found.distance,
        "sets": [{"name": name, "records": records} for name, records in zip(found.sets, found.records, strict=True)],
        "compared": found.compared,
        "unreadable": found.unreadable.count,
        "leaks": len(found.leaks),
        "kept_beside": found.kept_beside,
        "copies": [
            {"dropped": _describe(copy.dropped, found), "kept": _describe(copy.kept, found),
             "distance": copy.distance, "leak": copy.is_leak}
            for copy in found.copies
        ],
        "leaking": [
            {"record": _describe(leak.dropped, found), "near": _describe(leak.kept, found), "distance": leak.distance}
            for leak in found.leaks
        ],
    }  # fmt: skip
    write_text_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path, write_text_atomically(path.with_suffix(".html"), _render(found, path.name))


def describe_leaks(found: Duplicates) -> str | None:
    """One sentence about records that leak between splits; None where there are none."""
    leaks = found.leaks
    if not leaks:
        return None
    pairs = Counter(tuple(sorted((copy.kept.part, copy.dropped.part))) for copy in leaks)
    told = ", ".join(f"{number:,} between {one} and {other}" for (one, other), number in pairs.most_common())
    first = leaks[0]
    return (
        f"{counted(len(leaks), 'leak')} between splits: {told}; the first: {first.kept.id!r} ({first.kept.part}) and "
        f"{first.dropped.id!r} ({first.dropped.part})"
    )


def describe_kept_beside(found: Duplicates) -> str | None:
    """One sentence about records that are kept beside others of their pictures; None where there are none."""
    if not found.kept_beside:
        return None
    return (
        f"{found.kept_beside:,} records have pictures of others and are kept, because they ask or label something else"
    )


def _describe(place: Place, found: Duplicates) -> dict[str, object]:
    return {**asdict(place), "set": found.sets[place.set]}


def _render(found: Duplicates, json_name: str) -> str:
    within = [
        sum(copy.dropped.set == copy.kept.set == index for copy in found.copies) for index in range(len(found.sets))
    ]
    across = [
        sum(copy.dropped.set == index != copy.kept.set for copy in found.copies) for index in range(len(found.sets))
    ]
    rows = zip(found.sets, found.records, within, across, strict=True)
    sets = Table.of("sets", ["set"], ["records", "copies within it", "copies of other sets"], rows)
    between = Table.of(
        "copies across sets", ["kept in", "copies in"], ["copies"],
        [(found.sets[one], found.sets[other], number) for (one, other), number in found.between.most_common()
         if one != other],
    )  # fmt: skip
    pairs = Counter((copy.kept.part, copy.dropped.part, copy.is_leak) for copy in found.copies)
    splits = Table.of(
        "copies by split", ["kept", "copies"], ["copies"],
        [(Cell(one, kind="bad" if leak else ""), Cell(other, kind="bad" if leak else ""), number)
         for (one, other, leak), number in pairs.most_common()],
    )  # fmt: skip
    examples = _examples(found)
    contents = [Section("sets", "Within and across sets")]
    contents += [Section("examples", "Examples")] if examples else []
    contents += [Section("unreadable", "Not compared")] if found.unreadable.count else []
    return render_page(
        _TEMPLATE, kind="duplicates", title=" and ".join(found.sets) if len(found.sets) < 4 else "Near-duplicates",
        contents=contents, found=found, leaks=found.leaks, sets=sets, between=between if between.rows else None,
        splits=splits if len(splits.rows) > 1 or found.leaks else None, examples=examples, json_name=json_name,
        kept_beside=describe_kept_beside(found),
    )  # fmt: skip


def _examples(found: Duplicates) -> list[tuple[Copy, str, str]]:
    """Leaks and copies with their pictures, leaks first, then the least alike, which are most in doubt."""
    shown: list[tuple[Copy, str, str]] = []
    leaking = {leak.dropped for leak in found.leaks}
    others = [copy for copy in found.copies if copy.dropped not in leaking]
    for copy in [*found.leaks, *sorted(others, key=lambda each: -each.distance)]:
        if len(shown) == _EXAMPLES:
            break
        pictures = [_picture(place, found) for place in (copy.kept, copy.dropped)]
        if all(pictures):
            shown.append((copy, str(pictures[0]), str(pictures[1])))
    return shown


def _picture(place: Place, found: Duplicates) -> str | None:
    if kind_of_name(place.media) == "video":
        return None
    try:
        return image_url(open_image(place_of(found.folders[place.set], place.media)), side=_SIDE)
    except (FaceKitError, OSError):
        return None
