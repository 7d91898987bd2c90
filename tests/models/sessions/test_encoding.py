"""Media of several sessions are encoded together, those of one length in one batch."""

from __future__ import annotations

import torch

from facekit.models.sessions.encoding import MediumTensors, answering_mode, encode_media, join_features


def medium(frames, seed):
    generator = torch.Generator().manual_seed(seed)
    return MediumTensors(
        torch.randn(frames, 3, 48, 48, generator=generator), torch.rand(frames, 68, 2, generator=generator), frames > 1
    )


def test_media_of_one_length_are_encoded_in_one_batch_and_each_comes_back_to_its_subject(small):
    model, _ = small
    seen = []
    model.encoder.register_forward_hook(lambda module, given, result: seen.append(tuple(given[0].shape[:2])))
    subjects = [[medium(2, 0), medium(1, 1)], [], [medium(1, 2)], [medium(2, 3)]]
    encoded = encode_media(model, subjects)
    assert seen == [(2, 1), (2, 2)]
    assert [each.frames for each in encoded] == [(2, 1), (), (1,), (2,)]
    assert [each.is_clip for each in encoded] == [(True, False), (), (False,), (True,)]
    for subject, each in zip(subjects, encoded, strict=True):
        for one, features in zip(subject, each.features, strict=True):
            alone = model.get_image_features(one.pixel_values[None], one.landmarks[None])[0]
            torch.testing.assert_close(features, alone, atol=1e-5, rtol=1e-5)


def test_features_of_one_length_are_stacked_and_others_padded_with_their_frames(small):
    model, _ = small
    pictures = encode_media(model, [[medium(1, 0)], [medium(1, 1)]])
    assert list(join_features(pictures)) == ["image_features"]
    mixed = join_features(encode_media(model, [[medium(1, 0)], [medium(2, 1)]]))
    assert mixed["num_frames"].tolist() == [1, 2]
    count = model.tokens_per_frame
    assert mixed["image_features"].shape[:2] == (2, 2 * count)
    assert not mixed["image_features"][0, count:].any()
    assert join_features([]) == {}


def test_modules_return_to_the_mode_that_each_had(small):
    model, _ = small
    model.train()
    model.encoder.eval()
    with answering_mode(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
    assert model.training
    assert model.connector.training
    assert not any(module.training for module in model.encoder.modules())
