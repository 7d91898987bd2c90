"""The entry point for vLLM: named by the package, and light in processes that serve other models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import small_runs

import facekit
from facekit.models import FaceKitConfig, FaceKitForConditionalGeneration
from facekit.serving.vllm import plugin

ROOT = Path(facekit.__file__).parents[1]
# What the plugin reaches of vLLM, as vLLM 0.32 has it; tests/real/test_vllm.py meets vLLM itself.
STAND_IN = {
    "__init__.py": "",
    "model_executor/__init__.py": "",
    "model_executor/models.py": "class ModelRegistry:\n    models = {}\n    register_model = models.__setitem__\n",
    "transformers_utils/__init__.py": "",
    "transformers_utils/config.py": "_CONFIG_REGISTRY = {}\n",
    "transformers_utils/configs.py": "_CLASS_TO_MODULE = {}\n",
}
PROGRAM = """
import json, sys
from facekit.serving.vllm.plugin import register
register()
register()  # vLLM may call it more than once
from vllm.model_executor.models import ModelRegistry
from vllm.transformers_utils import config, configs
heavy = sorted({"torch", "transformers", "numpy", "facekit.models"} & sys.modules.keys())
print(json.dumps([ModelRegistry.models, config._CONFIG_REGISTRY, configs._CLASS_TO_MODULE, heavy]))
"""


def test_the_package_names_the_entry_point_that_vllm_calls():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["vllm.general_plugins"]["facekit"].partition(":")
    assert module == plugin.__name__
    assert callable(getattr(plugin, name))


def test_it_announces_what_checkpoints_name_and_imports_no_model(tmp_path):
    for name, text in STAND_IN.items():
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    search_path = os.pathsep.join([small_runs.SEARCH_PATH, str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": search_path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    models, types, modules, heavy = json.loads(done.stdout)
    assert models == {FaceKitForConditionalGeneration.__name__: "facekit.serving.vllm.model:FaceKitForVllm"}
    assert types == {FaceKitConfig.model_type: "FaceKitConfig"}
    assert modules == {"FaceKitConfig": "facekit.models"}
    assert heavy == []
