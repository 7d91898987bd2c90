"""The estimates for bases of today: those of the page, of the presets that name the bases, and of a real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.base_memory import BASES, build, table
from facekit.catalog import current_registry

PAGE = (Path(__file__).parents[2] / "docs" / "bases.md").read_text(encoding="utf-8")


def test_the_page_shows_the_table_as_it_is_estimated():
    assert table() in PAGE


def test_every_preset_on_a_base_names_one_of_the_table_with_its_licence_and_parameters():
    bases = {f"hf:{base.hub_id}": base for base in BASES}
    registry = current_registry()
    parts = [part for part in (registry.part("preset", name) for name in registry.names("preset"))
             if (part.load().checkpoint or "").startswith("hf:")]  # fmt: skip
    assert len(parts) == 8
    for part in parts:
        base = bases[part.load().checkpoint]
        assert part.licence == base.licence
        stated = float(part.details["parameters"].removesuffix(" B"))
        region = part.details["connector"] != "its own"
        count = sum(value.numel() for value in build(base).parameters()) / 1e9
        assert stated == pytest.approx(count + (0.05 if region else 0), abs=0.06)
