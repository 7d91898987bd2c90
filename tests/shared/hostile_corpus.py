"""A folder of pictures, clips and other files as the world has them: every format, damage, name and link.

Whoever makes it knows how many files it holds and what each is, so that a reader can be held to account for all of
them. ``python tests/shared/hostile_corpus.py FOLDER --rounds 20`` makes a large one to try things by hand.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import socket
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from video_files import grey_frames, write_sound, write_video

MEDIA, OTHER, FAILED, LINKED = "media", "other", "failed", "duplicate"

FORMATS = {
    "JPEG": (("RGB", "L", "CMYK"), (".jpg", ".jpeg", ".jpe", ".jfif", ".JPG")),
    "PNG": (("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), (".png", ".apng")),
    "WEBP": (("RGB", "RGBA"), (".webp",)),
    "BMP": (("1", "L", "P", "RGB"), (".bmp", ".dib")),
    "GIF": (("L", "P"), (".gif",)),
    "TIFF": (("1", "L", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr", "LAB"), (".tif", ".tiff")),
    "PPM": (("1", "L", "RGB"), (".ppm", ".pgm", ".pbm", ".pnm")),
    "AVIF": (("RGB", "RGBA"), (".avif",)),
    "JPEG2000": (("L", "RGB"), (".jp2", ".j2k")),
    "TGA": (("L", "RGB", "RGBA"), (".tga",)),
}
"""Pillow's name of a format, the modes that it is written in, and the suffixes that it goes by."""

CONTAINERS = {".mp4": "libx264", ".mkv": "libx264", ".mov": "libx264", ".avi": "mpeg4", ".ts": "libx264",
              ".mpg": "mpeg1video", ".wmv": "wmv2", ".flv": "flv", ".3gp": "libx264", ".webm": "libvpx"}  # fmt: skip


@dataclass
class Corpus:
    """A folder that is filled, and what each file in it is.

    Attributes:
        root: The folder.
        expected: ``MEDIA``, ``OTHER``, ``FAILED`` or ``LINKED`` by path under the root, as bytes.
        healthy: Pictures that anybody can open.
    """

    root: Path
    expected: dict[bytes, str] = field(default_factory=dict)
    healthy: list[str] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """How many files there are of each kind."""
        return Counter(self.expected.values())

    def write(self, name: str | bytes, content: bytes, kind: str = MEDIA) -> None:
        """Write a file."""
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.expected[os.fsencode(name)] = kind

    def note(self, name: str, kind: str) -> Path:
        """Note a file that somebody else writes."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.expected[os.fsencode(name)] = kind
        return path


def make_corpus(root: Path, *, rounds: int = 1, seed: int = 0, videos: bool = True) -> Corpus:
    """Fill a folder.

    Args:
        root: The folder; what links lead to is made beside it.
        rounds: How many random damages each format gets.
        seed: Decides them.
        videos: Also clips.
    """
    root.mkdir(parents=True)
    corpus = Corpus(root)
    _add_formats(corpus)
    _add_damage(corpus, random.Random(seed), rounds)
    _add_odd_pictures(corpus)
    _add_names(corpus)
    _add_others(corpus)
    _add_links(corpus)
    if videos:
        _add_videos(corpus, random.Random(seed), rounds)
    return corpus


def encode(format: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    """A picture of noise as a file."""
    rng = np.random.default_rng(7)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
    elif mode == "F":
        image = Image.fromarray(rng.random(size[::-1], dtype=np.float32))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        image = image.convert("RGB").convert("RGBA").convert(mode) if mode == "LA" else _convert(image, mode)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    return image.convert(mode)


def _add_formats(corpus: Corpus) -> None:
    for format, (modes, suffixes) in FORMATS.items():
        for mode in modes:
            for suffix in suffixes:
                name = f"formats/{format}-{mode.replace(';', '-')}{suffix}"
                corpus.write(name, encode(format, mode))
                if format in ("JPEG", "PNG", "WEBP", "BMP", "GIF") and mode != "LA":
                    corpus.healthy.append(name)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        corpus.write(f"formats/turned-{orientation}.jpg", encode("JPEG", exif=exif))
    corpus.write("formats/progressive.jpg", encode("JPEG", progressive=True, quality=30))


def _add_damage(corpus: Corpus, rng: random.Random, rounds: int) -> None:
    for format, (_, suffixes) in FORMATS.items():
        whole = encode(format)
        for number in range(rounds):
            cut = rng.randrange(len(whole))
            corpus.write(f"damage/{format}-cut-{number}{suffixes[0]}", whole[:cut])
            flipped = bytearray(whole)
            for _ in range(1 + number % 5):
                flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            corpus.write(f"damage/{format}-flipped-{number}{suffixes[0]}", bytes(flipped))
            start = rng.randrange(len(whole) // 2)
            zeroed = whole[:start] + bytes(len(whole) - start)
            corpus.write(f"damage/{format}-zeroed-{number}{suffixes[0]}", zeroed)
        corpus.write(f"damage/{format}-trailing{suffixes[0]}", whole + b"\0" * 4096)
        corpus.write(f"damage/{format}-empty{suffixes[0]}", b"")
        corpus.write(f"damage/{format}-words{suffixes[0]}", b"<html>404 not found</html>")


def _add_odd_pictures(corpus: Corpus) -> None:
    for width, height in ((1, 1), (1, 900), (900, 1), (3, 3), (2000, 20)):
        corpus.write(f"odd/{width}x{height}.png", encode("PNG", size=(width, height)))
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 100, 200)]
    for format, suffix in (("GIF", ".gif"), ("TIFF", ".tiff"), ("WEBP", ".webp"), ("PNG", ".png")):
        file = io.BytesIO()
        frames[0].save(file, format, save_all=True, append_images=frames[1:])
        corpus.write(f"odd/several{suffix}", file.getvalue())
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    corpus.write("odd/bomb.png", b"\x89PNG\r\n\x1a\n" + bomb + encode("PNG")[33:])
    corpus.write("odd/is-a-png.jpg", encode("PNG"))
    corpus.write("odd/is-a-jpeg.png", encode("JPEG"))
    corpus.write("odd/photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    corpus.write("odd/new.jxl", b"\xff\x0a" + bytes(100))


def _add_names(corpus: Corpus) -> None:
    content = encode("JPEG")
    stems = [
        "two words", "-dash", "per%20cent", "café", "cafe\u0301", "写真", "😀", "new\nline", "tab\there", "quote'\"",
        "back\\slash", "semi;colon", "$(rm)", "x" * 250, "many.dots.in.it", "#hash", "[brackets]", "\u202eleft",
    ]  # fmt: skip
    for stem in stems:
        corpus.write(f"names/{stem}.jpg", content)
        corpus.healthy.append(f"names/{stem}.jpg")
    corpus.write("names/no-suffix", content)
    corpus.write("names/odd.part", content)
    corpus.write("names/.hidden", content)
    corpus.write(b"names/\xe9t\xe9.jpg", content, FAILED)
    corpus.write(b"names/\xff/inside.jpg", content, FAILED)
    corpus.write(f"names/{'deep/' * 60}a.jpg", content)
    corpus.write("names/folder.jpg/a.jpg", content)


def _add_others(corpus: Corpus) -> None:
    for name, content in {
        "notes.txt": b"words", "labels.csv": b"file,age\na.jpg,3\n", "data.json": b"{}", "page.html": b"<html>",
        ".DS_Store": b"\0\0\0\1Bud1", "._photo.jpg": b"\0\x05\x16\x07\0\x02\0\0", "archive.zip": b"PK\x03\x04",
        "model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "module.ts": b"export const a = 1;\n" * 40, "empty": b"",
        "sound.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0", "vector.svg": b"<svg/>", "scan.pdf": b"%PDF-1.7",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
    }.items():  # fmt: skip
        corpus.write(f"others/{name}", content, OTHER)
    os.mkfifo(corpus.note("others/pipe.jpg", OTHER))
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(corpus.root / "others", os.O_RDONLY)
        try:  # by the descriptor, for a socket's path must be short
            listener.bind(f"/proc/self/fd/{directory}/socket.jpg")
        finally:
            os.close(directory)
    corpus.note("others/socket.jpg", OTHER)


def _add_links(corpus: Corpus) -> None:
    content = encode("JPEG", size=(50, 50))
    corpus.write("links/real.jpg", content)
    os.link(corpus.root / "links/real.jpg", corpus.note("links/hard.jpg", MEDIA))
    outside = corpus.root.with_name(f"{corpus.root.name}-outside")
    (outside / "deeper").mkdir(parents=True)
    for name in ("alone.jpg", "deeper/1.jpg", "deeper/2.jpg"):
        (outside / name).write_bytes(content)
    (outside / "deeper" / "home").symlink_to(corpus.root)
    for name, target, kind in (
        ("soft.jpg", "real.jpg", LINKED),
        ("twice.jpg", "soft.jpg", LINKED),
        ("gone.jpg", "nowhere.jpg", FAILED),
        ("itself.jpg", "itself.jpg", FAILED),
        ("alone.jpg", outside / "alone.jpg", MEDIA),
        ("outside-again.jpg", outside / "alone.jpg", LINKED),
        ("loop", "..", LINKED),
        ("formats", "../formats", LINKED),
    ):
        corpus.note(f"links/{name}", kind).symlink_to(target)
    (corpus.root / "links" / "deeper").symlink_to(outside / "deeper")
    for name, kind in (("1.jpg", MEDIA), ("2.jpg", MEDIA), ("home", LINKED)):
        corpus.expected[os.fsencode(f"links/deeper/{name}")] = kind
    corpus.note("links/deeper-again", LINKED).symlink_to(outside / "deeper")


def _add_videos(corpus: Corpus, rng: random.Random, rounds: int) -> None:
    frames = grey_frames(12)
    for suffix, codec in CONTAINERS.items():
        path = write_video(corpus.note(f"videos/whole{suffix}", MEDIA), frames, codec=codec)
        whole = path.read_bytes()
        corpus.write(f"videos/empty{suffix}", b"", OTHER if suffix == ".ts" else MEDIA)
        for number in range(rounds):
            cut = rng.randrange(max(600, len(whole) // 4), len(whole))
            corpus.write(f"videos/cut-{number}{suffix}", whole[:cut])
    corpus.write("videos/named-nothing", (corpus.root / "videos/whole.mkv").read_bytes())
    corpus.write("videos/one-frame.mp4", b"")
    write_video(corpus.root / "videos/one-frame.mp4", frames[:1])
    write_sound(corpus.note("videos/sound.mp4", MEDIA))
    corpus.write("videos/playlist.mp4", b"#EXTM3U\nfile:///etc/passwd\n")


def main() -> None:
    """Make one by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    corpus = make_corpus(options.folder, rounds=options.rounds, seed=options.seed)
    print(f"{len(corpus.expected):,} files: {dict(corpus.counts())}")


if __name__ == "__main__":
    main()
