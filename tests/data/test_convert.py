"""From a dataset's own layout to any format, as the command line does it."""

import pytest
from PIL import Image

from facekit.data.convert import convert, open_records
from facekit.data.formats import read_records
from facekit.errors import RecordError, UnknownPartError


@pytest.fixture
def fairface(tmp_path):
    root = tmp_path / "fairface"
    for split, folder in (("train", "train"), ("val", "val")):
        (root / folder).mkdir(parents=True)
        lines = ["file,age,gender,race,service_test"]
        for number in range(3):
            lines.append(f"{folder}/{number}.jpg,20-29,Female,Black,False")
            if number:
                Image.new("RGB", (8, 8)).save(root / folder / f"{number}.jpg")
        (root / f"fairface_label_{split}.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_dataset_becomes_records_whose_pictures_are_found(fairface, tmp_path):
    result = convert(f"fairface:{fairface}?split=train", tmp_path / "work" / "records.jsonl")
    assert result.counts.records == 2
    assert result.summary.missing.count == 1
    found = list(read_records(result.path, check_files=True))
    assert [record.image for record in found] == ["../fairface/train/1.jpg", "../fairface/train/2.jpg"]


def test_a_file_goes_through_every_format_and_back(fairface, tmp_path):
    first = convert(f"fairface:{fairface}", tmp_path / "a.jsonl").path
    path = first
    for format, name in (("llava", "b.json"), ("sharegpt", "c.json"), ("datasets", "d"), ("webdataset", "e")):
        path = convert(str(path), tmp_path / name, format).path
    last = convert(str(path), tmp_path / "f.jsonl", media_folder=tmp_path / "unpacked").path
    moved = [record.rebased(tmp_path / "unpacked", tmp_path) for record in read_records(first)]
    assert len(moved) == 4
    assert [record.labels for record in read_records(last)] == [record.labels for record in moved]
    assert all(record.image.startswith("unpacked/fairface/") for record in read_records(last, check_files=True))


def test_one_split_of_a_file_is_taken(fairface, tmp_path):
    convert(f"fairface:{fairface}", tmp_path / "a.jsonl")
    records, folder, summary = open_records(str(tmp_path / "a.jsonl"), split="validation")
    assert [record.split for record in records] == ["validation"] * 2
    assert (folder, summary) == (tmp_path, None)


def test_the_command_prints_the_summary_and_writes_the_card(fairface, tmp_path, run_facekit):
    status, out, error = run_facekit("convert", f"fairface:{fairface}", tmp_path / "out" / "records.jsonl", "--card")
    assert status == 0, error
    assert "missing: 2 files" in out
    assert "4 records in" in out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- fairface: CC-BY-4.0" in card
    assert "2 entries were left out" in card


def test_wrong_input_is_one_line_and_leaves_nothing(fairface, tmp_path, run_facekit):
    for origin, words in (
        ("fairfase:/data", "did you mean 'fairface'?"),
        (str(tmp_path / "nowhere.jsonl"), "there is no file"),
        (f"fairface:{tmp_path}", "fairface expects"),
        (f"fairface:{fairface}?fold=2", "has no option 'fold'"),
    ):
        status, _, error = run_facekit("convert", origin, tmp_path / "out.jsonl")
        assert status == 2
        assert error.count("\n") == 1
        assert words in error
    assert not (tmp_path / "out.jsonl").exists()


def test_names_that_are_neither_a_file_nor_a_dataset_are_refused():
    with pytest.raises(RecordError, match="did you mean 'fairface'"):
        open_records("fairfac")
    with pytest.raises(UnknownPartError):
        open_records("nothing:/here")


def test_listing_datasets_shows_task_size_licence_and_how_to_obtain(run_facekit):
    status, out, _ = run_facekit("list", "datasets")
    assert status == 0
    for words in ("how to obtain", "size", "task", "fairface", "CC-BY-4.0", "12,271 training", "mafw", "synthetic"):
        assert words in out
    assert "openclip" not in out
