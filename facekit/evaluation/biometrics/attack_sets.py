"""Sets of attacks on face recognition: presentation attacks, morphs and manipulations, with their kinds.

- ``celeba-spoof``, as the set's own evaluation reads it: ``metas/intra_test/test_label.json`` has the path of a picture
  to 44 numbers, the 41st of them the kind of spoof; pictures are in ``Data/test/PERSON``.
- ``siw-mv2``, as the set's own readme and preprocessing lay it out: ``Live/*`` and ``Spoof/KIND/*`` clips as they are
  unpacked, or frames ``live/Live_N/*.png`` and ``spoof/KIND_N/*.png``.
- ``attacks``, a CSV file with ``picture,kind`` (no kind: genuine), ``trusted`` for a second, trusted picture, and
  ``person``; further columns are groups.

A trusted picture beside the questioned one makes the question differential: is the passport's face a morph, where the
gate has just seen the traveller?
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facekit.data.records import FaceRecord
from facekit.errors import RecordError, UnknownPartError
from facekit.evaluation.biometrics.pair_lists import read_rows
from facekit.evaluation.biometrics.trials import Trial
from facekit.evaluation.fairness.groups import subject_of
from facekit.faces.file_kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES

CELEBA_SPOOF_KINDS = (
    "", "photo", "poster", "A4 print", "face mask", "upper body mask", "region mask", "PC", "pad", "phone", "3D mask",
)  # fmt: skip
_KIND_INDEX, _NUMBERS = 40, 44
_GENUINE = ("", "live", "genuine", "real", "bona fide", "bona_fide", "bonafide", "none")


def read_attacks(name: str, root: str | Path) -> list[Trial]:
    """Read a set of attacks.

    Args:
        name: A key of ``ATTACK_SETS``.
        root: The set's folder; for ``attacks`` the CSV file.

    Raises:
        UnknownPartError: There is no such set.
        RecordError: The labels are missing or malformed.
    """
    if name not in ATTACK_SETS:
        raise UnknownPartError(f"there is no set of attacks '{name}'; there are {', '.join(ATTACK_SETS)}")
    trials = list(ATTACK_SETS[name](Path(root)))
    if not any(trial.kind for trial in trials) or all(trial.kind for trial in trials):
        raise RecordError(f"{root} needs genuine pictures and attacks; it has only one of the two")
    return trials


def trials_of_records(records: Iterable[FaceRecord], folder: str | Path) -> list[Trial]:
    """Trials of records with a ``manipulated`` label; the kind is ``attack``, ``method`` or ``kind`` of their source.

    Args:
        records: The records; those without the label, or with several pictures, are left out.
        folder: Folder of their paths.
    """
    trials = []
    for record in records:
        paths, truth = record.media_paths(folder), record.labels.manipulated
        if truth is None or len(paths) != 1:
            continue
        source = record.source if isinstance(record.source, dict) else {}
        kind = next((str(source[key]) for key in ("attack", "method", "kind") if source.get(key)), "manipulated")
        trials.append(
            Trial(record.id, tuple(paths), truth, kind if truth else "", (subject_of(record),), groups=record.groups)
        )
    return trials


def _celeba_spoof(root: Path) -> Iterator[Trial]:
    path = root / "metas" / "intra_test" / "test_label.json"
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
        entries = list(labels.items())
    except (OSError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} cannot be read ({error}); give the folder of CelebA-Spoof") from error
    for name, numbers in entries:
        kind = numbers[_KIND_INDEX] if isinstance(numbers, list) and len(numbers) == _NUMBERS else None
        if not isinstance(kind, int) or not 0 <= kind < len(CELEBA_SPOOF_KINDS):
            raise RecordError(
                f"{path}, entry '{name}': needs {_NUMBERS} numbers, the 41st a kind of spoof from 0 to 10"
            )
        person = Path(name).parts[-3] if len(Path(name).parts) > 2 else ""
        yield Trial(name, (root / name,), kind > 0, CELEBA_SPOOF_KINDS[kind], (person,) if person else ())


def _siw_mv2(root: Path) -> Iterator[Trial]:
    folders = {each.name.lower(): each for each in root.iterdir() if each.is_dir()} if root.is_dir() else {}
    if "live" not in folders or "spoof" not in folders:
        raise RecordError(f"{root} needs the folders 'Live' and 'Spoof' of SiW-Mv2")
    for side in ("live", "spoof"):
        for path in sorted(folders[side].rglob("*")):
            inner = path.relative_to(folders[side]).parts
            if path.suffix.lower() in VIDEO_SUFFIXES:
                kind, clip = ("" if side == "live" else inner[0]), path.stem
            elif path.suffix.lower() in PICTURE_SUFFIXES and len(inner) > 1:
                kind, clip = ("" if side == "live" else re.sub(r"_\d+$", "", inner[-2])), inner[-2]
            else:
                continue
            if side == "spoof" and len(inner) < 2:
                raise RecordError(f"{path} lies in no folder that names its kind of attack")
            yield Trial("/".join((side, *inner)), (path,), side == "spoof", kind, (clip,))


def _csv(path: Path) -> Iterator[Trial]:
    path = path / "attacks.csv" if path.is_dir() else path
    for row, cells in read_rows(path, needs=("picture", "kind")):
        kind = cells.pop("kind")
        kind = "" if kind.lower() in _GENUINE else kind
        cells.pop("picture")
        names = [row.text("picture"), cells.pop("trusted", "")]
        person = cells.pop("person", "")
        pictures = tuple(path.parent / name for name in names if name)
        groups = {name: text for name, text in cells.items() if text}
        yield Trial(f"{row.number}", pictures, bool(kind), kind, (person,) if person else (), groups=groups)


ATTACK_SETS: dict[str, Callable[[Path], Iterable[Trial]]] = {
    "celeba-spoof": _celeba_spoof,
    "siw-mv2": _siw_mv2,
    "attacks": _csv,
}
"""Name of a set of attacks to its reader."""
