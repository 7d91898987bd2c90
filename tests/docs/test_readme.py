"""The README is also the page of a package index: links are absolute, and those into the repository lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facekit.catalog import current_registry
from facekit.data.formats import FORMATS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(([^)\s]+)\)", README)
OWN = re.compile(
    r"https://(?:github\.com/facekit/facekit/(?:blob|tree)|raw\.githubusercontent\.com/facekit/facekit)/(?:main/)?"
)


def test_links_are_absolute():
    assert len(LINKS) > 40
    assert [link for link in LINKS if not link.startswith("https://")] == []


@pytest.mark.parametrize("link", sorted({link for link in LINKS if OWN.match(link)}))
def test_a_link_into_the_repository_names_what_is_there(link):
    assert (ROOT / OWN.sub("", link).partition("#")[0]).exists()


def test_what_the_readme_counts_is_there():
    own = {"synthetic", "folder", "csv", "pairs", "chat-json", "fairfacegpt", "faceinstruct"}
    datasets = set(current_registry().names("dataset")) - own
    assert f"readers for {len(datasets)} face datasets" in README
    assert len(FORMATS) == 5
    assert "five formats both ways" in README


def test_the_parts_that_the_readme_names_are_there():
    for kind, row in (("encoder", "encoders"), ("connector", "connectors"), ("backbone", "backbones")):
        (line,) = re.findall(rf"^\| {row} \| (.*) \|$", README, re.M)
        named = {name.rstrip(":") for name in re.findall(r"`([a-z][a-z-]*:?)`", line)}
        assert named
        assert named <= set(current_registry().names(kind))


def test_entries_about_other_repositories_name_a_commit():
    others = [link for link in LINKS if "github.com" in link and not OWN.match(link)]
    assert len(others) > 20
    assert [link for link in others if not re.search(r"/(?:blob|tree)/[0-9a-f]{7}(?:/|$)", link)] == []
