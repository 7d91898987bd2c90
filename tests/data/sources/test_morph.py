"""MORPH II: the table, and the facts in file names."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"
NAMES = ("Album2/009055_1M54.JPG", "Album2/045231_00F21.JPG")


@pytest.fixture
def morph(miniature):
    miniature.text(
        "morph_2008_nonCommercial.csv",
        HEADER,
        f"009055,1,10/12/1949,12/30/2003,W,M,0,54,0,0,{NAMES[0]}",
        f"045231,0,01/01/1980,01/05/2001,B,F,NULL,21,0,NULL,{NAMES[1]}",
    )
    miniature.picture(*NAMES)
    return miniature


def test_the_table_gives_age_gender_race_and_person(morph):
    first, second = list(read_source("morph2", morph.root)[0])
    assert first.labels.age == 54
    assert first.groups == {"age_group": "50-59", "gender": "man", "race": "White"}
    assert first.source["person"] == "009055"
    assert second.groups == {"age_group": "20-29", "gender": "woman", "race": "Black"}
    assert second.image == NAMES[1]


def test_names_alone_give_age_and_gender(morph):
    (morph.root / "morph_2008_nonCommercial.csv").unlink()
    first, second = list(read_source("morph2", morph.root)[0])
    assert (first.labels.age, second.labels.age) == (54, 21)
    assert second.groups == {"age_group": "20-29", "gender": "woman"}


def test_a_wrong_root_is_named(miniature):
    with pytest.raises(RecordError, match="has no folder Album2; morph2 expects"):
        read_source("morph2", miniature.root)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"1,1,a,b,W,M,0,154,0,0,{NAMES[0]}", "line 2: 'age' must be a whole number from 15 to 100, not '154'"),
        (f"1,1,a,b,W,M,0,45,0,0,{NAMES[0]}", "line 2: age 45 and gender M do not fit the name 009055_1M54.JPG"),
        (f"1,1,a,b,X,M,0,54,0,0,{NAMES[0]}", "line 2: 'race' must be one of"),
        ("1,1,a,b,W,M,0,54,0,0,Album2/face.JPG", "the file name .*face.JPG has no person, gender and age"),
    ],
)
def test_a_label_out_of_range_or_at_odds_is_named(morph, line, words):
    morph.text("morph_2008_nonCommercial.csv", HEADER, line)
    with pytest.raises(RecordError, match=words):
        list(read_source("morph2", morph.root)[0])
