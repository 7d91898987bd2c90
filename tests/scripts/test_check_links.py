"""A built site: links to what is not there, and formulas that were left as LaTeX, are named with their page."""

import pytest

from scripts.check_links import find_dead_links, find_raw_formulas


@pytest.fixture
def site(tmp_path):
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "index.html").write_text('<h2 id="first-steps">First</h2><a href="../#top">up</a>')
    (tmp_path / "picture.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [
        ("guide/", False), ("guide/#first-steps", False), ("#top", False), ("picture.png", False),
        ("https://example.org/gone", False), ("mailto:a@b.org", False), ("guide/?q=a&amp;b#first-steps", False),
        ("gone/", True), ("guide/#second-steps", True), ("#bottom", True), ("gone.png", True),
    ],
)  # fmt: skip
def test_a_link_to_what_is_not_there_is_dead(site, link, is_dead):
    (site / "index.html").write_text(f'<h1 id="top">A</h1><a class="x" href="{link}">it</a>')
    expected = [("index.html", link.replace("&amp;", "&"))] if is_dead else []
    assert find_dead_links(site) == expected


@pytest.mark.parametrize(("picture", "is_dead"), [("picture.png", False), ("images/gone.jpg", True)])
def test_a_picture_that_is_not_there_is_found(site, picture, is_dead):
    (site / "index.html").write_text(
        f'<p id="top"><img alt="A face" src="{picture}"></p><img alt="" src="data:image/png;base64,">'
    )
    assert find_dead_links(site) == ([("index.html", picture)] if is_dead else [])


def test_a_formula_that_the_builder_left_as_code_is_found(site):
    (site / "index.html").write_text("<p><code>math\n\\begin{split} Q \\end{split}</code></p>")
    (site / "set.html").write_text('<div class="formula"><math></math></div><code>import math</code>')
    assert find_raw_formulas(site) == ["index.html"]
