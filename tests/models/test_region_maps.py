import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

import facekit
from facekit.errors import ConfigurationError, FaceNotFoundError
from facekit.faces import FACE_REGIONS, read_clip
from facekit.faces.heat_map import draw_heat_maps


@pytest.fixture(scope="module")
def parts():
    return facekit.create(encoder="tiny", connector="region?num_heads=4", backbone="tiny", seed=1)


@pytest.fixture(scope="module")
def portrait():
    return Image.fromarray(astronaut()).crop((100, 0, 356, 256))


def plain_maps(model, pixels, landmarks):
    """Attention of one frame in float64, written out patch by patch and head by head."""
    connector, attention = model.connector.double(), model.connector.cross_attention
    rows, columns = model.encoder.grid
    with torch.no_grad():
        tokens = model.encoder(pixels[None, None]).double()
        patches = connector.vision_projector(tokens[0, 0, -rows * columns :])
        regions = connector.landmark_projector(landmarks[None].double())[0]
        centres = [landmarks[points.start : points.stop].double().mean(0) for points in FACE_REGIONS.values()]
        query = patches @ attention.query_weight.T + attention.query_bias
        key = regions @ attention.key_weight.T + attention.key_bias
        width = query.shape[1] // attention.num_heads
        maps = np.empty((attention.num_heads, len(centres), rows, columns))
        for head in range(attention.num_heads):
            part = slice(head * width, (head + 1) * width)
            for patch in range(rows * columns):
                row, column = divmod(patch, columns)
                here = torch.tensor([(column + 0.5) / columns, (row + 0.5) / rows], dtype=torch.float64)
                scores = key[:, part] @ query[patch, part] / width**0.5
                scores = scores - torch.stack([(here - centre).norm() for centre in centres])
                maps[head, :, row, column] = torch.softmax(scores, 0).numpy()
    connector.float()
    return maps


def test_maps_equal_a_transcription_in_float64_patch_by_patch(parts, portrait):
    model, processor = parts
    maps = facekit.region_maps(model, processor, portrait)
    assert maps.values.shape == (1, 4, 9, *model.encoder.grid)
    inputs = processor.image_processor.convert(maps.faces)
    expected = plain_maps(model, inputs["pixel_values"][0, 0], inputs["landmarks"][0, 0])
    assert np.abs(maps.values[0] - expected).max() < 1e-5


def test_probabilities_of_a_patch_sum_to_one_and_near_regions_have_more(parts, portrait):
    maps = facekit.region_maps(*parts, portrait)
    assert np.allclose(maps.values.sum(axis=2), 1, atol=1e-5)
    assert np.allclose(maps.mean(), maps.values.mean(axis=1))
    lips, brow = (maps.mean()[0, maps.regions.index(name)] for name in ("lips", "eyebrow1"))
    half = lips.shape[0] // 2
    assert (lips - brow)[half:].mean() > (lips - brow)[:half].mean()


def test_frames_of_a_clip_have_their_own_maps_and_one_without_a_face_has_none(parts, portrait):
    frames = [portrait, Image.new("RGB", portrait.size), portrait.rotate(5)]
    maps = facekit.region_maps(*parts, read_clip(frames, 3))
    assert maps.values.shape[0] == len(maps.faces) == 3
    assert [bool(np.isfinite(frame).all()) for frame in maps.values] == [True, False, True]
    assert np.abs(maps.values[0] - maps.values[2]).max() > 1e-4
    assert maps.draw(2).width > 700
    with pytest.raises(FaceNotFoundError, match="frame 1 shows no face"):
        maps.draw(1)


@pytest.mark.parametrize("connector", ["region?projector=pixel-shuffle", "region-released", "region?proximity=false"])
def test_every_connector_with_region_attention_has_maps(portrait, connector):
    model, processor = facekit.create(encoder="tiny", connector=connector, backbone="tiny", seed=1)
    maps = facekit.region_maps(model, processor, portrait)
    rows, columns = model.encoder.grid
    factor = 2 if "shuffle" in connector else 1
    assert maps.values.shape[2:] == (9, rows // factor, columns // factor)
    assert np.allclose(maps.values.sum(axis=2), 1, atol=1e-5)


def test_a_connector_without_region_attention_and_a_picture_without_a_face_are_told(parts, portrait):
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=1)
    with pytest.raises(ConfigurationError, match="connector=region"):
        facekit.region_maps(model, processor, portrait)
    with pytest.raises(FaceNotFoundError):
        facekit.region_maps(*parts, Image.new("RGB", (64, 64)))
    with pytest.raises(ConfigurationError, match="1 frame and 4 heads"):
        facekit.region_maps(*parts, portrait).draw(head=4)


def test_maps_follow_given_landmarks(parts, portrait):
    crop = portrait.resize((96, 96))
    first, second = (np.random.default_rng(seed).uniform(0.2, 0.8, (68, 2)) for seed in (0, 1))
    one, two = (facekit.region_maps(*parts, crop, landmarks=points).values for points in (first, second))
    assert np.abs(one - two).max() > 1e-3


def test_a_drawn_map_is_light_where_its_value_is_high():
    values = np.zeros((2, 4, 4))
    values[0, 0, 0] = values[1, 3, 3] = 1
    sheet = np.asarray(draw_heat_maps(Image.new("RGB", (64, 64), (128,) * 3), values, ["a", "b"], panel=100)).sum(
        axis=2
    )
    left, right = sheet[5:105, 5:105].astype(int), sheet[5:105, 110:210].astype(int)
    assert left[:20, :20].mean() > left[60:, 60:].mean() + 100
    assert right[80:, 80:].mean() > right[:40, :40].mean() + 100
    with pytest.raises(ConfigurationError, match="not finite"):
        draw_heat_maps(Image.new("RGB", (64, 64)), values * np.nan, ["a", "b"])
    with pytest.raises(ConfigurationError, match="do not fit 1 titles"):
        draw_heat_maps(Image.new("RGB", (64, 64)), values, ["a"])


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("panel", [136, 240])
def test_titles_are_as_large_as_the_panel_lets_them_and_ends_of_the_scale_lie_apart(columns, panel):
    picture = Image.new("RGB", (64, 64), (255,) * 3)
    titles = ["face contour: 100 %"] * columns
    sheet = draw_heat_maps(picture, np.ones((columns, 4, 4)), titles, columns=columns, panel=panel)
    ink = np.asarray(sheet.convert("L")) < 160
    gap = round(0.05 * panel)
    title = ink[gap + panel : gap + panel + round(0.15 * panel)]
    assert np.flatnonzero(title.any(axis=1)).size >= 0.05 * panel
    assert not title[:, panel + gap : panel + 2 * gap - 1].any(), "a title is no wider than its panel"
    words = np.flatnonzero(ink[-round(0.11 * panel) :].any(axis=0))
    assert words[-1] < sheet.width - gap + 1
    assert np.diff(words).max() > 0.05 * panel, "there is room between 0 % and the other end"


def test_a_drawing_may_begin_with_the_face_and_have_other_columns(parts, portrait):
    maps = facekit.region_maps(*parts, portrait)
    sheet = maps.draw(panel=100, columns=5, with_face=True)
    plain = maps.draw(panel=100, columns=5)
    assert sheet.size == plain.size == (5 * 105 + 5, maps.draw(panel=100).height - 120)
    first, second = (np.asarray(sheet)[5:105, left : left + 100].astype(int) for left in (5, 110))
    face = np.asarray(maps.faces[0].image.resize((100, 100))).astype(int)
    assert np.abs(first - face).mean() < 25 < np.abs(second - face).mean()
    assert np.array_equal(second, np.asarray(plain)[5:105, 5:105])


def test_ask_saves_the_maps(run_facekit, parts, portrait, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    portrait.save(tmp_path / "face.png")
    status, _, error = run_facekit(
        "ask", tmp_path / "face.png", "Hm?", "--model", tmp_path / "model", "--region-maps", tmp_path / "maps.png",
        "--max-new-tokens", 2,
    )  # fmt: skip
    assert status == 0, error
    assert Image.open(tmp_path / "maps.png").width > 700
