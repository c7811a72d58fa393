"""Evaluations of language models grouped: what may share a picture, means, paired differences."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from rmtscale.errors import BadInput
from rmtscale.study.figures.language.groups import (
    difference,
    input_sizes,
    mean_curve,
    mean_difference,
    mean_over_seeds,
    mean_part,
    require_same_targets,
    runs_of,
    shared_counts,
)
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.records.clusters import Part, paired_difference
from tests.synthetic.language import baseline, curve, language, proof, study


def part(*nats: float, tokens: int = 10) -> Part:
    counts = (tokens,) * len(nats)
    return Part(tokens=counts, text_bytes=counts, loss_nats=nats)


def test_input_sizes() -> None:
    small, large = input_sizes(study((512, 128), trained=(1, 3), counts=(1, 2), contexts=(0, 4, 9)))
    assert (small.segment_size, large.segment_size) == (128, 512)
    assert list(small.rmt) == [1, 3]
    assert {seed: list(one) for seed, one in small.rmt[3].items()} == {0: [1, 2], 1: [1, 2]}
    assert (small.own_context, list(small.contexts)) == (4, [0, 4, 9])
    assert list(small.larger_contexts) == [9]
    assert (small.most_trained, small.counts) == (3, [1, 2])
    assert small.own[1].model.segment_size == 128
    assert len(small.records) == len(small.with_memory) + 6 == 14


def test_two_backbones_are_two_groups() -> None:
    other = curve((1, 2), backbone="gpt-other")
    assert [one.backbone for one in input_sizes([*curve((1, 2)), *other])] == [
        "gpt-other",
        "gpt-synthetic",
    ]


def test_sinks_and_later_beginnings_are_groups_of_their_own() -> None:
    """Each with the same models without memory; where nothing was noted it began with one."""
    plain, alone = curve((1, 2), trained_start_segments=1), baseline(4)
    sink = curve((1, 2), sink_tokens=1, name="sink")
    later = curve((1, 2), trained_start_segments=2, name="later")
    found = input_sizes([*later, *sink, *plain, alone])
    assert [(one.sink_tokens, one.start_segments) for one in found] == [(0, 1), (0, 2), (1, 1)]
    for size, own in zip(found, (plain, later, sink), strict=True):
        assert size.with_memory == own
        assert size.contexts[4][0] == alone
    assert [size_name(one, found) for one in found] == [
        "input 128, 2 memory tokens",
        "input 128, 2 memory tokens, from 2 segments",
        "input 128, 2 memory tokens (1 sink)",
    ]
    (old,) = input_sizes(curve((1, 2)))
    assert (old.sink_tokens, old.start_segments, size_name(old, [old])) == (0, 1, "input 128")


def test_repeated_text_is_a_group_of_its_own() -> None:
    """By its share and by when it ends, with the same models without memory."""
    plain, alone = curve((1, 2)), baseline(4)
    again = curve((1, 2), trained_repeat_share=0.5, name="again")
    falls = curve((1, 2), trained_repeat_share=0.5, trained_repeat_until=0.7, name="falls")
    found = input_sizes([*again, *falls, *plain, alone])
    assert [(one.repeat_share, one.repeat_until) for one in found] == [
        (0.0, 1.0),
        (0.5, 0.7),
        (0.5, 1.0),
    ]
    for size, own in zip(found, (plain, falls, again), strict=True):
        assert size.with_memory == own
        assert size.contexts[4][0] == alone
    assert [size_name(one, found) for one in found] == [
        "input 128",
        "input 128, 50 % repeated until 70 %",
        "input 128, 50 % repeated",
    ]


def test_mixing_is_chosen_and_one_segment_is_neither() -> None:
    records = [
        language(1, trained_segments=trained, trained_mixing=mixing)
        for trained, mixing in ((1, True), (2, True), (2, False), (3, False))
    ]
    chosen = {
        way: {
            trained: runs[0][1].model.trained_mixing
            for trained, runs in input_sizes(records, mixing=way)[0].rmt.items()
        }
        for way in (True, False)
    }
    assert chosen == {True: {1: True, 2: True}, False: {1: True, 2: False, 3: False}}
    with pytest.raises(BadInput, match="trained alike with seed 0, expected one of them"):
        input_sizes(records)


def test_a_later_record_of_the_same_weights_takes_the_place() -> None:
    first, second = language(2), language(2, seconds=9.0)
    assert runs_of([first, second])[0][2].seconds == 9.0
    with pytest.raises(BadInput, match="models 'a' and 'b'"):
        runs_of([language(2, name="a"), language(2, name="b")])


@pytest.mark.parametrize("name", ["text", "split", "history_tokens", "samples"])
def test_other_targets_do_not_share_a_picture(name: str) -> None:
    value: Any = 7 if name in ("history_tokens", "samples") else "other"
    first, second = curve((1, 2))
    other = replace(second, point=replace(second.point, **{name: value}))
    with pytest.raises(BadInput, match=name.replace("_", " ")):
        require_same_targets([first, other])
    require_same_targets([first, second])


def test_documents_of_other_lengths_do_not_share_a_picture() -> None:
    first, second = curve((1, 2))
    with pytest.raises(BadInput, match="documents of other lengths"):
        require_same_targets([first, replace(second, parts={"all": part(1.0, 2.0)})])


def test_means_over_seeds() -> None:
    runs = runs_of([language(count, seed=seed) for seed in (0, 1) for count in (1, 2)][:3])
    assert shared_counts(runs) == [1]
    losses = [runs[seed][1].whole.mean_nats for seed in (0, 1)]
    assert mean_curve(runs, lambda one: one.whole.mean_nats) == {1: pytest.approx(sum(losses) / 2)}
    assert math.isnan(mean_over_seeds({}, lambda one: one.seconds))
    assert shared_counts({}) == []


def test_the_mean_of_parts_is_by_cluster() -> None:
    assert mean_part([part(1.0, 4.0), part(3.0, 5.0)]) == part(2.0, 4.5)
    with pytest.raises(ValueError, match="expected the same tokens"):
        mean_part([part(1.0), part(1.0, tokens=9)])


def test_differences() -> None:
    first, second = language(2), baseline()
    found = difference(first, second)
    assert found == paired_difference(first.whole, second.whole)
    assert difference(first, replace(second, parts={"all": part(1.0)})) is None
    assert difference(first, second, "names") is None
    one = proof(2)
    wanted = paired_difference(one.parts["names"], one.parts["names-without"])
    assert difference(one, one, "names", "names-without") == wanted


def test_the_difference_of_means_is_over_the_seeds_of_both() -> None:
    first = {seed: language(2, seed=seed) for seed in (0, 1, 2)}
    second = {seed: baseline(seed=seed) for seed in (1, 2, 3)}
    found = mean_difference(first, second)
    gaps = [first[seed].whole.bits_per_byte - second[seed].whole.bits_per_byte for seed in (1, 2)]
    assert found is not None
    assert found.mean == pytest.approx(sum(gaps) / 2)
    assert mean_difference(first, {7: baseline(seed=7)}) is None
