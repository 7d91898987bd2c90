"""Attack detection by a multimodal model: is a face presented by its owner, or is it a print, a mask, a morph?

One picture is questioned, or, differentially, one beside a trusted picture of the same moment. The score is the
log-probability of "yes, an attack" beyond that of "no".
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from facekit.errors import RecordError
from facekit.evaluation.biometrics.attack_sets import read_attacks
from facekit.evaluation.biometrics.trials import (
    ANSWER_TOKENS,
    Trial,
    TrialVerdict,
    ask_trials,
    choose_evenly,
    choose_scoring,
    write_result,
)
from facekit.evaluation.biometrics.verdicts import read_attack
from facekit.evaluation.metrics.attack_detection import (
    ALLOWED_APCER,
    AttackErrors,
    attack_errors,
    bpcer_at,
    equal_error_rate,
)
from facekit.evaluation.report.group_results import SMALLEST_GROUP
from facekit.evaluation.tasks.questions import ModelUnderTest
from facekit.reports import ProgressListener, as_listener

QUESTION = (
    "Is this picture an attack on face recognition, such as a printed photo, a screen, a mask, make-up, a morph or "
    "another manipulation, rather than a genuine picture of a live face? Answer yes or no."
)
DIFFERENTIAL_QUESTION = (
    "The second picture is a trusted photo. Is the first picture a morph or another manipulation, rather than a "
    "genuine photo of the person in the second? Answer yes or no."
)
RESULT_NAME = "attacks.json"


@dataclass(frozen=True)
class KindErrors:
    """One kind of attack.

    Args:
        kind: Its name.
        count: Attacks that were answered.
        unanswered: Attacks that were not.
        apcer: Share of those answered that pass as genuine; None where none was.
    """

    kind: str
    count: int
    unanswered: int
    apcer: float | None


@dataclass(frozen=True)
class GroupBpcer:
    """Genuine presentations of one demographic group.

    Args:
        attribute: What the groups differ in.
        group: The group's name.
        count: Genuine presentations that were answered.
        bpcer: Share of them that are called an attack: a group with more of them is turned away.
    """

    attribute: str
    group: str
    count: int
    bpcer: float


@dataclass(frozen=True)
class AttackResult:
    """How well a model tells attacks from genuine presentations. Rates are of those that were answered.

    Args:
        model: Its name.
        benchmark: Name of the set.
        scoring: ``likelihood`` or ``generation``.
        presentations: Pictures, or pairs of pictures.
        genuine: Genuine ones that were answered.
        genuine_unanswered: Genuine ones that were not.
        kinds: By kind of attack, at the model's own yes and no.
        worst_kind: The kind that passes most often.
        worst_apcer: Its APCER; None where no attack was answered.
        bpcer: Genuine ones that are called an attack.
        acer: Average of the two.
        equal_error_rate: Detection EER over all kinds; None without scores.
        bpcer_at_apcer: By the APCER that no kind exceeds; empty without scores.
        groups: BPCER by demographic group.
        seconds: How long the model took.
        available: Those of the set; more than ``presentations`` where a sample was asked. 0 where not known.
    """

    model: str
    benchmark: str
    scoring: str
    presentations: int
    genuine: int = 0
    genuine_unanswered: int = 0
    kinds: tuple[KindErrors, ...] = ()
    worst_kind: str = ""
    worst_apcer: float | None = None
    bpcer: float | None = None
    acer: float | None = None
    equal_error_rate: float | None = None
    bpcer_at_apcer: dict[str, float] = field(default_factory=dict)
    groups: tuple[GroupBpcer, ...] = ()
    seconds: float = 0.0
    available: int = 0


def detect_attacks(
    model: ModelUnderTest,
    benchmark: str,
    root: str | Path,
    *,
    scoring: str | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    on_progress: ProgressListener | None = None,
) -> AttackResult:
    """Put a set of attacks to a model.

    Args:
        model: The model.
        benchmark: A set of ``attack_sets.ATTACK_SETS``.
        root: Its folder.
        scoring: ``likelihood`` or ``generation``; by default what the model can.
        output_dir: Where ``answers.jsonl`` and ``attacks.json`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask only about so many presentations, evenly spread over the list.
        max_new_tokens: Longest answer in tokens, where the model writes; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        RecordError: The labels or a picture are missing, or some presentations have a trusted picture and others not.
        ConfigurationError: The folder has another run's answers, or the model cannot be scored that way.
    """
    scoring, trials = choose_scoring(model, scoring), read_attacks(benchmark, root)
    available, trials = len(trials), choose_evenly(trials, limit)
    sizes = {len(trial.pictures) for trial in trials}
    if len(sizes) > 1:
        raise RecordError(f"{root} has presentations with a trusted picture and without; put them into two lists")
    started = time.perf_counter()
    verdicts = ask_trials(
        model,
        trials,
        DIFFERENTIAL_QUESTION if sizes == {2} else QUESTION,
        read_attack,
        benchmark=benchmark,
        scoring=scoring,
        output_dir=output_dir,
        resume=resume,
        max_new_tokens=max_new_tokens,
        on_progress=as_listener(on_progress, "detect_attacks"),
    )
    seconds = time.perf_counter() - started
    result = score_attacks(trials, verdicts, model=model.name, benchmark=benchmark, scoring=scoring, seconds=seconds)
    result = replace(result, available=available)
    write_result(asdict(result), output_dir, RESULT_NAME)
    return result


def score_attacks(
    trials: Sequence[Trial],
    verdicts: Sequence[TrialVerdict],
    *,
    model: str = "",
    benchmark: str = "",
    scoring: str = "likelihood",
    seconds: float = 0.0,
) -> AttackResult:
    """Score what a model said of presentations.

    Args:
        trials: The presentations.
        verdicts: What it said, in the same order.
        model: Its name.
        benchmark: Name of the set.
        scoring: How the verdicts were made.
        seconds: How long that took.
    """
    kept = [(trial, verdict) for trial, verdict in zip(trials, verdicts, strict=True) if verdict.decision is not None]
    missed = [trial.kind for trial, verdict in zip(trials, verdicts, strict=True) if verdict.decision is None]
    kinds = [trial.kind for trial, _ in kept]
    errors = attack_errors(kinds, [bool(verdict.decision) for _, verdict in kept])
    scores = [verdict.score for _, verdict in kept if verdict.score is not None]
    is_scored = len(scores) == len(kept) and bool(errors.apcer) and "" in kinds
    return AttackResult(
        model=model,
        benchmark=benchmark,
        scoring=scoring,
        presentations=len(trials),
        genuine=kinds.count(""),
        genuine_unanswered=missed.count(""),
        kinds=tuple(
            KindErrors(kind, kinds.count(kind), missed.count(kind), errors.apcer.get(kind))
            for kind in sorted({trial.kind for trial in trials} - {""})
        ),
        **_summary(errors),  # type: ignore[arg-type]
        equal_error_rate=equal_error_rate(kinds, scores) if is_scored else None,
        bpcer_at_apcer={f"{each:g}": bpcer_at(kinds, scores, each)[0] for each in ALLOWED_APCER} if is_scored else {},
        groups=_by_group(kept),
        seconds=seconds,
    )


def _summary(errors: AttackErrors) -> dict[str, object]:
    bpcer = None if np.isnan(errors.bpcer) else errors.bpcer
    if not errors.apcer:
        return {"bpcer": bpcer}
    acer = None if bpcer is None else errors.acer
    return {"worst_kind": errors.worst_kind, "worst_apcer": errors.worst_apcer, "bpcer": bpcer, "acer": acer}


def _by_group(kept: Sequence[tuple[Trial, TrialVerdict]]) -> tuple[GroupBpcer, ...]:
    called: dict[tuple[str, str], list[bool]] = {}
    for trial, verdict in kept:
        if not trial.kind:
            for each in trial.groups.items():
                called.setdefault(each, []).append(bool(verdict.decision))
    return tuple(
        GroupBpcer(attribute, group, len(values), float(np.mean(values)))
        for (attribute, group), values in sorted(called.items())
        if len(values) >= SMALLEST_GROUP
    )
