"""Faces and region maps over HTTP: what the library finds, under the bounds of every other request."""

import io
import threading

import numpy as np
import pytest
from model_server import QUESTION, data_url, httpx, running, user
from PIL import Image
from skimage.data import astronaut
from video_files import write_video

import facekit
from facekit.faces import FACE_REGIONS, read_clip


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def opened(url):
    import base64

    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


@pytest.fixture(scope="module")
def post(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield lambda path, body: client.post(f"/facekit/{path}", json={"model": "tiny", **body})


@pytest.fixture(scope="module")
def pair():
    """A picture of two faces, the second smaller."""
    face = Image.fromarray(astronaut()).crop((150, 0, 306, 190))
    picture = Image.new("RGB", (420, 240), (90, 90, 90))
    picture.paste(face, (10, 20))
    picture.paste(face.resize((117, 142)), (250, 40))
    return picture


@pytest.fixture(scope="module")
def clip_url(portrait, tmp_path_factory):
    import base64

    path = write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", [portrait.rotate(turn) for turn in (0, 3, 6, 9)])
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_every_face_of_a_picture_is_found_and_its_crop_asks_as_the_library_does(post, server, served_model, pair):
    model, processor = served_model
    found = post("faces", {"medium": image(data_url(pair))}).json()
    faces = processor.image_processor.find_faces(pair)
    assert (found["width"], found["height"]) == pair.size
    assert len(found["faces"]) == len(faces) == 2
    for told, face in zip(found["faces"], faces, strict=True):
        assert told["crop"] == list(face.box)
        assert np.array_equal(np.asarray(opened(told["image"])), np.asarray(face.image))
        assert np.array_equal(np.asarray(told["crop_landmarks"], np.float32), face.landmarks)
    assert found["faces"][0]["box"][2] < 210 < found["faces"][1]["box"][0]
    second = found["faces"][1]
    reply = httpx.post(
        f"{server}/v1/chat/completions",
        json={
            "model": "tiny",
            "messages": [user(QUESTION, second["image"])],
            "facekit": {"landmarks": [second["crop_landmarks"]]},
        },
        timeout=60,
    ).json()
    expected = facekit.ask(model, processor, faces[1], QUESTION, max_new_tokens=12)[0]
    assert reply["choices"][0]["message"]["content"] == expected


def test_a_picture_without_a_face_has_none(post):
    found = post("faces", {"medium": image(data_url(Image.new("RGB", (64, 48))))}).json()
    assert found == {"type": "image", "width": 64, "height": 48, "faces": []}


def test_maps_are_those_of_the_library_for_a_picture_and_for_a_picked_face(post, served_model, portrait, portrait_url):
    expected = facekit.region_maps(*served_model, portrait)
    whole = post("region_maps", {"medium": image(portrait_url)}).json()
    assert [each["name"] for each in whole["regions"]] == list(FACE_REGIONS)
    assert np.abs(np.asarray(whole["values"]) - expected.values[0]).max() < 1e-4
    face = post("faces", {"medium": image(portrait_url)}).json()["faces"][0]
    picked = post("region_maps", {"medium": image(face["image"]), "landmarks": face["crop_landmarks"]}).json()
    assert np.abs(np.asarray(picked["values"]) - expected.values[0]).max() < 1e-4


def test_a_drawn_reply_has_the_librarys_picture_of_the_mean_or_of_a_head(post, served_model, portrait, portrait_url):
    maps = facekit.region_maps(*served_model, portrait)
    for head in (None, 1):
        drawn = post("region_maps", {"medium": image(portrait_url), "draw": True, "head": head}).json()["picture"]
        assert np.array_equal(np.asarray(opened(drawn)), np.asarray(maps.draw(head=head)))


def test_a_clip_has_its_frames_and_each_frame_its_maps(post, served_model, clip_url, tmp_path):
    medium = {"type": "video_url", "video_url": {"url": clip_url}}
    found = post("faces", {"medium": medium, "num_frames": 3}).json()
    assert [frame["face_found"] for frame in found["frames"]] == [True] * 3
    assert [frame["index"] for frame in found["frames"]] == sorted({frame["index"] for frame in found["frames"]})
    path = tmp_path / "clip.mp4"
    import base64

    path.write_bytes(base64.b64decode(clip_url.split(",")[1]))
    maps = facekit.region_maps(*served_model, read_clip(path, 3))
    for frame in range(3):
        told = post("region_maps", {"medium": medium, "num_frames": 3, "frame": frame}).json()
        assert (told["frame"], told["frames"]) == (frame, 3)
        assert np.abs(np.asarray(told["values"]) - maps.values[frame]).max() < 1e-4
    beyond = post("region_maps", {"medium": medium, "num_frames": 3, "frame": 3})
    assert beyond.status_code == 400
    assert "3 frames" in beyond.json()["error"]["message"]


WRONG = {
    "no medium": ({}, "'medium' is missing"),
    "text": ({"medium": {"type": "text", "text": "Hello"}}, "medium"),
    "a path": ({"medium": image("/etc/passwd")}, "data URL"),
    "a file": ({"medium": image("file:///etc/passwd")}, "data URL"),
    "this machine": ({"medium": image("http://127.0.0.1:1/a.png")}, "data URL"),
    "no picture": ({"medium": image("data:image/png;base64,aGVsbG8=")}, "picture 1"),
    "too many pixels": ({"medium": image(data_url(Image.new("1", (9000, 9000))))}, "pixels"),
    "unknown field": ({"medium": image("data:image/png;base64,aGVsbG8="), "colour": 1}, "'colour'"),
    "another model": ({"medium": image("data:image/png;base64,aGVsbG8="), "model": "gpt-5"}, "'tiny'"),
    "no frames": ({"medium": image("data:image/png;base64,aGVsbG8="), "num_frames": 0}, "num_frames"),
    "a clip that is none": (
        {"medium": {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGVsbG8="}}}, "clip 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", ["faces", "region_maps"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_a_4xx_in_one_sentence(post, path, name):
    body, piece = WRONG[name]
    reply = post(path, body)
    assert 400 <= reply.status_code < 500, reply.text
    message = reply.json()["error"]["message"]
    assert piece in message or "allow-hosts" in message
    assert "\n" not in message
    assert len(message) < 400
    assert "/tmp" not in message


def test_what_has_no_maps_says_why(post, portrait_url, clip_url):
    for body, piece in (
        ({"medium": image(data_url(Image.new("RGB", (64, 64))))}, "no face was found in picture 1"),
        ({"medium": image(portrait_url), "head": 99}, "heads, counted from 0"),
        ({"medium": image(portrait_url), "frame": 1}, "1 frame,"),
        ({"medium": image(portrait_url), "landmarks": [[0.5, 0.5]] * 67}, "landmarks"),
        (
            {
                "medium": {"type": "video_url", "video_url": {"url": clip_url}},
                "landmarks": [[0.5, 0.5]] * 68,
            },
            "leave them out for a clip",
        ),
    ):
        reply = post("region_maps", body)
        assert reply.status_code == 400
        assert piece in reply.json()["error"]["message"]


def test_a_model_without_region_attention_says_so_before_and_when_asked(portrait_url):
    model, processor = facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=3)
    with running(model, processor) as address:
        (listed,) = httpx.get(f"{address}/v1/models").json()["data"]
        assert listed["facekit"] == {"finds_faces": True, "region_maps": False, "num_frames": 8}
        body = {"model": "tiny", "medium": image(portrait_url)}
        reply = httpx.post(f"{address}/facekit/region_maps", json=body, timeout=60)
        assert reply.status_code == 400
        assert "connector=region" in reply.json()["error"]["message"]


def test_keys_hosts_types_and_places_hold_here_too(served_model, portrait_url):
    body = {"model": "tiny", "medium": image(portrait_url)}
    with running(*served_model, api_key="secret") as address:
        for path in ("faces", "region_maps"):
            url = f"{address}/facekit/{path}"
            assert httpx.post(url, json=body).status_code == 401
            right = {"Authorization": "Bearer secret"}
            assert httpx.post(url, json=body, headers=right, timeout=60).status_code == 200
    with running(*served_model, max_body_bytes=1000) as address:
        url = f"{address}/facekit/faces"
        assert httpx.post(url, json=body).status_code == 413
        assert httpx.post(url, json={}, headers={"Host": "evil.example"}).status_code == 403
        assert httpx.post(url, content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
        assert httpx.get(url).status_code == 405


def test_they_take_a_place_and_give_it_back(served_model, portrait_url, monkeypatch):
    import facekit.serving.looking as looking

    model, processor = served_model
    entered, leave = threading.Event(), threading.Event()
    real = looking.region_maps

    def slow(*arguments):
        entered.set()
        assert leave.wait(60)
        return real(*arguments)

    monkeypatch.setattr(looking, "region_maps", slow)
    body = {"model": "tiny", "medium": image(portrait_url)}
    with running(model, processor, max_batch=1, max_waiting=0) as address:
        replies = []
        url = f"{address}/facekit/region_maps"
        first = threading.Thread(target=lambda: replies.append(httpx.post(url, json=body, timeout=60)))
        first.start()
        assert entered.wait(60)
        refused = httpx.post(f"{address}/facekit/faces", json=body, timeout=60)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        leave.set()
        first.join(60)
        assert replies[0].status_code == 200
        assert "facekit_open_answers 0.0" in httpx.get(f"{address}/metrics").text
        assert httpx.post(f"{address}/facekit/faces", json=body, timeout=60).status_code == 200


def test_a_fault_of_the_model_is_a_500_and_the_engine_goes_on(served_model, portrait_url, monkeypatch):
    import facekit.serving.looking as looking

    def fail(*arguments):
        raise RuntimeError("a secret of the machine")

    body = {"model": "tiny", "medium": image(portrait_url)}
    with running(*served_model) as address:
        with monkeypatch.context() as patch:
            patch.setattr(looking, "region_maps", fail)
            reply = httpx.post(f"{address}/facekit/region_maps", json=body, timeout=60)
            assert reply.status_code == 500
            assert "secret" not in reply.text
        assert httpx.post(f"{address}/facekit/region_maps", json=body, timeout=60).status_code == 200
