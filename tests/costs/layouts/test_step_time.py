"""Seconds of a step: bubbles against a schedule slot by slot, links, and what hides behind what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.costs.layouts.collectives import Collective, count_collectives
from rmtscale.costs.layouts.pace import Reached, filled, layer_seconds, sustained_rate
from rmtscale.costs.layouts.rank_kernels import Cut
from rmtscale.costs.layouts.seconds import step_time, summed_bytes
from rmtscale.costs.layouts.stages import pipeline_slots
from rmtscale.costs.layouts.traffic import collective_seconds, group_bandwidth, wire_bytes
from rmtscale.costs.operators import count_operators
from rmtscale.costs.terms import FlopTerm, linear
from rmtscale.costs.time.constants import BANDWIDTH, FORWARD_OPERATOR
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import find_device
from rmtscale.specs.layout import Layout, parse_layout
from rmtscale.specs.link_speed import ALL_REDUCE, GATHER, KINDS, SEND, LinkSpeed
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.spread import Spread
from rmtscale.specs.workload import Workload

A100 = find_device("a100-80gb")
CLUSTER = Cluster.of(A100, 64)
MODEL = PRESETS["opt-30b"]
WORK = Workload(tokens=2048, batch_size=64, mode="train", precision="master-bf16")


def scheduled(stages: int, segments: int, rows: int, *, every_layer: bool) -> int:
    """The slots of a forward pass, one after another: each stage takes the first that is ready."""
    done: dict[tuple[int, int, int], int] = {}
    todo = {(p, s, m) for p in range(stages) for s in range(segments) for m in range(rows)}
    now = 0
    while todo:
        taken: dict[int, tuple[int, int, int]] = {}
        for stage, segment, row in sorted(todo):
            before = [(stage - 1, segment, row)] if stage else []
            if segment and every_layer:
                before.append((stage, segment - 1, row))
            elif segment and not stage:
                before.append((stages - 1, segment - 1, row))
            if stage not in taken and all(done.get(one, now + 1) <= now for one in before):
                taken[stage] = (stage, segment, row)
        now += 1
        done |= dict.fromkeys(taken.values(), now)
        todo -= set(taken.values())
    return now


@pytest.mark.parametrize(
    ("stages", "segments", "rows"),
    [(4, 6, 1), (4, 6, 2), (4, 6, 4), (4, 6, 5), (3, 1, 7), (1, 6, 3), (5, 3, 3), (2, 2, 1)],
)
def test_slots_are_those_of_a_schedule(stages: int, segments: int, rows: int) -> None:
    for every_layer in (False, True):
        slots = pipeline_slots(stages, segments, rows, every_layer=every_layer)
        assert slots == scheduled(stages, segments, rows, every_layer=every_layer)


def test_one_row_keeps_a_share_of_the_stages_busy() -> None:
    model, work = PRESETS["opt-6.7b"], replace(WORK, tokens=49_200, batch_size=1)
    cluster = Cluster.of(A100, 4)
    rmt = Recurrence(512, 10)
    piped = step_time(model, work, Layout(pp=4), cluster, rmt)
    alone = step_time(model, work, Layout(), Cluster.of(A100, 1), rmt)
    assert piped.busy == pytest.approx(0.25, abs=0.02)
    assert piped.seconds == pytest.approx(alone.seconds, rel=0.1)
    wave = step_time(model, work, Layout(pp=4), cluster, rmt, every_layer=True)
    assert wave.busy > 0.9


def test_links() -> None:
    layout = Layout(tp=8, dp=4, pp=2)
    inside, between = CLUSTER.inside, CLUSTER.between
    assert group_bandwidth(CLUSTER, layout, "tp", GATHER) == (0.8 * 300e9, inside.latency_seconds)
    across = (0.9 * 25e9, between.latency_seconds)
    assert group_bandwidth(CLUSTER, layout, "data", GATHER) == across
    # Eight ranks of a group in each node share eight adapters, at most the link inside.
    assert group_bandwidth(CLUSTER, Layout(dp=64), "data", GATHER)[0] == pytest.approx(
        8 * 0.9 * 25e9
    )
    assert group_bandwidth(CLUSTER, Layout(tp=4, pp=2), "pp", SEND)[0] == 0.8 * 300e9
    gather = Collective(GATHER, "tp", 8, 2, 16_000, 2, "layer")
    assert wire_bytes(gather) == 28_000
    assert wire_bytes(gather._replace(kind=ALL_REDUCE)) == 56_000
    assert wire_bytes(gather._replace(kind=SEND)) == 32_000
    seconds = collective_seconds(gather, CLUSTER, layout)
    assert seconds == pytest.approx(2 * 20e-6 + 28_000 / 240e9)


def test_measured_links_go_before_the_datasheet() -> None:
    speeds = tuple(
        LinkSpeed(kind, ranks, Spread(us * 1e-6, 1e-6, 1e-3), Spread(gb * 1e9, 1e9, 1e12))
        for kind, ranks, us, gb in ((ALL_REDUCE, 2, 12, 200), (ALL_REDUCE, 8, 30, 250))
    )
    cluster = Cluster.of(A100, 8, measured=speeds)
    assert (cluster.measured, CLUSTER.measured) == (True, False)
    for tp, us, gb in ((2, 12, 200), (4, 30, 250), (8, 30, 250)):  # of two as near the larger
        layout = Layout(tp=tp, dp=8 // tp)
        assert group_bandwidth(cluster, layout, "tp", ALL_REDUCE) == (gb * 1e9, us * 1e-6)
    sums = Collective(ALL_REDUCE, "tp", 2, 3, 3000, 2, "layer")
    seconds = collective_seconds(sums, cluster, Layout(tp=2, dp=4))
    assert seconds == pytest.approx(3 * 12e-6 + 6000 / 200e9)
    # What was not measured, and what reaches out of the node, stays as it was.
    assert group_bandwidth(cluster, Layout(tp=8), "tp", GATHER)[0] == 0.8 * 300e9
    more = Cluster.of(A100, 64, measured=speeds)
    assert not more.measured
    assert group_bandwidth(more, Layout(dp=64), "data", ALL_REDUCE)[1] == more.between[2]
    with pytest.raises(BadInput, match="'all_reduce of 2 GPUs, bandwidth' 4e\\+11: expected"):
        Cluster.of(A100, 8, measured=(speeds[0]._replace(bandwidth=Spread(*[4e11] * 3)),))


def test_measured_ranges_are_narrower() -> None:
    layout = parse_layout("tp8-zero0-full")
    alone = Cluster.of(A100, 8)
    constants = replace(known_constants(A100), measured=True)
    speeds = [LinkSpeed(kind, 8, Spread(*[2e-5] * 3), Spread(*[2.4e11] * 3)) for kind in KINDS]
    measured = Cluster.of(A100, 8, measured=tuple(speeds))
    wide, narrow = (
        step_time(MODEL, WORK, layout, *given).range
        for given in ((alone,), (measured, None, constants))
    )
    assert wide.most_seconds / wide.least_seconds > 1.2**2
    assert narrow.most_seconds / narrow.least_seconds >= 1.15**2
    faster = replace(step_time(MODEL, WORK, layout, measured, None, constants), host=0.0).range
    assert faster.most_seconds / faster.least_seconds == pytest.approx(1.15**2)


def test_gathers_hide_behind_arithmetic_and_sums_do_not() -> None:
    sharded = step_time(MODEL, WORK, parse_layout("dp64-zero3-full"), CLUSTER)
    assert sharded.weights < 0.05 * sharded.seconds
    # A segment is too short to hide a gather of the same weights behind it.
    long = replace(WORK, tokens=49_200)
    rmt = step_time(MODEL, long, parse_layout("dp64-zero3-states"), CLUSTER, Recurrence(512, 10))
    assert rmt.weights > 0.5 * rmt.arithmetic
    summed = step_time(MODEL, WORK, parse_layout("tp8-dp8-zero1-full"), CLUSTER)
    scattered = step_time(MODEL, WORK, parse_layout("tp8-sp-dp8-zero1-full"), CLUSTER)
    assert summed.tensor > 0.05 * summed.seconds
    assert scattered.arithmetic < summed.arithmetic


def test_the_parts_add_up_and_the_range_holds_them() -> None:
    found = step_time(MODEL, WORK, parse_layout("tp4-pp4-dp4-zero1-mb2-full"), CLUSTER)
    parts = (
        found.arithmetic, found.tensor, found.context, found.weights, found.stages, found.bubble,
        found.gradients, found.optimizer,
    )  # fmt: skip
    assert found.seconds == pytest.approx(sum(parts))
    assert found.range.least_seconds < found.seconds < found.range.most_seconds
    assert found.gpu_seconds_per_token == pytest.approx(found.seconds * 64 / (64 * 2048))
    # Eight micro-batches on four stages wait for three more.
    assert found.bubble == pytest.approx(3 / 8 * (found.seconds - found.bubble), rel=0.1)


def test_more_recomputation_takes_longer() -> None:
    names = ("none", "selective", "full")
    eager = replace(WORK, attention="eager")
    seconds = [
        step_time(MODEL, eager, Layout(tp=8, dp=8, zero=1, recompute=name), CLUSTER).seconds
        for name in names
    ]
    assert seconds[0] < seconds[1] < seconds[2]
    assert seconds[2] == pytest.approx(4 / 3 * seconds[0], rel=0.1)


def test_a_layer_is_cut() -> None:
    whole = layer_seconds(MODEL, WORK, known_constants(A100), Cut(1, 8192))
    half = layer_seconds(
        MODEL, WORK, known_constants(A100), Cut(1, 8192, tp=2, sequence_parallel=True)
    )
    turned = layer_seconds(MODEL, WORK, known_constants(A100), Cut(1, 8192, cp=2))
    assert half.forward.seconds == pytest.approx(whole.forward.seconds / 2, rel=0.15)
    assert turned.forward.seconds == pytest.approx(whole.forward.seconds / 2, rel=0.15)
    assert whole.backward.seconds == pytest.approx(2.1 * whole.forward.seconds, rel=0.1)


def test_gradients_are_added_to_earlier_ones() -> None:
    """Of all micro-batches but the first, over the weights of a layer on a rank."""
    constants = known_constants(A100)
    alone = Cluster.of(A100, 8)

    def arithmetic(layout: Layout) -> float:
        return step_time(MODEL, WORK, layout, alone, None, constants).arithmetic

    plain = Layout(tp=8, zero=1, recompute="full")
    wider = arithmetic(replace(plain, fp32_gradients=True)) - arithmetic(plain)
    matrices = 4 * MODEL.width**2 + 2 * MODEL.width * MODEL.mlp_width
    weights = MODEL.layers * matrices / 8
    # Sums of 4 bytes and not of 2 are read and written, 63 times in 64 micro-batches.
    assert wider == pytest.approx(63 * weights * 2 * (4 - 2) / constants[BANDWIDTH], rel=1e-6)
    assert summed_bytes(WORK, plain) == 2 + 2 + 2
    assert summed_bytes(WORK, replace(plain, fp32_gradients=True)) == 2 + 4 + 4
    assert summed_bytes(replace(WORK, precision="amp-bf16"), plain) == 2 + 4 + 4
    sharded, rmt = Layout(dp=8, zero=3), Recurrence(512, 10)
    assert summed_bytes(WORK, sharded) == 0
    assert summed_bytes(WORK, sharded, rmt) == 2 + 2 + 2
    assert summed_bytes(WORK, replace(sharded, state_by_state=True), rmt) == 0
    assert summed_bytes(WORK, Layout(dp=4, pp=2, zero=3)) == 2 + 2 + 2


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_stages_are_sent_a_part_by_each_rank(sequence_parallel: bool) -> None:
    layout = Layout(tp=4, pp=2, micro_batch=2, sequence_parallel=sequence_parallel)
    found = {
        (one.kind, one.axis): one
        for one in count_collectives(MODEL, WORK, layout)
        if one.when == "stage"
    }
    # 32 micro-batches there and back, of two sequences.
    whole = 64 * 2 * WORK.tokens * MODEL.width
    sent = found.pop((SEND, "pp"))
    assert (sent.calls, sent.elements) == (64, whole / 4)
    if not sequence_parallel:  # put together where they arrive
        gathered = found.pop((GATHER, "tp"))
        assert (gathered.calls, gathered.elements) == (64, whole)
    assert not found


def test_a_host_that_waits_for_each_kernel() -> None:
    constants, cut = known_constants(A100), Cut(1, 2048)
    rate = sustained_rate(constants, "bf16") / A100.flops_per_second("bf16")
    eager = replace(WORK, attention="eager")
    ahead, waits = (
        layer_seconds(MODEL, eager, constants, cut, Reached(rate, rate, blocking=blocking))
        for blocking in (False, True)
    )
    # Its operators' time is added: a device that is as fast as can be leaves nothing else.
    short = replace(eager, tokens=8, batch_size=1, mode="forward", precision="bf16")
    host = constants[FORWARD_OPERATOR] * count_operators(MODEL, short) / MODEL.layers
    assert waits.forward.seconds - ahead.forward.seconds == pytest.approx(host, rel=0.02)
    assert waits.backward.seconds > ahead.backward.seconds + host
    assert waits.attention == ahead.attention


def test_the_last_wave_of_tiles() -> None:
    term = linear(FlopTerm.DENSE_UP, 2048, 14336, 57344)
    # 16 tiles of rows by 28 of columns on 108 multiprocessors: 4.15 waves take five.
    assert filled(A100, Cut(1, 2048, tp=8), term, 1) == pytest.approx(448 / 108 / 5)
    down = linear(FlopTerm.DENSE_DOWN, 2048, 57344, 14336)
    assert filled(A100, Cut(1, 2048, tp=8), down, 1) == pytest.approx(896 / 108 / 9)
    assert filled(find_device("l4"), Cut(1, 2048), term, 1) == 1.0
