import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import facekit
from facekit.catalog import BUILT_IN_PARTS, current_registry, isolated_registry
from facekit.errors import InvalidSpecError, MissingExtraError, UnknownPartError
from facekit.registry import KINDS, Part, PartSpec, Registry


@pytest.mark.parametrize(
    ("text", "name", "argument", "options"),
    [
        ("tiny", "tiny", None, {}),
        ("openclip:ViT-L-14?pretrained=openai", "openclip", "ViT-L-14", {"pretrained": "openai"}),
        ("hf:openai/clip-vit-large-patch14", "hf", "openai/clip-vit-large-patch14", {}),
        ("tiny?width=64&depth=2", "tiny", None, {"width": "64", "depth": "2"}),
        ("hf:C:/models/llama", "hf", "C:/models/llama", {}),
        ("tiny?pretrained=a%26b", "tiny", None, {"pretrained": "a&b"}),
    ],
)
def test_a_spec_names_a_part_its_argument_and_its_options(text, name, argument, options):
    spec = PartSpec.parse(text)
    assert (spec.name, spec.argument, dict(spec.options)) == (name, argument, options)
    assert PartSpec.parse(str(spec)) == spec


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    st.none() | st.from_regex(r"[A-Za-z0-9/_.:-]{1,12}", fullmatch=True),
    st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), st.text(min_size=1, max_size=8), max_size=3),
)
def test_a_spec_survives_being_written_and_read(name, argument, options):
    spec = PartSpec(name, argument, options)
    assert PartSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("text", ["", "  ", ":x", "tiny:", "tiny: ?a=1", "tiny?width", "tiny?a=1&a=2", None, 3])
def test_a_malformed_spec_is_refused(text):
    with pytest.raises(InvalidSpecError):
        PartSpec.parse(text)


def test_an_unknown_name_gets_the_closest_match():
    with pytest.raises(UnknownPartError, match=r"^unknown encoder 'openclp'; did you mean 'openclip'\?$"):
        current_registry().part("encoder", "openclp")
    with pytest.raises(UnknownPartError, match=r"did you mean 'encoder'"):
        facekit.list_parts("encodr")


def test_a_name_like_no_other_gets_the_list_of_what_is_known():
    with pytest.raises(UnknownPartError, match=r"known: .*openclip.*tiny"):
        current_registry().part("encoder", "zzzzzz")


def test_every_built_in_part_has_a_summary_a_licence_and_a_source():
    for part in BUILT_IN_PARTS:
        assert part.summary, part.name
        assert part.licence, part.name
        assert part.source, part.name


@pytest.mark.parametrize("part", BUILT_IN_PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_every_built_in_part_that_is_installed_loads(part):
    if not all(map(importlib.util.find_spec, part.requires)):
        with pytest.raises(MissingExtraError):
            part.load()
        return
    assert part.load() is not None


def test_parts_are_listed_by_kind():
    parts = facekit.list_parts()
    assert set(parts) == set(KINDS)
    assert parts["encoder"] == facekit.list_parts("encoder") == sorted(parts["encoder"])
    assert {"tiny", "openclip", "timm", "hf"} <= set(parts["encoder"])


def test_a_part_is_described_without_being_loaded():
    description = facekit.describe_part("landmarker", "mediapipe")
    assert description["licence"] == "Apache-2.0"
    assert description["install"] == "pip install 'facekit-mllm[mediapipe]'"


def test_a_missing_extra_is_named_with_its_command(registry):
    registry.add(Part("encoder", "needy", "nowhere:Thing", extra="nothere", requires=("no_such_package_1",)))
    with pytest.raises(MissingExtraError, match=r"needs no_such_package_1; .*pip install 'facekit-mllm\[nothere\]'"):
        registry.load("encoder", "needy")


def test_a_package_that_is_installed_without_dependencies_is_a_step_of_the_command(registry):
    part = Part("encoder", "needy", "nowhere:Thing", extra="nothere", requires=("json",), bare={"no_such_1": "no-such"})
    assert part.install_command == "pip install 'facekit-mllm[nothere]' && pip install --no-deps no-such"
    assert (part.is_installed, part.missing_command) == (False, "pip install --no-deps no-such")
    lacking = replace(part, requires=("no_such_2",))
    registry.add(lacking)
    with pytest.raises(MissingExtraError, match=r"\[nothere\]' && pip install --no-deps no-such$"):
        registry.load("encoder", "needy")
    there = replace(part, bare={"json": "json"})
    assert (there.is_installed, there.missing_command) == (True, None)


def test_options_are_checked_by_their_names_and_types_and_of_parts_that_are_not_here_the_name_alone(registry):
    registry.check("landmarker", "given:nowhere.npy?coordinates=pixels")
    with pytest.raises(InvalidSpecError, match="cannot use coordinates=feet"):
        registry.check("landmarker", "given:nowhere.npy?coordinates=feet")
    with pytest.raises(UnknownPartError, match="did you mean 'dlib'"):
        registry.check("landmarker", "dlip")
    registry.add(Part("landmarker", "absent", "nowhere:Nothing", requires=("package_that_is_not_there",)))
    registry.check("landmarker", "absent?whatever=1")


def test_a_registered_name_is_not_lost_by_accident(registry):
    with pytest.raises(InvalidSpecError, match="registered already"):
        registry.register("encoder", "tiny", object)
    registry.register("encoder", "tiny", dict, replace=True)
    assert registry.load("encoder", "tiny") is dict


def test_a_decorator_registers_what_it_decorates(registry):
    @facekit.register_part("connector", "mine", summary="of my own")
    class Mine:
        pass

    assert registry.load("connector", "mine") is Mine
    assert "mine" in facekit.list_parts("connector")


def test_what_is_registered_in_isolation_leaves_no_trace():
    with isolated_registry() as inside:
        inside.register("encoder", "passing", object)
        assert "passing" in facekit.list_parts("encoder")
    assert "passing" not in facekit.list_parts("encoder")


@pytest.mark.parametrize("name", ["", "a:b", "a?b", "a b", "a+b", "a,b"])
def test_a_name_that_no_spec_could_hold_is_refused(name):
    with pytest.raises(InvalidSpecError):
        Registry().register("encoder", name, object)


def _install(folder, source, name="facekit-plugin-example", function="facekit_plugin_example:register"):
    (folder / "facekit_plugin_example.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[facekit.parts]\nexample = {function}\n")


def _run(folder, code):
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_adds_parts_through_its_entry_point(tmp_path, request):
    plugin = request.path.parent / "plugin_package" / "facekit_plugin_example.py"
    _install(tmp_path, plugin.read_text())
    result = _run(
        tmp_path,
        "import facekit; from facekit.catalog import current_registry as r\n"
        "print('first-patches' in facekit.list_parts('connector'), r().load('connector', 'first-patches').width)",
    )
    assert result.stdout.split() == ["True", "7"], result.stderr


def test_a_broken_plugin_is_named_and_left_out(tmp_path):
    _install(tmp_path, "def register(registry):\n    raise RuntimeError('no luck')\n")
    result = _run(tmp_path, "import facekit; print(len(facekit.list_parts('encoder')) > 3)")
    assert result.stdout.strip() == "True"
    assert "facekit_plugin_example:register" in result.stderr
    assert "no luck" in result.stderr


def test_importing_facekit_and_listing_parts_loads_nothing_heavy():
    code = (
        "import sys, facekit, facekit.cli.main; facekit.list_parts(); facekit.describe_part('encoder', 'tiny')\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'timm', 'open_clip', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
