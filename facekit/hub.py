"""The Hugging Face hub: downloading a repository into a folder, with errors in one sentence.

Every road to the hub leads through here. What a checkpoint needs is downloaded into huggingface_hub's own cache, and
what is there already is used when the hub is out of reach. The weights of one layout only are fetched: repositories
hold the same weights for other frameworks, and copies in the authors' own layout, beside them.
"""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from facekit.compat.huggingface_hub import TRANSPORT_ERROR
from facekit.errors import CheckpointError, FaceKitError, first_line
from facekit.spec import closest_match, closest_match_hint

logger = logging.getLogger(__name__)

DESCRIBING_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.spm", "adapter_model.*")
WEIGHTS_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)

_RUNS = "runs"  # where the demo, the recipes and the documentation keep models
_MODEL_FILES = ("config.json", "adapter_config.json")
_SHOWN = 5
_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_LONGEST_ID = 200  # well above what the hub allows, and below what file systems do
_LOG_IN = "log in with 'hf auth login' or set HF_TOKEN"


HUB_FAULTS = (HfHubHTTPError, EntryNotFoundError, OfflineModeIsEnabled, HFValidationError, TRANSPORT_ERROR)
"""What huggingface_hub raises where the hub is out of reach, or does not give what was asked for."""


def is_hub_id(source: str | Path) -> bool:
    """Whether a source is text such as ``OpenGVLab/InternVL3-1B-hf`` or ``gpt2`` that is the name of nothing here.

    A name below ``runs``, or below a folder that is here, means a folder, so that a slip of the pen is not looked for
    on the hub; except for a model that is in huggingface_hub's cache.
    """
    if not _is_written_as_id(source) or Path(source).exists():
        return False
    owner, slash, _ = str(source).partition("/")
    return not slash or not (owner == _RUNS or Path(owner).is_dir()) or _is_cached(str(source))


def _is_written_as_id(source: str | Path) -> bool:
    return isinstance(source, str) and len(source) <= _LONGEST_ID and bool(_HUB_ID.fullmatch(source))


def tell_nearest_folder(path: str | Path) -> str:
    """A hint at what was meant by a folder that is not there, such as "; did you mean 'runs/demo'?", or nothing."""
    there, missing = Path(), list(Path(path).expanduser().parts)
    while missing and (there / missing[0]).is_dir():
        there /= missing.pop(0)
    if not missing:
        return ""
    folders = _subfolders(there)
    match = closest_match(missing[0], folders)
    if match is not None:
        whole = there.joinpath(match, *missing[1:])
        return f"; did you mean '{whole if whole.is_dir() else there / match}'?"
    models = [name for name in folders if any((there / name / each).is_file() for each in _MODEL_FILES)]
    if not models or there == Path():
        return ""
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return f"; '{there}' has {', '.join(models[:_SHOWN])}{more}"


def fetch_folder(source: str | Path, revision: str = "main", *, weights: bool = True, also: Sequence[str] = ()) -> Path:
    """Return the folder that a path or hub id means; what is needed of a repository is downloaded.

    Args:
        source: A folder, which comes back as it is, or a hub id; see ``is_hub_id``.
        revision: Branch, tag or commit on the hub.
        weights: Whether a model's weights are downloaded too; those of an adapter always are.
        also: Patterns of further files.

    Raises:
        CheckpointError: The repository cannot be had, and is not in the cache; the message says why. Or the source
            would be a hub id, but means a folder that is not there.
    """
    _refuse_empty_name(source)
    if not is_hub_id(source):
        _refuse_local_name(source)
        return Path(source).expanduser()
    with hub_guard(str(source), revision):
        folder = Path(snapshot_download(str(source), revision=revision, allow_patterns=[*DESCRIBING_FILES, *also]))
        if not folder.is_dir():
            raise CheckpointError(f"'{source}' on the hub holds no checkpoint: it has no config.json; check the name")
        if weights:
            _fetch_weights(str(source), folder)
    return folder


def fetch_file(source: str, names: Sequence[str], revision: str = "main") -> Path:
    """Return the first file of these names that a folder or a hub repository has, downloaded if need be.

    Raises:
        CheckpointError: It has none of them, or cannot be had.
    """
    _refuse_empty_name(source)
    folder = Path(source)
    if folder.is_dir():
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{folder} has none of the files {', '.join(names)}; name another folder")
        return found
    if not is_hub_id(source):
        _refuse_local_name(source)
        raise CheckpointError(
            f"'{source}' is no folder here, and cannot be the name of a model on the hub; check the path"
        )
    folder = fetch_folder(source, revision, weights=False)
    with hub_guard(source, revision):
        found = next((folder / name for name in names if _fetch_from_commit(source, name, folder)), None)
    if found is None:
        raise CheckpointError(f"'{source}' has none of the files {', '.join(names)} at revision '{revision}'")
    return found


def _refuse_empty_name(source: str | Path) -> None:
    """Raise where a name has no letter: as a path it is the current folder."""
    if not str(source).strip():
        raise CheckpointError("the name of a model is empty; give a folder, '.' for this one, or a hub id")


def _refuse_local_name(source: str | Path) -> None:
    """Raise where a name as the hub has them means a folder, and there is none."""
    if _is_written_as_id(source) and not Path(source).exists():
        owner, near = str(source).partition("/")[0], tell_nearest_folder(source) or "; check the path"
        raise CheckpointError(
            f"there is no folder '{source}', and what stands below '{owner}' is not looked for on the hub{near}"
        )


def cached_source(folder: str | Path) -> tuple[str, str] | None:
    """Return the hub id and commit that a folder of huggingface_hub's cache holds, or None for any other folder."""
    path = Path(folder)
    repository = _cached_id(path.parent.parent) if path.parent.name == "snapshots" else None
    return None if repository is None else (repository, path.name)


def pinned_revision(folder: Path, revision: str = "main") -> str:
    """Return the commit of a folder that ``fetch_folder`` gave, so that what is fetched later belongs to it."""
    cached = cached_source(folder)
    return revision if cached is None else cached[1]


@contextmanager
def hub_guard(source: str, revision: str = "main") -> Iterator[None]:
    """Turn what goes wrong on the way to the hub into one sentence.

    Args:
        source: The hub id, as the user gave it.
        revision: Branch, tag or commit.

    Raises:
        CheckpointError: Whatever went wrong; errors of facekit pass through.
    """
    try:
        yield
    except FaceKitError:
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
        *HUB_FAULTS,
    ) as error:  # the last from Xet, which has no kinds of its own
        raise CheckpointError(explain(error, source, revision)) from error


def is_hub_fault(error: BaseException) -> bool:
    """Whether an error comes from the hub, though another library may have put it into one of its own."""
    return any(isinstance(each, HUB_FAULTS) for each in _causes(error))


def explain(error: BaseException, source: str, revision: str = "main", *, is_named: bool = True) -> str:
    """Say in one sentence why the hub did not give what was asked for.

    Args:
        error: What huggingface_hub raised, or a library that uses it: the causes of an error are looked at too.
        source: The hub id.
        revision: Branch, tag or commit.
        is_named: Whether the user wrote the id, so that a folder may have been meant.
    """
    chain = _causes(error)
    no_folder = f"'{source}' is no folder here, and " if is_named else ""
    near = _neighbours(source) if is_named else ""
    if _find(chain, GatedRepoError):
        consent = f"ask for access at {constants.ENDPOINT}/{source}"
        return f"'{source}' is gated on the hub: {consent}" + ("" if get_token() else f", then {_LOG_IN}")
    if _find(chain, RepositoryNotFoundError):
        private = f", or a private one: {_LOG_IN}" if get_token() is None else " that your login may read"
        return f"{no_folder}the hub has no model of that name{private}{near}"
    if _find(chain, RevisionNotFoundError):
        return f"'{source}' has no branch, tag or commit '{revision}' on the hub{_known_revisions(source, revision)}"
    answered = _find(chain, HfHubHTTPError)
    if isinstance(answered, HfHubHTTPError) and not isinstance(answered, EntryNotFoundError):
        return _explain_status(answered.response.status_code, source)
    if _find(chain, OfflineModeIsEnabled):
        return (
            f"{no_folder}the cache {constants.HF_HUB_CACHE} does not have all of it, while HF_HUB_OFFLINE forbids "
            f"downloads{near}"
        )
    full = next((each for each in chain if isinstance(each, OSError) and each.errno in _STORAGE_FAULTS), None)
    if full is not None:
        return (
            f"'{source}' cannot be kept in the cache {constants.HF_HUB_CACHE}: {full.strerror}; set HF_HOME to another"
            " folder"
        )
    if _find(chain, LocalEntryNotFoundError):
        return (
            f"{no_folder}the hub at {constants.ENDPOINT} cannot be reached for what the cache does not have; check the "
            f"name and the connection{near}"
        )
    if _find(chain, TRANSPORT_ERROR):
        return (
            f"the download of '{source}' broke off ({first_line(error)}); run the command again, files that arrived "
            "whole are kept"
        )
    if _find(chain, HFValidationError):
        return f"'{source}' is no folder here, and cannot be the name of a model on the hub, such as 'org/model'"
    return f"'{source}' cannot be had from the hub: {first_line(error)}"


_STORAGE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def _fetch_weights(source: str, folder: Path) -> None:
    """Download the weights of the commit that a folder holds, if it has any: one layout, safetensors first."""
    if not (folder / "config.json").is_file():
        return  # an adapter, or no checkpoint at all
    if any(_are_whole(folder, name) for name in WEIGHTS_FILES):
        return
    for name in WEIGHTS_FILES:
        if not name.endswith(".json"):
            if _fetch_from_commit(source, name, folder):
                return
        elif (folder / name).is_file():  # it describes the model, so it would be here
            snapshot_download(source, revision=folder.name, allow_patterns=_shards(folder / name))
            return


def _are_whole(folder: Path, name: str) -> bool:
    needed = _shards(folder / name) if name.endswith(".json") else []
    return all((folder / each).is_file() for each in (name, *needed))


def _fetch_from_commit(source: str, name: str, folder: Path) -> bool:
    """Whether the commit that a folder holds has a file, which is then downloaded."""
    if (folder / name).is_file():
        return True
    try:
        hf_hub_download(source, name, revision=folder.name)
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return False
    return True


def _shards(index: Path) -> list[str]:
    """The files that an index names; a damaged one names none, which whoever reads the folder reports."""
    try:
        return sorted({str(file) for file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [index.name]


def _explain_status(status: int, source: str) -> str:
    if status == 401:
        return f"the hub refuses the token that is set; renew it ({_LOG_IN}), or unset it for public models"
    if status == 403:
        return f"the hub forbids your login to read '{source}'; ask its owner, or use another token"
    if status == 429:
        return f"the hub has had too many requests from here; wait some minutes, or {_LOG_IN}"
    return f"the hub at {constants.ENDPOINT} answers '{source}' with status {status}; try again later"


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _find(chain: list[BaseException], kind: type[BaseException]) -> BaseException | None:
    return next((error for error in chain if isinstance(error, kind)), None)


def _neighbours(source: str) -> str:
    """A hint at a folder or a downloaded model of nearly that name."""
    cached = (_cached_id(path) for path in Path(constants.HF_HUB_CACHE).glob("models--*"))
    near = closest_match(source, (name for name in cached if name is not None and name != source))
    return tell_nearest_folder(source) or ("" if near is None else f"; did you mean '{near}'?")


def _subfolders(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if each.is_dir())
    except OSError:
        return []


def _is_cached(source: str) -> bool:
    return Path(constants.HF_HUB_CACHE, f"models--{source.replace('/', '--')}").is_dir()


def _cached_id(folder: Path) -> str | None:
    """The hub id that huggingface_hub writes as the name of a folder: ``models--owner--name``, or ``models--name``."""
    parts = folder.name.split("--", 2)
    return "/".join(parts[1:]) if parts[0] == "models" and len(parts) > 1 else None


def _known_revisions(source: str, revision: str) -> str:
    try:
        references = HfApi().list_repo_refs(source)
    except (ValueError, *HUB_FAULTS) as error:
        logger.debug("the revisions of %s cannot be listed: %s", source, error)
        return ""
    return closest_match_hint(revision, [each.name for each in (*references.branches, *references.tags)])
