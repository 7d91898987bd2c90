"""Drawn faces with labels and landmarks, and a small model with region attention."""

from __future__ import annotations

import pytest

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("drawn"), 6, seed=0, image_size=48))


@pytest.fixture
def small():
    return facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=2&heads=4",
        seed=0,
    )
