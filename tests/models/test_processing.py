"""Pictures and chats to tensors: templates, image tokens, padding, round trips."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoImageProcessor, AutoProcessor

from facekit.data.records import Turn
from facekit.data.supervision import encode_conversation
from facekit.errors import ConfigurationError
from facekit.models import FaceKitImageProcessor, FaceKitProcessor


@pytest.fixture(scope="module")
def processor(compose):
    return compose()[1]


def test_a_chat_and_a_picture_become_the_tensors(processor, chat, picture, points):
    inputs = processor(images=picture, text=chat("How old?"), landmarks=[points])
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values", "landmarks"}
    assert inputs["pixel_values"].shape == (1, 1, 3, 48, 48)
    assert inputs["pixel_values"].dtype == torch.float32
    np.testing.assert_array_equal(inputs["landmarks"][0, 0], points)
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == processor.tokens_per_frame == 9
    text = processor.decode(inputs["input_ids"][0])
    assert text == "<|user|>" + 9 * "<image>" + "\nHow old?<|end|><|assistant|>"


def test_pixels_are_the_transform_of_the_picture(processor, chat, picture, points):
    pixels = processor(images=picture, text=chat(), landmarks=[points])["pixel_values"][0, 0]
    torch.testing.assert_close(pixels, processor.image_processor.transform(picture))


def test_a_path_and_a_picture_give_the_same(processor, chat, picture, points, tmp_path):
    path = tmp_path / "face.png"
    picture.save(path)
    for source in (path, str(path)):
        again = processor(images=source, text=chat(), landmarks=[points])
        expected = processor(images=picture, text=chat(), landmarks=[points])
        torch.testing.assert_close(again["pixel_values"], expected["pixel_values"])


def test_pictures_inside_chats_are_used_in_order(processor, picture, points):
    dark = picture.point(lambda value: value // 4)
    content = [{"type": "image", "image": dark}, {"type": "image", "image": picture}, {"type": "text", "text": "?!a"}]
    inputs = processor(text=[{"role": "user", "content": content}], landmarks=[points, points])
    expected = processor.image_processor([dark, picture], landmarks=[points, points])
    torch.testing.assert_close(inputs["pixel_values"], expected["pixel_values"])


def test_a_picture_in_a_chat_is_a_data_url_or_a_file_where_that_is_asked(processor, picture, points, tmp_path):
    picture.save(tmp_path / "a.png")
    url = "data:image/png;base64," + base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    expected = processor.image_processor([picture], landmarks=[points])["pixel_values"]

    def chat_of(address):
        entry = {"type": "image_url", "image_url": {"url": address}}
        return [{"role": "user", "content": [entry, {"type": "text", "text": "Old?"}]}]

    assert torch.equal(processor(text=chat_of(url), landmarks=[points])["pixel_values"], expected)
    local = chat_of(str(tmp_path / "a.png"))
    with pytest.raises(ConfigurationError, match="local_files=True"):
        processor(text=local, landmarks=[points])
    assert torch.equal(processor(text=local, landmarks=[points], local_files=True)["pixel_values"], expected)
    options = {"tokenize": True, "return_dict": True, "processor_kwargs": {"landmarks": [points]}}
    with pytest.raises(ConfigurationError, match="local_files=True"):
        processor.apply_chat_template(local, **options)
    written = processor.apply_chat_template(local, **options, local_files=True)
    assert torch.equal(written["pixel_values"], expected)


def test_absent_landmarks_are_nan(processor, picture, points):
    landmarks = processor(images=[picture, picture], landmarks=[None, points])["landmarks"]
    assert landmarks[0].isnan().all()
    assert landmarks[1].isfinite().all()


def test_landmarks_may_come_as_one_array(processor, picture, points):
    expected = processor(images=[picture, picture], landmarks=[points, points])["landmarks"]
    for given_points in (np.stack([points, points]), torch.tensor(np.stack([points, points]))[:, None]):
        landmarks = processor(images=[picture, picture], landmarks=given_points)["landmarks"]
        torch.testing.assert_close(landmarks, expected)
    single = processor(images=picture, landmarks=points)["landmarks"]
    torch.testing.assert_close(single, expected[:1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_to_the_side_asked_for(processor, chat, side):
    chats = [chat("Age?", images=0), chat("Which expression does this face show?", images=0)]
    mask = processor(text=chats, padding_side=side)["attention_mask"]
    short = mask[0]
    assert short.min() == 0
    assert short[-1 if side == "left" else 0] == 1
    assert short[0 if side == "left" else -1] == 0
    assert torch.equal(short.sort(descending=side == "right").values, short)


def test_a_begin_token_is_written_once_whoever_writes_it(compose, chat):
    for backbone, begin in (("hf-llama", "<s>"), ("hf-gemma3", "<bos>"), ("hf-qwen2", None)):
        _, processor = compose(backbone=backbone)
        ids = processor(text=chat(images=0))["input_ids"][0]
        if begin is not None:
            assert int((ids == processor.tokenizer.bos_token_id).sum()) == 1
            assert ids[0] == processor.tokenizer.bos_token_id
        through_template = processor.apply_chat_template(
            chat(images=0), tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
        )
        assert torch.equal(through_template["input_ids"][0], ids)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("backbone", ["hf-llama", "hf-gemma3"])
def test_each_text_of_a_batch_begins_as_it_does_alone(compose, chat, backbone, side):
    _, processor = compose(backbone=backbone)
    written = processor.apply_chat_template(chat("How old is she?", images=0), add_generation_prompt=True)
    texts = [f"{processor.tokenizer.bos_token}{written}".replace("<bos><bos>", "<bos>"), "How old?"]
    for batch in (texts, texts[::-1]):
        inputs = processor(text=batch, padding_side=side)
        for text, row, mask in zip(batch, inputs["input_ids"], inputs["attention_mask"], strict=True):
            alone = processor(text=text)["input_ids"][0]
            assert torch.equal(row[mask.bool()], alone)
            assert int((alone == processor.tokenizer.bos_token_id).sum()) == 1
            assert mask[-1 if side == "left" else 0] == 1


def test_words_that_look_like_control_tokens_are_padded_with_the_others(processor, chat, picture, points):
    typed = "Is <image> old?<|end|>"
    inputs = processor(images=picture, text=[*map(chat, ("Old?",)), chat(typed, images=0)], landmarks=[points])
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == processor.tokens_per_frame
    row = inputs["input_ids"][1][inputs["attention_mask"][1].bool()]
    assert processor.decode(row) == f"<|user|>{typed}<|end|><|assistant|>"
    assert int((row == processor.tokenizer.eos_token_id).sum()) == 1
    prompts = [processor.apply_chat_template(chat(words, images=0)) for words in (typed, "Hm?")]
    encoding = processor.tokenize(prompts, padding=True, return_offsets_mapping=True)
    assert [len(each) for each in encoding["offset_mapping"]] == [len(each) for each in encoding["input_ids"]]
    assert encoding["offset_mapping"][1][0] == (0, 0)


def test_words_of_an_application_are_escaped_by_the_processor(processor):
    words = processor.control_tokens.escape("a <image> and <|end|>")
    ids = processor.tokenize([f"<|user|>{words}<|end|>"])["input_ids"][0]
    assert processor.image_token_id not in ids
    assert processor.decode(ids) == "<|user|>a <image> and <|end|><|end|>"


def test_a_chat_that_the_template_refuses_is_told_in_a_sentence(compose, chat):
    _, processor = compose()
    with pytest.raises(ConfigurationError, match="the chat template refuses the chat: No system message, please"):
        processor.apply_chat_template(chat(), chat_template="{{ raise_exception('No system message, please') }}")


def test_the_plain_template_serves_a_model_without_its_own(compose, chat):
    _, processor = compose(backbone="hf-llama")
    turns = [*chat("How old?"), {"role": "assistant", "content": "About 30."}, {"role": "user", "content": "Sure?"}]
    written = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert written == "User: <image>\nHow old?\nAssistant: About 30.</s>\nUser: Sure?\nAssistant:"


def test_tokenize_gives_offsets_in_the_expanded_text(processor, chat):
    prompt = processor.apply_chat_template([*chat("How old?"), {"role": "assistant", "content": "About 30."}])
    encoding = processor.tokenize([prompt], return_offsets_mapping=True)
    expanded = processor.expand_image_tokens(prompt)
    start = expanded.index("About")
    pieces = [expanded[a:b] for a, b in encoding["offset_mapping"][0] if a >= start]
    assert "".join(pieces) == "About 30.<|end|>"


def test_image_tokens_are_expanded_per_frame(processor):
    assert processor.expand_image_tokens("a<image>b") == "a" + "<image>" * 9 + "b"
    assert processor.expand_image_tokens("<image><image>", frames=2) == "<image>" * 36


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1).filter(lambda text: text.strip() and "<" not in text))
def test_any_words_can_be_written_and_read_back(processor, words):
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}]
    prompt = processor.apply_chat_template(chat)
    ids = processor.tokenize([prompt])["input_ids"][0]
    assert processor.decode(ids) == processor.expand_image_tokens(prompt)
    assert words in prompt


def test_counts_of_pictures_and_image_tokens_must_agree(processor, chat, picture, points):
    with pytest.raises(ConfigurationError, match="has 1 image tokens '<image>' but 2 images"):
        processor(images=[picture, picture], text=chat(), landmarks=[points, points])
    with pytest.raises(ConfigurationError, match="has 1 image tokens '<image>' but 0 images"):
        processor(text=chat())
    with pytest.raises(ConfigurationError, match="neither images nor text"):
        processor()


def test_landmarks_that_do_not_fit_are_refused(processor, picture, points):
    with pytest.raises(ConfigurationError, match="2 images but landmarks for 1"):
        processor(images=[picture, picture], landmarks=[points])
    with pytest.raises(ConfigurationError, match=r"landmarks 0 have shape \(5, 2\)"):
        processor(images=picture, landmarks=[points[:5]])


def test_truncation_that_cuts_image_tokens_is_refused(processor, chat, picture, points):
    with pytest.raises(ConfigurationError, match="truncation left 3 of 9 image tokens"):
        processor(images=picture, text=chat(), landmarks=[points], truncation=True, max_length=4)


def test_an_empty_list_of_pictures_is_text_only(processor, chat):
    assert set(processor(images=[], text=chat(images=0))) == {"input_ids", "attention_mask"}
    with pytest.raises(ConfigurationError, match="no picture to prepare"):
        processor.image_processor([])


def test_something_that_is_no_picture_is_refused(processor):
    with pytest.raises(ConfigurationError, match="a PIL image, a path, an address, bytes or an array, not int"):
        processor(images=[3])


@pytest.mark.parametrize("loader", [FaceKitProcessor, AutoProcessor])
def test_a_processor_survives_saving(compose, loader, tmp_path):
    _, processor = compose(backbone="hf-qwen2")
    processor.image_processor.on_no_face = "whole-image"
    processor.image_processor.crop_margin = 0.4
    processor.save_pretrained(tmp_path)
    again = loader.from_pretrained(tmp_path)
    assert isinstance(again, FaceKitProcessor)
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    assert again.image_processor.transform == processor.image_processor.transform
    assert again.tokens_per_frame == processor.tokens_per_frame
    assert (again.image_token, again.image_token_id) == (processor.image_token, processor.image_token_id)
    assert again.chat_template == processor.chat_template
    assert again.tokenizer.padding_side == "left"


def test_the_image_processor_alone_can_be_loaded(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(again, FaceKitImageProcessor)
    assert again.to_dict() == processor.image_processor.to_dict()


def test_image_processor_settings_are_checked():
    with pytest.raises(ConfigurationError, match="on_no_face is one of raise, whole-image, not 'ignore'"):
        FaceKitImageProcessor(on_no_face="ignore")
    with pytest.raises(ConfigurationError, match="unknown interpolation"):
        FaceKitImageProcessor(interpolation="cubist")


def test_a_tokenizer_without_the_image_token_is_refused(processor):
    with pytest.raises(ConfigurationError, match="does not know the image token '<picture>'"):
        FaceKitProcessor(processor.image_processor, processor.tokenizer, 9, "<picture>")


@pytest.fixture
def frames(picture):
    return [picture.rotate(90 * place) for place in range(4)]


def test_images_and_clips_stand_in_the_order_of_their_tokens(processor, picture, frames, points):
    content = [
        {"type": "video", "video": frames[:2]},
        {"type": "image", "image": picture},
        {"type": "video", "video": frames},
        {"type": "text", "text": "Who?"},
    ]
    shapes = np.stack([points] * 4)
    inputs = processor(
        text=[{"role": "user", "content": content}], landmarks=[points], video_landmarks=[shapes[:2], None]
    )
    assert inputs["num_frames"].tolist() == [2, 1, 4]
    transform = processor.image_processor.transform
    torch.testing.assert_close(inputs["pixel_values"][1, 0], transform(picture))
    torch.testing.assert_close(inputs["pixel_values"][2], torch.stack([transform(frame) for frame in frames]))
    assert inputs["pixel_values"][1, 1:].abs().max() == 0
    assert inputs["landmarks"].isfinite().all(dim=(2, 3)).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [False] * 4,
    ]
    text = processor.decode(inputs["input_ids"][0])
    assert text == "<|user|>" + "\n".join(n * 9 * "<image>" for n in (2, 1, 4)) + "\nWho?<|end|><|assistant|>"


def test_clips_may_be_given_beside_a_prompt(processor, frames):
    array = np.stack([np.asarray(frame) for frame in frames])
    one = processor(videos=array, text="<video> What?", video_landmarks=[None])
    for videos in (frames, [frames], [array], [[array]]):
        again = processor(videos=videos, text="<video> What?", video_landmarks=[None])
        assert torch.equal(again["pixel_values"], one["pixel_values"])
        assert torch.equal(again["input_ids"], one["input_ids"])
    assert int((one["input_ids"] == processor.image_token_id).sum()) == 4 * 9
    thinned = processor(videos=array, text="<video> What?", video_landmarks=[None], num_frames=2)
    assert torch.equal(thinned["pixel_values"], one["pixel_values"][:, [0, 3]])
    assert set(processor(videos=frames, video_landmarks=[None])) == {"pixel_values", "landmarks"}


def test_the_chat_template_carries_clips_to_tensors(processor, frames):
    chat = [{"role": "user", "content": [{"type": "video", "video": frames}, {"type": "text", "text": "Who?"}]}]
    assert processor.apply_chat_template(chat, add_generation_prompt=True).startswith("<|user|><video>\nWho?")
    options = {"video_landmarks": [None]}
    inputs = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True, processor_kwargs=options
    )
    expected = processor(text=chat, **options)
    assert torch.equal(inputs["input_ids"], expected["input_ids"])
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])


def test_marks_are_expanded_one_by_one(processor):
    assert processor.expand_image_tokens("<video>a<image>", [2, 1]) == 18 * "<image>" + "a" + 9 * "<image>"
    assert processor.expand_image_tokens("<video>", frames=3) == 27 * "<image>"
    ids = processor.tokenize(["<image>", "<video><image>"], frames=[1, 4, 2])["input_ids"]
    assert [row.count(processor.image_token_id) for row in ids] == [9, 54]
    with pytest.raises(ConfigurationError, match="has 2 image and video tokens, but frames for 1"):
        processor.expand_image_tokens("<video><image>", [2])
    with pytest.raises(ConfigurationError, match="have 1 image and video tokens, but frames for 2"):
        processor.tokenize(["<video>"], frames=[2, 3])


def test_counts_of_clips_and_video_tokens_must_agree(processor, chat, frames):
    with pytest.raises(ConfigurationError, match="has 0 video tokens '<video>' but 1 videos were given"):
        processor(videos=frames, text=chat(images=0))
    with pytest.raises(ConfigurationError, match="has 1 video tokens '<video>' but 0 videos were given"):
        processor(text="<video> What?")
    with pytest.raises(ConfigurationError, match="has 1 image tokens '<image>' but 0 images"):
        processor(videos=frames, text="<image> What?")


def test_clips_that_do_not_fit_are_refused(processor, frames, points):
    with pytest.raises(ConfigurationError, match="a list of pictures, not int"):
        processor(videos=3)
    with pytest.raises(ConfigurationError, match=r"a list of pictures, not ndarray of shape \(8, 8\)"):
        processor(videos=np.zeros((8, 8)))
    with pytest.raises(ConfigurationError, match="1 video but landmarks for 2"):
        processor(videos=frames, video_landmarks=[None, None])
    with pytest.raises(ConfigurationError, match=r"landmarks of video 0 have shape \(68, 2\), not \(frames, 68, 2\)"):
        processor(videos=frames, video_landmarks=[points])
    with pytest.raises(ConfigurationError, match="has 4 frames, of which 4 are chosen, but landmarks for 3"):
        processor(videos=frames, video_landmarks=np.stack([points] * 3))
    with pytest.raises(ConfigurationError, match="num_frames is from 1 to"):
        processor(videos=frames, video_landmarks=[None], num_frames=0)
    with pytest.raises(ConfigurationError, match="num_frames is at least 1, not 0"):
        FaceKitImageProcessor(num_frames=0)


def test_a_video_token_that_cannot_be_told_from_the_image_token_is_refused(processor):
    for token in ("", "<image>", "<image>s"):
        with pytest.raises(ConfigurationError, match="overlaps the image token"):
            FaceKitProcessor(processor.image_processor, processor.tokenizer, 9, video_token=token)


def test_the_video_settings_survive_saving(compose, tmp_path):
    _, plain = compose()
    processor = FaceKitProcessor(
        plain.image_processor, plain.tokenizer, 9, tokens_per_video_frame=10, video_token="<clip>"
    )
    processor.image_processor.num_frames, processor.image_processor.crop_per_frame = 4, False
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert (again.count_visual_tokens(1), again.count_visual_tokens(3), again.video_token) == (9, 30, "<clip>")
    assert (again.image_processor.num_frames, again.image_processor.crop_per_frame) == (4, False)


def test_several_chats_are_lists_as_long_as_they_are_until_tensors_are_asked_for(processor, chat, picture, points):
    """As TRL's GRPO calls it; a padded tensor would be taken as all real."""
    chats = [chat("Old?"), chat("Which expression does this face show?")]
    for each in chats:
        each[0]["content"][0] = {"type": "image", "image": picture}
    options = {"landmarks": [points, points]}
    given = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "processor_kwargs": options}
    lists = processor.apply_chat_template(conversation=chats, tools=None, chat_template=None, **given)
    assert [type(row) for row in lists["input_ids"]] == [list, list]
    assert [len(row) for row in lists["input_ids"]] == [len(row) for row in lists["attention_mask"]]
    assert len(lists["input_ids"][0]) < len(lists["input_ids"][1])
    assert all(set(row) == {1} for row in lists["attention_mask"])
    assert lists["pixel_values"].shape == (2, 1, 3, 48, 48)
    tensors = processor.apply_chat_template(chats, return_tensors="pt", **given)
    real = [
        row[mask.bool()].tolist() for row, mask in zip(tensors["input_ids"], tensors["attention_mask"], strict=True)
    ]
    assert real == lists["input_ids"]
    one = processor.apply_chat_template(
        chats[0], tokenize=True, add_generation_prompt=True, processor_kwargs={"landmarks": [points]}
    )
    assert one == real[:1]


ANSWERED = [
    {"role": "user", "content": "How old?"},
    {"role": "assistant", "content": " <think>grey</think> About <image> 60.<|end|> "},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes."},
]


@pytest.mark.parametrize("backbone", ["tiny", "hf-llama"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_mask_of_the_assistants_tokens_is_that_of_training_labels(compose, backbone, side):
    _, processor = compose(backbone=backbone)
    short = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "No."}]
    inputs = processor.apply_chat_template(
        [ANSWERED, short], tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True,
        processor_kwargs={"padding": True, "padding_side": side},
    )  # fmt: skip
    assert inputs["assistant_masks"].shape == inputs["input_ids"].shape
    for row, chat in enumerate((ANSWERED, short)):
        turns = [Turn(**message) for message in chat]
        expected = encode_conversation(processor, turns, frames=())
        real = inputs["attention_mask"][row].bool()
        assert inputs["input_ids"][row][real].tolist() == expected.input_ids
        mask = inputs["assistant_masks"][row]
        assert mask[real].tolist() == [int(label >= 0) for label in expected.labels]
        assert not mask[~real].any()
        assert 0 < mask.sum() < len(expected.labels)


def test_the_mask_moves_along_with_visual_tokens(processor, picture, points):
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "Old?"}]
    asked = [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes."}]
    inputs = processor.apply_chat_template(
        asked, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        processor_kwargs={"landmarks": [points]},
    )  # fmt: skip
    marked = [token for token, mask in zip(inputs["input_ids"][0], inputs["assistant_masks"][0], strict=True) if mask]
    assert processor.decode(marked) == "Yes.<|end|>"


def test_a_template_without_marks_has_no_mask(compose):
    _, processor = compose(backbone="hf-qwen2")
    with pytest.raises(ConfigurationError, match="does not mark what the assistant writes"):
        processor.apply_chat_template(ANSWERED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
