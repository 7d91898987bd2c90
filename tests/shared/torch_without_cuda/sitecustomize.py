"""On a search path, lets torchvision as PyPI has it be imported beside a torch without CUDA; torchaudio is hidden.

Their compiled operators do not load there, and importing torchvision fails where it describes two of them. These are
declared before it is imported, and not missed: pictures are resized by Pillow or by plain torch.
"""

from __future__ import annotations

import importlib.machinery
import sys

_KEPT = []  # a declaration lasts as long as its library


class _Declare:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            self.declare()

    def declare(self):
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


sys.modules.update(dict.fromkeys(("torchaudio", "torchcodec")))  # as if they were not installed
if importlib.machinery.PathFinder.find_spec("torchvision") is not None:
    sys.meta_path.insert(0, _Declare())
