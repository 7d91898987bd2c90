"""Fixtures for miniatures of datasets: files written under a temporary root."""

import io

import pytest
from PIL import Image


class Miniature:
    """A folder that a test fills in a dataset's layout."""

    def __init__(self, root):
        self.root = root
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (200, 150, 120)).save(buffer, "JPEG")
        self.jpeg = buffer.getvalue()

    def text(self, name, *lines):
        return self.data(name, "".join(f"{line}\n" for line in lines).encode())

    def picture(self, *names):
        for name in names:
            self.data(name, self.jpeg)

    def clip(self, *names):
        for name in names:
            self.data(name, b"not decoded here")

    def data(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture
def miniature(tmp_path):
    (tmp_path / "root").mkdir()
    return Miniature(tmp_path / "root")
