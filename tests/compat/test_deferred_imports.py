"""Modules whose import is put off: they are the true ones as soon as anything of them is asked for."""

import importlib
import subprocess
import sys
import threading
import types

import pytest

from facekit.compat import deferred_imports

PACKAGE = """
import time
from put_off_log import log
log.append("package")
time.sleep(0.05)
from put_off.inner import value
__all__ = ["value", "double"]
def double(number):
    return 2 * number
"""
INNER = """
from put_off_log import log
log.append("inner")
value = 7
"""
ALONE = """
from put_off_log import log
log.append("alone")
other = 8
"""
REAL = """
from facekit.compat import deferred_imports
deferred_imports.defer_imports()
import sys
from transformers.image_utils import PILImageResampling
from transformers.loss.loss_utils import LOSS_MAPPING
put_off = {"scipy.optimize", "torchvision.datasets", "torchvision.models"}
assert set(deferred_imports._put_off) == put_off, deferred_imports._put_off
assert not {"scipy.optimize._optimize", "torchvision.models.resnet", "torchvision.datasets.mnist"} & set(sys.modules)

import torch
from transformers.loss.loss_for_object_detection import linear_sum_assignment
rows, columns = linear_sum_assignment(torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]]).numpy())
assert columns.tolist() == [1, 0, 2]
import scipy.optimize
assert linear_sum_assignment is not scipy.optimize.linear_sum_assignment
assert abs(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2) - 2**0.5) < 1e-9

from torchvision.models.resnet import BasicBlock
import torchvision
assert isinstance(torchvision.models.resnet18().layer1[0], BasicBlock)
assert torchvision.datasets.FakeData(size=3)[0][0].size == (224, 224)
assert not deferred_imports._put_off
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The files that have run, of a package that is put off."""
    (tmp_path / "put_off").mkdir()
    for name, text in (("__init__", PACKAGE), ("inner", INNER), ("alone", ALONE)):
        (tmp_path / "put_off" / f"{name}.py").write_text(text)
    (tmp_path / "put_off_log.py").write_text("log = []")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    deferred_imports.defer_imports({"put_off": ("double", "gone"), "put_off_missing": ()})
    yield importlib.import_module("put_off_log").log
    for name in [name for name in sys.modules if name.startswith("put_off")]:
        del sys.modules[name]
    deferred_imports._put_off.pop("put_off", None)


def test_a_module_is_imported_without_running_its_file(log):
    module = importlib.import_module("put_off")
    assert log == []
    assert module.__spec__.loader.get_source("put_off") == PACKAGE
    assert module.__file__.endswith("__init__.py")
    assert log == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda module: module.value,
        lambda module: vars(module)["value"],
        lambda module: getattr(module, dir(module)[dir(module).index("value")]),
        lambda module: __import__("put_off", fromlist=["value"]).value,
    ],
    ids=["attribute", "vars", "dir", "from-import"],
)
def test_what_is_asked_for_runs_the_file_once_and_leaves_a_plain_module(log, ask):
    module = importlib.import_module("put_off")
    assert ask(module) == 7
    assert ask(module) == 7
    assert log == ["package", "inner"]
    assert type(module) is types.ModuleType


def test_a_star_import_gets_the_names_of_the_file(log):
    names: dict[str, object] = {}
    exec("from put_off import *", names)
    assert names["value"] == 7


def test_a_submodule_runs_after_its_package_and_each_once(log):
    assert importlib.import_module("put_off")
    inner = importlib.import_module("put_off.inner")
    assert log == ["package", "inner"]
    assert inner.value == 7
    assert inner.__spec__.origin.endswith("inner.py")
    assert importlib.import_module("put_off.alone").other == 8
    assert log == ["package", "inner", "alone"]


def test_an_attribute_that_is_set_before_survives_the_file(log):
    module = importlib.import_module("put_off")
    module.value = 9
    assert module.value == 9
    assert log == ["package", "inner"]


def test_an_attribute_that_is_not_there_is_missed_as_ever(log):
    module = importlib.import_module("put_off")
    with pytest.raises(AttributeError, match="module 'put_off' has no attribute 'nothing'"):
        _ = module.nothing


def test_a_function_that_is_handed_out_runs_the_file_when_it_is_called(log):
    from put_off import double  # type: ignore[import-not-found]

    assert log == []
    assert double(4) == 8
    assert log == ["package", "inner"]
    assert importlib.import_module("put_off").double(4) == 8


def test_a_function_that_a_version_no_longer_has_is_missed_when_it_is_called(log):
    from put_off import gone

    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        gone()


def test_an_error_of_the_file_is_raised_each_time_that_something_is_asked_for(log, tmp_path):
    (tmp_path / "put_off" / "__init__.py").write_text("raise RuntimeError('built for another version')")
    module = importlib.import_module("put_off")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="built for another version"):
            _ = module.value


def test_a_module_that_is_not_installed_is_missed_at_its_import(log):
    with pytest.raises(ModuleNotFoundError, match="put_off_missing"):
        importlib.import_module("put_off_missing")


def test_threads_that_ask_at_once_wait_for_one_run_of_the_file(log):
    module = importlib.import_module("put_off")
    start, found = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        found.append(module.double(module.value))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [14] * 8
    assert log == ["package", "inner"]


def test_asking_twice_for_the_same_modules_puts_in_one_finder(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = len(sys.meta_path)
    for _ in range(2):
        deferred_imports.defer_imports({"put_off_missing": ()})
    assert len(sys.meta_path) == before + 1


def test_the_real_modules_are_not_run_by_transformers_and_are_true_when_used():
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
