"""CREMA-D: labels in names, actors in a table."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

ACTORS = ("ActorID,Age,Sex,Race,Ethnicity", "1001,51,Male,Caucasian,Not Hispanic", "1002,21,Female,Asian,Not Hispanic")


@pytest.fixture
def cremad(miniature):
    miniature.text("VideoDemographics.csv", *ACTORS)
    miniature.clip("VideoFlash/1002_IEO_HAP_HI.flv", "VideoFlash/1001_DFA_ANG_XX.flv")
    miniature.text("VideoFlash/README.md", "not a clip")
    return miniature


def test_clips_have_emotion_actor_and_intensity(cremad):
    first, second = list(read_source("crema-d", cremad.root)[0])
    assert (first.labels.expression, second.labels.expression) == ("anger", "happiness")
    assert first.groups == {
        "age_group": "50-59", "gender": "man", "race": "Caucasian", "ethnicity": "Not Hispanic"
    }  # fmt: skip
    assert first.labels.age is None, "the actor's age is a group, not the task of the dataset"
    assert second.source == {"dataset": "crema-d", "actor": "1002", "sentence": "IEO", "intensity": "high"}


def test_a_wrong_root_and_a_missing_table_are_named(cremad, tmp_path):
    with pytest.raises(RecordError, match=r"no file VideoDemographics\.csv; crema-d expects"):
        read_source("crema-d", tmp_path)
    (cremad.root / "VideoFlash").rename(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="no folder VideoFlash"):
        read_source("crema-d", cremad.root)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1001_DFA_JOY_XX.flv", "'emotion' must be one of 'ANG', .* not 'JOY'"),
        ("1001_DFA_ANG_ZZ.flv", "'intensity' must be one of"),
        ("1093_DFA_ANG_XX.flv", "'actor' must be one of '1001', '1002', not '1093'"),
    ],
)
def test_a_label_out_of_range_names_the_file(cremad, name, words):
    cremad.clip(f"VideoFlash/{name}")
    with pytest.raises(RecordError, match=rf"file name .*{name}: {words}"):
        list(read_source("crema-d", cremad.root)[0])


def test_an_age_out_of_range_is_named_with_file_and_line(cremad):
    cremad.text("VideoDemographics.csv", ACTORS[0], "1001,510,Male,Caucasian,Not Hispanic")
    with pytest.raises(
        RecordError, match=r"VideoDemographics\.csv, line 2: 'Age' must be a whole number from 0 to 120"
    ):
        list(read_source("crema-d", cremad.root)[0])
