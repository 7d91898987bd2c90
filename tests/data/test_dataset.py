"""Examples depend on settings, epoch and index alone; pictures, landmarks and turns arrive as they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from video_files import grey_frames, write_video

import facekit
from facekit.data.conversation_layout import split_exchanges
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.record_media import load_media
from facekit.data.records import FaceRecord, Turn, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, ImageError, RecordError, VideoError
from facekit.faces import choose_frames


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone="tiny")[1]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 6, seed=1, image_size=64))


def one_record(folder, size=(64, 64), **fields):
    Image.new("RGB", size, (200, 10, 10)).save(folder / "a.png")
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="a.")]
    return RecordSet((FaceRecord(id="one", image="a.png", conversations=turns, **fields),), folder)


def test_an_example_has_the_pixels_and_landmarks_of_its_record(processor, records):
    example = FaceDataset(records, processor)[2]
    expected = processor.image_processor.transform(Image.open(records.records[2].image_path(records.folder)))
    torch.testing.assert_close(example.pixel_values, expected[None])
    np.testing.assert_allclose(example.landmarks[0], records.records[2].landmarks, rtol=1e-5)
    assert len(example.input_ids) == len(example.labels)


def test_absent_landmarks_are_rows_of_nan(processor, tmp_path):
    example = FaceDataset(one_record(tmp_path), processor)[0]
    assert example.landmarks.shape == (1, 68, 2)
    assert example.landmarks.isnan().all()


def test_landmarks_move_along_when_a_picture_is_padded_to_a_square(processor, tmp_path):
    points = [[0.5, 0.5]] * 67 + [[1.0, 0.0]]
    pixels, landmarks = load_media(one_record(tmp_path, (80, 40), landmarks=points).records[0], tmp_path, processor)
    assert pixels.shape == (1, 3, 64, 64)
    assert landmarks[0, 0].tolist() == [0.5, 0.5]
    assert landmarks[0, 67].tolist() == [1.0, 0.25]


def test_frames_of_a_clip_become_one_example(processor, tmp_path):
    for name in ("0.png", "1.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    shape = [[0.1, 0.2]] * 68
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="a.")]
    clip = FaceRecord(id="c", video=["0.png", "1.png"], landmarks=[shape, shape], conversations=turns)
    example = FaceDataset(RecordSet((clip,), tmp_path), processor)[0]
    assert example.pixel_values.shape == (2, 3, 64, 64)
    assert example.landmarks.shape == (2, 68, 2)
    assert (example.input_ids == processor.image_token_id).sum() == 2 * processor.tokens_per_frame


def film_record(folder, length, **fields):
    write_video(folder / "film.mp4", grey_frames(length, (64, 64)))
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="a.")]
    return RecordSet((FaceRecord(id="film", video="film.mp4", conversations=turns, **fields),), folder)


def numbered_landmarks(folder, frames):
    points = np.repeat(np.arange(frames, dtype=np.float32)[:, None, None] / 100, 68, axis=1).repeat(2, axis=2)
    np.save(folder / "points.npy", points)
    return "points.npy"


@pytest.mark.parametrize(("frames", "given"), [(20, 20), (20, 8), (3, 3)])
def test_a_video_file_becomes_the_frames_that_the_paper_takes(processor, tmp_path, frames, given):
    records = film_record(tmp_path, frames, landmarks=numbered_landmarks(tmp_path, given))
    example = FaceDataset(records, processor)[0]
    chosen = choose_frames(frames, 8)
    grey = (example.pixel_values.mean(dim=(1, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(grey, [20 + 5 * place for place in chosen], atol=2)
    expected = chosen if given == frames else range(8)
    np.testing.assert_allclose(example.landmarks[:, 0, 0] * 100, list(expected), atol=1e-4)
    assert (example.input_ids == processor.image_token_id).sum() == processor.count_visual_tokens(8)


def test_a_record_may_be_about_some_frames_of_a_video(processor, tmp_path):
    records = film_record(tmp_path, 20, frames=[4, 15], landmarks=numbered_landmarks(tmp_path, 2))
    pixels, landmarks = load_media(records.records[0], tmp_path, processor)
    np.testing.assert_allclose((pixels.mean(dim=(1, 2, 3)) + 1) * 127.5, [40, 95], atol=2)
    np.testing.assert_allclose(landmarks[:, 0, 0] * 100, [0, 1], atol=1e-4)
    with pytest.raises(VideoError, match="has 20 frames, so none at index 20"):
        load_media(film_record(tmp_path, 20, frames=[20]).records[0], tmp_path, processor)


@pytest.mark.parametrize("listed", [list(range(2, 20, 2)), list(range(11, 26)), [0, 1, 2, 3, 5, 8, 13, 21, 23, 24, 25]])
def test_of_a_record_about_many_frames_of_a_video_each_chosen_one_has_its_own_landmarks(processor, tmp_path, listed):
    records = film_record(tmp_path, 26, frames=listed, landmarks=numbered_landmarks(tmp_path, len(listed)))
    pixels, landmarks = load_media(records.records[0], tmp_path, processor)
    seen = ((pixels.mean(dim=(1, 2, 3)) + 1) * 127.5 - 20) / 5
    assert len(seen) == 8 < len(listed)
    owners = (landmarks[:, 0, 0] * 100).round().int().tolist()
    np.testing.assert_allclose([listed[owner] for owner in owners], seen, atol=0.4)
    assert owners == choose_frames(len(listed), 8)


def test_frames_of_a_video_without_a_face_have_no_landmarks(processor, tmp_path):
    points = np.full((20, 68, 2), 0.5, np.float32)
    points[14:] = np.nan
    np.save(tmp_path / "points.npy", points)
    _, landmarks = load_media(film_record(tmp_path, 20, landmarks="points.npy").records[0], tmp_path, processor)
    expected = [place < 14 for place in choose_frames(20, 8)]
    assert landmarks.isfinite().all(dim=(1, 2)).tolist() == expected
    np.save(tmp_path / "points.npy", np.full((20, 68, 2), np.nan))
    with pytest.raises(RecordError, match="must be finite numbers"):
        load_media(film_record(tmp_path, 20, landmarks="points.npy").records[0], tmp_path, processor)


def test_landmarks_of_another_number_of_frames_than_a_video_has_are_refused(processor, tmp_path):
    records = film_record(tmp_path, 20, landmarks=numbered_landmarks(tmp_path, 9))
    with pytest.raises(
        RecordError, match=r"record 'film': '.*film\.mp4' has 20 frames, of which 8 are chosen, but landma"
    ):
        load_media(records.records[0], tmp_path, processor)


def test_turns_are_reshuffled_by_epoch_and_reproducibly(processor, records):
    dataset, again = FaceDataset(records, processor), FaceDataset(records, processor)
    orders = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        again.set_epoch(epoch)
        assert torch.equal(dataset[0].input_ids, again[0].input_ids)
        orders.append(tuple(dataset[0].input_ids.tolist()))
    assert len(set(orders)) == 4
    assert len({tuple(sorted(order)) for order in orders}) == 1


FOLLOW_UP = ("What does she feel?", "Joy.", "Why do you think so?", "The corners of her mouth.", "Sure?", "Fairly.")


def talk(folder, **fields):
    """A record whose questions refer to what stands before them, unless it says otherwise."""
    turns = [Turn(role=("user", "assistant")[place % 2], content=words) for place, words in enumerate(FOLLOW_UP)]
    records = one_record(folder)
    return RecordSet((records.records[0].model_copy(update={"conversations": turns, **fields}),), folder)


def shown(example, processor):
    """The words of a conversation in the order of the tokens."""
    text = processor.tokenizer.decode(example.input_ids)
    return sorted(FOLLOW_UP, key=text.index)


@pytest.mark.parametrize("packed", [False, True])
def test_a_dialogue_keeps_its_order_in_every_epoch(processor, tmp_path, packed):
    dataset = FaceDataset(talk(tmp_path), processor, DatasetOptions(shuffle_turns=True, independent_turns=packed))
    for epoch in range(6):
        dataset.set_epoch(epoch)
        assert shown(dataset[0], processor) == list(FOLLOW_UP)


def test_a_dialogue_keeps_its_context_where_other_questions_lose_theirs(processor, tmp_path):
    options = DatasetOptions(independent_turns=True)
    plain = FaceDataset(talk(tmp_path), processor)[0]
    kept = FaceDataset(talk(tmp_path), processor, options)[0]
    assert torch.equal(kept.input_ids, plain.input_ids)
    assert torch.equal(kept.labels, plain.labels)
    assert kept.position_ids.tolist() == list(range(len(plain.input_ids)))
    assert set(kept.segments.tolist()) == {0, 1}
    apart = FaceDataset(talk(tmp_path, independent_questions=True), processor, options)[0]
    assert set(apart.segments.tolist()) == {0, 1, 2, 3}


def test_questions_that_stand_alone_are_shuffled(processor, tmp_path):
    dataset = FaceDataset(talk(tmp_path, independent_questions=True), processor)
    orders = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        order = shown(dataset[0], processor)
        assert all(order.index(FOLLOW_UP[place + 1]) == order.index(FOLLOW_UP[place]) + 1 for place in (0, 2, 4))
        orders.add(tuple(order))
    assert len(orders) > 2


def test_of_a_dialogue_the_first_turns_are_kept(processor, tmp_path):
    dataset = FaceDataset(talk(tmp_path), processor, DatasetOptions(turns_per_example=2))
    for epoch in range(4):
        dataset.set_epoch(epoch)
        text = processor.tokenizer.decode(dataset[0].input_ids)
        assert [words in text for words in FOLLOW_UP] == [True] * 4 + [False] * 2


def test_unshuffled_turns_stay_in_order(processor, records):
    dataset = FaceDataset(records, processor, DatasetOptions(shuffle_turns=False))
    text = processor.tokenizer.decode(dataset[0].input_ids)
    places = [text.index(turn.content) for turn in records.records[0].conversations]
    assert places == sorted(places)


def test_fewer_turns_than_there_are_can_be_asked_for(processor, records):
    dataset = FaceDataset(records, processor, DatasetOptions(turns_per_example=2))
    answers = (dataset[0].labels == processor.tokenizer.eos_token_id).sum()
    assert answers == 2


def test_landmark_noise_and_dropout_are_drawn_per_epoch(processor, records):
    exact = FaceDataset(records, processor)
    noisy = FaceDataset(records, processor, DatasetOptions(landmark_noise=0.01))
    first = noisy[0].landmarks
    noisy.set_epoch(1)
    assert not torch.equal(first, noisy[0].landmarks)
    deviation = torch.cat([noisy[i].landmarks - exact[i].landmarks for i in range(6)]).std().item()
    assert deviation == pytest.approx(0.01, rel=0.2)
    assert FaceDataset(records, processor, DatasetOptions(landmark_dropout=1.0))[0].landmarks.isnan().all()


def test_pixels_can_be_left_out_and_are_forgotten(processor, records):
    dataset = FaceDataset(records, processor)
    whole = dataset[1]
    dataset.drop_pixels()
    assert dataset[1].pixel_values is None
    assert torch.equal(dataset[1].landmarks, whole.landmarks)
    fresh = FaceDataset(records, processor, with_pixels=False)
    assert torch.equal(fresh[1].landmarks, whole.landmarks)


def test_cached_pictures_are_not_read_again(processor, tmp_path):
    records = one_record(tmp_path)
    kept, unkept = (FaceDataset(records, processor, DatasetOptions(cache_pictures=keep)) for keep in (True, False))
    before = kept[0].pixel_values
    assert unkept[0].pixel_values.shape == (1, 3, 64, 64)
    (tmp_path / "a.png").unlink()
    assert torch.equal(kept[0].pixel_values, before)
    with pytest.raises(ImageError, match=r"a\.png"):
        unkept[0]


def test_a_small_cache_limit_keeps_nothing(processor, tmp_path):
    dataset = FaceDataset(one_record(tmp_path), processor, DatasetOptions(cache_limit=1000))
    assert dataset[0].pixel_values is not None
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError):
        dataset[0]


def test_exchanges_keep_an_opening_apart():
    turns = [Turn(role=role, content=role) for role in ("system", "user", "assistant", "user", "user", "assistant")]
    opening, exchanges = split_exchanges(turns)
    assert opening == turns[:1]
    assert exchanges == [turns[1:3], turns[3:6]]


def test_faulty_records_are_named(processor, tmp_path):
    with pytest.raises(RecordError, match="no records"):
        FaceDataset(RecordSet((), tmp_path), processor)
    with pytest.raises(RecordError, match="'mute' has no conversation"):
        FaceDataset(RecordSet((FaceRecord(id="mute", image="a.png"),), tmp_path), processor)
    with pytest.raises(VideoError, match=r"there is no file '.*a\.mp4'"):
        load_media(FaceRecord(id="film", video="a.mp4"), tmp_path, processor)
    shape = [[0.1, 0.2]] * 68
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(RecordError, match="1 frame but landmarks for 2"):
        load_media(FaceRecord(id="odd", image="a.png", landmarks=[shape, shape]), tmp_path, processor)
    asked = FaceRecord(id="asked", image="a.png", conversations=[Turn(role="user", content="q?")])
    with pytest.raises(RecordError, match=r"'asked'.*no assistant turn"):
        FaceDataset(RecordSet((asked,), tmp_path), processor)[0]


@pytest.mark.parametrize(
    "options", [{"turns_per_example": 0}, {"landmark_noise": -0.1}, {"landmark_noise": 1.0}, {"landmark_dropout": 1.1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        DatasetOptions(**options)


def test_records_are_read_by_path_or_taken_as_they_are(records, tmp_path):
    assert RecordSet.of(records) is records
    path = write_records(records.folder / "two.jsonl", records.records[:2])
    assert RecordSet.of(path).records == records.records[:2]


def test_a_file_without_records_is_refused_by_its_name(tmp_path):
    path = write_records(tmp_path / "records.jsonl", [])
    with pytest.raises(RecordError, match=r"records\.jsonl has no records"):
        RecordSet.read(path)
