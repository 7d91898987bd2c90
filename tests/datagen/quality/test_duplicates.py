import numpy as np
import pytest

from facekit.datagen.quality.duplicates import find_duplicates, signature
from facekit.errors import ConfigurationError

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, words=60):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def shingles(words):
    parts = words.split()
    return {tuple(parts[place : place + 3]) for place in range(len(parts) - 2)}


@pytest.mark.parametrize("changed", [0, 2, 6, 12])
def test_the_signature_estimates_the_similarity_of_word_triples(changed):
    first = text(1, 200).split()
    second = [f"new{place}" if place % 16 == 0 and place // 16 < changed else word for place, word in enumerate(first)]
    one, two = shingles(" ".join(first)), shingles(" ".join(second))
    estimate = (signature(" ".join(first)) == signature(" ".join(second))).mean()
    assert estimate == pytest.approx(len(one & two) / len(one | two), abs=0.13)


def test_copies_and_near_copies_are_found_and_the_first_is_kept():
    texts = [(f"t{number}", text(number)) for number in range(200)]
    copy = texts[10][1]
    texts += [("copy", copy), ("shouted", copy.upper() + "!"), ("altered", f"{copy} with an end")]
    assert find_duplicates(texts, 0.8) == {"copy": "t10", "shouted": "t10", "altered": "t10"}


def test_short_answers_and_different_ones_are_no_duplicates():
    assert find_duplicates([("a", "The face is happy."), ("b", "The face is happy.")], 0.9) == {}
    assert find_duplicates([(str(number), text(number)) for number in range(300)], 0.5) == {}
    assert find_duplicates([], 0.9) == {}


def test_a_similarity_out_of_range_is_refused():
    with pytest.raises(ConfigurationError, match=r"similarity=1\.5"):
        find_duplicates([], 1.5)
