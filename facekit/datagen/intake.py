"""Input of a run: a records file, or anything that ``facekit convert`` reads, converted once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from facekit.data.atomic import write_text_atomically
from facekit.data.convert import convert
from facekit.data.formats import detect_format
from facekit.data.formats.tables import holds_media
from facekit.errors import ConfigurationError
from facekit.faces.file_kinds import kind_of_name
from facekit.remote.addresses import is_mirrored, share_file_system
from facekit.remote.mirror import local_copy
from facekit.spec import PartSpec

FOLDER, NOTE = "source", "origin.json"
_MANIFEST = "manifest.json"


def take_in(origin: str | Path | Sequence[str | Path], output: Path) -> Path:
    """The records file of a run.

    Args:
        origin: A records file, which is taken as it is; a file or folder in another format; or a dataset as
            ``name:folder``; each of them may be at an address. The last two are converted into the folder ``source``
            of the output, shards with their media, unless that was done before and they have not changed; so is, with
            its media, a records file on another file system than the output. Several of them are merged there, by
            ``facekit.data.convert``.
        output: The output folder.

    Returns:
        A records file; it may not exist if ``origin`` does not.

    Raises:
        RecordError: If the origin is not as expected.
        UnknownPartError: If there is no such dataset.
        ConfigurationError: If the output folder was begun with something else.
    """
    if not isinstance(origin, (str, Path)):
        if not origin:
            raise ConfigurationError("there is nothing to describe; give a records file or a dataset")
        return take_in(origin[0], output) if len(origin) == 1 else _merge(origin, output)
    path = local_copy(origin).expanduser()
    is_near = share_file_system(path, output)
    if is_near and (path.suffix == ".jsonl" or (not path.exists() and ":" not in str(origin))):
        return path
    format = detect_format(path) if path.exists() else None
    has_media = format == "webdataset" or (format == "tables" and holds_media(path))
    wanted = {"origin": _name(origin, path), "state": _state(origin, path, output)}
    return _convert_once(str(origin), output, wanted, has_media=has_media)


def _merge(origins: Sequence[str | Path], output: Path) -> Path:
    """The records file of several sets together."""
    paths = [local_copy(each).expanduser() for each in origins]
    names = [_name(each, path) for each, path in zip(origins, paths, strict=True)]
    states = [_state(each, path, output) for each, path in zip(origins, paths, strict=True)]
    wanted = {"origin": " and ".join(names), "state": states}
    return _convert_once([str(each) for each in origins], output, wanted)


def _convert_once(
    origin: str | Sequence[str], output: Path, wanted: Mapping[str, object], *, has_media: bool = False
) -> Path:
    """Convert into the folder ``source`` of the output, unless the same was done before."""
    target = output / FOLDER / "records.jsonl"
    note = target.with_name(NOTE)
    found = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
    if found is not None and found["origin"] != wanted["origin"]:
        raise ConfigurationError(f"{output} was begun with {found['origin']}; go on with that, or use another folder")
    if found is not None and target.is_file() and found["state"] in (wanted["state"], None):
        if found != wanted:  # which earlier versions did not know of datasets
            write_text_atomically(note, json.dumps(wanted, indent=2) + "\n")
        return target
    target.unlink(missing_ok=True)  # the output may lie in what is read
    convert(origin, target, media_folder=target.parent if has_media else None, overwrite=True)
    write_text_atomically(note, json.dumps(wanted, indent=2) + "\n")
    return target


def _name(origin: str | Path, path: Path) -> str:
    return str(path.resolve()) if path.exists() and not is_mirrored(path) else str(origin)


def _state(origin: str | Path, path: Path, output: Path) -> str | None:
    """What differs where the content does; None for a folder that is read once."""
    if not path.exists() and ":" in str(origin):
        return _dataset_state(Path(PartSpec.parse(str(origin)).argument or "").expanduser(), output)
    manifest = path / _MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        return None
    if path.is_dir():
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    return f"{path.stat().st_size} bytes, {path.stat().st_mtime_ns}"


def _dataset_state(root: Path, output: Path) -> str | None:
    """A digest of the names of a dataset's files and of the states of those that may hold labels."""
    if root.is_file():
        return f"{root.stat().st_size} bytes, {root.stat().st_mtime_ns}"
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(each for each in folders if Path(folder, each).resolve() != output.resolve())
        for name in sorted(names):
            path = Path(folder, name)
            state = path.stat() if kind_of_name(path) is None and path.is_file() else None
            facts = [str(path.relative_to(root)), None if state is None else [state.st_size, state.st_mtime_ns]]
            digest.update(json.dumps(facts).encode())
    return digest.hexdigest() if root.is_dir() else None
