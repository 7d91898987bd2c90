"""face-alignment's weights and options."""

from __future__ import annotations

import inspect
from typing import Any


def weight_urls() -> tuple[str, str]:
    """Where the package downloads its landmark network and its detector from.

    Seen: face-alignment 1.5.
    Why: the package downloads in its constructor, without asking; whether it would is known from these tables only.
    Until: an option turns downloads off.
    """
    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector

    return api.models_urls["2DFAN-4"], sfd_detector.models_urls["s3fd"]


def uncompiled() -> dict[str, Any]:
    """Arguments that keep ``FaceAlignment`` from compiling its network.

    Seen: face-alignment 1.5, whose releases differ in whether they have the argument.
    Why: to pass it to one that does not have it raises.
    Until: the oldest supported version has it.
    """
    import face_alignment

    return {"compile": False} if "compile" in inspect.signature(face_alignment.FaceAlignment).parameters else {}
