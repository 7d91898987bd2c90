"""Pictures and clips from wherever they come: the same pixels, the same sentences, the same bounds."""

from __future__ import annotations

import base64
import contextlib
import http.server
import socket
import threading
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facekit.errors import ImageError, VideoError
from facekit.faces import open_image, read_clip, sources
from facekit.faces.sources import copy_content, describe_source

KINDS = ("path", "text", "file", "web", "data", "bytes")


class Served:
    """Files by name, over HTTP on this machine."""

    def __init__(self, address):
        self.address = address
        self.files: dict = {}
        self.redirects: dict = {}

    def put(self, name, content):
        self.files[f"/{name}"] = content
        return f"{self.address}/{name}"


@pytest.fixture(scope="module")
def web():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path in served.redirects:
                self.send_response(302)
                self.send_header("Location", served.redirects[self.path])
                self.end_headers()
                return
            content = served.files.get(self.path.partition("?")[0])
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Served(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield served
        server.shutdown()


@pytest.fixture
def dripping():
    """Starts a server that sends some bytes at once and then one piece after the other; without a piece it hangs up."""
    with contextlib.ExitStack() as stack:

        def start(begins, goes_on):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def drip():
                channel, _ = listener.accept()
                with channel, contextlib.suppress(OSError):
                    channel.recv(65536)
                    channel.sendall(begins)
                    while goes_on:
                        channel.sendall(goes_on)
                        time.sleep(0.02)

            threading.Thread(target=drip, daemon=True).start()
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield start


def as_source(kind, content, folder, web, name="picture"):
    path = folder / name
    path.write_bytes(content)
    if kind == "path":
        return path
    if kind == "text":
        return str(path)
    if kind == "file":
        return path.as_uri()
    if kind == "web":
        return web.put(name, content)
    if kind == "bytes":
        return content
    return as_data(content)


def as_data(content):
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def encode(image, suffix, **options):
    file = BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3)
    return encode(image, "JPEG", exif=exif, quality=95)


def sixteen_bits():
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    return encode(Image.fromarray(values), "PNG")


def transparent():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (200, 30, 60, 255)
    return encode(Image.fromarray(pixels), "PNG")


CONTENTS = {
    "16-bit grey": (sixteen_bits, [(0, 0, (0, 0, 0)), (7, 5, (255, 255, 255)), (0, 3, (130, 130, 130))]),
    "transparent": (transparent, [(0, 0, (200, 30, 60)), (0, 3, (122, 116, 104))]),
    "CMYK": (lambda: encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), [(2, 2, (255, 0, 0))]),
    "palette": (lambda: encode(Image.new("RGB", (6, 6), (10, 200, 30)).convert("P", palette=1), "GIF"), []),
    "turned by the camera": (turned, []),
    "one bit": (lambda: encode(Image.new("1", (5, 5), 1), "BMP"), [(1, 1, (255, 255, 255))]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_picture_has_the_same_pixels_wherever_it_comes_from(tmp_path, web, name):
    make, known = CONTENTS[name]
    content = make()
    with Image.open(BytesIO(content)) as given:
        expected = open_image(given)
    for kind in KINDS:
        opened = open_image(as_source(kind, content, tmp_path, web))
        assert opened.mode == "RGB"
        assert opened.size == expected.size
        assert np.array_equal(np.asarray(opened), np.asarray(expected)), kind
    for x, y, colour in known:
        assert np.abs(np.subtract(expected.getpixel((x, y)), colour)).max() <= 2, (x, y)
    if name == "turned by the camera":
        assert expected.size == (4, 6)


def test_sixteen_bits_of_an_array_are_those_of_its_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_image(values)), np.asarray(open_image(tmp_path / "a.png")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"is empty \(0 bytes\); fetch or export it again"),
        (b"GIF89a, or so", "cannot be read|is not a picture of a known format|is damaged"),
        (b"words, words", "is not a picture of a known format"),
        (encode(Image.effect_noise((40, 40), 90), "PNG")[:700], "is damaged or truncated|cannot be read"),
        (encode(Image.new("RGB", (300, 300)), "PNG"), "above the bound of 80,000"),
    ],
)
def test_what_cannot_be_used_is_told_by_the_same_sentence(tmp_path, web, kind, content, told):
    source = as_source(kind, content, tmp_path, web)
    with pytest.raises(ImageError, match=told) as caught:
        open_image(source, max_pixels=80_000)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500


def test_a_long_data_url_is_never_printed(tmp_path):
    body = base64.b64encode(np.random.default_rng(0).bytes(120_000)).decode()
    for url in (f"data:image/png;base64,{body}", f"data:image/{body};base64,AAAA", body, f"https://{body}"):
        with pytest.raises(ImageError) as caught:
            open_image(url)
        text = str(caught.value)
        assert len(url) >= 160_000
        assert len(text) < 400
        assert body[300:340] not in text
        assert f"{len(url):,} characters" in text
        assert len(describe_source(url)) < 200
    with pytest.raises(VideoError, match=r"the data URL \(video/mp4, 160,\d{3} characters\) is no video"):
        read_clip(f"data:video/mp4;base64,{body}")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,@@@@", "is not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:,words", "of no type, 11 characters.* not a picture"),
        ("ftp://example.org/a.png", "an address of a kind that is not read"),
        ("s3://bucket/a.png", "an address of a kind that is not read"),
        ("http://127.0.0.1:1/a.png", r"'http://127.0.0.1:1/a\.png' cannot be fetched"),
        ("https://", "cannot be fetched"),
        ("file:///nowhere/a.png", r"there is no file 'file:///nowhere/a\.png'"),
        ("a\0b.png", "is no path of a file|there is no file"),
        ("x" * 5000, r"'x{40}…' \(5,000 characters\) is no path"),
    ],
)
def test_addresses_that_lead_nowhere_are_told(url, told):
    with pytest.raises(ImageError, match=told):
        open_image(url)


def test_base64_may_have_line_breaks_percent_signs_and_no_padding():
    content = transparent()
    text = base64.b64encode(content).decode()
    broken = "\n".join(text[i : i + 30] for i in range(0, len(text), 30))
    for body in (broken, text.rstrip("="), text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")):
        assert open_image(f"data:image/png;base64,{body}").size == (4, 4)
    plain = "".join(f"%{byte:02X}" for byte in content)
    assert open_image(f"DATA:image/png,{plain}").size == (4, 4)


def test_an_address_that_is_not_there_or_leads_off_the_web_is_told(web, tmp_path):
    (tmp_path / "a.png").write_bytes(transparent())
    with pytest.raises(ImageError, match=r"missing\.png' cannot be fetched \(HTTP Error 404"):
        open_image(f"{web.address}/missing.png")
    web.redirects["/away"] = (tmp_path / "a.png").as_uri()
    with pytest.raises(ImageError, match="cannot be fetched"):
        open_image(f"{web.address}/away")
    web.put("there.png", transparent())
    web.redirects["/moved"] = f"{web.address}/there.png"
    assert open_image(f"{web.address}/moved").size == (4, 4)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("scheme", "begins", "goes_on"),
    [
        ("http", b"", b"H"),
        ("http", HEAD, b"X"),
        ("http", HEAD + b"\r\n", b"x"),
        ("http", HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
        ("https", b"\x16\x03\x03\x40\x00", b"\x00"),
    ],
    ids=["status", "headers", "content", "content-of-known-length", "handshake"],
)
def test_a_server_that_drips_is_cut_at_the_deadline(dripping, monkeypatch, scheme, begins, goes_on):
    monkeypatch.setattr(sources, "FIRST_SECONDS", 1.0)
    monkeypatch.setattr(sources, "SLOWEST_RATE", 1 << 40)
    with pytest.raises(ImageError, match=r"picture\.png' did not come within 1 seconds; fetch it yourself"):
        open_image(f"{scheme}://{dripping(begins, goes_on)}/picture.png")


def test_a_picture_that_breaks_off_is_told_as_that(dripping):
    address = dripping(HEAD + b"Content-Length: 1000\r\n\r\nonly this", b"")
    with pytest.raises(ImageError, match=r"cannot be fetched \(the connection ended 991 bytes too early\)"):
        open_image(f"http://{address}/picture.png")


def test_what_is_fetched_ends_at_its_bound(web):
    content = transparent() + bytes(200)
    for source in (web.put("large.png", content), content, as_data(content)):
        file = BytesIO()
        with pytest.raises(ImageError, match=r"has more than 100 bytes; shrink it"):
            copy_content(source, file, largest=100)
        assert not file.getvalue()
        copy_content(source, file, largest=len(content))
        assert file.getvalue() == content


def test_heic_is_read_where_its_package_is_and_asked_for_elsewhere(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif; make real brings it")
    pixels = np.zeros((64, 48, 3), np.uint8)
    pixels[:32] = (200, 40, 40)
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, quality=-1)
    for source in (path, path.read_bytes()):
        opened = open_image(source)
        assert opened.size == (48, 64)
        assert np.abs(np.asarray(opened, int) - pixels).max() <= 6
    with pytest.raises(ImageError, match="above the bound of 100"):
        open_image(path, max_pixels=100)


def test_heic_without_its_package_is_told_with_the_command(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(ImageError, match=r"a\.heic' is a HEIC picture.*pip install 'facekit-mllm\[heic\]'"):
        open_image(path)
