"""Pair lists of face verification sets, read as their authors or their usual loaders lay them out.

- ``lfw``, as scikit-learn's ``fetch_lfw_pairs``: ``pairs.txt`` has the number of folds and pairs, then ``NAME N N`` or
  ``NAME N NAME N``; pictures are ``lfw*/NAME/NAME_NNNN.jpg``.
- ``calfw`` and ``cplfw``, as FaceX-Zoo's test protocol: ``pairs_CALFW.txt`` has two lines a pair, ``FILE FOLD``, with 0
  for two people; pictures are in ``aligned images``.
- ``cfp-ff`` and ``cfp-fp``, as the set's own readme: ``Protocol/Split/FP/NN/same.txt`` and ``diff.txt`` have numbers in
  ``Pair_list_F.txt`` and ``Pair_list_P.txt``, whose paths begin at ``Protocol``.
- ``agedb-30``, as yakhyo's face-recognition reads what was exported from InsightFace: ``agedb_30_ann.txt`` has
  ``1 FILE FILE``; the other sets come in that form too (``lfw_ann.txt``), for which the list itself is given.
- ``rfw``, as the set's own evaluation: ``txts/RACE/RACE_pairs.txt`` in the form of LFW without a head; pictures are
  ``data/RACE/NAME/NAME_NNNN.jpg``.
- ``pairs``, a CSV file with ``first,second,same`` and, where known, ``person_first,person_second,fold``; further
  columns but ``id``, ``split``, ``license`` and ``consent`` are groups.
- ``records``, a records file: those with two ``images`` and ``same``, with the people in ``person_first`` and
  ``person_second`` of their source, where that is known.

Where a list gives no folds, they are ten equal parts of the pairs of one person and ten of those of two, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from facekit.counted import counted
from facekit.data.record_files import read_text
from facekit.data.records import iterate_records
from facekit.data.sources.tables import Row, read_header, read_table
from facekit.errors import RecordError, UnknownPartError
from facekit.evaluation.biometrics.trials import Trial

FOLDS = 10
FoldOf = Callable[[int], int | None]
_TRUE, _FALSE = ("1", "true", "yes", "same", "genuine"), ("0", "-1", "false", "no", "different", "impostor")
_NO_GROUPS = ("id", "split", "license", "licence", "consent")
"""Columns of users' tables that say nothing about the people in a picture; each other one is a group."""
_RACES = ("African", "Asian", "Caucasian", "Indian")


def read_pairs(name: str, root: str | Path) -> list[Trial]:
    """Read the pairs of a verification set.

    Args:
        name: A key of ``PAIR_LISTS``.
        root: The set's folder; for ``pairs`` the CSV file, for ``records`` the records file.

    Raises:
        UnknownPartError: There is no such set.
        RecordError: The list is missing or malformed; the message has file and line.
    """
    if name not in PAIR_LISTS:
        raise UnknownPartError(f"there is no verification set '{name}'; there are {', '.join(PAIR_LISTS)}")
    return _with_folds(list(PAIR_LISTS[name](Path(root))))


def _lfw(root: Path) -> Iterator[Trial]:
    path = _find(root, "pairs.txt", "pairs_LFW.txt", "lfw/pairs.txt")
    pictures = next((each for each in sorted(root.rglob("lfw*")) if each.is_dir() and any(each.iterdir())), root)
    yield from _names_and_numbers(path, partial(_numbered_picture, pictures), _fold_of_lfw(path))


def _fold_of_lfw(path: Path) -> FoldOf:
    """Fold of the n-th pair: the head of the list gives the number of folds and of pairs of each kind in one."""
    head = _lines(path)[0][1].split()
    if not all(part.isdigit() for part in head) or len(head) not in (1, 2):
        return lambda number: None
    size = 2 * int(head[-1])
    return lambda number: number // size if len(head) == 2 else None


def _rfw(root: Path) -> Iterator[Trial]:
    root = root / "test" if (root / "test").is_dir() else root
    found = False
    for race in _RACES:
        path = root / "txts" / race / f"{race}_pairs.txt"
        if not path.is_file():
            continue
        found = True
        for trial in _names_and_numbers(path, partial(_numbered_picture, root / "data" / race)):
            yield replace(trial, id=f"{race}/{trial.id}", groups={"race": race})
    if not found:
        raise RecordError(
            f"{root} has no txts/RACE/RACE_pairs.txt of RFW; give the folder that holds 'data' and 'txts'"
        )


def _names_and_numbers(
    path: Path, picture: Callable[[str, int], Path], fold: FoldOf = lambda number: None
) -> Iterator[Trial]:
    """Lines ``NAME N N`` for one person and ``NAME N NAME N`` for two."""
    pairs = 0
    for number, line in _lines(path):
        parts = line.split("\t") if "\t" in line else line.split()
        if number == 1 and all(part.isdigit() for part in parts):
            continue
        try:
            if len(parts) == 3:
                first, second = (parts[0], int(parts[1])), (parts[0], int(parts[2]))
            else:
                first, second = (parts[0], int(parts[1])), (parts[2], int(parts[3]))
        except (ValueError, IndexError):
            raise RecordError(f"{path}, line {number}: needs NAME N N or NAME N NAME N, not {line!r}") from None
        people = (first[0], second[0])
        yield Trial(
            f"{number}", (picture(*first), picture(*second)), len(parts) == 3, subjects=people, fold=fold(pairs)
        )
        pairs += 1


def _two_lines(root: Path, name: str) -> Iterator[Trial]:
    path = _find(root, name, f"{root.name}/{name}")
    folder = next(
        (each for each in (path.parent / "aligned images", path.parent / "images") if each.is_dir()), path.parent
    )
    lines = _lines(path)
    if len(lines) % 2:
        raise RecordError(f"{path} has {counted(len(lines), 'line')}, but a pair takes two")
    for (number, first), (_, second) in zip(lines[::2], lines[1::2], strict=True):
        ends = [line.rsplit(maxsplit=1) for line in (first, second)]
        if any(len(end) != 2 or not end[1].isdigit() for end in ends) or ends[0][1] != ends[1][1]:
            raise RecordError(f"{path}, line {number}: needs 'FILE FOLD' twice with the same fold, 0 for two people")
        fold = int(ends[0][1])
        people = tuple(Path(end[0]).stem.rpartition("_")[0] for end in ends)
        pictures = (folder / ends[0][0], folder / ends[1][0])
        yield Trial(f"{number}", pictures, fold > 0, subjects=people, fold=fold - 1 if 0 < fold <= FOLDS else None)


def _cfp(root: Path, split: str) -> Iterator[Trial]:
    protocol = _find(root, "Protocol/Pair_list_F.txt", "cfp-dataset/Protocol/Pair_list_F.txt").parent
    lists = [_numbered(protocol / f"Pair_list_{side}.txt") for side in ("F", "F" if split == "FF" else "P")]
    folders = sorted(each for each in (protocol / "Split" / split).glob("*") if each.is_dir())
    if not folders:
        raise RecordError(f"{protocol / 'Split' / split} has no folders with same.txt and diff.txt")
    for fold, folder in enumerate(folders):
        for file, is_same in (("same.txt", True), ("diff.txt", False)):
            for number, line in _lines(folder / file):
                try:
                    ends = [each[int(part)] for each, part in zip(lists, line.split(","), strict=True)]
                except (ValueError, KeyError):
                    raise RecordError(
                        f"{folder / file}, line {number}: needs two numbers of the lists, not {line!r}"
                    ) from None
                people = tuple(end.parts[-3] for end in ends)
                yield Trial(
                    f"{folder.name}/{file[:4]}/{number}",
                    (protocol / ends[0], protocol / ends[1]),
                    is_same,
                    subjects=people,
                    fold=fold,
                )


def _numbered(path: Path) -> dict[int, Path]:
    entries = {}
    for number, line in _lines(path):
        index, _, name = line.partition(" ")
        if not index.isdigit() or not name.strip():
            raise RecordError(f"{path}, line {number}: needs a number and a path, not {line!r}")
        entries[int(index)] = Path(name.strip())
    return entries


def _annotated(root: Path) -> Iterator[Trial]:
    """Lines ``LABEL FILE FILE``; the files say nothing about who is in them."""
    path = root if root.is_file() else _find(root, "agedb_30_ann.txt", "agedb_30/agedb_30_ann.txt", "pairs.txt")
    for number, line in _lines(path):
        parts = line.split()
        if len(parts) != 3 or parts[0] not in _TRUE + _FALSE:
            raise RecordError(f"{path}, line {number}: needs 'LABEL FILE FILE' with a label of 1 or 0, not {line!r}")
        pictures = (path.parent / parts[1], path.parent / parts[2])
        yield Trial(f"{number}", pictures, parts[0] in _TRUE)


def _csv(path: Path) -> Iterator[Trial]:
    path = path / "pairs.csv" if path.is_dir() else path
    for row, cells in read_rows(path, needs=("first", "second", "same")):
        value = cells.pop("same").lower()
        if value not in _TRUE + _FALSE:
            raise RecordError(f"{row.where}, column 'same': needs 1 or 0, not {value!r}")
        pictures = (path.parent / row.text("first"), path.parent / row.text("second"))
        people = tuple(filter(None, (cells.pop("person_first", ""), cells.pop("person_second", ""))))
        fold = cells.pop("fold", "")
        if fold and not fold.isdigit():
            raise RecordError(f"{row.where}, column 'fold': needs a whole number, not {fold!r}")
        groups = {name: text for name, text in cells.items() if text and name not in ("first", "second")}
        yield Trial(
            f"{row.number}", pictures, value in _TRUE, subjects=people, fold=int(fold) if fold else None, groups=groups
        )


def _records(path: Path) -> Iterator[Trial]:
    path = path / "records.jsonl" if path.is_dir() else path
    found = False
    for record in iterate_records(path):
        if record.same is None:
            continue
        found = True
        source = record.source if isinstance(record.source, dict) else {}
        people = tuple(str(source[name]) for name in ("person_first", "person_second") if source.get(name))
        pictures = tuple(record.media_paths(path.parent))
        yield Trial(
            record.id, pictures, record.same, subjects=people, groups=record.groups, record=record, folder=path.parent
        )
    if not found:
        raise RecordError(f"no record of {path} has 'same', which says whether its two pictures show one person")


def read_rows(path: Path, needs: Sequence[str]) -> Iterator[tuple[Row, dict[str, str]]]:
    """Rows of a CSV file, and what is in them by name, in any case; without what is not about the people in them.

    Raises:
        RecordError: It cannot be read, lacks a column, or a row has another number of cells than the header.
    """
    columns, delimiter = read_header(path)
    names = [name.casefold() for name in columns]
    missing = next((name for name in needs if name not in names), None)
    if missing is not None:
        raise RecordError(f"{path} has no column '{missing}'; it has {', '.join(names)}")
    for row in read_table(path, delimiter=delimiter, rename=lambda name: name.strip().casefold()):
        yield row, {name: text.strip() for name, text in row.values.items() if name and name not in _NO_GROUPS}


def _with_folds(trials: list[Trial]) -> list[Trial]:
    """Give trials without a fold one: ten equal parts of each kind, in order, within each group of them."""
    kinds = [(trial.is_positive, *sorted(trial.groups.items())) for trial in trials]
    totals, seen = Counter(kinds), Counter[tuple[object, ...]]()
    divided = []
    for trial, kind in zip(trials, kinds, strict=True):
        fold = trial.fold if trial.fold is not None else seen[kind] * FOLDS // totals[kind]
        divided.append(replace(trial, fold=fold))
        seen[kind] += 1
    return divided


def _numbered_picture(folder: Path, name: str, number: int) -> Path:
    """``NAME/NAME_NNNN``, ``.jpg`` unless another is there."""
    stem = folder / name / f"{name}_{number:04d}"
    found: Iterable[Path] = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".jpg", ".png", ".jpeg"))
    return next((path for path in found if path.is_file()), stem.with_name(f"{stem.name}.jpg"))


def _find(root: Path, *names: str) -> Path:
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise RecordError(f"{root} has no {' or '.join(names)}; give the folder of the set")
    return found


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    lines = read_text(path, "the list").split("\n")
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise RecordError(f"{path} is empty")
    return found


PAIR_LISTS: dict[str, Callable[[Path], Iterable[Trial]]] = {
    "lfw": _lfw,
    "calfw": lambda root: _two_lines(root, "pairs_CALFW.txt"),
    "cplfw": lambda root: _two_lines(root, "pairs_CPLFW.txt"),
    "cfp-ff": lambda root: _cfp(root, "FF"),
    "cfp-fp": lambda root: _cfp(root, "FP"),
    "agedb-30": _annotated,
    "rfw": _rfw,
    "pairs": _csv,
    "records": _records,
}
"""Name of a verification set to its reader."""
