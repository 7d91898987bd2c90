"""What transformers does when it is imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, TypeAlias

import transformers
from transformers.utils import import_utils

_Structure: TypeAlias = dict[frozenset[str], dict[str, set[str]]]


def import_models_package() -> None:
    """Import ``transformers.models`` without reading all its files a second time.

    ``import transformers`` has read them for the names in each, of which it remembers the whole but not the parts.

    Seen: transformers 5.17 to 5.24, which read about 2,000 files twice, in a quarter of a second each time.
    Why: the package asks for the names in another form than the remembered one, and the memory of the single folders is
        ``functools.lru_cache`` at its default size, of 128; there are over 400.
    Until: the second reading finds the folders in that memory.
    """
    if "transformers.models" in sys.modules:
        return
    structure = _structure_of_models()
    original = import_utils.define_import_structure

    def remembered(module_path: str, *rest: Any, **options: Any) -> _Structure:
        """Other packages, which another thread may import meanwhile, are read as ever."""
        is_models = Path(module_path).parent == _models_folder()
        return structure if is_models else original(module_path, *rest, **options)

    import_utils.define_import_structure = remembered  # type: ignore[assignment]
    try:
        importlib.import_module("transformers.models")
    finally:
        import_utils.define_import_structure = original


def _models_folder() -> Path:
    return Path(str(transformers.__file__)).parent / "models"


def _structure_of_models() -> _Structure:
    """The names in the files of ``transformers.models``, from what ``transformers`` remembers of its own."""
    prefix = "models"
    remembered = import_utils.define_import_structure(_models_folder(), prefix=prefix)  # the same words
    return {
        backends: {
            name.removeprefix(f"{prefix}."): set(objects)
            for name, objects in files.items()
            if name.startswith(f"{prefix}.")
        }
        for backends, files in remembered.items()
    }
