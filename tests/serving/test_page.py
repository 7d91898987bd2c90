"""The files of the page: where they are, what a browser may do with them, and that they load nothing from elsewhere."""

import re

import pytest
from model_server import httpx, running

from facekit.faces import FACE_REGIONS


@pytest.fixture(scope="module")
def address(served_model):
    with running(*served_model, web=True) as url:
        yield url


def test_the_page_and_all_that_it_names_are_there(address):
    page = httpx.get(f"{address}/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    names = set(re.findall(r'(?:href|src)="(page/[^"]+)"', page.text))
    assert names == {"page/page.css", "page/page.js"}
    seen, types = set(), {"css": "text/css", "js": "text/javascript"}
    while names - seen:
        name = min(names - seen)
        seen.add(name)
        file = httpx.get(f"{address}/{name}")
        assert file.status_code == 200, name
        assert file.headers["content-type"].startswith(types[name.rsplit(".", 1)[1]])
        names |= {f"page/{each}" for each in re.findall(r"from '\./([^']+)'", file.text)}
    assert len(seen) >= 8


def test_its_files_name_no_other_host_and_use_no_markup_from_strings(address):
    page = httpx.get(f"{address}/").text
    modules = {name: httpx.get(f"{address}/page/{name}").text for name in ("page.css", *scripts())}
    for name, text in {"index.html": page, **modules}.items():
        assert not re.search(r"https?://|//cdn|@import|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), (
            name
        )
        assert len(text.splitlines()) < 250, name
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page)


def scripts():
    from importlib.resources import files

    return [each.name for each in files("facekit.serving.page").iterdir() if each.name.endswith(".js")]


def test_what_a_browser_may_do_is_bounded_by_headers(address):
    for path in ("/", "/page/page.js"):
        headers = httpx.get(f"{address}{path}").headers
        rules = dict(rule.strip().partition(" ")[::2] for rule in headers["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"


def test_regions_are_those_of_the_library(address):
    text = httpx.get(f"{address}/page/regions.js").text
    found = re.findall(r'"name": "(\w+)", "label": "[\w ]+", "start": (\d+), "stop": (\d+)', text)
    assert [(name, range(int(start), int(stop))) for name, start, stop in found] == list(FACE_REGIONS.items())


@pytest.mark.parametrize(
    "path", ["/page/__init__.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page/", "/index.html"]
)
def test_nothing_else_of_the_package_is_given(address, path):
    assert httpx.get(f"{address}{path}").status_code == 404


def test_the_page_needs_no_key_but_all_that_it_asks_for_does_and_hosts_are_checked(served_model):
    with running(*served_model, web=True, api_key="secret") as url:
        assert httpx.get(f"{url}/").status_code == 200
        assert httpx.get(f"{url}/page/page.js").status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert "secret" not in httpx.get(f"{url}/").text
    with running(*served_model, web=True) as url:
        assert httpx.get(f"{url}/", headers={"Host": "evil.example"}).status_code == 403


def test_without_web_there_is_no_page(server):
    assert httpx.get(f"{server}/").status_code == 404
    assert httpx.get(f"{server}/page/page.js").status_code == 404
