"""Weights files tensor by tensor: headers without data, streams, and shards written one at a time.

No more than one shard is held at a time, and no code that comes with a file is run.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import get_safetensors_metadata
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from facekit.compat.safetensors import save_file
from facekit.encoders.checkpoints import UNREADABLE_PICKLE, read_weights
from facekit.errors import CheckpointError, ConfigurationError, first_line
from facekit.hub import hub_guard
from facekit.models.interoperability.recognition import read_json

_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB|B)?", re.IGNORECASE)
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_NAMES_IN_MESSAGES = 3


@dataclass(frozen=True)
class TensorHeader:
    """What a weights file says of a tensor before its data is read.

    Args:
        shape: Its shape.
        dtype: Its type.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """The size of its data."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class PendingTensor:
    """A tensor that is to be written, read when its shard's turn comes.

    Args:
        name: Its name in the file.
        num_bytes: The size of its data.
        read: Returns it.
    """

    name: str
    num_bytes: int
    read: Callable[[], Tensor]


def list_weights_files(folder: Path) -> list[Path]:
    """Return a checkpoint's weights files: the shards that an index names, or the single file; safetensors first.

    Raises:
        CheckpointError: There is none, an index cannot be read, or a shard is missing.
    """
    for index, single in zip(_INDEX_FILES, _SINGLE_FILES, strict=True):
        if (folder / index).is_file():
            content = read_json(folder / index)
            weight_map = content.get("weight_map") if isinstance(content, dict) else None
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(f"'{folder / index}' is no index of weights files: it has no 'weight_map'")
            names = set(weight_map.values())
            foreign = [name for name in names if not isinstance(name, str) or name != Path(name).name]
            if foreign:
                raise CheckpointError(f"'{folder / index}' names {foreign[0]!r}, which is no file beside it")
            files = [folder / name for name in sorted(names)]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise CheckpointError(f"'{folder}' lacks {len(missing)} of {len(files)} shards, first '{missing[0]}'")
            return files
        if (folder / single).is_file():
            return [folder / single]
    raise CheckpointError(f"'{folder}' has no weights: neither {' nor '.join((*_SINGLE_FILES, *_INDEX_FILES))}")


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Return shape and type of every tensor of a checkpoint; no data is read.

    Raises:
        CheckpointError: See ``list_weights_files`` and ``stream_tensors``.
    """
    return {name: header for file in list_weights_files(folder) for name, header in read_file_headers(file).items()}


def fetch_headers(repository: str, revision: str = "main") -> dict[str, TensorHeader] | None:
    """Return shape and type of every tensor of a repository on the hub; only the heads of its files are downloaded.

    Returns:
        The headers, or None where the repository has no safetensors.

    Raises:
        CheckpointError: The hub is out of reach, or a file is no safetensors.
    """
    try:
        with hub_guard(repository, revision):
            files = get_safetensors_metadata(repository, revision=revision).files_metadata
    except NotASafetensorsRepoError:
        return None
    except SafetensorsParsingError as error:
        raise CheckpointError(f"the weights of '{repository}' cannot be looked at: {first_line(error)}") from error
    tensors = [(name, tensor) for file in files.values() for name, tensor in file.tensors.items()]
    unknown = next((tensor.dtype for _, tensor in tensors if tensor.dtype not in _DTYPES), None)
    if unknown is not None:
        raise CheckpointError(f"'{repository}' has tensors of a type that facekit does not read: {unknown!r}")
    return {name: TensorHeader(tuple(tensor.shape), _DTYPES[tensor.dtype]) for name, tensor in tensors}


def read_file_headers(file: Path) -> dict[str, TensorHeader]:
    """Return shape and type of every tensor of one weights file; see ``read_headers``."""
    if file.suffix == ".safetensors":
        return _read_safetensors_headers(file)
    return {name: TensorHeader(tuple(value.shape), value.dtype) for name, value in _open_pickle(file, "meta")}


def stream_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield a checkpoint's tensors by name, each read when it is asked for.

    Raises:
        CheckpointError: A file is missing, damaged, of another format, or holds pickled code, which is refused.
    """
    for file in list_weights_files(folder):
        yield from stream_file(file)


def stream_file(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one weights file; see ``stream_tensors``."""
    if file.suffix != ".safetensors":
        yield from _open_pickle(file, "cpu")
        return
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open is not iterable
                yield name, opened.get_tensor(name)
    except SafetensorError as error:
        raise CheckpointError(f"the weights in '{file}' are damaged or cut off: {first_line(error)}") from error


def copy_weights(
    module: nn.Module, tensors: Iterable[tuple[str, Tensor]], rename: Callable[[str], str | None], source: str
) -> None:
    """Copy tensors into a module one by one, each name and shape accounted for.

    Args:
        module: The module; its types stay. Tensors that share their memory need to be given once.
        tensors: Names and tensors as a checkpoint has them.
        rename: Gives the module's name of a tensor, or None for one that is not used.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: Weights are missing, left over or of another shape; the message names the first few.
    """
    state = module.state_dict(keep_vars=True)
    given: set[str] = set()
    unexpected, unfit = [], []
    for name, value in tensors:
        target = rename(name)
        if target is None:
            continue
        if target not in state:
            unexpected.append(name)
            continue
        given.add(target)
        if state[target].shape == value.shape:
            with torch.no_grad():
                state[target].copy_(value)
        else:
            unfit.append(f"{name} {tuple(value.shape)} for {tuple(state[target].shape)}")
        del value
    shared = {state[name].data_ptr() for name in given}
    missing = [name for name in state if name not in given and state[name].data_ptr() not in shared]
    problems = (
        ("lack", missing),
        ("have, beyond what config.json describes,", unexpected),
        ("have in another shape", unfit),
    )
    for verb, names in problems:
        if names:
            raise CheckpointError(f"the weights in '{source}' {verb} {shorten(sorted(names))}")


def shorten(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _NAMES_IN_MESSAGES} more" if len(names) > _NAMES_IN_MESSAGES else ""
    return f"{', '.join(names[:_NAMES_IN_MESSAGES])}{more}"


def read_size(size: int | str) -> int:
    """Return a size in bytes that is given as a number or as text such as ``5GB`` (decimal units).

    Raises:
        ConfigurationError: The text is no size, or it is not positive.
    """
    match = _SIZE.fullmatch(str(size).strip())
    value = int(float(match[1]) * _UNITS[(match[2] or "B").upper()]) if match else 0
    if value < 1:
        raise ConfigurationError(f"a shard size is a number of bytes or text such as '5GB', not {size!r}")
    return value


def plan_shards(tensors: Iterable[PendingTensor], max_shard_size: int) -> list[list[PendingTensor]]:
    """Group tensors in order into shards of at most that many bytes; a larger tensor gets a shard of its own."""
    shards: list[list[PendingTensor]] = [[]]
    used = 0
    for tensor in tensors:
        if shards[-1] and used + tensor.num_bytes > max_shard_size:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += tensor.num_bytes
    return shards


def write_shards(folder: Path, tensors: Iterable[PendingTensor], max_shard_size: int) -> list[Path]:
    """Write tensors as safetensors, shard by shard, with an index where there are several.

    Only the tensors of one shard are held at a time; the index comes last, so that a folder without one is incomplete.

    Args:
        folder: Where they go; it exists.
        tensors: What is to be written.
        max_shard_size: In bytes.

    Returns:
        The files.

    Raises:
        CheckpointError: A file cannot be written, as where the disk is full.
    """
    shards = plan_shards(tensors, max_shard_size)
    single = len(shards) == 1
    names = ["model.safetensors"] if single else [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)
    ]  # fmt: skip
    for name, shard in zip(names, shards, strict=True):
        try:
            save_file(_materialise(shard), folder / name, metadata={"format": "pt"})
        except (OSError, SafetensorError) as error:
            remedy = "make room on the disk, or name another folder"
            raise CheckpointError(f"'{folder / name}' cannot be written ({first_line(error)}); {remedy}") from error
    if not single:
        weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.num_bytes for shard in shards for tensor in shard)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [folder / name for name in names]


def _materialise(shard: Sequence[PendingTensor]) -> dict[str, Tensor]:
    return {tensor.name: tensor.read().detach().to("cpu").contiguous() for tensor in shard}


def _read_safetensors_headers(file: Path) -> dict[str, TensorHeader]:
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not iterable
            return {
                name: TensorHeader(tuple(piece.get_shape()), _DTYPES[piece.get_dtype()])
                for name, piece in slices.items()
            }
    except SafetensorError as error:
        raise CheckpointError(f"the weights in '{file}' are damaged or cut off: {first_line(error)}") from error
    except KeyError as error:
        raise CheckpointError(f"'{file}' has tensors of a type that facekit does not read: {error}") from error


def _open_pickle(file: Path, device: str) -> Iterable[tuple[str, Tensor]]:
    """Read a PyTorch file's tensors, its data mapped to memory where the file allows that."""
    try:
        content = torch.load(file, map_location=device, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{file}' is not a PyTorch weights file, or holds pickled code, which is refused; save its state dict as "
            "safetensors"
        ) from error
    except UNREADABLE_PICKLE:
        content = read_weights(file)  # an older format, which cannot be mapped; or damaged, which is reported there
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"'{file}' holds no dictionary of tensors")
    return content.items()
