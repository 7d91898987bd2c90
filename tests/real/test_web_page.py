"""The page of ``facekit serve --web`` in a real browser: what a reader does, and what is shown for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chromium import browsing
from model_server import portrait, running, served_model  # noqa: F401 - fixtures
from PIL import Image
from skimage.data import astronaut
from video_files import write_video

import facekit
from facekit.faces import read_clip

QUESTIONS = ["Which expression does the face show?", "How old does the person look?", "<img src=x onerror=alert(1)>"]
LABELS = "[...document.querySelectorAll('#maps-panels canvas')].map(each => each.getAttribute('aria-label'))"
TEXTS = "[...document.querySelectorAll('#answers .columns > div > p:last-child')].map(each => each.textContent)"
IS_ASKED = (
    "/^\\d+ of \\d+ answered/.test(document.querySelector('#ask-status').textContent) "
    "&& !document.querySelector('#ask-button').disabled"
)
HAS_MAPS = "document.querySelector('#maps-panels canvas') && !document.querySelector('#maps-status').textContent"
TOKENS = 12


@pytest.fixture(scope="module")
def second_model():
    return facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=5)


@pytest.fixture(scope="module")
def address(served_model, second_model):  # noqa: F811
    with running(*served_model, others={"second": second_model}, web=True) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    frames = folder / "camera.mjpeg"
    Image.fromarray(astronaut()).resize((640, 640)).save(frames, "JPEG", quality=95)
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with browsing(folder / "profile", *flags, f"--use-file-for-fake-video-capture={frames}") as started:
        yield started


@pytest.fixture
def tab(browser, address):
    page = browser.tab()
    page.look(1280)
    page.open(address)
    page.wait("document.querySelectorAll('#models li').length === 2")
    page.evaluate(f"document.querySelector('#max-tokens').value = {TOKENS}")
    return page


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A picture of two faces, the second smaller and mirrored."""
    face = Image.fromarray(astronaut()).crop((140, 0, 316, 200))
    picture = Image.new("RGB", (480, 260), (90, 90, 90))
    picture.paste(face, (10, 20))
    picture.paste(face.resize((132, 150)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (300, 50))
    path = tmp_path_factory.mktemp("pictures") / "pair.png"
    picture.save(path)
    return path


def write(tab, questions):
    tab.evaluate(f"document.querySelector('#questions').value = {json.dumps(chr(10).join(questions))}")


def peaks(maps):
    """The ends of the labels of maps ``(9, rows, columns)``: where each is highest."""
    rows, columns = maps.shape[1:]
    places = (np.unravel_index(values.argmax(), values.shape) for values in maps)
    return [f"row {row + 1} of {rows}, column {column + 1} of {columns}" for row, column in places]


def answers(tab):
    tab.click("#ask-button")
    tab.wait(IS_ASKED)
    return [text.removesuffix(" …") for text in tab.evaluate(TEXTS)]


def test_a_picture_is_uploaded_a_face_picked_three_questions_answered_and_the_heat_map_read(
    tab, address, served_model, second_model, pair  # noqa: F811
):  # fmt: skip
    tab.choose_file("#file", pair)
    tab.wait(HAS_MAPS)
    assert tab.text("#picture-status") == "2 faces were found; pick one."
    tab.click(".box[aria-label='Face 2 of 2']")
    tab.wait("document.querySelector('#crop-caption').textContent.includes('Face 2 of 2')")
    picture = Image.open(pair).convert("RGB")
    faces = served_model[1].image_processor.find_faces(picture)
    maps = facekit.region_maps(*served_model, faces[1]).mean()[0]
    tab.wait(f"{json.dumps(peaks(maps))}.every((peak, region) => {LABELS}[region].endsWith(peak))")
    means = [float(label.split(": ")[1].split("\u00a0%")[0]) for label in tab.evaluate(LABELS)]
    assert np.allclose(means, 100 * maps.mean(axis=(1, 2)), atol=0.6)
    write(tab, QUESTIONS)
    shown = answers(tab)
    expected = [
        facekit.ask(*parts, parts[1].image_processor.find_faces(picture)[1], question, max_new_tokens=TOKENS)[0].strip()
        for question in QUESTIONS
        for parts in (served_model, second_model)
    ]
    assert shown == expected
    assert tab.text("#ask-status") == "6 of 6 answered about face 2"
    assert tab.text("#answers h3").strip() == QUESTIONS[0]
    assert tab.evaluate("document.querySelectorAll('#answers img').length") == 0
    names = tab.evaluate("[...document.querySelectorAll('#answers .name')].map(each => each.textContent)")
    assert names == ["tiny", "second"] * 3
    assert tab.complaints == []
    assert {each.split("/")[2] for each in tab.addresses if each.startswith("http")} == {address.split("/")[2]}


def test_maps_are_shown_by_head_by_region_and_by_patch(tab, served_model, pair):  # noqa: F811
    tab.choose_file("#file", pair)
    tab.wait(HAS_MAPS)
    mean = tab.evaluate(LABELS)
    heads = facekit.region_maps(*served_model, pair).values.shape[1]

    def choose(name, value):
        field = f"document.querySelector('#{name}')"
        tab.evaluate(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('change'))")
        return tab.evaluate(LABELS)

    assert choose("maps-head", "1") != mean
    assert len(choose("maps-region", "5")) == 1 + heads
    choose("maps-region", "")
    pixels = "document.querySelector('#maps-panels canvas').toDataURL()"
    smooth = tab.evaluate(pixels)
    tab.click("#maps-patches")
    assert tab.evaluate(pixels) != smooth
    assert "of a patch’s attention" in tab.text("#maps-scale")
    tab.click("#maps-own")
    assert "the panel’s most" in tab.text("#maps-scale")
    assert tab.complaints == []


def test_a_clip_shows_its_frames_and_each_has_its_maps(tab, served_model, portrait, tmp_path):  # noqa: F811
    path = write_video(tmp_path / "clip.mp4", [portrait.rotate(turn) for turn in (0, 4, 8, 12)])
    tab.evaluate("document.querySelector('#num-frames').value = 3")
    tab.choose_file("#file", path)
    tab.wait(HAS_MAPS)
    assert tab.evaluate("document.querySelectorAll('#frames button').length") == 3
    maps = facekit.region_maps(*served_model, read_clip(path, 3)).mean()
    for frame in (0, 2):
        tab.click(f"#frames button:nth-child({frame + 1})")
        tab.wait(f"document.querySelectorAll('#frames button')[{frame}].ariaPressed === 'true' && {HAS_MAPS}")
        tab.wait(f"{json.dumps(peaks(maps[frame]))}.every((peak, region) => {LABELS}[region].endsWith(peak))")
    write(tab, QUESTIONS[:1])
    expected = facekit.ask(*served_model, str(path), QUESTIONS[0], max_new_tokens=TOKENS, num_frames=3)[0]
    assert answers(tab)[0] == expected.strip()
    assert tab.complaints == []


def test_the_camera_gives_a_picture(tab):
    tab.click("#camera")
    tab.wait("!document.querySelector('#camera-take').disabled")
    tab.click("#camera-take")
    tab.wait("document.querySelectorAll('.box').length === 1")
    assert tab.text("#picture-status") == "One face was found."
    assert tab.evaluate("document.querySelector('#camera-view').srcObject") is None
    assert tab.complaints == []


def test_a_picture_without_a_face_and_a_file_that_is_none_are_told(tab, tmp_path):
    Image.new("RGB", (64, 64), (120, 90, 60)).save(tmp_path / "empty.png")
    tab.choose_file("#file", tmp_path / "empty.png")
    tab.wait("document.querySelector('#picture-status').textContent.startsWith('No face')")
    write(tab, QUESTIONS[:1])
    assert all("no face was found in picture 1" in text for text in answers(tab))
    assert tab.text("#ask-status") == "2 of 2 answered, 2 not"
    assert tab.evaluate("document.querySelectorAll('#answers li').length") == 1
    (tmp_path / "notes.png").write_text("no picture")
    tab.choose_file("#file", tmp_path / "notes.png")
    tab.wait("document.querySelector('#picture-status').textContent.includes('cannot be shown by this browser')")
    tab.choose_file("#file", tmp_path / "empty.png")
    tab.wait("document.querySelector('#picture-status').textContent.startsWith('No face')")
    assert tab.evaluate("document.querySelectorAll('#answers li').length") == 0, "they were about another picture"


def test_answers_can_be_stopped_and_free_their_places(tab, address, pair):
    tab.choose_file("#file", pair)
    tab.wait(HAS_MAPS)
    tab.evaluate("document.querySelector('#max-tokens').value = 1900")
    write(tab, [f"Question {number}?" for number in range(20)])
    tab.click("#ask-button")
    tab.wait("!document.querySelector('#stop').hidden")
    tab.click("#stop")
    tab.wait("document.querySelector('#ask-status').textContent === 'Stopped.'")
    assert tab.evaluate("document.querySelector('#stop').hidden && !document.querySelector('#ask-button').disabled")
    assert tab.evaluate(TEXTS)[-1] == "not asked"
    tab.wait(f"fetch('{address}/metrics').then(r => r.text()).then(text => text.includes('facekit_open_answers 0.0'))")


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_as_wide_as_its_window_by_day_and_in_the_dark(tab, pair, dark):
    tab.choose_file("#file", pair)
    tab.wait(HAS_MAPS)
    answers(tab)
    for width in (1280, 390, 320):
        tab.look(width, dark=dark)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.look(390, dark=dark)
    light = np.asarray(tab.picture())[5, 5].mean()
    assert light < 60 if dark else light > 200
    smallest = "Math.min(...[...document.querySelectorAll('button:not(.box)')].filter(each => each.offsetParent)"
    assert tab.evaluate(f"{smallest}.map(each => each.getBoundingClientRect().height))") >= 40
    assert tab.complaints == []


def test_it_can_be_used_by_keyboard_and_everything_has_a_name(tab, pair):
    tab.choose_file("#file", pair)
    tab.wait(HAS_MAPS)
    tab.evaluate("document.querySelector('#camera').focus()")
    for number in (1, 2):
        tab.press("Tab")
        assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == f"Face {number} of 2"
    tab.press("Enter")
    tab.wait("document.querySelectorAll('.box')[1].ariaPressed === 'true'")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    used = ("button", "textbox", "combobox", "spinbutton", "checkbox", "image", "list")
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    named = {role: [name for each, name in found if each == role] for role in used}
    assert all(name for names in named.values() for name in names), [role for role in named if "" in named[role]]
    assert len(named["image"]) >= 11  # the picture, the crop and nine maps
    assert [role for role, _ in found].count("heading") >= 4


def test_a_server_with_a_key_asks_for_it_once(browser, served_model, pair):  # noqa: F811
    with running(*served_model, web=True, api_key="secret") as url:
        tab = browser.tab()
        tab.open(url)
        tab.wait("!document.querySelector('#key').hidden")
        for key in ("wrong", "secret"):
            tab.evaluate(f"document.querySelector('#key-text').value = {key!r}")
            tab.click("#key button")
            if key == "wrong":
                tab.wait("!document.querySelector('#key-error').hidden")
                assert "the API key is missing or wrong" in tab.text("#key-error")
        tab.wait("document.querySelectorAll('#models li').length === 1")
        assert tab.evaluate("document.querySelector('#key').hidden")
        tab.choose_file("#file", pair)
        tab.wait(HAS_MAPS)
        assert "secret" not in tab.evaluate("document.documentElement.outerHTML + location.href")
