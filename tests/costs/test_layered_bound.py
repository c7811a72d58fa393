"""The upper bound of memory of an RMT and with checkpoints, out of what one pass takes.

One pass is held against the real modules (``test_bounds_exact``); segments and checkpoints are sums
of such passes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.layered_memory import layered_peaks, weights_of_head
from rmtscale.costs.memory import estimate_memory
from rmtscale.costs.peak_candidates import PeakCandidate
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import read
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.specs.tiny_configs import TINY

BATCH, W, WEIGHTS = 3, 2, 1_000_003
SIZE, MEMORY = 64, 5
TEXT = SIZE - 2 * MEMORY
RMT = Recurrence(SIZE, MEMORY)


def spec_of(kind: str = "qwen3") -> LayeredSpec:
    spec = read(TINY[kind], "tiny").spec
    assert isinstance(spec, LayeredSpec)
    return replace(spec, written_like="", kind="unknown")


SPEC = spec_of()
STATE = BATCH * MEMORY * SPEC.width * W
HIDDEN = BATCH * SIZE * SPEC.width * W


def moments(
    tokens: int, recurrence: Recurrence | None = None, spec: LayeredSpec = SPEC, **given: Any
) -> list[PeakCandidate]:
    work = Workload(tokens=tokens, batch_size=BATCH, **{"mode": "train"} | given)
    return list(layered_peaks(spec, work, recurrence, WEIGHTS))


def logits(text: int) -> int:
    """Bytes of the logits of so many tokens: what comes out of the head, and what goes in."""
    return BATCH * text * (SPEC.vocabulary + SPEC.width) * 4


def kept() -> tuple[int, int]:
    """What one pass over a segment keeps in a layer, and outside of the layers."""
    loss, backbone = moments(SIZE)
    layer = backbone.work - 4 * HIDDEN
    return layer, loss.activations - SPEC.layers * layer


@pytest.mark.parametrize(
    ("given", "window", "alive"),
    [
        ({}, 4, 4),
        ({"bptt_segments": 2}, 2, 2),
        ({"bptt_segments": 9}, 4, 4),
        ({"checkpoint_segments": True}, 4, 1),
        ({"checkpoint_segments": True, "bptt_segments": 3}, 3, 1),
    ],
)
def test_segments_of_a_window_are_kept(given: dict[str, Any], window: int, alive: int) -> None:
    tokens = 3 * TEXT + 7
    layer, outside = kept()
    held = BATCH * tokens * (8 + SPEC.width * W)
    waiting = WEIGHTS if window < 4 else 0
    saved = alive * (SPEC.layers * layer + outside)
    states = (window + 1) * STATE
    head = 2 * weights_of_head(SPEC) * W + HIDDEN
    loss, backbone = moments(tokens, RMT, **given)
    assert loss[1:] == (waiting, 0, saved, 3 * logits(TEXT) + held, states, head)
    work = layer + 4 * HIDDEN
    assert backbone[1:] == (WEIGHTS + waiting, 0, saved, logits(TEXT) + held, states, work)


def test_checkpoints_of_layers_keep_hidden_states_and_one_layer() -> None:
    layer, outside = kept()
    saved = outside + SPEC.layers * HIDDEN + layer
    for recurrence, times in ((None, 1), (RMT, 3)):
        tokens = SIZE if recurrence is None else 3 * TEXT
        loss, backbone = moments(tokens, recurrence, checkpoint_layers=True)
        assert loss.activations == backbone.activations == times * saved


def test_checkpoints_of_segments_are_nothing_to_full_attention() -> None:
    assert moments(SIZE, checkpoint_segments=True) == moments(SIZE)


@pytest.mark.parametrize(("rows", "asked"), [(1, "last"), (SIZE, "all")])
def test_a_forward_pass(rows: int, asked: str) -> None:
    """One layer with all that it would keep, four hidden states; then logits, twice."""
    layer, outside = kept()
    inside, head = moments(SIZE, mode="forward", logits=asked)
    assert inside[1:] == (0, 0, 0, 0, 0, layer + 4 * HIDDEN + outside)
    assert head[1:] == (0, 0, 0, 2 * logits(rows), 0, 2 * HIDDEN)
    inside, head = moments(3 * TEXT, RMT, mode="forward", logits=asked)
    assert inside[1:] == (0, 0, 0, 0, STATE, layer + 4 * HIDDEN + outside)
    assert head[1:] == (0, 0, 0, 2 * logits(1), 2 * STATE, 2 * HIDDEN)


def test_a_square_is_there_in_eager_attention_and_in_fp32() -> None:
    """In fp32 and 16 bits: what a pair of tokens takes more, in a layer and in the mask."""
    heads = SPEC.groups[0][0].mixer.heads  # type: ignore[union-attr]
    pair = heads * (4 * 4 + 1)

    def layer(precision: str, attention: str, size: int) -> int:
        (inside, _) = moments(size, mode="forward", precision=precision, attention=attention)
        return inside.work

    for precision in ("bf16", "fp32"):
        for size in (10, 33):
            more = layer(precision, "eager", size) - layer(precision, "sdpa", size)
            square = pair * (precision == "bf16") + 4 + 1
            assert more == BATCH * size * size * square


def test_a_bound_says_that_it_is_one() -> None:
    assert not estimate_memory(SPEC, Workload(tokens=9)).confirmed
