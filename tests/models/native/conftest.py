"""Small models of the families, new ones for every test."""

from __future__ import annotations

import pytest
from small_vlms import save_small_vlm


@pytest.fixture
def small_vlm(tmp_path):
    """Returns model and processor of a family, saved in the test's folder under the family's name."""
    return lambda family: save_small_vlm(family, tmp_path / family)
