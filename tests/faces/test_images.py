import pickle
import struct
import zlib

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from packaging.version import Version
from PIL import Image

from facekit.errors import ConfigurationError, FaceKitError, ImageError
from facekit.faces import open_image
from facekit.faces.images import NEUTRAL_COLOUR

OLD_PILLOW = pytest.mark.skipif(
    Version(PIL.__version__) < Version("13"),
    reason="Pillow before 13 reads no uncompressed YCbCr TIFF, its own included",
)


def mean_difference(image, other):
    return np.abs(np.asarray(image, dtype=float) - np.asarray(other, dtype=float)).mean()


def png_header(width, height, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def picture(astronaut):
    return astronaut.crop((150, 40, 310, 160))


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [
        ("RGB", "png", 0.0),
        ("RGB", "jpg", 5.0),
        ("RGB", "webp", 5.0),
        ("RGB", "bmp", 0.0),
        ("RGB", "ppm", 0.0),
        ("P", "png", 6.0),
        ("P", "gif", 6.0),
        ("CMYK", "jpg", 4.0),
        ("CMYK", "tiff", 1.0),
        pytest.param("YCbCr", "tiff", 3.0, marks=OLD_PILLOW),
        ("RGBA", "png", 0.0),
    ],
)
def test_colour_files_of_every_mode_keep_their_colours(picture, tmp_path, mode, suffix, tolerance):
    path = tmp_path / f"picture.{suffix}"
    picture.convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    opened = open_image(path)
    assert opened.mode == "RGB"
    assert opened.size == picture.size
    assert mean_difference(opened, picture) <= tolerance


def test_grey_one_bit_and_hsv_images_become_rgb(picture):
    grey = picture.convert("L")
    assert mean_difference(open_image(grey), grey.convert("RGB")) == 0
    one_bit = open_image(picture.convert("1"))
    assert set(np.unique(np.asarray(one_bit))) == {0, 255}
    assert mean_difference(open_image(picture.convert("HSV")), picture) < 3


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_from_its_full_range(tmp_path, suffix):
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    opened = np.asarray(open_image(path))
    expected = np.round(values / 257).astype(np.uint8)
    assert np.array_equal(opened, np.stack([expected] * 3, axis=-1))


def test_big_endian_sixteen_bit_grey_is_read_alike():
    values = np.linspace(0, 65535, 64, dtype=">u2").reshape(8, 8)
    opened = open_image(Image.frombytes("I;16B", (8, 8), values.tobytes()))
    assert np.asarray(opened)[0, 0, 0] == 0
    assert np.asarray(opened)[-1, -1, 2] == 255


def test_transparency_is_composited_on_the_neutral_colour(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 2:, 3] = 255
    pixels[:, 1, 3] = 128
    path = tmp_path / "glass.png"
    Image.fromarray(pixels).save(path)
    opened = np.asarray(open_image(path))
    assert tuple(opened[0, 0]) == NEUTRAL_COLOUR
    assert tuple(opened[0, 3]) == (255, 0, 0)
    assert np.abs(opened[0, 1].astype(int) - (189, 58, 52)).max() <= 1


def test_transparent_grey_and_palette_images_are_composited_too():
    grey = open_image(Image.new("LA", (2, 2), (255, 0)))
    assert grey.getpixel((0, 0)) == NEUTRAL_COLOUR
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30])
    assert open_image(palette).getpixel((1, 1)) == (10, 20, 30)
    palette.info["transparency"] = 0
    assert open_image(palette).getpixel((1, 1)) == NEUTRAL_COLOUR


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_rotation_is_applied(picture, tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture.transpose(undo[orientation]) if orientation in undo else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "rotated.png"
    stored.save(path, exif=exif)
    opened = open_image(path)
    assert opened.size == picture.size
    assert mean_difference(opened, picture) == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_leaves_the_picture_as_stored(picture, tmp_path):
    path = tmp_path / "broken_exif.png"
    picture.save(path, exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\xff\xff")
    assert mean_difference(open_image(path), picture) == 0


def test_the_source_is_left_as_it_was(picture):
    source = picture.copy()
    opened = open_image(source)
    opened.putpixel((0, 0), (1, 2, 3))
    assert mean_difference(source, picture) == 0


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert open_image(path).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((2, 3, 1), 7, np.uint8), 7),
        (np.full((2, 3, 3), 7, np.uint8), 7),
        (np.full((2, 3), 65535, np.uint16), 255),
        (np.full((2, 3, 3), 32896, np.uint16), 128),
        (np.full((2, 3, 3), 0.5, np.float32), 128),
        (np.full((2, 3), 1.0, np.float64), 255),
        (np.ones((2, 3), bool), 255),
    ],
)
def test_arrays_of_known_meaning_are_images(array, expected):
    opened = open_image(array)
    assert opened.size == (3, 2)
    assert opened.getpixel((2, 1)) == (expected,) * 3


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
        (np.zeros(12, np.uint8), "no pixels"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((2, 8, 8, 3), np.uint8), "channels last"),
        (np.zeros((8, 8, 2), np.uint8), "channels last"),
        (np.full((8, 8), 255.0), r"from 255 to 255; scale them to \[0, 1\]"),
        (np.full((8, 8), -0.1), r"scale them to \[0, 1\]"),
        (np.full((8, 8), np.nan), "float values from nan"),
        (np.zeros((8, 8), np.int64), "type int64; convert it to uint8"),
        (np.zeros((8, 8), object), "type object"),
    ],
)
def test_arrays_of_uncertain_meaning_are_refused(array, reason):
    with pytest.raises(ImageError, match=reason):
        open_image(array)


@settings(deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float32, np.int32, np.bool_]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_any_array_is_an_rgb_image_of_its_size_or_refused(array):
    try:
        opened = open_image(array)
        outcome = (opened.mode, opened.size)
    except ImageError as error:
        outcome = str(error)[:15]
    assert outcome in (("RGB", array.shape[1::-1]), "the given array")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"BM"]),
)
def test_no_bytes_escape_as_another_error(tmp_path_factory, data, magic):
    path = tmp_path_factory.getbasetemp() / "file.bin"
    path.write_bytes(magic + data)
    try:
        outcome = open_image(path).mode
    except FaceKitError as error:
        outcome = str(error)
    assert outcome == "RGB" or "file.bin" in outcome


@pytest.mark.parametrize("mode", ["LAB", "I", "F"])
def test_images_without_a_certain_rgb_form_are_refused(mode):
    image = Image.new(mode, (4, 4), {"LAB": (0, 0, 0), "I": 1_000_000, "F": 200.0}[mode])
    with pytest.raises(ImageError, match=r"save it|scale them"):
        open_image(image)


def test_integer_images_within_sixteen_bits_are_read():
    assert open_image(Image.new("I", (4, 4), 65535)).getpixel((0, 0)) == (255, 255, 255)


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"there is no file '.*nobody\.png'; check the path"):
        open_image(tmp_path / "nobody.png")
    with pytest.raises(ImageError, match="is not a file"):
        open_image(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg' is empty \(0 bytes\)"):
        open_image(str(tmp_path / "empty.jpg"))


def test_a_file_that_is_not_an_image_is_refused(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("these are words")
    with pytest.raises(ImageError, match=r"notes\.png' is not a picture of a known format .*save it as PNG or JPEG"):
        open_image(path)


def test_a_file_for_another_program_is_not_opened(picture, tmp_path):
    path = tmp_path / "drawing.eps"
    picture.save(path)
    with pytest.raises(ImageError, match="not a picture of a known format"):
        open_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff"])
def test_a_truncated_file_is_refused(picture, tmp_path, suffix):
    path = tmp_path / f"half.{suffix}"
    picture.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=rf"half\.{suffix}'"):
        open_image(path)


def test_a_bomb_is_refused_from_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(30_000, 30_000))
    with pytest.raises(ImageError, match=r"bomb\.png' is too large to decode .*900000000.*shrink it"):
        open_image(path)


def test_the_bound_on_pixels_is_checked_before_decoding(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(9_000, 9_000, b"not a compressed image"))
    with pytest.raises(ImageError, match=r"9000 x 9000 = 81,000,000 pixels, above the bound of 64,000,000"):
        open_image(path)


def test_the_bound_holds_for_images_and_arrays_and_can_be_set():
    image = Image.new("RGB", (100, 100))
    with pytest.raises(ImageError, match="above the bound of 9,999"):
        open_image(image, max_pixels=9_999)
    with pytest.raises(ImageError, match="above the bound of 9,999"):
        open_image(np.zeros((100, 100), np.uint8), max_pixels=9_999)
    assert open_image(image, max_pixels=10_000).size == (100, 100)
    with pytest.raises(ConfigurationError, match="at least 1"):
        open_image(image, max_pixels=0)


def test_something_else_is_refused_by_its_type():
    with pytest.raises(ImageError, match="not list; convert it first"):
        open_image([[0, 0], [0, 0]])


def test_a_damaged_avif_is_one_sentence(tmp_path):
    path = tmp_path / "a.avif"
    Image.effect_noise((40, 30), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"pitm", b"pitn"))
    with pytest.raises(ImageError, match=r"a\.avif"):
        open_image(path)


def test_jpeg_2000_is_read(tmp_path):
    Image.new("RGB", (20, 10), (200, 30, 30)).save(tmp_path / "a.jp2")
    assert open_image(tmp_path / "a.jp2").getpixel((3, 3)) == pytest.approx((200, 30, 30), abs=2)


def test_tga_is_read_by_its_suffix_and_nothing_else_is_taken_for_it(tmp_path):
    Image.new("RGB", (20, 10), (200, 30, 30)).save(tmp_path / "a.tga")
    assert open_image(tmp_path / "a.tga").getpixel((3, 3)) == (200, 30, 30)
    (tmp_path / "a.tga").rename(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a picture of a known format"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp", ".ppm"])
def test_an_opened_picture_does_without_its_file_and_travels_between_processes(picture, tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    picture.save(path)
    with Image.open(path) as stored:
        expected = np.array(stored.convert("RGB"))
    image = open_image(path)
    path.write_bytes(b"something else")
    path.unlink()
    np.testing.assert_array_equal(np.asarray(image), expected)
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(image))), expected)
    image.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (1, 2, 3)
