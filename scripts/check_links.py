"""Check a built site for links and pictures that lead nowhere inside it, and for formulas left as LaTeX.

python -m scripts.check_links site      # `make docs` does it after it has built the site
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

_LINK = re.compile(r'<(?:a [^>]*?href|img [^>]*?src)="?([^"\s>]+)')
_TARGET = re.compile(r'\b(?:id|name)="?([^"\s>]+)')
_ADDRESS = re.compile(r"[a-z][a-z+.-]*:|//")
_RAW_FORMULA = re.compile(r"<code>math\s")


def find_dead_links(site: Path) -> list[tuple[str, str]]:
    """Pages with the links and pictures on them that name no file of the site, or no place in its page.

    The page of errors is left out: it may be shown at any depth, so its links begin at the root.
    """
    pages = {
        path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "404.html"
    }
    targets = {path: {unquote(name) for name in _TARGET.findall(text)} for path, text in pages.items()}
    dead = []
    for path, text in pages.items():
        for link in sorted(set(_LINK.findall(text.replace("&amp;", "&")))):
            if _ADDRESS.match(link):
                continue
            place, _, heading = link.partition("#")
            target = (path.parent / unquote(place.partition("?")[0])).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            is_missing = not target.exists() or (
                heading and unquote(heading) not in targets.get(target, {unquote(heading)})
            )
            if is_missing:
                dead.append((str(path.relative_to(site.resolve())), link))
    return sorted(dead)


def find_raw_formulas(site: Path) -> list[str]:
    """Pages with a formula that was not set: the builder leaves it as code, without a word, where setting it fails."""
    return sorted(
        str(path.relative_to(site))
        for path in site.rglob("*.html")
        if _RAW_FORMULA.search(path.read_text(encoding="utf-8"))
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.check_links SITE")
    found = find_dead_links(Path(sys.argv[1]))
    unset = find_raw_formulas(Path(sys.argv[1]))
    print("\n".join(f"{page}: {link} leads nowhere" for page, link in found) or "no dead link inside the site")
    for page in unset:
        print(f"{page}: a formula is not set; is latex2mathml installed, and can scripts/formulas.py read it?")
    sys.exit(1 if found or unset else 0)
