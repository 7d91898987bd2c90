import pytest
import yaml

from facekit.data.labels import TASKS
from facekit.datagen.instructions import check_distinct, choose_instruction, load_instructions
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import NAMES, load_recipe, parse_recipe
from facekit.errors import ConfigurationError

SHORT = """
system: You describe faces.
aspects:
  look: {prompt: "Describe {{ person }}.", question: "What is seen?"}
"""


def test_fairfacegpt_asks_the_eight_aspects_of_the_paper():
    recipe = load_recipe("fairfacegpt")
    assert list(recipe.aspects) == [
        "demographics", "facial_structure", "skin_texture", "expression", "image_quality", "pose", "forensics",
        "detail",
    ]  # fmt: skip
    assert recipe.rating.threshold == 7


def test_faceinstruct_asks_the_five_tasks_each_in_a_hundred_ways():
    recipe = load_recipe("faceinstruct")
    assert tuple(recipe.aspects) == TASKS
    for task in TASKS:
        phrasings = load_instructions(recipe.aspects[task].instructions)
        assert len(phrasings) == 100
        assert len({"".join(filter(str.isalnum, text.lower())) for text in phrasings}) == 100


@pytest.mark.parametrize("name", NAMES)
def test_stored_questions_are_plain_text_that_holds_no_fact(name):
    recipe = load_recipe(name)
    for aspect in recipe.aspects:
        for record in ("a", "b", "c"):
            question = stored_question(recipe, aspect, record)
            assert "{{" not in question
            assert question == stored_question(recipe, aspect, record)


def test_instructions_are_drawn_evenly_and_the_same_each_time():
    phrasings = tuple(f"phrasing {number}" for number in range(100))
    drawn = [choose_instruction(phrasings, f"face-{number}", "age") for number in range(10_000)]
    counts = [drawn.count(text) for text in phrasings]
    assert min(counts) > 60
    assert max(counts) < 145
    assert choose_instruction(phrasings, "face-1", "age") == drawn[1]


def test_a_recipe_of_ones_own_needs_a_few_lines(tmp_path):
    (tmp_path / "own.yaml").write_text(SHORT)
    recipe = load_recipe(tmp_path / "own.yaml")
    assert (recipe.name, recipe.rating, recipe.image_side) == ("own", None, 512)
    assert recipe.only(["look"]).aspects.keys() == {"look"}
    with pytest.raises(ConfigurationError, match="no aspect 'lok'; did you mean 'look'"):
        recipe.only(["lok"])


def test_the_list_of_instructions_may_be_ones_own_beside_the_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text("- What?\n- Which?\n")
    (tmp_path / "own.yaml").write_text(SHORT.replace('question: "What is seen?"', "instructions: mine.yaml"))
    recipe = load_recipe(tmp_path / "own.yaml")
    assert {stored_question(recipe, "look", str(number)) for number in range(20)} == {"What?", "Which?"}


@pytest.mark.parametrize(("change", "words"), [
    (("system:", "sytem:"), r"unknown key 'sytem'; did you mean 'system'|the key 'system' is missing"),
    (('question: "What is seen?"', "questoin: What"), r"questoin'; did you mean 'question'"),
    (('question: "What is seen?"', "question: What, instructions: age"), "exactly one of 'question'"),
    (('question: "What is seen?"', "instructions: agee"), "no list of instructions 'agee'; did you mean 'age'"),
    (("{{ person }}", "{{ person"), "not a Jinja template"),
    (("aspects:", "image_side: 9\naspects:"), "image_side: .*greater than or equal to 32"),
    (("aspects:", "rating: {system: s, prompt: p, treshold: 3}\naspects:"), "did you mean 'threshold'"),
])  # fmt: skip
def test_a_wrong_recipe_says_where_and_what_was_meant(change, words):
    with pytest.raises(ConfigurationError, match=words):
        parse_recipe(SHORT.replace(*change), "own.yaml")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"own\.yaml is n"):
        parse_recipe(text, "own.yaml")


def test_an_unknown_name_gets_the_closest_one():
    with pytest.raises(ConfigurationError, match="did you mean 'fairfacegpt'"):
        load_recipe("fairfacegtp")


def test_the_prompt_version_changes_with_what_the_annotator_sees_and_with_nothing_else():
    values = yaml.safe_load(SHORT)
    base = parse_recipe(yaml.safe_dump(values), "own").prompt_version("look")
    asked_otherwise = {**values, "aspects": {"look": {**values["aspects"]["look"], "question": "Other?"}}}
    told_otherwise = {**values, "system": "You describe faces well."}
    assert parse_recipe(yaml.safe_dump(asked_otherwise), "own").prompt_version("look") == base
    assert parse_recipe(yaml.safe_dump(told_otherwise), "own").prompt_version("look") != base


def test_repeated_phrasings_are_refused():
    with pytest.raises(ConfigurationError, match="number 2: blank or repeated"):
        check_distinct(["How old?", "how  OLD?"], "mine")
