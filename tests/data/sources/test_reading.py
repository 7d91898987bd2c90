"""All sources alike: the catalog has them, with everything that a user needs to know."""

from pathlib import Path

import pytest

from facekit.catalog import current_registry
from facekit.data.sources import Source, SourceSummary, open_source, read_source
from facekit.data.sources.base import list_pictures
from facekit.data.sources.folder import PlainFolder
from facekit.errors import ConfigurationError, RecordError, UnknownPartError

NAMES = [name for name in current_registry().names("dataset") if name != "synthetic"]


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_described_and_refuses_an_empty_folder_by_what_it_expects(name, tmp_path):
    part = current_registry().part("dataset", name)
    kind = part.load()
    assert issubclass(kind, Source)
    assert kind.name == name
    assert part.licence
    assert all(part.details[fact] for fact in ("task", "size", "obtain"))
    with pytest.raises(RecordError, match=rf"{name} expects ") as error:
        read_source(name, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_dataset_gets_the_closest_one(tmp_path):
    with pytest.raises(UnknownPartError, match="did you mean 'fairface'"):
        open_source("fairfase", tmp_path)


def test_reading_twice_counts_once(miniature):
    miniature.picture("a.jpg", "b.jpg")
    source = open_source("folder", miniature.root)
    assert len(list(source)) == len(list(source)) == 2
    assert source.summary.counts.records == 2


def test_only_the_first_examples_of_a_problem_are_kept(tmp_path):
    summary = SourceSummary("any", tmp_path)
    for number in range(1000):
        summary.missing.add(number)
    assert summary.missing.count == 1000
    assert summary.missing.examples == [str(number) for number in range(10)]
    assert "missing: 1,000 files: 0, 1, 2" in str(summary)


def test_frames_are_ordered_by_number(miniature):
    miniature.picture("10.jpg", "2.jpg", "f_1_x.png")
    miniature.text("3.txt", "no frame")
    assert [path.name for path in list_pictures(miniature.root)] == ["f_1_x.png", "2.jpg", "10.jpg"]


def test_a_source_of_ones_own_is_read_by_its_name(miniature, registry):
    class Mine(PlainFolder):
        name = "mine"
        layout = "pictures of my own"

    registry.register("dataset", "mine", Mine, summary="mine", licence="MIT", details={"task": "none"})
    miniature.picture("a.jpg")
    records, summary = read_source("mine", miniature.root)
    assert [record.source for record in records] == [{"dataset": "mine"}]
    assert summary.name == "mine"


def test_media_outside_the_root_and_values_that_do_not_fit_are_refused(miniature):
    miniature.picture("a.jpg")
    source = open_source("folder", miniature.root)
    with pytest.raises(RecordError, match=r"folder: /etc/a\.jpg is not under"):
        source.record(Path("/etc/a.jpg"))
    with pytest.raises(RecordError, match=r"folder/a\.jpg: field 'landmarks'"):
        source.record(miniature.root / "a.jpg", landmarks=[[90.0, 90.0]] * 68)


def test_an_option_that_is_neither_true_nor_false_is_refused(miniature):
    miniature.picture("a.jpg")
    with pytest.raises(ConfigurationError, match="check_images=perhaps cannot be used: it takes true or false"):
        open_source("folder", miniature.root, check_images="perhaps")
