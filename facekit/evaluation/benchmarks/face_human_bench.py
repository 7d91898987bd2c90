"""Face-Human-Bench (Qin et al., arXiv 2501.01243): its questions, its three steps, its tree of abilities.

The benchmark is read as its authors ship it (github.com/lxq1000/Face-Human-Bench): ``json/en`` and ``json/zh`` beside
the pictures that its script assembles in ``eval_data``. Options are turned round as its ``eval.py`` does, from the same
seed; answers are read by the patterns of its ``output_final_answer.py``. What those leave open, the authors give to a
language model; here it goes to an extracting model, or without one to a match with the options' texts.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation.benchmarks.asking import ask_benchmark, choose_entries, without_thoughts, write_result
from facekit.evaluation.tasks.questions import ModelUnderTest, Question
from facekit.reports import ProgressListener, as_listener

SETTINGS = ("en", "zh", "en-face", "zh-face")
"""The language; with ``-face`` the half about faces alone."""
REFUSED = "X"
"""Stands for an answer that matches no option."""
_SEED, _LETTERS, _TOKENS = 100, "ABCD", 300
_LONE_LETTER = re.compile(r"(?<![A-Za-z])[ABCDX](?![A-Za-z'])")
_FRAMES = {
    "en": ("Question: ", "Please select the correct answer from the options above."),
    "zh": ("问题: ", "请从以上选项中选择正确的答案。"),
}

TREE: dict[str, dict[str, dict[str, tuple[tuple[str, str], ...]]]] = {
    "face": {
        "attribute": {"compound": (("face_attribute_compound", "original"), ("face_attribute_compound", "cropped"))},
        "age": {
            f"{years}-year interval": ((f"face_age_basic_{years}", "original"), (f"face_age_basic_{years}", "cropped"))
            for years in (15, 10, 5)
        },
        "expression": {
            "basic": (("face_expression_basic", "original"), ("face_expression_basic", "cropped")),
            "compound": (("face_expression_compound", "cropped"),),
        },
        "attack": {
            "digital": (
                ("face_attack_digital_expression_swap", "cropped"), ("face_attack_digital_identity_swap", "cropped"),
            ),
            "physical": (("face_attack_physical_paper", "cropped"), ("face_attack_physical_replay", "cropped")),
        },
        "recognition": {
            name.replace("_", " "): ((f"face_recognition_{name}", "cropped"),)
            for name in ("basic", "cross_age", "cross_pose", "mask", "similar_looking")
        },
    },
    "human": {
        "attribute": {
            "compound": (("human_attribute_compound", "boxed"), ("human_attribute_compound_cropped", "cropped")),
        },
        "action": {"basic": (("human_action_basic", "boxed"),)},
        "spatial relation": {
            "count": tuple((f"human_spatial_relation_count_{most}", "original") for most in ("10", "100", "100plus")),
            "relative location": (("human_spatial_relation_location", "boxed"),),
        },
        "social relation": {
            "occupation": (("human_social_relation_occupation", "boxed"),),
            "relationship": (("human_social_relation_relationship", "boxed"),),
        },
        "re-identification": {"basic": (("human_reid_basic", "cropped"),)},
    },
}  # fmt: skip
"""Half, ability, its parts, and the subsets of each with the version of their pictures."""

_ORDER = (
    *((f"face_age_basic_{years}", version) for years in (5, 10, 15) for version in ("original", "cropped")),
    *((f"face_attack_{name}", "cropped") for name in
      ("digital_expression_swap", "digital_identity_swap", "physical_paper", "physical_replay")),
    *((name, version) for name in ("face_attribute_compound", "face_expression_basic")
      for version in ("original", "cropped")),
    ("face_expression_compound", "cropped"),
    *((f"face_recognition_{name}", "cropped") for name in
      ("basic", "cross_age", "cross_pose", "mask", "similar_looking")),
    ("human_action_basic", "boxed"), ("human_attribute_compound", "boxed"),
    ("human_attribute_compound_cropped", "cropped"), ("human_reid_basic", "cropped"),
    ("human_social_relation_occupation", "boxed"), ("human_social_relation_relationship", "boxed"),
    *((f"human_spatial_relation_count_{most}", "original") for most in ("10", "100", "100plus")),
    ("human_spatial_relation_location", "boxed"),
)  # fmt: skip
"""Subsets in the order in which the authors' script draws how far options are turned."""


@dataclass(frozen=True)
class BenchProblem:
    """One problem.

    Args:
        id: Subset, version and number.
        subset: Name of its file and version of its picture.
        picture: The picture.
        prompt: What is asked, options included.
        options: Their texts in the order of the prompt.
        correct: The letter of the right one.
    """

    id: str
    subset: tuple[str, str]
    picture: Path
    prompt: str
    options: tuple[str, ...]
    correct: str


@dataclass(frozen=True)
class AbilityScore:
    """One node of the tree: the mean over what is below it.

    Args:
        name: Such as ``face/age``; empty for the whole.
        accuracy: Share of right answers, mean of the means below.
        answered_accuracy: The same over answers that match an option; None where none does.
    """

    name: str
    accuracy: float
    answered_accuracy: float | None


@dataclass(frozen=True)
class FaceHumanBenchResult:
    """What a model reached.

    Args:
        model: Its name.
        setting: One of ``SETTINGS``.
        problems: How many were asked.
        by_pattern: Answers that the authors' patterns read.
        refused: Answers that match no option.
        scores: The whole, then every node of the tree in its order.
        missing: Subsets that are not there and so in no mean.
        seconds: How long it took.
        available: Problems of the benchmark; more than ``problems`` where a sample was asked. 0 where not known.
    """

    model: str
    setting: str
    problems: int
    by_pattern: int
    refused: int
    scores: tuple[AbilityScore, ...]
    missing: tuple[str, ...]
    seconds: float
    available: int = 0


def read_face_human_bench(root: str | Path, language: str = "en") -> list[BenchProblem]:
    """Read the problems of one language.

    Args:
        root: The folder ``dev`` or ``test`` with ``json`` and ``eval_data``.
        language: ``en`` or ``zh``.

    Returns:
        Problems of the subsets that are there, in the order of the authors' script.

    Raises:
        RecordError: No subset is there, or a file is malformed.
    """
    folder, rng, problems = Path(root), random.Random(_SEED), []
    for spoken in ("en", "zh"):
        for subset in _ORDER:
            path = folder / "json" / spoken / f"{subset[0]}{'_zh' if spoken == 'zh' else ''}.json"
            for number, entry in enumerate(_entries(path) if path.is_file() else (), 1):
                turned = rng.randint(0, len(entry["QA"]["options"]) - 1)
                if spoken == language:
                    problems.append(_problem(folder, path, subset, number, entry, turned, language))
    if not problems:
        raise RecordError(f"{folder / 'json' / language} has none of the files of Face-Human-Bench")
    return problems


def published_letter(answer: str) -> str | None:
    """The letter that the authors' patterns find in an answer; None where they leave it to a language model."""
    if len(answer) == 1:
        return answer
    found = [match[0] for match in re.findall(r"[ABCD][.。)）,，:：]+", answer)]
    found += [match[-1] for match in re.findall(r"选项 ?[ABCD]", answer)]
    return found[0] if len(set(found)) == 1 else None


def matching_letter(answer: str, options: Sequence[str]) -> str:
    """The letter of the one option whose text an answer has, in any case; ``X`` where it is none or several."""
    text = answer.casefold().strip()
    said = [option.casefold().strip().rstrip(".。") for option in options]
    found = [place for place, option in enumerate(said) if option and _has(text, option)]
    longest = [place for place in found if not any(said[place] in said[other] for other in found if other != place)]
    return _LETTERS[longest[0]] if len(longest) == 1 else REFUSED


def run_face_human_bench(
    model: ModelUnderTest,
    root: str | Path,
    *,
    setting: str = "en",
    extractor: ModelUnderTest | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    on_progress: ProgressListener | None = None,
) -> FaceHumanBenchResult:
    """Put the benchmark to a model.

    Args:
        model: The model.
        root: See ``read_face_human_bench``.
        setting: One of ``SETTINGS``.
        extractor: A language model that is asked which option an answer means, where the patterns find none.
        output_dir: Where ``answers.jsonl`` and ``metrics.json`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask so many questions: a sample with each part in its share, the same in every run.
        max_new_tokens: Longest answer in tokens; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        ConfigurationError: The setting is unknown, or the folder has another run's answers.
        RecordError: The files or pictures are missing.
    """
    if setting not in SETTINGS:
        raise ConfigurationError(f"the settings of Face-Human-Bench are {', '.join(SETTINGS)}, not {setting!r}")
    language, _, half = setting.partition("-")
    whole = [each for each in read_face_human_bench(root, language) if each.subset[0].startswith(half)]
    parts = ["-".join(each.subset) for each in whole]
    problems = choose_entries(whole, limit, [each.id for each in whole], parts)
    kept: dict[str, Any] = {"output_dir": output_dir, "resume": resume, "benchmark": "face-human-bench"}
    kept |= {"setting": setting, "on_progress": as_listener(on_progress, "run_face_human_bench")}
    started = time.perf_counter()
    questions = [Question(each.id, each.prompt, (each.picture,), max_new_tokens=_TOKENS) for each in problems]
    replies = ask_benchmark(model, questions, max_new_tokens=max_new_tokens, **kept)
    answers = [without_thoughts(reply.text) for reply in replies]
    letters = [published_letter(answer) for answer in answers]
    by_pattern = sum(letter is not None for letter in letters)
    final = _extract(problems, answers, letters, extractor, kept)
    scores, missing = score_tree(problems, final, half)
    seconds = time.perf_counter() - started
    refused = final.count(REFUSED)
    result = FaceHumanBenchResult(
        model.name, setting, len(problems), by_pattern, refused, tuple(scores), tuple(missing), seconds, len(whole)
    )
    write_result(result, output_dir)
    return result


def score_tree(
    problems: Sequence[BenchProblem], letters: Sequence[str], half: str = ""
) -> tuple[list[AbilityScore], list[str]]:
    """Mean accuracies from the subsets upwards, as the authors' ``score.py``, and the subsets that are missing.

    Args:
        problems: The problems.
        letters: What was read from the answers; ``X`` for none.
        half: ``face`` or ``human`` alone; empty for both.
    """
    shares: dict[tuple[str, str], tuple[float, float | None]] = {}
    for subset in _ORDER:
        pairs = [(each, letter) for each, letter in zip(problems, letters, strict=True) if each.subset == subset]
        if pairs:
            right = sum(each.correct == letter[:1] for each, letter in pairs)
            answered = sum(letter != REFUSED for _, letter in pairs)
            shares[subset] = (right / len(pairs), right / answered if answered else None)
    missing = ["-".join(subset) for subset in _ORDER if subset not in shares and subset[0].startswith(half)]
    found: list[AbilityScore] = []
    tree = {name: node for name, node in TREE.items() if name.startswith(half)}
    _average("", tree, shares, found)
    return found, missing


def _average(
    name: str, node: Any, shares: dict[tuple[str, str], tuple[float, float | None]], found: list[AbilityScore]
) -> AbilityScore | None:
    place = len(found)
    if isinstance(node, dict):
        below = [_average(f"{name}/{key}".lstrip("/"), child, shares, found) for key, child in node.items()]
        ends = [(each.accuracy, each.answered_accuracy) for each in below if each is not None]
    else:
        ends = [shares[subset] for subset in node if subset in shares]
    if not ends:
        return None
    answered = [share for _, share in ends if share is not None]
    score = AbilityScore(name, fmean(share for share, _ in ends), fmean(answered) if answered else None)
    found.insert(place, score)
    return score


def _extract(
    problems: Sequence[BenchProblem],
    answers: Sequence[str],
    letters: Sequence[str | None],
    extractor: ModelUnderTest | None,
    kept: dict[str, Any],
) -> list[str]:
    """What the patterns found, else what a model or a match with the options does."""
    if extractor is None:
        return [
            letter or matching_letter(answer, each.options)
            for each, answer, letter in zip(problems, answers, letters, strict=True)
        ]
    open_ones = [place for place, letter in enumerate(letters) if letter is None and answers[place].strip()]
    if not open_ones:
        return [letter or REFUSED for letter in letters]
    questions = [
        Question(
            problems[place].id,
            "Which option of this question does the answer mean? Reply with its letter alone, or with X if it means "
            f"none of them.\n\n{problems[place].prompt}\n\nAnswer: {answers[place]}",
            max_new_tokens=8,
        )
        for place in open_ones
    ]
    replies = ask_benchmark(extractor, questions, answers_name="extracted.jsonl", stage="extract", **kept)
    said = [_LONE_LETTER.search(without_thoughts(reply.text)) for reply in replies]
    matches = {place: match[0] if match else REFUSED for place, match in zip(open_ones, said, strict=True)}
    return [letter or matches.get(place, REFUSED) for place, letter in enumerate(letters)]


def _problem(
    folder: Path, path: Path, subset: tuple[str, str], number: int, entry: Any, turned: int, language: str
) -> BenchProblem:
    try:
        given, pictures = entry["QA"], entry["image"]["image_paths"]
        # the Chinese file of cropped human attributes calls its only version "boxed"
        picture = next(iter(pictures.values())) if len(pictures) == 1 else pictures[subset[1]]
        count = len(given["options"])
        options = tuple(str(given["options"][(place + turned) % count]) for place in range(count))
        correct = _LETTERS[(int(given["answer"]) - turned) % count]
        question = given["question"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordError(f"{path}, problem {number}: lacks {error}; is it a file of Face-Human-Bench?") from error
    begin, end = _FRAMES[language]
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip(_LETTERS, options, strict=False))
    name = f"{subset[0]}/{subset[1]}/{number}"
    return BenchProblem(name, subset, folder / picture, f"{begin}{question}\n{listed}{end}", options, correct)


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["data"]
        if not all(entry["QA"]["options"] for entry in entries):
            raise ValueError("a problem without options")
        return list(entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} cannot be read as a file of Face-Human-Bench ({error})") from error


def _has(text: str, option: str) -> bool:
    """Whether a text has an option's words; letters of alphabets must not go on beside them."""
    pattern = re.escape(option)
    if option[0].isascii() and option[-1].isascii():
        pattern = rf"(?<![a-z0-9]){pattern}(?![a-z0-9])"
    return re.search(pattern, text) is not None
