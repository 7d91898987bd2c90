"""What transformers does when it is imported, against what it would do alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import transformers
from transformers.utils import import_utils

from facekit.compat import transformers_imports

PROGRAM = """
import builtins, sys
import transformers
opened = []
real = builtins.open
builtins.open = lambda file, *rest, **more: (opened.append(str(file)), real(file, *rest, **more))[1]
from facekit.compat.transformers_imports import import_models_package
import_models_package()
from transformers.models.llama import LlamaConfig
assert LlamaConfig().model_type == "llama"
print(sum("/models/" in name.replace("\\\\", "/") for name in opened))
"""


def test_the_names_of_all_models_are_those_that_transformers_reads():
    folder = Path(transformers.__file__).parent / "models"
    read = import_utils.define_import_structure(str(folder / "__init__.py"))
    assert len(read) > 1
    assert {key: files for key, files in transformers_imports._structure_of_models().items() if files} == read


def test_the_files_of_models_are_not_read_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20


def test_nothing_is_left_changed():
    before = import_utils.define_import_structure
    transformers_imports.import_models_package()
    assert import_utils.define_import_structure is before


def test_what_another_thread_imports_meanwhile_is_read_as_ever(monkeypatch):
    file = str(Path(transformers.__file__).parent / "models" / "llama" / "__init__.py")
    expected, found = import_utils.define_import_structure(file), []
    monkeypatch.delitem(sys.modules, "transformers.models")
    monkeypatch.setattr(
        transformers_imports.importlib,
        "import_module",
        lambda name: found.append(import_utils.define_import_structure(file)),
    )
    transformers_imports.import_models_package()
    assert found == [expected]
