"""What a verb imports: only the rooms and packages that it uses, which is most of the time until the first answer."""

import json
import os
import subprocess
import sys

import pytest
import transformers
from packaging.version import Version
from small_runs import SEARCH_PATH

PROGRAM = """
import atexit, gc, json, sys
from facekit.cli.main import main
def tell():
    found = {"modules": sorted(sys.modules), "collects": gc.isenabled(), "spared": gc.get_freeze_count()}
    sys.stderr.write("\\n" + json.dumps(found))
atexit.register(tell)
main()
"""
OTHER_ROOMS = ("training", "evaluation", "datagen", "demo", "serving", "answers", "endpoints", "reports")
OTHER_PACKAGES = (
    "aiohttp", "av", "bitsandbytes", "cv2", "datasets", "gguf", "matplotlib", "omegaconf", "open_clip", "openai",
    "pandas", "peft", "pyarrow", "ray", "skimage", "sklearn", "starlette", "tensorboard", "timm", "trl", "uvicorn",
    "webdataset",
)  # fmt: skip
SKLEARN_BY_TRANSFORMERS = Version(transformers.__version__) < Version("5.22")


@pytest.fixture(scope="module")
def process(photo, model_folder):
    """What is so in the process of ``facekit ask`` with a small model of ours, at its end."""
    words = ["ask", str(photo), "How old?", "--model", str(model_folder), "--max-new-tokens", "2"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": SEARCH_PATH, "FACEKIT_QUICK_START": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture(scope="module")
def loaded(process):
    """The names of the modules that it has imported."""
    return set(process["modules"])


def test_ask_imports_no_workshop_and_no_package_of_another_verb(loaded):
    assert {name for name in loaded if name.startswith("facekit.")} > {"facekit.models.ask", "facekit.faces"}
    assert not loaded & {f"facekit.{room}" for room in OTHER_ROOMS}
    assert not loaded & set(OTHER_PACKAGES) - ({"sklearn"} if SKLEARN_BY_TRANSFORMERS else set())


def test_ask_runs_nothing_of_what_other_libraries_import_for_others(loaded):
    put_off = ["torchvision.datasets", "torchvision.models"]
    if not SKLEARN_BY_TRANSFORMERS:  # which uses it
        put_off.append("scipy.optimize")
    assert [name for name in loaded if name.rpartition(".")[0] in put_off] == []


def test_ask_imports_no_architecture_that_its_model_has_not(loaded):
    names = [name for name in loaded if name.startswith("transformers.models.") and "ing_" in name]
    aliases = {name for name in names if name.endswith("_fast")}  # older versions name them without importing them
    architectures = {name.split(".")[2] for name in names if name not in aliases}
    assert architectures == {"auto", "llama"}


def test_the_garbage_collector_works_again_after_the_start_and_spares_what_was_imported(process):
    assert process["collects"]
    assert process["spared"] > 100_000
