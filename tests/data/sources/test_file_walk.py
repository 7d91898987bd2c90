"""Every file under a folder is found once, whatever links there are, and counted once."""

import os

import pytest

from facekit.data.sources import read_source
from facekit.data.sources.file_walk import walk_files


def outcomes(root):
    return {file.path.relative_to(root).as_posix(): file.outcome for file in walk_files(root)}


def test_linked_folders_are_entered_once_and_loops_end(miniature, tmp_path):
    miniature.picture("real/1.jpg")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "2.jpg").write_bytes(miniature.jpeg)
    (outside / "back").symlink_to(miniature.root)
    for name, target in (("a", outside), ("b", outside), ("loop", miniature.root), ("again", miniature.root / "real")):
        (miniature.root / name).symlink_to(target)
    assert outcomes(miniature.root) == {
        "real/1.jpg": "media", "a/2.jpg": "media",
        "b": "duplicate", "loop": "duplicate", "again": "duplicate", "a/back": "duplicate",
    }  # fmt: skip


def test_a_linked_file_counts_once_under_its_own_name(miniature, tmp_path):
    miniature.picture("z/1.jpg")
    (tmp_path / "elsewhere.jpg").write_bytes(miniature.jpeg)
    for name, target in (("a.jpg", "z/1.jpg"), ("b.jpg", "../elsewhere.jpg"), ("c.jpg", "../elsewhere.jpg")):
        (miniature.root / name).symlink_to(target)
    (miniature.root / "gone.jpg").symlink_to("nowhere.jpg")
    assert outcomes(miniature.root) == {
        "z/1.jpg": "media", "a.jpg": "duplicate", "b.jpg": "media", "c.jpg": "duplicate", "gone.jpg": "failed",
    }  # fmt: skip


def test_every_file_is_in_one_count_of_the_summary(miniature, tmp_path):
    miniature.picture("happy/1.jpg", "sleepy/2.avif", "happy/no-suffix", "happy/3.JFIF")
    miniature.clip("happy/clip.3gp")
    miniature.text("happy/readme.txt", "words")
    miniature.text("happy/module.ts", "const a = 1;")
    miniature.data("happy/._1.jpg", b"\x00\x05\x16\x07 of macOS")
    os.mkfifo(miniature.root / "happy" / "pipe.jpg")
    (miniature.root / "happy" / "link.jpg").symlink_to("1.jpg")
    miniature.data(os.fsdecode(b"happy/\xe9t\xe9.jpg"), miniature.jpeg)
    records, summary = read_source("folder", miniature.root, labels="expression")
    assert sorted(record.image or record.video for record in records) == [
        "happy/1.jpg", "happy/3.JFIF", "happy/clip.3gp", "happy/no-suffix",
    ]  # fmt: skip
    assert summary.count_outcomes() == {
        "kept": 4, "failed: a name that is not UTF-8; rename it": 1, "linked": 1, "unmapped: sleepy": 1,
        "no picture or video: .jpg": 1, "no picture or video: .txt": 1, "no picture or video: .ts": 1,
        "no picture or video: no regular file": 1,
    }  # fmt: skip
    assert sum(summary.count_outcomes().values()) == summary.found == 11
    assert summary.lost == 1
    shown = str(summary)
    assert "files under the root: 11, each in one of these counts" in shown
    assert "happy/\\udce9t\\udce9.jpg" in shown
    shown.encode()


def test_a_folder_that_cannot_be_listed_is_one_failure(miniature, monkeypatch):
    miniature.picture("a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert outcomes(miniature.root) == {"a/1.jpg": "media", "b": "failed"}


@pytest.mark.parametrize("content", [b"", b"MZ"])
def test_a_file_that_only_looks_like_a_picture_is_left_to_whoever_opens_it(miniature, content):
    miniature.data("a.jpg", content)
    assert outcomes(miniature.root) == {"a.jpg": "media"}


def test_names_with_control_characters_cannot_break_the_summary(miniature):
    (miniature.root / "a\nb\u202e.jpg").symlink_to("nowhere")
    miniature.picture("c.jpg")
    records, summary = read_source("folder", miniature.root)
    assert len(list(records)) == 1
    assert "a\\nb\\u202e.jpg" in str(summary)
