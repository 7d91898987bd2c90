"""From a dataset's own layout to any format, as the command line does it."""

import io
import json

import pytest
from PIL import Image

from facekit.data.convert import convert, open_records
from facekit.data.formats import read_records
from facekit.data.formats.shards import verify_shards
from facekit.errors import ConfigurationError, RecordError, UnknownPartError


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
    assert len(list(open_records(str(tmp_path / "a.jsonl"), split="Val")[0])) == 2
    with pytest.raises(RecordError, match=r"a\.jsonl is of the split 'test'; there is train, validation"):
        list(open_records(str(tmp_path / "a.jsonl"), split="test")[0])
    assert (folder, summary) == (tmp_path, None)


def test_the_command_prints_the_summary_and_writes_the_card(fairface, tmp_path, run_facekit):
    status, out, error = run_facekit("convert", f"fairface:{fairface}", tmp_path / "out" / "records.jsonl", "--card")
    assert status == 0, error
    assert "missing: 2 files" in out
    assert "4 records in" in out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- fairface: CC-BY-4.0" in card
    assert "listed twice: 2 entries." in card


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


def test_what_is_read_is_never_written_over(fairface, tmp_path, run_facekit):
    first = convert(f"fairface:{fairface}", tmp_path / "a.jsonl").path
    before = first.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(first)
    table = fairface / "fairface_label_val.csv"
    labels = table.read_bytes()
    shards = convert(str(first), tmp_path / "shards", "webdataset").path
    for origin, output, words in (
        (first, first, "is what is read"),
        (first, tmp_path / "link.jsonl", "is what is read"),
        (f"fairface:{fairface}", table, "which is read, and exists"),
        (shards, shards, "is what is read"),
        (shards / "shard-000000.tar", shards, "is what is read"),
    ):
        status, _, error = run_facekit("convert", origin, output, "--format", "records", "--overwrite")
        assert (status, error.count("\n")) == (2, 1)
        assert words in error
    assert (first.read_bytes(), table.read_bytes()) == (before, labels)
    assert verify_shards(shards) == 4


def test_what_is_there_is_replaced_only_if_asked(fairface, tmp_path, run_facekit):
    origin = f"fairface:{fairface}"
    output = tmp_path / "a.jsonl"
    output.write_text("precious")
    status, _, error = run_facekit("convert", origin, output)
    assert status == 2
    assert "a.jsonl exists; name another output, or replace it with --overwrite" in error
    assert output.read_text() == "precious"
    assert run_facekit("convert", origin, output, "--overwrite")[0] == 0
    assert len(list(read_records(output))) == 4


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2)])
def test_a_person_is_asked(fairface, tmp_path, run_facekit, monkeypatch, answer, status):
    output = tmp_path / "a.jsonl"
    output.write_text("precious")
    terminal = io.StringIO(f"{answer}\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    found, _, error = run_facekit("convert", f"fairface:{fairface}", output)
    assert found == status
    assert "a.jsonl exists; replace it?" in error
    assert (output.read_text() == "precious") is (answer == "n")


@pytest.mark.parametrize("format", ["webdataset", "datasets"])
def test_a_folder_is_replaced_whole_if_it_holds_nothing_else(fairface, tmp_path, format):
    first = convert(f"fairface:{fairface}", tmp_path / "a.jsonl").path
    convert(str(first), tmp_path / "out", format)
    convert(f"fairface:{fairface}?split=train", tmp_path / "out", format, overwrite=True)
    assert len(list(read_records(tmp_path / "out"))) == 2
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigurationError, match=r"out holds thesis\.tex, which would be lost"):
        convert(str(first), tmp_path / "out", format, overwrite=True)
    with pytest.raises(ConfigurationError, match=r"fairface holds .*, which would be lost"):
        convert(str(first), fairface, format, overwrite=True)
    with pytest.raises(ConfigurationError, match="out is a folder; name the file to write"):
        convert(str(first), tmp_path / "out", "llava", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "fairface", "out"]


def test_an_error_leaves_the_folder_that_was_to_be_replaced(fairface, tmp_path):
    first = convert(f"fairface:{fairface}", tmp_path / "a.jsonl").path
    convert(str(first), tmp_path / "out", "webdataset")
    (fairface / "val" / "2.jpg").unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        convert(str(first), tmp_path / "out", "webdataset", overwrite=True)
    assert verify_shards(tmp_path / "out") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "fairface", "out"]


def test_media_are_unpacked_over_others_only_if_asked(fairface, tmp_path):
    first = convert(f"fairface:{fairface}", tmp_path / "a.jsonl").path
    shards = convert(str(first), tmp_path / "shards", "webdataset").path
    media = tmp_path / "unpacked"
    convert(str(shards), media / "records.jsonl", media_folder=media)
    convert(str(shards), media / "again.jsonl", media_folder=media)
    target = next(media.rglob("1.jpg"))
    target.write_bytes(b"a picture of somebody else")
    with pytest.raises(ConfigurationError, match=r"1\.jpg is there with other contents"):
        convert(str(shards), media / "more.jsonl", media_folder=media)
    assert target.read_bytes() == b"a picture of somebody else"
    convert(str(shards), media / "more.jsonl", media_folder=media, overwrite=True)
    assert target.read_bytes() == (fairface / "train" / "1.jpg").read_bytes()


def test_pictures_of_a_records_file_that_are_not_there_are_counted(tmp_path):
    for name in ("a.png", "b.png", "x" * 300 + ".png"):
        (tmp_path / "records.jsonl").open("a").write(json.dumps({"id": name, "image": name}) + "\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = convert(str(tmp_path / "records.jsonl"), tmp_path / "llava.json", "llava")
    assert (result.counts.records, result.missing.count) == (3, 2)
    assert result.missing.examples[0] == str(tmp_path / "b.png")


def test_a_table_of_which_no_picture_is_there_says_which(tmp_path):
    (tmp_path / "labels.csv").write_text("file,age\nphotos\\a.jpg,3\n")
    with pytest.raises(RecordError, match=r"missing 1; there is no .*a\.jpg, in which '/' has to stand in place of"):
        convert(f"csv:{tmp_path / 'labels.csv'}", tmp_path / "out.jsonl")


def test_an_empty_input_is_an_error_and_writes_nothing(fairface, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(RecordError, match=r"empty\.jsonl has no record$"):
        convert(str(tmp_path / "empty.jsonl"), tmp_path / "out.jsonl")
    for path in fairface.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(RecordError, match="has no record; of what is there: missing 6"):
        convert(f"fairface:{fairface}", tmp_path / "out.jsonl", card=True)
    with pytest.raises(RecordError, match="has no record of the split 'train'"):
        convert(f"fairface:{fairface}", tmp_path / "out", "webdataset", split="train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jsonl", "fairface"]


@pytest.mark.parametrize("format", ["records", "llava", "sharegpt", "datasets", "webdataset"])
def test_licence_and_consent_go_through_every_format(tmp_path, format):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "faces.csv").write_text("image,Licence,consent\n1.png,cc-by-4.0,research only\n")
    name = {"records": "out.jsonl", "llava": "out.json", "sharegpt": "out.json"}.get(format, "out")
    path = convert(f"csv:{tmp_path / 'faces.csv'}", tmp_path / name, format, card=format == "records").path
    (record,) = read_records(path)
    assert (record.license, record.consent) == ("cc-by-4.0", "research only")
    assert record.source == {"dataset": "csv"}
    if format == "records":
        card = (tmp_path / "README.md").read_text()
        assert "license: cc-by-4.0" in card
        assert "| research only | 1 | 100.0 % |" in card
