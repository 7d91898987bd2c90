"""The guide "Bring your own": its files become an installed package, and its code runs as it stands."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.fft import dctn

import facekit
from facekit import catalog
from facekit.catalog import BUILT_IN_PARTS
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.registry import PartSpec, Registry

GUIDE = Path(__file__).parents[2] / "docs" / "bring-your-own.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PACKAGE = "facekit_frequency"


def blocks() -> list[tuple[str, str, str]]:
    """Language, title and text of every block of code in the guide."""
    return BLOCK.findall(GUIDE.read_text(encoding="utf-8"))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The guide's package as pip would leave it, and a registry that has not looked for plugins yet."""
    site = tmp_path / "site-packages"
    for _, title, text in blocks():
        if title:
            file = site / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    project = tomllib.loads((site / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"{PACKAGE}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {target}" for name, target in project["entry-points"]["facekit.parts"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[facekit.parts]", *points]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(catalog, "_current", Registry(BUILT_IN_PARTS, discover_plugins=True))
    monkeypatch.chdir(tmp_path)
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_the_guide_runs_from_top_to_bottom_on_the_installed_package(installed, capsys):
    code = [text for language, title, text in blocks() if language == "python" and not title]
    assert len(code) == 5
    namespace: dict = {}
    for text in code:
        exec(compile(text, str(GUIDE), "exec"), namespace)
    assert capsys.readouterr().out.split("\n")[:5] == ["block DCT and one linear layer", "16", "64", "1", "16"]
    assert namespace["answer"].shape[1] > namespace["inputs"]["input_ids"].shape[1]
    assert namespace["model"].encoder.basis.shape == (8, 8)
    assert len(namespace["targets"]) == 2 * 7
    saved = load_file(installed.parent / "runs" / "frequency" / "model.safetensors")
    assert "encoder.projection.weight" in saved
    assert "encoder.basis" not in saved
    trained = {name for name, value in namespace["adapted"].named_parameters() if value.requires_grad}
    assert all("lora_" in name or "connector" in name for name in trained)
    assert any("connector" in name for name in trained)


def test_looking_for_plugins_imports_none_of_their_modules(installed):
    for kind, name in (
        ("encoder", "frequency"), ("connector", "pooled"), ("backbone", "byte-mistral"), ("preset", "frequency-tiny")
    ):  # fmt: skip
        assert name in facekit.list_parts(kind)
        assert facekit.describe_part(kind, name)["licence"] == "MIT"
    assert f"{PACKAGE}.encoder" not in sys.modules


def test_the_guides_encoder_is_the_transform_it_says_it_is(installed):
    encoder = catalog.current_registry().load("encoder", "frequency")(width=192, image_size=16)
    torch.nn.init.eye_(encoder.projection.weight)
    torch.nn.init.zeros_(encoder.projection.bias)
    frame = torch.rand(1, 3, 16, 16)
    expected = dctn(frame[0, :, 8:, :8].numpy(), axes=(1, 2), norm="ortho")
    actual = encoder.encode_frames(frame)[0, 2].reshape(3, 8, 8).detach()
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": "frequency?image_size=60"}, ConfigurationError, "image_size=60 is not a multiple of 8"),
        ({"encoder": "frequency?imagesize=64"}, InvalidSpecError, "did you mean 'image_size'"),
        ({"connector": "pooled?side=3"}, ConfigurationError, "8 x 8 patches is no multiple of side=3"),
        ({"backbone": "byte-mistral?depth=none"}, InvalidSpecError, "depth=none: it takes an integer from 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_guides_words(installed, changes, error, message):
    with pytest.raises(error, match=message):
        facekit.create(preset="frequency-tiny", **changes)


def test_every_connector_that_the_guide_lists_exists():
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]*\| [^|]*\|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    specs = [PartSpec.parse(text) for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert {spec.name for spec in specs} == set(facekit.list_parts("connector"))
    for spec in specs:
        part = catalog.current_registry().load("connector", spec.name)
        connector = part.from_spec(spec.argument, input_width=16, output_width=32, **spec.options)
        assert connector.tokens_per_frame((4, 4), 1) in (16, 4, 64, 25)
