"""Addresses of other file systems have places in the mirror, whose layout is that of the file systems."""

from pathlib import Path

import pytest

from facekit.errors import RecordError
from facekit.remote.addresses import (
    address_of,
    is_mirrored,
    is_remote_address,
    mirror_root,
    mirrored,
    place_of,
    share_file_system,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("origin", "is_remote"),
    [
        ("s3://bucket/records.jsonl", True),
        (Path("s3://bucket/records.jsonl"), True),  # a path makes one slash of two
        ("memory://faces.jsonl", True),
        ("https://host/set/records.jsonl?version=2", True),
        ("records.jsonl", False),
        ("/data/records.jsonl", False),
        ("dfew:/data/DFEW?fold=2", False),
        ("hf:openai/clip-vit-base-patch32", False),
        ("file:///data/records.jsonl", False),
        ("s3://", False),
    ],
)
def test_addresses_are_told_from_paths_and_specs(origin, is_remote):
    assert is_remote_address(origin) is is_remote


def test_a_place_in_the_mirror_has_the_path_of_the_address_and_leads_back_to_it(tmp_path):
    place = mirrored("s3://bucket/set//a/records.jsonl")
    assert place == tmp_path / "cache" / "remote" / "s3" / "bucket" / "set" / "a" / "records.jsonl"
    assert address_of(place) == "s3://bucket/set/a/records.jsonl"
    assert is_mirrored(place)
    assert not is_mirrored(tmp_path / "cache")
    assert is_mirrored(tmp_path / "other" / ".." / "cache" / "remote" / "s3" / "bucket" / "x")
    assert not is_mirrored(place / ".." / ".." / ".." / ".." / ".." / ".." / "x")
    assert not is_mirrored(mirror_root() + "-other/x")


@pytest.mark.parametrize("address", ["s3://bucket/../other/records.jsonl", "records.jsonl", "gopher://host/x"])
def test_an_address_that_leads_out_or_is_none_has_no_place(address):
    with pytest.raises(RecordError):
        mirrored(address)


@pytest.mark.parametrize("name", ["~/private.png", "./~/private.png", "~someone/private.png"])
def test_a_name_in_the_current_folder_is_never_one_in_somebodys_home(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (".", "", Path()):
        assert place_of(folder, name).expanduser() == tmp_path / name


def test_a_record_names_files_by_path_or_by_address(tmp_path):
    assert place_of("/data", "a/1.jpg") == Path("/data/a/1.jpg")
    assert place_of("/data", "/other/1.jpg") == Path("/other/1.jpg")
    assert place_of("/data", "gs://faces/1.jpg") == mirrored("gs://faces/1.jpg")


def test_file_systems_are_the_same_by_protocol(tmp_path):
    one, other = mirrored("s3://one/a"), mirrored("s3://other/b")
    assert share_file_system(one, other)
    assert share_file_system(tmp_path, Path("/data"))
    assert not share_file_system(one, mirrored("gs://one/a"))
    assert not share_file_system(one, tmp_path)
