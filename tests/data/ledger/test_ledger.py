import sqlite3
import subprocess
import sys

import pytest

from facekit.data.ledger import OUTDATED, SUBMITTED, Entry, Ledger
from facekit.datagen.calls import ANNOTATE
from facekit.endpoints.outcomes import ACCEPTED, FAILED, GAVE_UP, REJECTED
from facekit.errors import ConfigurationError, StorageError

VERSIONS = {"look": "v1", "mood": "v1"}


def entry(record="a", aspect="look", state=ACCEPTED, version="v1", **values):
    return Entry(ANNOTATE, record, aspect, version, state, **values)


def test_an_entry_comes_back_as_it_was_stored(tmp_path):
    stored = entry(answer="A face.", model="m", time="2026-01-01T00:00:00+00:00", prompt_tokens=10,
                   completion_tokens=3, cost=0.25, attempts=2)  # fmt: skip
    with Ledger(tmp_path) as ledger:
        ledger.store(stored)
    with Ledger(tmp_path) as ledger:
        assert ledger.entries(ANNOTATE, VERSIONS, ["a"]) == [stored]


def test_storing_again_replaces_the_outcome_and_adds_up_what_was_spent(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry(state=GAVE_UP, reason="down", cost=0.25, attempts=6, prompt_tokens=5))
        ledger.store(entry(answer="Yes.", cost=0.5, attempts=1, prompt_tokens=7))
        (found,) = ledger.entries(ANNOTATE, VERSIONS, ["a"])
    assert (found.state, found.answer, found.reason) == (ACCEPTED, "Yes.", None)
    assert (found.cost, found.attempts, found.prompt_tokens) == (0.75, 7, 12)


@pytest.mark.parametrize(("state", "finished"), [
    (ACCEPTED, True), (REJECTED, True), (FAILED, True), (SUBMITTED, True), (GAVE_UP, False),
])  # fmt: skip
def test_what_passed_is_asked_again_and_what_is_settled_is_not(tmp_path, state, finished):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry(state=state))
        assert (("a", "look") in ledger.finished(ANNOTATE, VERSIONS, ["a", "b"])) is finished


def test_what_would_be_asked_with_something_else_is_outdated_until_it_is_as_before(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(
            entry(record="a", answer="A.", asked="old"), entry(record="b", state=REJECTED, reason="short", asked="old"),
            entry(record="c", answer="C.", asked="new"), entry(record="d", answer="D."),
            entry(record="e", state=SUBMITTED, asked="old"), entry(record="f", state=GAVE_UP, asked="old"),
        )  # fmt: skip

        def states(wanted, told=None):
            assert ledger.outdate(ANNOTATE, VERSIONS, list("abcdef"), lambda *_: wanted) == (told or 0)
            return {each.record: each.state for each in ledger.entries(ANNOTATE, VERSIONS, list("abcdef"))}

        settled = {"a": ACCEPTED, "b": REJECTED, "c": ACCEPTED, "d": ACCEPTED, "e": SUBMITTED, "f": GAVE_UP}
        assert states(None) == settled
        assert states("new", told=1) == {**settled, "a": OUTDATED, "b": OUTDATED}
        assert {record for record, _ in ledger.finished(ANNOTATE, VERSIONS, list("abcdef"))} == set("cde")
        assert states("old", told=2) == {**settled, "b": OUTDATED, "c": OUTDATED, "d": OUTDATED}
        assert [each.answer for each in ledger.stream(ANNOTATE, "look", "v1", ACCEPTED)] == ["A."]


def test_a_ledger_from_before_labels_were_noted_is_gone_on_with(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry(answer="A."))
    old = sqlite3.connect(tmp_path / "ledger.sqlite")
    old.execute("ALTER TABLE calls DROP COLUMN asked")
    old.close()
    with Ledger(tmp_path) as ledger:
        assert ledger.entries(ANNOTATE, VERSIONS, ["a"]) == [entry(answer="A.")]
        assert ledger.outdate(ANNOTATE, VERSIONS, ["a"], lambda *_: "today") == 0
        assert ledger.outdate(ANNOTATE, VERSIONS, ["a"], lambda *_: "tomorrow") == 1


def test_an_outcome_without_an_answer_leaves_none_of_an_earlier_one(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry(answer="Too short.", state=REJECTED, reason="too short"))
        ledger.store(entry(state=FAILED, reason="refused by the endpoint"))
        (found,) = ledger.entries(ANNOTATE, VERSIONS, ["a"])
    assert (found.answer, found.reason) == ("", "refused by the endpoint")


def test_another_prompt_version_is_another_call(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry(version="v1"), entry(version="v2", state=FAILED))
        assert ledger.finished(ANNOTATE, {"look": "v3"}, ["a"]) == set()
        assert ledger.counts(ANNOTATE, {"look": "v1"}) == {("look", ACCEPTED): 1}


def test_counts_streams_and_reopening_agree(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(*(entry(record=str(number), answer=f"answer {number}") for number in range(1100)))
        ledger.store(entry(record="x", state=REJECTED), entry(record="y", state=FAILED))
        streamed = [each.record for each in ledger.stream(ANNOTATE, "look", "v1", ACCEPTED)]
        assert streamed == [str(number) for number in range(1100)]
        assert ledger.reopen(ANNOTATE, VERSIONS, (REJECTED, FAILED)) == 2
        assert ledger.counts(ANNOTATE, VERSIONS) == {("look", ACCEPTED): 1100, ("look", GAVE_UP): 2}


def test_a_second_process_is_kept_out_while_the_first_works(tmp_path):
    with Ledger(tmp_path):
        script = f"from facekit.data.ledger import Ledger; Ledger({str(tmp_path)!r})"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert other.returncode == 1
        assert "another process is writing" in other.stderr
    Ledger(tmp_path).close()


def test_a_ledger_that_cannot_be_closed_whole_is_one_sentence_and_held_no_longer(tmp_path):
    ledger = Ledger(tmp_path)

    class FullDisk:
        opened = ledger._database._connection

        def close(self):
            self.opened.close()
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    ledger._database._connection = FullDisk()
    with pytest.raises(StorageError, match="the disk is full"):
        ledger.close()
    Ledger(tmp_path).close()


def test_a_file_that_is_no_ledger_or_of_another_version_is_refused(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "ledger.sqlite").write_text("this is not a database, it is a text file" * 50)
    with pytest.raises(ConfigurationError, match="is not a ledger"):
        Ledger(tmp_path / "text")
    Ledger(tmp_path / "old").close()
    database = sqlite3.connect(tmp_path / "old" / "ledger.sqlite")
    database.execute("UPDATE facts SET value = '0' WHERE name = 'schema'")
    database.commit()
    database.close()
    with pytest.raises(ConfigurationError, match="schema 0, not 1"):
        Ledger(tmp_path / "old")


def test_a_failed_transaction_leaves_nothing(tmp_path):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(sqlite3.IntegrityError):
            ledger.store(entry(record="fine"), entry(record=None))
        assert ledger.counts(ANNOTATE, VERSIONS) == {}


def test_a_full_disk_is_one_sentence_and_what_was_stored_before_is_kept(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.store(entry("a", answer="Kept."))
        pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
        ledger._database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageError, match=r"ledger\.sqlite cannot be written, the disk is full .*run the same"):
            ledger.store(entry("b", answer="x" * 1_000_000))
        ledger._database.execute("PRAGMA max_page_count=1000000")
        assert [each.answer for each in ledger.entries(ANNOTATE, VERSIONS, ["a", "b"])] == ["Kept."]
        ledger.store(entry("b", answer="Later."))
    with Ledger(tmp_path) as ledger:
        assert len(ledger.entries(ANNOTATE, VERSIONS, ["a", "b"])) == 2


def test_a_program_that_reads_the_ledger_is_named_as_the_reason(tmp_path):
    Ledger(tmp_path).close()
    reader = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM calls").fetchall()
    with pytest.raises(StorageError, match=r"another program is reading .*ledger\.sqlite"):
        Ledger(tmp_path, patience=0.1)
    reader.close()
    Ledger(tmp_path).close()


def test_many_records_are_looked_up_at_once(tmp_path):
    names = [f"r{number}" for number in range(1203)]
    with Ledger(tmp_path) as ledger:
        ledger.store(*(entry(name) for name in names))
        assert {each.record for each in ledger.entries(ANNOTATE, VERSIONS, names)} == set(names)


def test_calls_in_batches_are_counted_until_they_are_collected(tmp_path):
    with Ledger(tmp_path) as ledger:
        number = ledger.begin_batch("token", [entry("a", state=SUBMITTED), entry("b", state=SUBMITTED)])
        assert ledger.calls_in_batches() == {"token": 2}
        ledger.name_batch(number, "batch-1")
        assert ledger.calls_in_batches() == {"batch-1": 2}
        ledger.collect_batch(number, [entry("a")])
        assert ledger.calls_in_batches() == {}
