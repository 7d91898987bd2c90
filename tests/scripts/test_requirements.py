import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from scripts.requirements import (
    RequirementsError,
    direct_requirements,
    floor_of,
    floors,
    main,
    read_project,
    without_upper_bounds,
)

PROJECT = {
    "name": "House_Of-Parts",
    "dependencies": ["torch>=2.11", "transformers>=5.17,<5.25"],
    "optional-dependencies": {
        "video": ["av>=15"],
        "calls": ["openai[aiohttp]>=2"],
        "dev": ["house-of-parts[video,calls]", "pytest>=8.3"],
        "loop": ["house-of-parts[loop]", "einops>=0.8"],
    },
}


def names(requirements):
    return [each.name for each in requirements]


def test_extras_that_name_other_extras_are_followed_and_the_project_itself_is_left_out():
    assert names(direct_requirements(PROJECT, ["dev"])) == ["torch", "transformers", "pytest", "openai", "av"]


def test_an_extra_that_names_itself_ends():
    assert names(direct_requirements(PROJECT, ["loop"])) == ["torch", "transformers", "einops"]


def test_an_unknown_extra_is_refused_with_those_there_are():
    with pytest.raises(RequirementsError, match="no extra 'vidoe'; it has calls, dev, loop, video"):
        direct_requirements(PROJECT, ["vidoe"])


@pytest.mark.parametrize(
    ("requirement", "floor"), [("a>=1.2,<2", "1.2"), ("a~=3.8.0", "3.8.0"), ("a==4,>=3", "4"), ("a!=1.5,>=1.4", "1.4")]
)
def test_the_floor_is_the_highest_lower_bound(requirement, floor):
    assert floor_of(Requirement(requirement)) == Version(floor)


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy!=2.0"])
def test_a_requirement_without_a_lower_bound_has_no_floor(requirement):
    with pytest.raises(RequirementsError, match="numpy has no lower bound"):
        floor_of(Requirement(requirement))


def test_floors_keep_markers_drop_extras_and_take_the_higher_of_two():
    lines = ["openai>=2", "openai[aiohttp]>=2.5", "triton>=3.6; platform_system == 'Linux'", "Lazy_Loader>=0.4"]
    assert floors(map(Requirement, lines)) == [
        "lazy-loader==0.4",
        "openai==2.5",
        'triton==3.6; platform_system == "Linux"',
    ]


def test_unpinned_names_get_no_floor():
    assert floors(map(Requirement, ["torch>=2.11", "open_clip_torch>=3.2"]), ["torch"]) == ["open-clip-torch==3.2"]


def test_newest_drops_upper_bounds_and_keeps_extras_markers_and_exclusions():
    lines = ["transformers>=5.17,<5.25", "openai[aiohttp]>=2,!=2.3", "triton~=3.6; platform_system == 'Linux'"]
    assert without_upper_bounds(map(Requirement, lines)) == [
        "openai[aiohttp]!=2.3,>=2",
        "transformers>=5.17",
        'triton; platform_system == "Linux"',
    ]


def test_prereleases_count_for_the_packages_named_and_for_no_other():
    lines = without_upper_bounds(map(Requirement, ["transformers>=5.17,<5.25", "peft>=0.19"]), ["transformers"])
    peft, transformers = map(Requirement, lines)
    candidates = ["5.24.0", "5.25.0rc1"]
    assert list(transformers.specifier.filter(candidates)) == candidates
    assert list(peft.specifier.filter(["0.21.0", "0.22.0rc1"])) == ["0.21.0"]


def test_every_requirement_of_every_extra_has_a_floor():
    project = read_project()
    requirements = direct_requirements(project, project["optional-dependencies"])
    assert len(requirements) > 40
    assert all(floor_of(each) > Version("0") for each in requirements)


def test_what_facekit_is_built_into_has_an_upper_bound():
    bounded = {
        each.name
        for each in direct_requirements(read_project(), [])
        if any(bound.operator == "<" for bound in each.specifier)
    }
    assert bounded >= {"transformers", "huggingface_hub", "timm", "open_clip_torch", "peft", "accelerate"}


def test_the_command_prints_floors_with_and_without_torch(capsys):
    main(["floors"])
    pinned = capsys.readouterr().out.splitlines()
    main(["floors", "--any-torch"])
    free = capsys.readouterr().out.splitlines()
    assert "transformers==5.17" in pinned
    assert {line.partition("==")[0] for line in set(pinned) - set(free)} == {"torch", "torchvision", "triton"}


def test_the_command_refuses_an_unknown_extra_in_one_line():
    with pytest.raises(SystemExit, match=r"requirements: .*no extra 'vidoe'"):
        main(["newest", "--extras", "dev,vidoe"])
