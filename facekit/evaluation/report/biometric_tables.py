"""Results of verification and of attack detection as tables for a terminal and a page."""

from __future__ import annotations

from rich.table import Table

from facekit.evaluation.biometrics.attacks import AttackResult
from facekit.evaluation.biometrics.verification import Rate, VerificationResult
from facekit.evaluation.report.tables import make_table, sampled
from facekit.reports import in_words


def verification_tables(result: VerificationResult) -> list[Table]:
    """The set as a whole, and by demographic group at one threshold."""
    title = f"{result.benchmark}: {sampled(result.pairs, result.available)} pairs, {result.scoring}"
    whole = make_table(title, ("measure",), ("value", "95 %"))
    rows: list[tuple[str, Rate | None]] = [("accuracy, mean over folds", result.accuracy)]
    rows += [("equal error rate", result.equal_error_rate), ("area under the ROC curve", result.area)]
    rows += [(f"TAR at FAR {rate}", found) for rate, found in result.true_accept_rates.items()]
    for name, rate in rows:
        if rate is not None:
            whole.add_row(name, _value(rate), _ends(rate))
    whole.add_row("accuracy, standard deviation over folds", f"{result.accuracy_deviation:.3f}", "")
    whole.add_row("accuracy, no answer counted as wrong", f"{result.strict_accuracy:.3f}", "")
    whole.add_row("without an answer", f"{result.unanswered:,} of {result.pairs:,}", "")
    if not result.groups:
        return [whole]
    at = "at a FAR of 1 % over all" if result.true_accept_rates else "at the model's yes and no"
    groups = make_table(
        f"by group, {at}", ("groups", "group"),
        ("pairs", "accuracy", "false match rate", "false non-match rate", "unanswered"),
    )  # fmt: skip
    for each in result.groups:
        groups.add_row(
            in_words(each.attribute),
            each.group,
            f"{each.count:,}",
            _with_ends(each.accuracy),
            _with_ends(each.false_match_rate),
            _with_ends(each.false_non_match_rate),
            f"{each.unanswered:,}",
        )
    return [whole, groups]


def attack_tables(result: AttackResult) -> list[Table]:
    """Errors as a whole, by kind of attack, and by demographic group."""
    title = f"{result.benchmark}: {sampled(result.presentations, result.available)} presentations, {result.scoring}"
    whole = make_table(title, ("measure",), ("value",))
    rows = [(f"worst APCER ({result.worst_kind})", result.worst_apcer), ("BPCER", result.bpcer), ("ACER", result.acer)]
    rows += [("equal error rate", result.equal_error_rate)]
    rows += [(f"BPCER where no kind's APCER exceeds {each}", value) for each, value in result.bpcer_at_apcer.items()]
    for name, value in rows:
        if value is not None:
            whole.add_row(name, f"{value:.3f}")
    whole.add_row("genuine presentations without an answer", f"{result.genuine_unanswered:,}")
    kinds = make_table("by kind of attack", ("kind",), ("attacks", "APCER", "without an answer"))
    for each in result.kinds:
        apcer = "" if each.apcer is None else f"{each.apcer:.3f}"
        kinds.add_row(each.kind, f"{each.count:,}", apcer, f"{each.unanswered:,}")
    if not result.groups:
        return [whole, kinds]
    groups = make_table("genuine presentations by group", ("groups", "group"), ("presentations", "BPCER"))
    for found in result.groups:
        groups.add_row(in_words(found.attribute), found.group, f"{found.count:,}", f"{found.bpcer:.3f}")
    return [whole, kinds, groups]


def _value(rate: Rate) -> str:
    return f"{rate.value:.3f}"


def _ends(rate: Rate) -> str:
    return "" if rate.low is None or rate.high is None else f"{rate.low:.3f} to {rate.high:.3f}"


def _with_ends(rate: Rate | None) -> str:
    if rate is None:
        return "too few"
    ends = _ends(rate)
    return f"{_value(rate)} ({ends})" if ends else _value(rate)
