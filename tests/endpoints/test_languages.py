"""Languages are told apart by script, and by py3langid where it is installed."""

import pytest

from facekit.endpoints import languages
from facekit.endpoints.languages import count_words, language_of, other_language

FACES = {
    "en": "The face is oval, the brows are level, the eyes are open and the lips closed.",
    "zh": "脸型呈椭圆形，眉毛平直，双眼睁开，嘴唇闭合。",
    "hi": "चेहरा अंडाकार है, भौहें समतल हैं और होंठ बंद हैं।",
    "es": "El rostro es ovalado, las cejas están niveladas y los labios cerrados.",
    "ar": "الوجه بيضاوي والحاجبان مستويان والشفتان مغلقتان.",
    "fr": "Le visage est ovale, les sourcils sont droits et les lèvres fermées.",
    "bn": "মুখটি ডিম্বাকৃতি, ভ্রু সমান এবং ঠোঁট বন্ধ।",
    "pt": "O rosto é oval, as sobrancelhas estão niveladas e os lábios fechados.",
    "ru": "Лицо овальное, брови ровные, глаза открыты, губы сомкнуты.",
    "id": "Wajahnya oval, alisnya rata, matanya terbuka dan bibirnya tertutup.",
    "de": "Das Gesicht ist oval, die Brauen sind gerade und die Lippen geschlossen.",
    "ja": "顔は卵形で、眉は水平、唇は閉じています。",
}


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(languages, "_identifier", lambda: None)


@pytest.mark.parametrize("asked", FACES)
def test_every_language_is_told_from_every_other(asked):
    pytest.importorskip("py3langid")
    assert language_of(FACES[asked]) == asked
    assert {name: other_language(text, asked) for name, text in FACES.items()} == {
        name: None if name == asked else name for name in FACES
    }


def test_without_the_library_scripts_and_common_words_tell_languages_apart(without_library):
    assert other_language(FACES["zh"], "en") == "zh"
    assert other_language(FACES["ja"], "zh") == "ja"
    assert other_language(FACES["ru"], "ar") == "ru"
    assert other_language(FACES["es"], "en") == "es"
    assert other_language(FACES["fr"], "es") == "fr"
    assert other_language("Rostro ovalado, cejas niveladas, ojos abiertos, labios cerrados.", "en") is None
    assert language_of(FACES["hi"]) == "hi"


def test_codes_numbers_and_a_few_words_are_in_no_language(without_library):
    for text in ("AU6, AU12.", "34", "...", "Happiness."):
        assert other_language(text, "fr") is None
    assert language_of("34") is None


def test_words_are_counted_with_and_without_spaces():
    assert [count_words(text) for text in ("", "...", "a, b - c!", "椭圆形脸", "AU6 和 AU12")] == [0, 0, 3, 2, 3]
