"""The dataset card: front matter that the hub reads, counts, licences, how it was made."""

import pytest

from facekit.data.counting import RecordCounts
from facekit.data.formats import CardDetails, write_card
from facekit.data.formats.card import render_card, share_licences
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord, Turn
from facekit.errors import ConfigurationError


@pytest.fixture
def counts():
    found = RecordCounts()
    for number in range(1200):
        found.add(
            FaceRecord(
                id=str(number),
                image="a.jpg",
                labels=FaceLabels(expression="fear"),
                groups={"gender": "woman" if number % 3 else "man"},
                split="train",
                source={"dataset": "fairface" if number else "mine"},
                conversations=[
                    Turn(role="user", content="Which?"), Turn(role="assistant", content="Fear.", task="expression")
                ],
            )
        )  # fmt: skip
    return found


def test_the_front_matter_is_what_the_hub_reads(counts, tmp_path):
    from huggingface_hub import DatasetCard

    path = write_card(tmp_path, counts, CardDetails("Faces", licence="cc-by-4.0"))
    data = DatasetCard.load(path).data
    assert data.license == "cc-by-4.0"
    assert data.pretty_name == "Faces"
    assert data.size_categories == ["1K<n<10K"]
    assert data.task_categories == ["visual-question-answering"]
    assert data.tags == ["face", "expression"]


def test_counts_licences_and_steps_are_written(counts):
    details = CardDetails(
        "Faces", "Ours.", ["Annotated by a model.", "Rated; 7 and above kept."], licence_notes=["mine: ©"]
    )
    text = render_card(counts, details)
    assert "1,200 records (1,200 images), 0 of them with landmarks, with 1,200 answers." in text
    assert "| fairface | 1,199 |" in text
    assert "| gender | number |\n| --- | ---: |\n| man | 400 |\n| woman | 800 |" in text
    assert "- fairface: CC-BY-4.0 (github.com/joojs/fairface)\n- mine: ©" in text
    assert "- Annotated by a model.\n- Rated; 7 and above kept." in text
    assert "\n\n\n" not in text


def test_a_card_of_nothing_says_so():
    text = render_card(RecordCounts(), CardDetails("Empty"))
    assert "0 records" in text
    assert text.count("Not recorded.") == 3


def records_with_terms(*terms):
    found = RecordCounts()
    for number, (license, consent, origin) in enumerate(terms):
        source = {"dataset": origin}
        found.add(FaceRecord(id=str(number), image="a.jpg", license=license, consent=consent, source=source))
    return found


def test_licences_and_consents_have_their_shares(tmp_path):
    found = records_with_terms(
        ("cc-by-4.0", "research", "ours"), ("cc-by-4.0", None, "ours"), ("cc0-1.0", "none", "ours"),
        (None, None, "ours"), (None, None, "fairface"), (None, None, "fairface"),
    )  # fmt: skip
    assert share_licences(found) == [
        ("cc-by-4.0", 2, 2 / 6), ("CC-BY-4.0", 2, 2 / 6), ("cc0-1.0", 1, 1 / 6), ("not recorded", 1, 1 / 6),
    ]  # fmt: skip
    text = render_card(found, CardDetails("Faces"))
    assert "license: other" in text
    assert "| cc-by-4.0 | 2 | 33.3 % |\n" in text
    assert "| not recorded | 1 | 16.7 % |\n" in text
    assert "| research | 1 | 16.7 % |\n| none | 1 | 16.7 % |\n| not recorded | 4 | 66.7 % |\n" in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([("cc-by-4.0", None, "ours")] * 2, "cc-by-4.0"),
        ([("cc-by-4.0", None, "ours"), (None, None, "ours")], "other"),
        ([("ask us first", None, "ours")], "other"),
        ([("cc-by-4.0", None, "ours"), ("mit", None, "ours")], "other"),
    ],
)
def test_the_whole_has_the_licence_that_all_records_state(terms, expected):
    assert f"license: {expected}\n" in render_card(records_with_terms(*terms), CardDetails("Faces"))
    assert "license: mit\n" in render_card(records_with_terms(*terms), CardDetails("Faces", licence="mit"))


def test_a_readme_of_other_origin_is_not_replaced(counts, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(ConfigurationError, match="is no card of facekit's"):
        write_card(tmp_path, counts, CardDetails("Faces"))
    (tmp_path / "README.md").unlink()
    assert write_card(tmp_path, counts, CardDetails("Faces")) == write_card(tmp_path, counts, CardDetails("Faces"))


def test_names_of_strangers_are_text_and_no_markup():
    found = RecordCounts()
    hostile = "<script>alert(1)</script> [here](javascript:x) ![p](http://tracker/x.png) `a` | b\n# title"
    found.add(
        FaceRecord(
            id="a",
            image="a.jpg",
            groups={hostile: hostile},
            license=hostile,
            source={"dataset": hostile},
            split=hostile,
        )
    )
    text = render_card(found, CardDetails(hostile, how_made=[hostile], licence_notes=[hostile]))
    body = text.split("---", 2)[2]
    assert "<script" not in body
    assert "[here]" not in body.replace("\\[here\\]", "")
    assert body.count("\n# ") == 1
    rows = [line for line in body.splitlines() if line.startswith("| &lt;script")]
    assert len(rows) == 5
    assert sorted(row.replace("\\|", "").count("|") for row in rows) == [3, 3, 3, 3, 4]
