"""Arrays of files; whatever else a file holds is a ``ValueError``, that of a record one sentence."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from facekit.data.formats.chat import read_chat
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.faces.array_files import read_array
from facekit.faces.given_landmarker import read_landmarks


def headed(description):
    line = description.encode() + b" " * (-(len(description) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def archived(folder):
    np.savez(folder / "archive.npz", a=np.zeros((68, 2)))
    return (folder / "archive.npz").read_bytes()


DAMAGED = {
    "nothing in it": b"",
    "a zip file that is cut off": b"PK\x03\x04 and no more",
    "a header that does not end": headed("{'descr': '<f4', 'fortran_order': False, 'shape': (68, 2), "),
    "a number of rows beyond all memory": headed(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 68, 2), }"
    ),
    "an archive": archived,
    "text": b"0.1 0.2 0.3",
}
OF_OTHER_KINDS = {"times": "m8[s]", "complex numbers": "c8", "words": "U4", "a table": [("x", "f4")]}


@pytest.fixture(params=DAMAGED)
def damaged(request, tmp_path):
    content = DAMAGED[request.param]
    path = tmp_path / "face.npy"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    return path


def test_an_array_is_read_as_it_was_written(tmp_path):
    written = np.random.default_rng(0).random((3, 68, 2)).astype(np.float16)
    np.save(tmp_path / "face.npy", written)
    for mode in (None, "r"):
        read = read_array(tmp_path / "face.npy", mode)
        assert read.dtype == np.float16
        assert np.array_equal(read, written)


def test_what_is_no_array_is_one_kind_of_error(damaged):
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's own words
        read_array(damaged)


def test_a_record_with_such_landmarks_is_at_fault_in_one_sentence(damaged):
    record = FaceRecord(id="7", image="face.png", landmarks="face.npy")
    with pytest.raises(RecordError, match=r"record '7': landmarks .*face.npy cannot be read as .npy"):
        record.landmark_array(damaged.parent)


def test_landmarks_that_are_given_to_a_landmarker_too(damaged):
    with pytest.raises(RecordError, match=r"face.npy' is not a .npy array of numbers"):
        read_landmarks(damaged)


def test_those_of_a_face_llava_file_too(damaged):
    turns = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "Joy."}]
    sample = {"id": "7", "image": "face.png", "landmarks_2d": "face.npy", "conversations": turns}
    (damaged.parent / "faces.json").write_text(json.dumps([sample]))
    with pytest.raises(RecordError, match=r"entry 1, field 'landmarks_2d': .*face.npy cannot be used"):
        list(read_chat(damaged.parent / "faces.json"))


@pytest.mark.parametrize("kind", OF_OTHER_KINDS)
def test_landmarks_of_another_kind_of_number_are_refused(tmp_path, kind):
    np.save(tmp_path / "face.npy", np.zeros((68, 2), np.dtype(OF_OTHER_KINDS[kind])))
    record = FaceRecord(id="7", image="face.png", landmarks="face.npy")
    with pytest.raises(RecordError, match="landmarks must be finite numbers"):
        record.landmark_array(tmp_path)
