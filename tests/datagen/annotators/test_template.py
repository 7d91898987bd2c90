import asyncio

import numpy as np
import pytest
from PIL import Image

from facekit.data.media_files import MediaFiles
from facekit.datagen.annotators.measurements import landmark_facts, picture_facts
from facekit.datagen.annotators.template import TemplateAnnotator
from facekit.datagen.calls import AnnotationRequest
from facekit.endpoints.addresses import load_answerer
from facekit.endpoints.requests import PermanentCallError
from facekit.errors import InvalidSpecError


def face(turned=0.0, tilted=0.0, opened=0.0):
    """Landmarks of a schematic face."""
    points = np.zeros((68, 2))
    points[:17] = np.stack([np.linspace(0.2, 0.8, 17), 0.4 + 0.5 * np.sin(np.linspace(0, np.pi, 17))], axis=1)
    points[17:27] = np.stack([np.linspace(0.25, 0.75, 10), np.full(10, 0.3)], axis=1)
    points[27:36] = [0.5 + turned, 0.55]
    points[36:42], points[42:48] = [0.35, 0.4], [0.65, 0.4]
    points[48:60], points[60:68] = [0.5, 0.72], [0.5, 0.72]
    points[62, 1] -= opened / 2
    points[66, 1] += opened / 2
    angle = np.radians(tilted)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((points - 0.5) @ rotation.T + 0.5).tolist()


@pytest.mark.parametrize(("value", "light"), [(20, "dark"), (80, "dim"), (128, "even, medium"), (190, "bright"),
                                              (240, "very bright")])  # fmt: skip
def test_light_is_named_by_its_mean(tmp_path, value, light):
    Image.new("RGB", (20, 10), (value,) * 3).save(tmp_path / "a.png")
    facts = picture_facts(str(tmp_path / "a.png"))
    assert facts == {
        "light": light, "contrast": "low", "sharpness": "blurred", "resolution": "20 by 10 pixels",
        "colour_cast": "neutral",
    }  # fmt: skip


def test_noise_is_sharp_and_of_high_contrast(tmp_path):
    pixels = np.random.default_rng(0).choice([0, 255], (64, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    facts = picture_facts(str(tmp_path / "a.png"))
    assert (facts["sharpness"], facts["contrast"]) == ("sharp", "high")


def test_pose_is_read_from_landmarks():
    assert landmark_facts(face())["turn"] == "faces the camera"
    assert landmark_facts(face(turned=0.1))["turn"] == "is turned towards the right of the picture"
    assert landmark_facts(face(turned=-0.1))["turn"] == "is turned towards the left of the picture"
    assert landmark_facts(face())["tilt"] == "upright"
    assert landmark_facts(face(tilted=20))["tilt"] == "tilted by about 20 degrees"
    assert [landmark_facts(face(opened=gap))["mouth"] for gap in (0, 0.05, 0.2)] == ["closed", "slightly open", "open"]
    assert landmark_facts([face(), face(turned=0.1), face()])["turn"].endswith("right of the picture")


@pytest.mark.parametrize("absent", [None, [[float("nan")] * 2] * 68])
def test_of_a_clip_a_frame_without_a_face_says_nothing(absent):
    assert landmark_facts([face(), absent, face(tilted=20)])["tilt"] in ("upright", "tilted by about 20 degrees")
    assert landmark_facts([absent, absent, absent, face(tilted=20)])["tilt"] == "tilted by about 20 degrees"
    assert landmark_facts([absent] * 68) == {}


def test_angles_and_proportions_are_those_of_the_picture_whatever_its_shape(tmp_path):
    tilted = np.array(face(tilted=20)) / [2.0, 1.0]
    assert landmark_facts(tilted, 2.0) == landmark_facts(face(tilted=20))
    Image.new("RGB", (40, 20)).save(tmp_path / "wide.png")
    text = answer("{{ tilt }}, {{ face_shape }}", tmp_path / "wide.png", landmarks=tilted.tolist())
    assert text == "tilted by about 20 degrees, of balanced proportion"


def answer(template, media="none.png", landmarks=None, **facts):
    request = AnnotationRequest(
        "k", "", "", MediaFiles((str(media),)), template=template, facts=facts, landmarks=landmarks or face()
    )
    return asyncio.run(TemplateAnnotator().answer(request)).text


def test_templates_are_filled_with_facts_and_measurements(tmp_path):
    Image.new("RGB", (20, 10), "white").save(tmp_path / "a.png")
    text = answer("A {{ person }} in {{ light }} light who {{ turn }}.", tmp_path / "a.png", person="girl")
    assert text == "A girl in very bright light who faces the camera."


def test_what_is_not_known_is_a_failure_with_a_reason():
    with pytest.raises(PermanentCallError, match="'expression' is undefined"):
        answer("{{ expression }}")
    with pytest.raises(PermanentCallError, match="there is no file"):
        answer("{{ light }}")
    with pytest.raises(PermanentCallError, match="no template for this aspect"):
        answer(None)


def test_it_takes_no_options():
    with pytest.raises(InvalidSpecError, match="takes no argument"):
        TemplateAnnotator.from_spec("model")
    with pytest.raises(InvalidSpecError, match="annotator 'template' has no option 'timeout'; it has none"):
        load_answerer("template?timeout=3")
