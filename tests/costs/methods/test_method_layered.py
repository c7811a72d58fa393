"""Methods whose cost is a sum over whatever layers a backbone has, on every type with a row."""

from __future__ import annotations

import pytest

from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.layered import cached_numbers, state_numbers
from rmtscale.costs.method_estimates import estimate_method
from rmtscale.costs.methods.catalog import methods_for
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.costs.methods.sliding_window import SlidingWindow
from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.huggingface import read_mapping
from rmtscale.specs.layered import LayeredSpec, plain_attention
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.workload import Workload
from tests.specs.tiny_configs import TINY

LENGTHS = [5, 58, 59, 200]
"""Within a segment of 58 tokens of text, one, one and a bit, several."""


@pytest.mark.parametrize("kind", ROWS)
def test_segments_are_passes_of_the_whole_model(kind: str) -> None:
    model = read_mapping(TINY[kind], kind).spec
    both: list[tuple[Method | str, Recurrence | None]] = [("full", None)]
    if not why_no_rmt(model):
        both.append((Rmt(64, 3), Recurrence(64, 3)))
    for method, recurrence in both:
        found = estimate_method(model, LENGTHS, method).flops
        assert list(found) == [
            estimate_flops(model, Workload(tokens=tokens), recurrence, "matmul").total
            for tokens in LENGTHS
        ]


UNLIKE = [
    kind
    for kind in ROWS
    if isinstance(model := read_mapping(TINY[kind], kind).spec, LayeredSpec)
    and not plain_attention(model)
    and not model.encoder_groups
]


@pytest.mark.parametrize("kind", UNLIKE)
def test_states_and_windows_of_unlike_layers(kind: str) -> None:
    model = read_mapping(TINY[kind], kind).spec
    assert isinstance(model, LayeredSpec)
    state = estimate_method(model, 1000, Rmt(64, 3)).state_bytes
    kept = cached_numbers(model, 64) + state_numbers(model)
    assert state == 2 * (3 * model.embedding_width + kept)
    if not model.windows:
        with pytest.raises(BadInput, match="has no attention of one kind"):
            estimate_method(model, 100, "sliding-window")
        return
    full, banded = (
        estimate_method(model, 400, method).flops for method in ("full", SlidingWindow(100))
    )
    pair = sum(
        2 * count * square.multiply_adds
        for layer, count in model.groups
        if isinstance(layer.mixer, Attention)
        for square in layer.mixer.squares()
        if square.name != "index"
    )
    assert full - banded == pair * 400 * 300
    assert estimate_method(model, 100, SlidingWindow(100)).flops == (
        estimate_method(model, 100, "full").flops
    )
    assert {"full", "rmt", "sliding-window"} <= {method.name for method in methods_for(model)}
