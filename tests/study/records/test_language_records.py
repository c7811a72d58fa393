"""Records of language evaluations: parts, intervals, lines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rmtscale.intervals import student_t
from rmtscale.study.records.clusters import Part, bits_interval, mean_interval, paired_difference
from rmtscale.study.records.dead_band import without_sink
from rmtscale.study.records.language import ALL_WEIGHTS, LORA, LanguageStore
from tests.synthetic.language import language


def test_a_line_from_before_trained_weights_were_noted() -> None:
    """It is read, and written as it was."""
    record = language(2)
    line = record.to_line()
    assert "trained_weights" not in json.loads(line)["model"]
    assert LanguageStore.parse_line(line) == record
    noted = language(2, trained_weights=LORA)
    assert json.loads(noted.to_line())["model"]["trained_weights"] == LORA
    assert LanguageStore.parse_line(noted.to_line()) == noted
    assert (record.model.changed, noted.model.changed) == (ALL_WEIGHTS, LORA)
    part_of_it = language(2, trainable_parameters=1000)
    assert part_of_it.model.changed == "what was added"


def test_a_line_from_before_there_were_sinks() -> None:
    """It is read, and written as it was; so is one of a training that began with a segment."""
    record = language(2)
    model = json.loads(record.to_line())["model"]
    assert not {"sink_tokens", "trained_start_segments"} & set(model)
    assert (record.sink_tokens, record.model.trained_start_segments) == (0, None)
    noted = language(2, sink_tokens=1, trained_start_segments=2)
    model = json.loads(noted.to_line())["model"]
    assert (model["sink_tokens"], model["trained_start_segments"]) == (1, 2)
    assert LanguageStore.parse_line(noted.to_line()) == noted
    assert noted.sink_tokens == 1
    assert without_sink([record, noted]) == [record]


def test_a_line_from_before_text_was_repeated() -> None:
    """It is read, and written as it was; figures of the paper show no others."""
    record = language(2)
    assert not {"trained_repeat_share", "trained_repeat_until"} & set(
        json.loads(record.to_line())["model"]
    )
    assert (record.model.trained_repeat_share, record.model.trained_repeat_until) == (0.0, 1.0)
    noted = language(2, trained_repeat_share=0.5)
    model = json.loads(noted.to_line())["model"]
    assert (model["trained_repeat_share"], model["trained_repeat_until"]) == (0.5, 1.0)
    assert LanguageStore.parse_line(noted.to_line()) == noted
    sink = language(2, sink_tokens=1)
    assert [one.as_in_paper for one in (record, noted, sink)] == [True, False, False]


def part(tokens: list[int], nats: list[float], text_bytes: list[int] | None = None) -> Part:
    return Part(
        tokens=tuple(tokens),
        text_bytes=tuple(text_bytes or [3 * count for count in tokens]),
        loss_nats=tuple(nats),
    )


def test_totals() -> None:
    one = part([10, 30], [20.0, 90.0], [25, 75])
    assert one.total_tokens == 40
    assert one.mean_nats == pytest.approx(110 / 40)
    assert one.perplexity == pytest.approx(math.exp(2.75))
    assert one.bits_per_byte == pytest.approx(110 / math.log(2) / 100)


def test_nothing_scored_is_no_number() -> None:
    assert math.isnan(part([], []).mean_nats)
    assert math.isnan(part([0], [0.0]).bits_per_byte)
    assert math.isnan(mean_interval(part([0], [0.0])).mean)


def test_uneven_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="as many tokens as bytes"):
        Part(tokens=(1, 2), text_bytes=(3,), loss_nats=(1.0, 2.0))


def test_the_interval_of_equal_clusters_is_that_of_their_means() -> None:
    means = [2.0, 2.4, 3.1, 1.7]
    found = mean_interval(part([50] * 4, [50 * mean for mean in means]))
    error = np.std(means, ddof=1) / 2
    assert found.mean == pytest.approx(np.mean(means))
    assert found.high - found.mean == pytest.approx(student_t(3) * error)
    assert found.low == pytest.approx(2 * found.mean - found.high)


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        tokens = random.integers(500, 1500, size=12)
        means = 2.0 + 0.3 * random.standard_normal(12)
        found = mean_interval(part(tokens.tolist(), (tokens * means).tolist()))
        hits += found.low <= 2.0 <= found.high
    assert 0.92 <= hits / 600 <= 0.98


def test_pairing_takes_out_what_documents_have_in_common() -> None:
    first = part([100, 100, 100], [210.0, 310.0, 410.0])
    second = part([100, 100, 100], [200.0, 300.0, 400.0])
    found = paired_difference(first, second)
    bits = 0.1 / math.log(2) / 3  # a token has three bytes here
    assert (found.low, found.mean, found.high) == pytest.approx((bits, bits, bits))
    assert mean_interval(first).high - mean_interval(first).low > 1


def test_bits_and_nats_are_one_interval_where_all_tokens_are_as_long() -> None:
    one = part([10, 30, 20], [20.0, 90.0, 50.0])
    nats, bits = mean_interval(one), bits_interval(one)
    assert bits.mean == pytest.approx(one.bits_per_byte)
    factor = 1 / math.log(2) / 3
    assert (bits.low, bits.high) == pytest.approx((nats.low * factor, nats.high * factor))


def test_bytes_are_the_weights_of_bits() -> None:
    """By hand: documents of 10 and 30 bytes that cost 1 and 2 bits a byte."""
    one = part([5, 5], [10 * math.log(2), 60 * math.log(2)], [10, 30])
    assert bits_interval(one).mean == pytest.approx(70 / 40)


def test_other_tokens_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected the same tokens"):
        paired_difference(part([10], [1.0]), part([11], [1.0]))


def test_one_cluster_has_no_interval() -> None:
    found = mean_interval(part([10], [20.0]))
    assert (found.mean, found.low, found.high) == (2.0, -math.inf, math.inf)


def test_anew_loses_nothing_before_there_is_something_new(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    old, new = language(1), language(2)
    LanguageStore(path).append(old)
    store = LanguageStore(path, anew=True)
    assert store.read().records == ()
    assert LanguageStore(path).read().records == (old,)
    store.append(new)
    store.append(old)
    assert store.read().records == LanguageStore(path).read().records == (new, old)
