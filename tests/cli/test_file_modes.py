"""Everything that verbs write may be read by those whom the user's umask lets in, and by nobody else."""

import os
import stat

import pytest

from facekit.data.synthetic import write_synthetic_dataset

PARTS = (
    "--encoder",
    "tiny?image_size=64&width=32&depth=1",
    "--connector",
    "mlp",
    "--backbone",
    "tiny?width=32&depth=1&heads=2",
)


@pytest.fixture(params=[0o027, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_and_folders_have_the_modes_of_new_ones(run_facekit, umask, tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 4, seed=1, image_size=64)
    features = ("--features", "tiny?image_size=64&width=32&depth=1")
    for words in (
        ("convert", records, tmp_path / "converted.jsonl"),
        ("convert", records, tmp_path / "chat.json", "--format", "llava", "--card"),
        ("preprocess", records, tmp_path / "shards", "--on-no-face", "whole-image", "--workers", 1, *features),
        ("train", records, "--output", tmp_path / "run", *PARTS, "--steps", 1, "--batch-size", 2, "--lora-rank", 2),
        ("export", tmp_path / "run", tmp_path / "alone", "--format", "language-model"),
        ("datagen", records, "--output", tmp_path / "described"),
    ):
        status, _, error = run_facekit(*words)
        assert status == 0, error
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {path.suffix for path in modes} > {".safetensors", ".jsonl", ".tar", ".html", ".json", ".pt", ".png"}
    assert not {path: oct(mode) for path, mode in modes.items() if path.is_file() and mode != 0o666 & ~umask}
    assert not {path: oct(mode) for path, mode in modes.items() if path.is_dir() and mode != 0o777 & ~umask}
