"""Methods that no library has, against plain modules written from the papers, as integers.

``plain_modules`` multiplies what the equations say, block by block and segment by segment; the
closed forms have to find the same, operator by operator. What no FLOP counter sees (FFTs) is
counted by an FFT that counts itself.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.costs.methods.armt import Armt
from rmtscale.costs.methods.block_recurrent import BlockRecurrent
from rmtscale.costs.methods.colt5 import CoLT5
from rmtscale.costs.methods.compressive import Compressive
from rmtscale.costs.methods.etc import Etc
from rmtscale.costs.methods.hyena import Hyena
from rmtscale.costs.methods.longnet import LongNet
from rmtscale.costs.methods.matmuls import fft_flops
from rmtscale.costs.methods.memorizing import Memorizing
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.retnet import RetNet
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.costs.methods.s4 import S4
from rmtscale.costs.methods.sliding_window import SlidingWindow
from rmtscale.costs.methods.transformer_xl import TransformerXL
from rmtscale.costs.methods.unlimiformer import Unlimiformer
from tests.costs.methods import plain_modules as plain
from tests.costs.methods.counting import backbone, counted, predicted

DECODER, ENCODER = backbone(), backbone("bert")
CASES: dict[str, tuple[Method, Any, Callable[[int], None]]] = {
    "sliding-window": (SlidingWindow(5), DECODER, lambda s: plain.sliding_window(DECODER, s, 5)),
    "etc": (Etc(5, 3), ENCODER, lambda s: plain.etc(ENCODER, s, 5, 3)),
    "colt5": (CoLT5(radius=7), ENCODER, lambda s: plain.colt5(ENCODER, s, 7)),
    "longnet": (
        LongNet((8, 16, 32), (1, 3, 5)),
        DECODER,
        lambda s: plain.longnet(DECODER, s, (8, 16, 32), (1, 3, 5)),
    ),
    "transformer-xl": (
        TransformerXL(8, 12),
        DECODER,
        lambda s: plain.transformer_xl(DECODER, s, 8, 12),
    ),
    "compressive": (
        Compressive(8, 12, 10, 4),
        DECODER,
        lambda s: plain.transformer_xl(DECODER, s, 8, 12, 10, 4),
    ),
    "block-recurrent": (
        BlockRecurrent(8, 6),
        DECODER,
        lambda s: plain.block_recurrent(DECODER, s, 8, 6),
    ),
    "memorizing": (
        Memorizing(8, 4, 40),
        DECODER,
        lambda s: plain.memorizing(DECODER, s, 8, 4, 40),
    ),
    "unlimiformer": (Unlimiformer(16), ENCODER, lambda s: plain.unlimiformer(ENCODER, s, 16)),
    "s4": (S4(), DECODER, lambda s: plain.s4(DECODER, s)),
    "hyena": (Hyena(), DECODER, lambda s: plain.hyena(DECODER, s)),
    "retnet": (RetNet(8, 16), DECODER, lambda s: plain.retnet(DECODER, s, 8, 16)),
    "armt": (
        Armt(16, 3, 8, 48),
        DECODER,
        lambda s: plain.armt(DECODER, s, 16, 3, 8, 48),
    ),
}


@pytest.mark.parametrize("tokens", [8, 13, 48, 77])
@pytest.mark.parametrize("name", CASES)
def test_the_closed_form_is_what_the_equations_multiply(name: str, tokens: int) -> None:
    method, model, run = CASES[name]
    assert method.name == name
    assert predicted(method, model, tokens) == counted(lambda: run(tokens))


@pytest.mark.parametrize("name", ["transformer-xl", "compressive"])
def test_activations_are_what_autograd_keeps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, where the plain module leaves nothing out that is kept."""
    method, model, run = CASES[name]
    make = plain.new
    monkeypatch.setattr(plain, "new", lambda *shape: make(*shape).requires_grad_())
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_leaf:  # leaves are weights and inputs
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    segment = method.at_once(model, 100, train=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(segment)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert found == method.kept_bytes(model, segment, 4)


def counting_fft(values: list[complex]) -> tuple[list[complex], int]:
    """Cooley and Tukey's radix-2 FFT, and its real multiplications and additions."""
    size = len(values)
    if size == 1:
        return values, 0
    even, first = counting_fft(values[::2])
    odd, second = counting_fft(values[1::2])
    turned = [cmath.exp(-2j * cmath.pi * i / size) * odd[i] for i in range(size // 2)]
    out = [even[i] + turned[i] for i in range(size // 2)]
    out += [even[i] - turned[i] for i in range(size // 2)]
    # A butterfly: one complex product (4 products, 2 sums) and two complex sums (2 each).
    return out, first + second + size // 2 * (6 + 2 + 2)


@pytest.mark.parametrize("power", range(1, 11))
def test_an_fft_of_real_numbers_is_half_of_a_complex_one(power: int) -> None:
    size = 2**power
    values, flops = counting_fft([complex(i % 7) for i in range(size)])
    assert abs(values[0] - sum(i % 7 for i in range(size))) < 1e-6 * size
    assert 2 * fft_flops(size) == flops


@given(
    tokens=st.integers(1, 5000),
    text=st.integers(1, 400),
    memory=st.integers(0, 12),
    encoder=st.booleans(),
)
@settings(max_examples=60)
def test_an_rmt_is_the_sum_of_its_segments(
    tokens: int, text: int, memory: int, encoder: bool
) -> None:
    """Token by token cut, each segment squared by itself."""
    model = ENCODER if encoder else DECODER
    overhead = memory + 3 if encoder else 2 * memory
    method = Rmt(min(text + overhead, 512), memory)
    cut = method.segment_tokens(model)
    pairs, left, segments = 0, tokens, 0
    while left:
        taken = min(left, cut)
        pairs += (taken + overhead) ** 2
        left -= taken
        segments += 1
    assert method.pairs(model, tokens) == pairs
    assert method.positions(model, tokens) == tokens + segments * overhead
