import zipfile

import pytest

from facekit.data.workbooks import read_sheet
from facekit.errors import RecordError

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def write_workbook(path, sheet, texts=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        if texts is not None:
            archive.writestr("xl/sharedStrings.xml", texts)
    return path


def cells(*rows):
    lines = ("".join(f'<c r="{place}"><v>{text}</v></c>' for place, text in row) for row in rows)
    return f"<worksheet {SPACE}><sheetData>{''.join(f'<row>{line}</row>' for line in lines)}</sheetData></worksheet>"


def test_cells_without_a_heading_are_left_out(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", cells([("A1", "name")], [("A2", "3"), ("B2", "lost")]))
    assert read_sheet(path) == [{"name": "3"}]


def test_damaged_compression_is_one_sentence(tmp_path):
    rows = [[(f"A{number}", str(number * 7919))] for number in range(1, 400)]
    path = write_workbook(tmp_path / "a.xlsx", cells(*rows))
    whole = bytearray(path.read_bytes())
    for position in range(80, len(whole) - 200, 61):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"a.xlsx cannot be read as a spreadsheet"):
            read_sheet(path)


def test_a_text_that_is_not_there_and_one_before_the_first_are_refused(tmp_path):
    texts = f"<sst {SPACE}><si><t>only</t></si></sst>"
    for index in ("1", "-1", "x"):
        sheet = cells([("A1", index)]).replace("<c ", '<c t="s" ')
        with pytest.raises(RecordError, match="cannot be read as a spreadsheet"):
            read_sheet(write_workbook(tmp_path / "a.xlsx", sheet, texts))


def test_entities_that_multiply_are_refused(tmp_path):
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    sheet = f'<!DOCTYPE x [<!ENTITY e0 "lol">{levels}]>' + cells([("A1", "&e8;")])
    with pytest.raises(RecordError, match="cannot be read as a spreadsheet"):
        read_sheet(write_workbook(tmp_path / "a.xlsx", sheet))
