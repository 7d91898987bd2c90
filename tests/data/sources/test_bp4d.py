"""BP4D: occurrence tables in which 9 is unknown, and pictures by frame number."""

import pytest

from facekit.data.sources import read_source
from facekit.data.sources.bp4d import CUSTOMARY_UNITS
from facekit.errors import RecordError

UNITS = range(1, 28)


def row(frame, **codes):
    return ",".join([str(frame), *(str(codes.get(f"u{unit}", 9)) for unit in UNITS)])


HEADER = ",".join(["0", *map(str, UNITS)])
ABSENT = {f"u{unit}": 0 for unit in CUSTOMARY_UNITS}


@pytest.fixture
def bp4d(miniature):
    miniature.text("AUCoding/AU_OCC/F001_T1.csv", HEADER, row(2440, **ABSENT | {"u12": 1, "u7": 9}), row(2441, u16=1))
    miniature.text("AUCoding/AU_OCC/M017_T8.csv", HEADER, row(88, **ABSENT), row(89, **ABSENT))
    miniature.picture("Sequences(2D+3D)/F001/T1/2440.jpg", "Sequences(2D+3D)/F001/T1/2441.jpg")
    miniature.picture("Sequences(2D+3D)/M017/T8/088.jpg")
    return miniature


def test_coded_units_are_read_and_nine_is_unknown(bp4d):
    records, summary = read_source("bp4d", bp4d.root)
    first, second = list(records)
    assert first.image == "Sequences(2D+3D)/F001/T1/2440.jpg"
    assert first.labels.active_units() == ["AU12"]
    assert set(first.labels.action_units) == {f"AU{unit}" for unit in CUSTOMARY_UNITS} - {"AU7"}
    assert first.groups == {"gender": "woman"}
    assert second.image == "Sequences(2D+3D)/M017/T8/088.jpg", "numbers are padded in some sequences"
    assert second.labels.active_units() == []
    assert summary.unmapped == {"frame without a coded unit": 1}
    assert summary.missing.examples == [str(bp4d.root / "Sequences(2D+3D)/M017/T8/89.jpg")]


def test_all_coded_units_are_given_on_demand(bp4d):
    records = list(read_source("bp4d", bp4d.root, units="all")[0])
    assert records[1].labels.action_units == {"AU16": 1.0}


def test_columns_beyond_facs_are_counted_where_they_are_coded(bp4d):
    table = bp4d.root / "AUCoding/AU_OCC/F001_T1.csv"
    codes = ("99,98", "9,9", "1,1")
    table.write_text("".join(f"{line},{code}\n" for line, code in zip(table.read_text().split(), codes, strict=True)))
    records, summary = read_source("bp4d", bp4d.root, units="all")
    assert list(records)[1].labels.action_units == {"AU16": 1.0, "AU98": 1.0}
    assert summary.unmapped["AU99, which FACS does not have"] == 1


def test_a_wrong_root_and_missing_tables_are_named(bp4d, tmp_path):
    with pytest.raises(RecordError, match="has no folder AUCoding/AU_OCC or AUCoding; bp4d expects"):
        read_source("bp4d", tmp_path)
    for path in (bp4d.root / "AUCoding/AU_OCC").iterdir():
        path.unlink()
    with pytest.raises(RecordError, match=r"has no file AUCoding/AU_OCC/F001_T1\.csv"):
        read_source("bp4d", bp4d.root)


def test_a_code_out_of_range_is_named_with_file_and_line(bp4d):
    bp4d.text("AUCoding/AU_OCC/F001_T1.csv", HEADER, row(2440, **ABSENT), row(2441, **ABSENT | {"u6": 2}))
    with pytest.raises(RecordError, match=r"F001_T1\.csv, line 3: '6' must be one of '0', '1', '9', not '2'"):
        list(read_source("bp4d", bp4d.root)[0])
