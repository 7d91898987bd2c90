"""A stratified sample has every label in its share, is the same in every run, and grows without losing anything."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.evaluation.tasks.sampling import choose_stratified, stratum_of


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_every_stratum_has_its_share_within_one_and_smaller_samples_lie_in_larger_ones(strata, limit):
    keys = [f"face-{index}" for index in range(len(strata))]
    chosen = choose_stratified(keys, strata, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(strata))
    assert set(choose_stratified(keys, strata, max(1, limit // 2))) <= set(chosen)
    whole, kept = Counter(strata), Counter(strata[index] for index in chosen)
    assert all(abs(kept[name] - len(chosen) * whole[name] / len(strata)) <= 1.5 for name in whole)


def test_the_seed_and_the_names_decide_and_not_the_order():
    keys = [f"face-{index}" for index in range(40)]
    first = {keys[index] for index in choose_stratified(keys, [""] * 40, 7)}
    turned = keys[::-1]
    assert {turned[index] for index in choose_stratified(turned, [""] * 40, 7)} == first
    assert {keys[index] for index in choose_stratified(keys, [""] * 40, 7, seed=1)} != first
    assert choose_stratified(keys, [""] * 40, None) == list(range(40))


def test_ages_are_drawn_by_groups_and_lists_of_labels_together():
    assert [stratum_of(truth) for truth in (34.0, 3, True, "fear", {"AU1": True})] == [
        "30-39", "3-9", "True", "fear", "",
    ]  # fmt: skip
