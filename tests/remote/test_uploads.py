"""Outputs on other file systems are uploaded when they are whole; a folder of an earlier run is gone on with."""

import shutil

import pytest

from facekit.errors import RecordError, RemoteFileError
from facekit.remote import uploads
from facekit.remote.addresses import mirror_root, mirrored
from facekit.remote.uploads import output_place, uploaded_folder


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)


def remote_texts(memory, folder):
    return {path.rpartition("/")[2]: memory.cat(path).decode() for path in sorted(memory.find(folder))}


def test_a_folder_is_uploaded_without_hidden_files_and_follows_what_is_changed_and_removed(memory):
    with uploaded_folder("memory://out") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, a="1", b="2")
        (folder / ".lock").write_text("")
    assert remote_texts(memory, "/out") == {"a.txt": "1", "b.txt": "2"}
    with uploaded_folder("memory://out") as folder:
        assert sorted(each.name for each in folder.glob("*.txt")) == ["a.txt", "b.txt"]
        write(folder, a="one")
        (folder / "b.txt").unlink()
    assert remote_texts(memory, "/out") == {"a.txt": "one"}


def test_only_what_is_new_is_uploaded(memory, monkeypatch):
    sent, upload = [], uploads._upload
    monkeypatch.setattr(uploads, "_upload", lambda path: sent.append(path.name) or upload(path))
    for texts in ({"a": "1"}, {"b": "2"}):
        with uploaded_folder("memory://out") as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, **texts)
    assert sent == ["a.txt", "b.txt"]


def test_another_machine_goes_on_with_what_was_uploaded(memory):
    with uploaded_folder("memory://out") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, a="1")
    shutil.rmtree(mirror_root())
    memory.pipe("/out/b.txt", b"2")
    with uploaded_folder("memory://out") as folder:
        assert (folder / "a.txt").read_text() == "1"
        assert (folder / "b.txt").read_text() == "2"


def test_what_changed_there_is_fetched_also_where_its_size_did_not(memory):
    with uploaded_folder("memory://out") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, a="1")
    memory.pipe("/out/a.txt", b"2")
    assert (output_place("memory://out") / "a.txt").read_text() == "2"


def test_what_was_done_before_an_error_is_uploaded_too(memory):
    def fail():
        with uploaded_folder("memory://out") as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, a="1")
            raise RecordError("no")

    with pytest.raises(RecordError, match="no"):
        fail()
    assert remote_texts(memory, "/out") == {"a.txt": "1"}


def test_the_place_of_an_output_is_as_what_is_there(memory, tmp_path):
    assert output_place(tmp_path / "x") == tmp_path / "x"
    stale = mirrored("memory://out/records.jsonl")
    stale.parent.mkdir(parents=True)
    stale.write_text("stale")
    assert not output_place("memory://out/records.jsonl").exists()
    memory.pipe("/out/records.jsonl", b"there")
    assert output_place("memory://out/records.jsonl").read_text() == "there"


def test_what_others_wrote_there_meanwhile_stays(memory):
    with uploaded_folder("memory://out") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, a="1")
        memory.pipe("/out/notes.txt", b"of a colleague")
    assert remote_texts(memory, "/out") == {"a.txt": "1", "notes.txt": "of a colleague"}


@pytest.mark.parametrize("before", [{}, {"a": "1", "old": "stays"}], ids=["a first run", "a later run"])
def test_what_could_not_be_uploaded_is_gone_on_with_and_uploaded_by_the_next_run(memory, monkeypatch, before, caplog):
    if before:
        with uploaded_folder("memory://out") as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, **before)

    def fail(path):
        raise RemoteFileError("no network")

    def run():
        with uploaded_folder("memory://out") as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, a="1 and 2", b="new")
            raise RecordError("no")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "_upload", fail)
        with pytest.raises(RecordError, match="no"):
            run()
    assert "the next run here goes on from it" in caplog.text
    with uploaded_folder("memory://out") as folder:
        assert (folder / "a.txt").read_text() == "1 and 2"
        assert (folder / "b.txt").read_text() == "new"
    rest = {"old.txt": "stays"} if before else {}
    assert remote_texts(memory, "/out") == {"a.txt": "1 and 2", "b.txt": "new", **rest}
    memory.rm("/out", recursive=True)
    assert not output_place("memory://out").exists()


def test_what_changed_there_counts_before_what_waits_here(memory, monkeypatch):
    with uploaded_folder("memory://out") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, a="1")

    def fail(path):
        raise RemoteFileError("no network")

    def run():
        with uploaded_folder("memory://out") as folder:
            write(folder, a="here")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "_upload", fail)
        with pytest.raises(RemoteFileError):
            run()
    memory.pipe("/out/a.txt", b"there")
    assert (output_place("memory://out") / "a.txt").read_text() == "there"
