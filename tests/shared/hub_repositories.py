"""What a local hub holds: repositories with commits, branches and tags, and who may read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

LARGE_SUFFIXES = (".safetensors", ".bin", ".pt", ".gguf", ".model", ".h5", ".png", ".jpg")  # as in a .gitattributes


@dataclass(frozen=True)
class StoredFile:
    """A file of one commit."""

    content: bytes
    is_large: bool

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """The name that git gives it; of a large file, that of the pointer which git holds in its place."""
        kept = self.content
        if self.is_large:
            kept = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()


@dataclass
class Repository:
    """A model repository.

    Args:
        id: Such as ``org/model``.
        gated: Whether its files need the owner's consent; what it has is public all the same.
        private: Whether only the owner's token sees it.
    """

    id: str
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, changes: dict[str, StoredFile | None], branch: str = "main") -> str:
        """Add a commit to a branch; None removes a file. Returns its id."""
        files = dict(self.commits.get(self.branches.get(branch, ""), {}))
        for path, file in changes.items():
            if file is None:
                files.pop(path, None)
            else:
                files[path] = file
        told = [f"{self.id} {branch} {len(self.commits)}", *(f"{path} {files[path].blob_id}" for path in sorted(files))]
        identity = hashlib.sha1("\n".join(told).encode()).hexdigest()
        self.commits[identity] = files
        self.branches[branch] = identity
        return identity

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, tag or (shortened) commit id means, or None."""
        named = self.branches.get(revision) or self.tags.get(revision)
        if named is not None:
            return named
        matching = [identity for identity in self.commits if len(revision) >= 7 and identity.startswith(revision)]
        return matching[0] if len(matching) == 1 else None


def is_large(path: str) -> bool:
    """Whether a file of that name is kept outside git, as by the hub's usual ``.gitattributes``."""
    return path.endswith(LARGE_SUFFIXES)


def read_folder(folder: Path) -> dict[str, StoredFile]:
    """Return the files of a folder by their path in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: StoredFile(path.read_bytes(), is_large(name)) for name, path in names.items()}
