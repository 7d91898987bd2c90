"""Serving: any facekit model behind an OpenAI-compatible HTTP server, ``facekit serve``.

``create_app`` makes the Starlette application, ``serve`` runs it on uvicorn. Needs the extra ``serve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.serving.app import create_app
    from facekit.serving.engine import Engine
    from facekit.serving.run import serve
    from facekit.serving.settings import ServerSettings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "app": ["create_app"],
        "engine": ["Engine"],
        "run": ["serve"],
        "settings": ["ServerSettings"],
    },
)
