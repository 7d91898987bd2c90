import pytest

from facekit.datagen.quality.answers import review_answer
from facekit.datagen.quality.leaks import find_leak
from facekit.endpoints.refusals import is_refusal
from facekit.endpoints.requests import Reply

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, I can’t assist with identifying people.",
    "Sorry, I cannot provide a description of this person.",
    "I cannot determine the ethnicity of the person in the image.",
    "I can't describe this person's appearance.",
    "As an AI language model, I am unable to infer emotions.",
    "Unfortunately, I am not able to analyse faces.",
    "I'm unable to identify or describe people.",
    "I am very sorry, but I am unable to comply with this request.",
    "I must decline to comment on this.",
]
DESCRIPTIONS = [
    "The man looks sorry, and his lips are pressed together.",
    "One cannot see the left ear, which is hidden by hair.",
    "The face shows sadness; the person seems unable to hold back tears.",
    "I see a woman in her thirties who smiles.",
    "As an adult, he has a fully developed jaw.",
    "This is a face with round cheeks.",
]
LEAKS = [
    "As you told me, the person is a woman.",
    "As mentioned in the prompt, this is a boy.",
    "The label says that the expression is anger.",
    "According to the provided description, she is East Asian.",
    "Based on the information given, he is 30.",
    "You mentioned that this is a man of Black ethnicity.",
    "This agrees with the ground truth.",
    "The given age of 25 fits the given label.",
    "I was told that the man is 40 years old.",
    "Given the annotation, AU12 is active.",
    "The face is labelled as happy.",
    "The correct expression is fear, which the brows show.",
    "In line with the stated age of 34, fine lines can be seen.",
    "Since you said she is 40, the lines make sense.",
    "The dataset describes him as 30 years old.",
    "It is given that AU4 is active.",
    "The prompt states that the man is smiling.",
    "This is consistent with the provided demographic information.",
    "The known age, 52, agrees with the wrinkles.",
    "The image was annotated as manipulated.",
    "The specified action units are AU6 and AU12.",
    "This matches the assigned emotion.",
    "We are told that this is a woman.",
    "The details provided to me point to a girl.",
]
NO_LEAKS = [
    "The brows are lowered, as described above.",
    "The information in the background is hard to read.",
    "The person wears a shirt with a label on the chest.",
    "He is told apart by a scar.",
    "The picture provides little detail in the shadows.",
    "Given the lighting, the skin appears warm.",
    "The brows are correct in their symmetry, and the true colour of the eyes is brown.",
    "The actual size of the nose cannot be judged from here.",
    "You can see fine lines around the eyes.",
    "The expression is happiness, given that the lip corners are pulled up.",
    "The skin has a golden tone and the hair has grey strands.",
    "The image quality is high, with a note of warmth.",
    "His age is indicated by lines on the forehead.",
    "The expression matches the relaxed brows.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_seen(text):
    assert is_refusal(text)
    assert review_answer(Reply(text, "m")).reason.startswith("refusal: ")


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_descriptions_are_no_refusals(text):
    assert review_answer(Reply(text, "m")).reason is None


@pytest.mark.parametrize("text", LEAKS)
def test_answers_that_speak_of_the_given_label_are_seen(text):
    assert find_leak(text) is not None
    assert review_answer(Reply(text, "m")).reason.startswith("speaks of the given label: ")


@pytest.mark.parametrize("text", NO_LEAKS)
def test_ordinary_uses_of_such_words_are_kept(text):
    assert find_leak(text) is None


@pytest.mark.parametrize(("reply", "reason"), [
    (Reply("  \n", "m"), "empty: no words"),
    (Reply("...", "m"), "empty: no words"),
    (Reply("A face.", "m", finish_reason="length"), "cut off: it reached the longest answer allowed"),
    (Reply("word " * 40 + "and then the", "m"), "cut off: it ends in the middle of a sentence"),
    (Reply("", "m", finish_reason="content_filter"), "refusal: the endpoint's content filter"),
    (Reply("", "m", refusal="I will not."), "refusal: I will not."),
    (Reply("Happy.", "m"), "too short: 1 of at least 3 words"),
])  # fmt: skip
def test_what_cannot_be_used_has_a_reason(reply, reason):
    assert review_answer(reply, minimum_words=3).reason == reason


def test_a_whole_answer_is_stored_without_space_around_it():
    review = review_answer(Reply("\n The brows are raised. ", "m"))
    assert (review.answer, review.reason) == ("The brows are raised.", None)


@pytest.mark.parametrize(("text", "language", "reason"), [
    ("El rostro es ovalado, las cejas están niveladas y los labios cerrados.", "en", "another language: es, not en"),
    ("脸型呈椭圆形，眉毛平直，双眼睁开，嘴唇闭合。", "en", "another language: zh, not en"),
    ("脸型呈椭圆形，眉毛平直，双眼睁开，嘴唇闭合。", "zh", None),
    ("चेहरा अंडाकार है, भौहें समतल हैं और होंठ बंद हैं।", "hi", None),
    ("The face is oval, the brows are level.", "en", None),
    ("The face is oval, the brows are level.", "ru", "another language: en, not ru"),
    ("AU6, AU12.", "en", None),
])  # fmt: skip
def test_an_answer_in_another_language_is_not_used(text, language, reason):
    assert review_answer(Reply(text, "m"), language=language).reason == reason


def test_words_are_counted_where_there_are_no_spaces():
    assert review_answer(Reply("脸型呈椭圆形，眉毛平直。", "m"), 5).reason is None
    assert review_answer(Reply("高兴。", "m"), 4).reason == "too short: 1 of at least 4 words"
