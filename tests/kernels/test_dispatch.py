import os
import subprocess
import sys
from dataclasses import replace
from threading import Thread

import pytest
import torch

from facekit.errors import ConfigurationError, UnknownPartError
from facekit.kernels import choose_implementation, requested_implementation, use_implementation
from facekit.kernels.dispatch import ENVIRONMENT_VARIABLE, absorption_pays


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def test_argument_goes_before_context_before_environment_before_auto(monkeypatch):
    assert requested_implementation() == "auto"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "reference")
    assert requested_implementation() == "reference"
    with use_implementation("absorbed"):
        assert requested_implementation() == "absorbed"
        with use_implementation("triton"):
            assert requested_implementation() == "triton"
        assert requested_implementation() == "absorbed"
        assert requested_implementation("auto") == "auto"
    assert requested_implementation() == "reference"


def test_context_ends_with_an_exception():
    def fail():
        with use_implementation("reference"):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert requested_implementation() == "auto"


def test_context_stays_in_its_thread():
    seen = []
    with use_implementation("reference"):
        thread = Thread(target=lambda: seen.append(requested_implementation()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_unknown_implementations_name_the_closest_one_and_where_they_came_from(monkeypatch, build_case):
    with pytest.raises(UnknownPartError, match=r"'absorb' \(argument 'implementation'\); did you mean 'absorbed'"):
        build_case().run("absorb")
    with pytest.raises(UnknownPartError, match="did you mean 'triton'"), use_implementation("trition"):
        pass
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "flash")
    with pytest.raises(
        UnknownPartError, match=f"'flash' .environment variable {ENVIRONMENT_VARIABLE}.; known: absorbed"
    ):
        build_case().run(None)


def test_the_environment_variable_changes_the_path_and_not_the_answer(monkeypatch, build_case):
    case = build_case()
    answers = []
    for name in ("reference", "absorbed", "auto"):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
        answers.append(case.run(None))
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(answers[0], answers[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("patches", "regions", "width", "heads", "chosen"),
    [
        (257, 9, 4096, 8, "absorbed"),
        (196, 5, 1024, 8, "absorbed"),
        (4097, 9, 4096, 8, "lean"),  # so many that their gradients need care
        (9, 9, 4096, 8, "reference"),
        (8, 9, 4096, 8, "reference"),
        (257, 9, 64, 8, "reference"),  # heads narrower than the regions are many
    ],
)
def test_absorption_is_chosen_only_where_it_multiplies_less(patches, regions, width, heads, chosen):
    assert absorption_pays(patches, regions, width, width, heads) is (chosen != "reference")
    tokens = torch.empty(1, patches, width), torch.empty(1, regions, width)
    assert choose_implementation(*tokens, width, heads) == chosen


@pytest.mark.parametrize(
    ("dtype", "frames", "chosen"),
    [
        (torch.float32, 8, "absorbed"),
        (torch.float32, 32, "lean"),
        (torch.bfloat16, 1, "lean"),
        (torch.float16, 1, "lean"),
    ],
)
def test_the_lean_form_is_chosen_where_it_was_measured_to_be_faster(dtype, frames, chosen):
    tokens = torch.empty(frames, 257, 4096, dtype=dtype), torch.empty(frames, 9, 4096, dtype=dtype)
    assert choose_implementation(*tokens, 4096, 8) == chosen


def test_large_patches_on_another_device_take_the_form_that_any_device_runs():
    tokens = torch.empty(8, 257, 4096, device="meta"), torch.empty(8, 9, 4096, device="meta")
    assert choose_implementation(*tokens, 4096, 8) == "absorbed"


def test_under_compilation_lean_is_traced_as_absorbed(build_case):
    case = build_case(dtype=torch.float32)
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda name: case.run(name), fullgraph=True, backend=keep)
    assert torch.equal(compiled("lean"), compiled("absorbed"))
    lean, absorbed = ([node.target for node in graph.graph.nodes if node.op != "placeholder"] for graph in graphs)
    assert lean == absorbed


def test_auto_on_a_gpu_takes_the_kernel_where_it_can():
    patches = torch.empty(2, 257, 4096, device="meta", dtype=torch.bfloat16)

    class OnGpu:
        """A tensor's metadata as a GPU would have it: the rule reads nothing else."""

        def __init__(self, dtype):
            self.shape, self.dtype, self.is_cuda, self.is_cpu = patches.shape, dtype, True, False

    def choose(dtype=torch.bfloat16, regions=9, **options):
        return choose_implementation(OnGpu(dtype), torch.empty(2, regions, 4096, device="meta"), 4096, 8, **options)

    pytest.importorskip("triton")
    assert choose() == "triton"
    assert choose(torch.float64) == "absorbed"
    assert choose(regions=65) == "absorbed"


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels run on a CPU")
def test_triton_on_a_cpu_is_refused_with_the_remedy(build_case):
    pytest.importorskip("triton")
    with pytest.raises(ConfigurationError, match="'triton' got tensors on cpu; move them to a GPU, use implementation"):
        build_case(dtype=torch.float32).run("triton")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": 65, "dtype": torch.float32}, "takes at most 64 regions, got 65"),
        ({"dtype": torch.float64}, "takes float32, bfloat16 and float16, got torch.float64"),
    ],
)
def test_what_the_kernel_does_not_take_is_refused(build_case, options, message):
    pytest.importorskip("triton")
    with pytest.raises(ConfigurationError, match=message):
        build_case(**options).run("triton")


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, facekit.kernels; assert 'torch' not in sys.modules; facekit.kernels.region_attention; print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ok"


def test_nothing_looks_at_a_value(build_case):
    """On the meta device there are none: a wait for the host would raise."""
    case = build_case(present=[True, False, True]).to("meta")
    case = replace(case, region_positions=case.region_positions.to("meta"), present=case.present.to("meta"))
    for name in ("reference", "absorbed", "lean", "auto"):
        assert case.run(name).shape == case.patch_tokens.shape
