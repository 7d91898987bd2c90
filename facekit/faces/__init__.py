"""Faces in pictures: opening, detection, landmarks, crops, regions, frames and overlays.

Names are loaded when they are first used, so that importing the package costs neither torch nor a detector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.faces.clips import CroppedClip, draw_clip_overlay, prepare_clip
    from facekit.faces.crop import CroppedFace, crop_face, pad_to_square
    from facekit.faces.frames import choose_frames
    from facekit.faces.images import open_image
    from facekit.faces.landmarker import DetectedFace, Landmarker, LargestFace, load_landmarker
    from facekit.faces.layout import FACE_REGIONS, NUM_LANDMARKS, REGION_LABELS
    from facekit.faces.overlay import draw_overlay
    from facekit.faces.prepare import prepare_face, prepare_faces, select_faces
    from facekit.faces.regions import patch_centers, region_centroids, region_patch_proximity
    from facekit.faces.video import Clip, is_video, read_clip

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clips": ["CroppedClip", "draw_clip_overlay", "prepare_clip"],
        "crop": ["CroppedFace", "crop_face", "pad_to_square"],
        "frames": ["choose_frames"],
        "images": ["open_image"],
        "landmarker": ["DetectedFace", "Landmarker", "LargestFace", "load_landmarker"],
        "layout": ["FACE_REGIONS", "NUM_LANDMARKS", "REGION_LABELS"],
        "overlay": ["draw_overlay"],
        "prepare": ["prepare_face", "prepare_faces", "select_faces"],
        "regions": ["patch_centers", "region_centroids", "region_patch_proximity"],
        "video": ["Clip", "is_video", "read_clip"],
    },
)
