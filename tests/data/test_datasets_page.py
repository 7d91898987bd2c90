"""The page on datasets tells the truth: its table is the catalog's, its own source works."""

import re
from pathlib import Path

from facekit.catalog import current_registry
from facekit.data.formats import FORMATS
from facekit.data.sources import read_source

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


def test_every_source_and_format_is_on_the_page():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    sources = [name for name in current_registry().names("dataset") if name != "synthetic"]
    assert sorted(rows) == sorted([*sources, *FORMATS])


def test_splits_and_options_on_the_page_are_those_of_the_source():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in current_registry().names("dataset"):
            kind = current_registry().load("dataset", cells[0].strip("`"))
            assert cells[2] == ", ".join(kind.splits), kind.name
            for option in re.findall(r"`(\w+)=", cells[3]):
                assert option in kind.__init__.__kwdefaults__, (kind.name, option)


def test_the_source_of_ones_own_on_the_page_works(registry, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "class Mine" in block]
    exec(compile(code, str(PAGE), "exec"), {})
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.jpg").write_bytes(b"not opened")
    (tmp_path / "ages.csv").write_text("file,age\na.jpg,31\n")
    (record,) = read_source("mine", tmp_path)[0]
    assert (record.image, record.labels.age) == ("faces/a.jpg", 31)


def test_the_table_of_ones_own_on_the_page_is_read_column_by_column(tmp_path):
    (table,) = re.findall(r'```text title="photos/labels.csv"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    (tmp_path / "Anna").mkdir()
    for name in ("Jürgen 1.jpg", "Anna/2.png"):
        (tmp_path / name).write_bytes(b"not opened")
    records, summary = read_source("csv", tmp_path / "labels.csv")
    first, second = list(records)
    assert (first.image, first.labels.expression, first.labels.age) == ("Jürgen 1.jpg", "happiness", 34)
    assert (first.labels.action_units, first.labels.attributes) == ({"AU12": 3}, {"Smiling": True})
    assert (second.labels.age, second.groups, second.split) == (None, {"gender": "woman"}, "test")
    assert (summary.missing.count, summary.other_columns) == (0, ["camera"])
