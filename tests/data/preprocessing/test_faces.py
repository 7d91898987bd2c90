"""Which faces of a picture become records, and what a record says about them."""

import numpy as np
import pytest
from PIL import Image

from facekit.data.formats.shards import read_shards, verify_shards
from facekit.data.labels import FaceLabels
from facekit.data.preprocessing import PreprocessSettings, faces, preprocess
from facekit.data.records import FaceRecord, write_records
from facekit.data.streaming import iterate_shard_records
from facekit.faces.landmarker import DetectedFace, Landmarker
from facekit.faces.video_frames import VideoFrames

pytest.importorskip("webdataset")


class BrightSquares(Landmarker):
    """Finds the red, green and blue squares of a picture as its faces."""

    second_look = False

    @classmethod
    def from_spec(cls, argument=None):
        return cls()

    def find_faces(self, image):
        pixels = np.asarray(image)
        found = []
        for channel in range(3):
            rows, columns = np.nonzero(pixels[..., channel] > 200)
            if len(rows):
                left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                points = np.linspace((left, top), (right, bottom), 68, dtype=np.float32)
                found.append(DetectedFace((left, top, right, bottom), 1.0, points))
        return found


@pytest.fixture
def squares(registry):
    registry.register("landmarker", "squares", BrightSquares)
    faces.shared_landmarker.cache_clear()
    yield
    faces.shared_landmarker.cache_clear()


def draw(path, *sides):
    """A picture with a red, a green and a blue square of these sides."""
    picture = Image.new("RGB", (400, 200))
    for place, side in enumerate(sides):
        colour = tuple(255 if channel == place else 0 for channel in range(3))
        picture.paste(colour, (10 + 130 * place, 10, 10 + 130 * place + side, 10 + side))
    picture.save(path)


def run(tmp_path, **options):
    draw(tmp_path / "three.png", 60, 100, 10)
    draw(tmp_path / "one.png", 80)
    draw(tmp_path / "none.png")
    labels = FaceLabels(expression="fear")
    records = [
        FaceRecord(id=name, image=f"{name}.png", labels=labels, groups={"gender": "man"})
        for name in ("three", "one", "none")
    ]
    write_records(tmp_path / "in.jsonl", records)
    settings = PreprocessSettings(landmarker="squares", size=32, **options)
    result = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    return result, list(read_shards(tmp_path / "out"))


def test_a_record_says_how_many_faces_its_picture_had_and_which_it_is(squares, tmp_path):
    result, records = run(tmp_path)
    assert result.failures == {"FaceNotFoundError": 1}
    assert [(record.id, record.source["faces"], record.source["face"]) for record in records] == [
        ("three", 2, 0), ("one", 1, 0),
    ]  # fmt: skip
    left, _, right, _ = map(int, records[0].source["crop"].split(","))
    assert left < 140 < 240 < right  # the green square, the largest


def test_all_faces_make_a_record_each_with_an_id_of_its_own(squares, tmp_path):
    result, records = run(tmp_path, faces="all", on_no_face="whole-image")
    assert (result.inputs, result.records, result.failures) == (3, 4, {})
    assert [record.id for record in records] == ["three#0", "three#1", "one#0", "none"]
    assert [record.source.get("faces") for record in records] == [2, 2, 1, 0]
    assert [record.source.get("face") for record in records] == [0, 1, 0, None]
    assert len({record.image for record in records}) == 4
    assert verify_shards(tmp_path / "out") == 4
    assert [record.id for record in iterate_shard_records(tmp_path / "out")] == [record.id for record in records]


def test_labels_of_a_picture_are_those_of_its_largest_face(squares, tmp_path):
    _, records = run(tmp_path, faces="all")
    assert [record.labels.expression for record in records] == ["fear", None, "fear"]
    assert [record.groups for record in records] == [{"gender": "man"}, {}, {"gender": "man"}]


def test_the_licence_is_that_of_the_picture_and_the_consent_that_of_the_face_that_is_labelled(squares, tmp_path):
    draw(tmp_path / "three.png", 60, 100, 10)
    record = FaceRecord(id="three", image="three.png", license="cc-by-4.0", consent="research")
    write_records(tmp_path / "in.jsonl", [record])
    settings = PreprocessSettings(landmarker="squares", size=32, faces="all")
    preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    records = list(read_shards(tmp_path / "out"))
    assert [record.license for record in records] == ["cc-by-4.0"] * 2
    assert [record.consent for record in records] == ["research", None]


def test_all_faces_of_a_changed_picture_are_done_again_and_the_others_kept(squares, tmp_path):
    run(tmp_path, faces="all")
    before = {record.id: record for record in read_shards(tmp_path / "out")}
    draw(tmp_path / "one.png", 90, 50, 70)
    settings = PreprocessSettings(landmarker="squares", size=32, faces="all")
    result = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    assert (result.reused, result.records) == (2, 5)
    after = {record.id: record for record in read_shards(tmp_path / "out", extract_to=tmp_path / "media")}
    assert list(after) == ["three#0", "three#1", "one#0", "one#1", "one#2"]
    assert [after[name] for name in ("three#0", "three#1")] == [before[name] for name in ("three#0", "three#1")]
    straight = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "straight", settings)
    assert straight.records == 5
    assert (tmp_path / "out/shard-000000.tar").read_bytes() == (tmp_path / "straight/shard-000000.tar").read_bytes()


def test_a_face_that_the_record_names_itself_is_not_counted(squares, tmp_path):
    draw(tmp_path / "two.png", 60, 80)
    points = np.linspace((0.1, 0.1), (0.3, 0.4), 68).round(3).tolist()
    write_records(tmp_path / "in.jsonl", [FaceRecord(id="two", image="two.png", landmarks=points)])
    settings = PreprocessSettings(landmarker="squares", size=32, faces="all")
    preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    (record,) = read_shards(tmp_path / "out")
    assert record.id == "two"
    assert not {"faces", "face"} & set(record.source)


def test_a_clip_says_how_many_faces_were_seen_at_once(squares, tmp_path):
    draw(tmp_path / "0.png")
    draw(tmp_path / "1.png", 60, 90)
    draw(tmp_path / "2.png", 60)
    write_records(tmp_path / "in.jsonl", [FaceRecord(id="clip", video=["0.png", "1.png", "2.png"])])
    settings = PreprocessSettings(landmarker="squares", size=32)
    preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    (record,) = read_shards(tmp_path / "out")
    assert (record.source["faces"], record.source["face"]) == (2, 0)


def write_film(path, sides):
    """A video whose frames have one red square each."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "rgb24"
        for side in sides:
            picture = Image.new("RGB", (160, 120))
            picture.paste((255, 0, 0), (10, 10, 10 + side, 10 + side))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def test_records_of_single_frames_become_pictures_and_a_video_is_opened_once_for_all_of_them(
    squares, tmp_path, monkeypatch
):
    sides = [40, 44, 48, 0, 56, 60]
    for name in ("a.mp4", "b.mp4"):
        write_film(tmp_path / name, sides)
    records = [
        FaceRecord(id=f"{name}/{frame}", video=name, frames=[frame], labels=FaceLabels(expression="fear"))
        for name in ("a.mp4", "b.mp4")
        for frame in (*range(6), 6)
    ]
    write_records(tmp_path / "in.jsonl", records)
    opened = []
    real = VideoFrames.__init__
    monkeypatch.setattr(
        VideoFrames, "__init__", lambda self, path, **rest: opened.append(path) or real(self, path, **rest)
    )
    settings = PreprocessSettings(landmarker="squares", size=32)
    result = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", settings)
    assert opened == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert result.failures == {"FaceNotFoundError": 2, "VideoError": 2}
    kept = list(read_shards(tmp_path / "out", extract_to=tmp_path / "media"))
    assert [record.source["frame_index"] for record in kept] == [0, 1, 2, 4, 5] * 2
    first = kept[0]
    assert (first.video, first.frames, first.labels.expression, first.source["faces"]) == (None, None, "fear", 1)
    assert np.asarray(first.landmarks).shape == (68, 2)
    widths = [[right - left for left, _, right, _ in [map(int, each.source["crop"].split(","))]] for each in kept[:5]]
    assert [width for (width,) in widths] == [round(1.5 * side) for side in (40, 44, 48, 56, 60)]


def test_a_single_frame_that_a_turn_calls_a_clip_stays_one(squares, tmp_path):
    write_film(tmp_path / "a.mp4", [40, 44])
    turns = [{"role": "user", "content": "<video> Who?"}, {"role": "assistant", "content": "Nobody."}]
    write_records(tmp_path / "in.jsonl", [FaceRecord(id="a", video="a.mp4", frames=[1], conversations=turns)])
    preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", PreprocessSettings(landmarker="squares", size=32))
    (record,) = read_shards(tmp_path / "out")
    assert (record.image, len(record.video)) == (None, 1)


def test_a_video_that_cannot_be_read_fails_each_of_its_records_and_is_tried_once(squares, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    write_records(tmp_path / "in.jsonl", [FaceRecord(id=str(n), video="a.mp4", frames=[n]) for n in range(3)])
    tried = []
    real = VideoFrames.__init__
    monkeypatch.setattr(
        VideoFrames, "__init__", lambda self, path, **rest: tried.append(path) or real(self, path, **rest)
    )
    result = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", PreprocessSettings(landmarker="squares"))
    assert (result.failures, len(tried)) == ({"VideoError": 3}, 1)


def test_landmarks_of_several_faces_are_none_of_a_picture(squares, tmp_path):
    draw(tmp_path / "two.png", 60, 80)
    points = np.linspace((0.1, 0.1), (0.3, 0.4), 68)
    np.save(tmp_path / "two.npy", np.stack([points, points + 0.2]))
    write_records(tmp_path / "in.jsonl", [FaceRecord(id="two", image="two.png", landmarks="two.npy")])
    result = preprocess(str(tmp_path / "in.jsonl"), tmp_path / "out", PreprocessSettings(landmarker="squares", size=32))
    assert (result.records, result.failures) == (0, {"RecordError": 1})
    assert "has 1 frame but landmarks for 2" in (tmp_path / "out" / "failures.jsonl").read_text()
