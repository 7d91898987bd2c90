"""The page of ``facekit serve --web``: plain HTML, CSS and JavaScript, which speak to the server's own addresses.

Nothing is built and nothing is loaded from elsewhere. The files hold no secret and are given without a key; what the
page asks for needs it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facekit.faces.layout import FACE_REGIONS, REGION_LABELS
from facekit.faces.overlay import CLOSED_REGIONS, REGION_COLOURS

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_START = "index.html"


def page_routes(guarded: Callable[[Handler], Handler]) -> list[Route]:
    """The routes of the page: ``/``, and one for each of its files, which are read here.

    Args:
        guarded: Puts a handler under the rules of the server.
    """
    routes = []
    for file in sorted(files(__package__).iterdir(), key=lambda each: each.name):
        suffix = file.name[file.name.rfind(".") :]
        if suffix in TYPES:
            path = "/" if file.name == _START else f"/page/{file.name}"
            routes.append(Route(path, guarded(_giver(file.read_bytes(), TYPES[suffix]))))
    routes.append(Route("/page/regions.js", guarded(_giver(_regions_module(), TYPES[".js"]))))
    return routes


def _regions_module() -> bytes:
    """The nine regions as JavaScript: their landmarks, colours, and whether their outline is closed."""
    regions = [
        {
            "name": name,
            "label": REGION_LABELS[name],
            "start": landmarks.start,
            "stop": landmarks.stop,
            "colour": f"rgb({' '.join(map(str, REGION_COLOURS[name]))})",
            "closed": name in CLOSED_REGIONS,
        }
        for name, landmarks in FACE_REGIONS.items()
    ]
    return f"export const REGIONS = {json.dumps(regions)}\n".encode()


def _giver(content: bytes, media_type: str) -> Handler:
    async def give(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return give
