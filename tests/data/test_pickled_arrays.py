import io
import pickle
import zipfile

import numpy as np
import pytest

from facekit.data import pickled_arrays
from facekit.data.pickled_arrays import read_pickled
from facekit.errors import RecordError


def write_member(path, content, name="corpus.npy", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, content)
    return path


def numpy_file(payload):
    """The bytes of an ``.npy`` file of one object, which is pickled as given."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + payload


def read_damaged(path):
    with pytest.raises(RecordError, match=r"labels.npz cannot be read as an .npz file with 'corpus'") as raised:
        read_pickled(path, "corpus")
    return str(raised.value)


def test_plain_data_of_every_kind_reads_back(tmp_path):
    path = tmp_path / "labels.npz"
    corpus = {"a": {"emo": "happy", "val": np.float32(0.5)}, "b": [np.arange(3), None, True, ("x", 2)]}
    np.savez_compressed(path, corpus=corpus)
    found = read_pickled(path, "corpus")
    assert found["a"] == corpus["a"]
    assert found["b"][1:] == [None, True, ("x", 2)]
    assert np.array_equal(found["b"][0], [0, 1, 2])


def test_compressed_data_that_is_damaged_is_one_sentence(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, corpus={str(number): {"val": number * 0.37} for number in range(500)})
    whole = bytearray(path.read_bytes())
    for position in range(60, len(whole) - 200, 97):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        assert "\n" not in read_damaged(path)


def test_an_encrypted_member_is_one_sentence(tmp_path):
    path = write_member(tmp_path / "labels.npz", numpy_file(pickle.dumps({})))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of encryption, in the member's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    assert "encrypted" in read_damaged(path)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\x04.",
        b"(" * 50_000 + b"t.",
        pickle.dumps({"a": 1})[:-3],
        b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b".",  # bytes of an exabyte
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_what_does_not_unpickle_is_one_sentence(tmp_path, payload):
    read_damaged(write_member(tmp_path / "labels.npz", numpy_file(payload)))


def test_an_archive_that_unpacks_to_far_more_than_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_arrays, "_LARGEST", 1 << 20)
    options = {"compression": zipfile.ZIP_DEFLATED}
    path = write_member(tmp_path / "labels.npz", numpy_file(b"\x00" * (8 << 20)), **options)
    assert "'corpus' has more than 1 MiB" in read_damaged(path)
