"""A file or a folder of them takes its place whole or not at all; what the system refuses is one sentence."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from facekit.data.atomic import (
    explained_writes,
    open_atomically,
    require_writable,
    save_together,
    write_bytes_atomically,
    write_text_atomically,
)
from facekit.errors import FaceKitError, OutputError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def test_a_file_is_replaced_when_the_block_ends(old):
    with open_atomically(old) as file:
        file.write("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert old.stat().st_mode & 0o777 == 0o644
    assert write_bytes_atomically(old, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert write_text_atomically(old.parent / "new" / "file", "Grüße").read_text(encoding="utf-8") == "Grüße"
    assert names(old.parent) == ["file.txt", "new", "new/file"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), FileNotFoundError(errno.ENOENT, "of others")])
def test_an_error_inside_leaves_the_old_file_and_passes_as_it_is(old, error):
    def write():
        with open_atomically(old) as file:
            file.write("half")
            raise error

    with pytest.raises(type(error)) as told:
        write()
    assert told.value is error
    assert (old.read_text(), names(old.parent)) == ("old", ["file.txt"])


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(old):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        for write in (lambda: write_text_atomically(old, "x" * 1000), lambda: write_bytes_atomically(old, b"x" * 1000)):
            with pytest.raises(OutputError) as told:
                write()
            assert str(told.value) == (
                f"{old} cannot be written (File too large); make room on the disk, or choose another folder"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (old.read_text(), names(old.parent)) == ("old", ["file.txt"])


def test_a_file_under_a_file_is_one_sentence(old):
    with pytest.raises(OutputError, match=r"inner\.txt cannot be written \((Not a directory|File exists)\)"):
        write_text_atomically(old / "inner.txt", "new")


def test_files_are_saved_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("old b")
    before = {name: (tmp_path / name).read_text() for name in ("a", "sub/b")}

    def save(error=None):
        with save_together(tmp_path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "b").write_text("new b")
            (folder / "c").write_text("new c")
            if error is not None:
                raise error

    with pytest.raises(OSError, match="No space"):
        save(FULL)
    assert {name: (tmp_path / name).read_text() for name in ("a", "sub/b")} == before
    assert names(tmp_path) == ["a", "sub", "sub/b"]
    save()
    assert names(tmp_path) == ["a", "c", "sub", "sub/b"]
    assert (tmp_path / "a").read_text() == "old a"
    assert (tmp_path / "sub" / "b").read_text() == "new b"


def test_files_of_an_earlier_save_go_where_the_new_one_has_none_of_their_name(tmp_path):
    for name in ("part-1", "part-2", "other"):
        (tmp_path / name).write_text("old")
    with save_together(tmp_path, replacing=["part-*"]) as folder:
        (folder / "part-2").write_text("new")
    assert names(tmp_path) == ["other", "part-2"]
    assert (tmp_path / "part-2").read_text() == "new"


def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    killed = save_together(tmp_path)
    (killed.__enter__() / "model").write_text("half")
    with save_together(tmp_path) as folder:
        (folder / "model").write_text("whole")
    assert names(tmp_path) == ["model"]


def test_a_folder_is_made_and_left_empty_where_it_can_be_written_to(tmp_path):
    assert require_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert names(tmp_path) == ["a", "a/b"]


@pytest.mark.parametrize("name", ["file.txt", "file.txt/inner", "x" * 300])
def test_a_folder_that_cannot_be_is_one_sentence(old, name):
    with pytest.raises(OutputError, match=r"cannot be written to \([A-Z].*\); choose another output folder"):
        require_writable(old.parent / name)


def test_a_read_only_folder_is_one_sentence(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root may write anywhere
    with pytest.raises(OutputError, match=rf"{tmp_path} cannot be written to \(Permission denied\)"):
        require_writable(tmp_path)


def test_a_sentence_inside_a_sentence_keeps_its_reason_only():
    def write():
        with explained_writes("the page cannot be written", "try again"), explained_writes("a file", "never"):
            raise FULL

    with pytest.raises(OutputError) as told:
        write()
    assert str(told.value) == "the page cannot be written (No space left on device); try again"
    assert isinstance(told.value, FaceKitError)
    assert isinstance(told.value, OSError)
