"""The feature cache: tokens of frozen encoders on disk, shared by runs and processes, of bounded size.

A folder per encoder holds shards (safetensors, read through memory mapping) that are written once and never changed.
A shard takes its name when it is whole, so an interruption leaves none in part; processes that share the folder take
turns to write. Tokens go by the content of their file, so that moving or copying pictures loses nothing.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from facekit.compat.safetensors import save_file
from facekit.data.atomic import write_text_atomically
from facekit.encoders.base import VisionEncoder
from facekit.encoders.fingerprint import fingerprint_encoder
from facekit.errors import ConfigurationError

logger = logging.getLogger(__name__)

SHARD_BYTES = 64 << 20
"""Tokens that wait in memory until they make a shard; so many an interruption can lose."""

_OPEN_SHARDS = 64
_HEADER_BYTES = 256
_DESCRIPTION = "encoder.json"


@dataclass(frozen=True)
class FeatureStorage:
    """Where tokens are kept.

    Args:
        folder: The folder; it is made.
        limit: Most bytes of shards in it, of all encoders together.
        dtype: Floating type on disk; None for that in which the encoder computes.

    Raises:
        ConfigurationError: The limit is below one byte, or the folder is a file.
    """

    folder: Path
    limit: int
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigurationError(f"a feature cache of {self.limit} bytes holds nothing; raise its limit")
        if self.folder.is_file():
            raise ConfigurationError(f"{self.folder} is a file; name a folder for the feature cache")

    def name_for(self, encoder: VisionEncoder) -> str:
        """The name of the folder of an encoder's tokens: a hash of all that they depend on, and their type."""
        dtype = self.dtype or next(encoder.parameters()).dtype
        return f"{fingerprint_encoder(encoder)}-{str(dtype).removeprefix('torch.')}"


class FeatureCache:
    """The tokens of one encoder.

    Where there is no room, the shards of encoders that are not in use go, those first that were not read for longest;
    where that does not suffice, nothing more is kept. (Among shards that every epoch reads in turn, none can go
    without being missed.) What cannot be written, read or kept is logged and ends no run.

    Args:
        storage: Where tokens are kept.
        encoder: The encoder.
        name: Of ``storage.name_for(encoder)``, where it was computed before.
        in_use: Names whose shards stay.

    Attributes:
        stopped: Why nothing more is kept, or None.
    """

    def __init__(
        self,
        storage: FeatureStorage,
        encoder: VisionEncoder,
        *,
        name: str | None = None,
        in_use: Container[str] = (),
    ) -> None:
        self.storage = storage
        self.name = name or storage.name_for(encoder)
        self.folder = storage.folder / self.name
        self.stopped: str | None = None
        self._in_use = in_use
        self._shards: set[Path] = set()
        self._files: dict[str, Path] = {}
        self._waiting: dict[str, Tensor] = {}
        self._waiting_bytes = 0
        self._open: OrderedDict[Path, Any] = OrderedDict()
        try:
            if not (self.folder / _DESCRIPTION).is_file():
                described = {"class": type(encoder).__qualname__, "config": encoder.to_config()}
                write_text_atomically(self.folder / _DESCRIPTION, json.dumps(described, indent=1, default=str) + "\n")
        except OSError as error:
            self._stop(f"{self.folder} cannot be written ({error})")
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or key in self._files

    def __len__(self) -> int:
        """How many tokens' keys are known."""
        return len(self._files) + len(self._waiting)

    def read(self, key: str) -> Tensor | None:
        """Return what ``add`` was given for a key, or None; it is not to be written to."""
        if key in self._waiting:
            return self._waiting[key]
        path = self._files.get(key)
        if path is None:
            return None
        try:
            tokens: Tensor = self._shard(path).get_tensor(key)
            return tokens
        except (OSError, SafetensorError) as error:
            logger.warning("kept tokens in %s cannot be read and are computed again (%s)", path, error)
            self._files = {each: file for each, file in self._files.items() if file != path}
            self._open.pop(path, None)
            return None

    def add(self, tokens: Mapping[str, Tensor]) -> None:
        """Keep tokens by key, in the type that they have, if there is room."""
        if self.stopped is not None:
            return
        for key, value in tokens.items():
            if key not in self:
                self._waiting[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
                self._waiting_bytes += value.nbytes
        if self._waiting_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits as a shard."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if not waiting or self.stopped is not None:
            return
        try:
            with FileLock(self.storage.folder / ".lock"):
                self.refresh()
                fresh = {key: value for key, value in waiting.items() if key not in self._files}
                if fresh and self._make_room(sum(value.nbytes + _HEADER_BYTES for value in fresh.values())):
                    self._write_shard(fresh)
        except (OSError, SafetensorError) as error:
            self._stop(f"{self.folder} cannot be written ({error})")

    def refresh(self) -> None:
        """Learn what other processes have written, and pass over what is damaged."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - self._shards):
            self._shards.add(path)
            try:
                keys = self._shard(path).keys()
            except FileNotFoundError:
                continue
            except (OSError, SafetensorError) as error:
                logger.warning("%s is damaged (%s) and is passed over; delete it", path, error)
                continue
            self._files |= dict.fromkeys(keys, path)

    def _write_shard(self, tokens: Mapping[str, Tensor]) -> None:
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.safetensors"
        temporary = path.with_name(f".{path.name}.part")
        try:
            save_file(dict(tokens), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._shards.add(path)
        self._files |= dict.fromkeys(tokens, path)

    def _make_room(self, size: int) -> bool:
        # Only who holds the lock writes, so a file that is still in part is of a process that died.
        for remains in self.storage.folder.glob("*/.*.part"):
            remains.unlink()
        sizes = {path: path.stat() for path in self.storage.folder.glob("*/*.safetensors")}
        total = sum(each.st_size for each in sizes.values())
        others = [path for path in sizes if path.parent != self.folder and path.parent.name not in self._in_use]
        if total + size - sum(sizes[path].st_size for path in others) > self.storage.limit:
            self._stop(
                f"{self.storage.folder} holds {total:,} bytes and may hold {self.storage.limit:,}; raise the limit to "
                "keep all"
            )
            return False
        for path in sorted(others, key=lambda path: sizes[path].st_mtime_ns):
            if total + size <= self.storage.limit:
                break
            path.unlink()
            total -= sizes[path].st_size
            logger.info("removed %s, tokens of another encoder, to make room", path)
        return True

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        logger.warning("no more of an encoder's tokens are kept: %s", reason)

    def _shard(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
            if os.access(path, os.W_OK):
                os.utime(path)
        self._open.move_to_end(path)
        return self._open[path]
