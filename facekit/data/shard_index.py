"""An index of WebDataset shards: offsets of samples, found by reading tar headers only.

A stream that is to go on in the middle must know what it has passed without reading it; so a shard is read in two
steps, first where its samples are, then the bytes of those that are wanted.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.data.formats.shards import MANIFEST, list_shards, plain_name
from facekit.errors import RecordError
from facekit.remote.mirror import file_is_there, require_here


@dataclass(frozen=True)
class ShardSample:
    """The location of a sample in its shard.

    Args:
        shard: The tar file.
        key: The sample's name in it.
        fields: Offset and size by field, such as ``json``, ``jpg`` or ``landmarks.npy``.
    """

    shard: Path
    key: str
    fields: Mapping[str, tuple[int, int]]

    def read(self, names: Sequence[str] | None = None) -> dict[str, bytes]:
        """Read the sample's fields.

        Args:
            names: Those to be read, where it has them; None for all.

        Raises:
            OSError: The shard cannot be read.
        """
        found = {}
        require_here(self.shard, None)
        with self.shard.open("rb") as file:
            for field, (offset, size) in self.fields.items():
                if names is not None and field not in names:
                    continue
                file.seek(offset)
                found[field] = file.read(size)
        return found


def list_samples(shard: Path) -> Iterator[ShardSample]:
    """List the samples of a shard in order, as WebDataset groups them: neighbours of one name up to the first point.

    Raises:
        RecordError: The file is missing, is no tar file, or ends too early.
    """
    key, end = "", 0
    fields: dict[str, tuple[int, int]] = {}
    require_here(shard, None)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if not member.isreg():
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, _, field = name.partition(".")
                if folder + slash + stem != key:
                    if fields:
                        yield ShardSample(shard, key, fields)
                    key, fields = folder + slash + stem, {}
                fields[field.lower()] = (member.offset_data, member.size)
        _check_end(shard, end)
    except (OSError, tarfile.TarError) as error:
        raise RecordError(f"{shard} cannot be read as a shard ({error}); copy it again") from error
    if fields:
        yield ShardSample(shard, key, fields)


def are_shards(path: Path) -> bool:
    """Whether a path is that of a shard, or of a folder with some."""
    return path.suffix == ".tar" or (path.is_dir() and bool(list_shards(path)))


def count_samples(folder: Path) -> dict[Path, int]:
    """How many samples each shard of a folder has, by its manifest where that says so.

    Args:
        folder: A folder of shards, or one shard.

    Returns:
        Counts in the order of the shards' names; empty shards are left out.

    Raises:
        RecordError: There is no sample, a shard of the manifest is missing, or a file cannot be read.
    """
    announced = _read_manifest(folder) if folder.is_dir() else {}
    shards = [folder] if folder.is_file() else sorted({*folder.glob("*.tar"), *(folder / name for name in announced)})
    counts = {}
    for shard in shards:
        size, count = announced.get(shard.name, (None, None))
        if not file_is_there(shard):
            raise RecordError(f"{folder}: the manifest names {shard.name}, which is not there; copy the folder again")
        if size is not None and shard.is_file() and shard.stat().st_size != size:
            raise RecordError(f"{shard} has {shard.stat().st_size} bytes, not {size}; copy it again")
        counts[shard] = sum(1 for _ in list_samples(shard)) if count is None else count
    counts = {shard: count for shard, count in counts.items() if count}
    if not counts:
        raise RecordError(f"{folder} has no .tar file with samples; give a folder of WebDataset shards")
    return counts


def _read_manifest(folder: Path) -> dict[str, tuple[int | None, int | None]]:
    """Bytes and records of each shard, as far as the manifest says."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
        return {plain_name(shard["name"]): (shard.get("bytes"), shard.get("records")) for shard in shards}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} cannot be read as a manifest of shards ({error}); copy the folder again") from error


def _check_end(shard: Path, end: int) -> None:
    """Look for the empty block that ends a tar file, because a header that is cut off looks like the end."""
    with shard.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends too early")
