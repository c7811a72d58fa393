"""Bytes of every method, tensor by tensor at one small size, and the settings of its paper.

A tensor is written as its shape, with the bytes of one number behind it. Widths: 24, queries 4
heads of 10 (40), keys of a decoder 2 heads (20), three layers; 50 tokens in 16 bits.
"""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any

import pytest
from transformers import (
    BigBirdConfig,
    LongformerConfig,
    LongT5Config,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
)

from rmtscale.costs.methods.armt import Armt
from rmtscale.costs.methods.bigbird import BigBird
from rmtscale.costs.methods.block_recurrent import BlockRecurrent
from rmtscale.costs.methods.catalog import METHODS
from rmtscale.costs.methods.colt5 import CoLT5
from rmtscale.costs.methods.compressive import Compressive
from rmtscale.costs.methods.etc import Etc
from rmtscale.costs.methods.full import Full
from rmtscale.costs.methods.hyena import Hyena
from rmtscale.costs.methods.longformer import Longformer
from rmtscale.costs.methods.longnet import LongNet
from rmtscale.costs.methods.longt5 import LongT5
from rmtscale.costs.methods.mamba import Mamba
from rmtscale.costs.methods.mamba2 import Mamba2
from rmtscale.costs.methods.memorizing import Memorizing
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.retnet import RetNet
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.costs.methods.rwkv import Rwkv
from rmtscale.costs.methods.s4 import S4
from rmtscale.costs.methods.sliding_window import SlidingWindow
from rmtscale.costs.methods.transformer_xl import TransformerXL
from rmtscale.costs.methods.unlimiformer import Unlimiformer
from rmtscale.costs.terms import linear
from tests.costs.methods.counting import backbone

SIZES: dict[str, Any] = {"layers": 3, "width": 24, "embedding_width": 24, "head_width": 10}
DECODER = backbone("llama", **SIZES, heads=4, kv_heads=2)
ENCODER = backbone("bert", **SIZES, heads=4, kv_heads=4)
TOKENS = 50
Tensors = list[tuple[int, ...]]
QKVO: Tensors = [(50, 40, 2), (50, 20, 2), (50, 20, 2), (50, 40, 2)]
ENCODED: Tensors = [(50, 40, 2)] * 4
LOG_SUM_EXP = (50, 4, 4)
OUTPUT: Tensors = [(50, 24, 2)]
SPECTRA: Tensors = [(51, 2, 24, 4)] * 2
"""Of 50 tokens padded to 100: 51 complex numbers a channel, of the input and of the filter."""


def cache(tokens: int) -> tuple[int, ...]:
    return (3, 2, tokens, 20, 2)


DECODERS: list[tuple[Method, Tensors, Tensors]] = [
    (Full(), [*QKVO, LOG_SUM_EXP], [cache(50)]),
    (SlidingWindow(5), [*QKVO, LOG_SUM_EXP], [cache(5)]),
    (
        LongNet((8, 16, 32), (1, 3, 5)),
        [(50 + 17 + 10, 120, 2), (50 + 17 + 10, 4, 4)],
        [cache(32)],
    ),
    (Rmt(16, 3), [*QKVO, LOG_SUM_EXP], [(3, 24, 2), cache(16)]),
    (
        Armt(16, 3, 8, 48),
        [*QKVO, LOG_SUM_EXP, (50, 8, 2), (50, 48, 2), (50, 24, 2)],
        [(3, 24, 2), cache(16), (3, 48, 24, 4), (3, 48, 4)],
    ),
    (TransformerXL(8, 12), [], [(3, 12, 24, 2), cache(8)]),
    (Compressive(8, 12, 10, 4), [], [(3, 22, 24, 2), cache(8)]),
    (
        BlockRecurrent(8, 6),
        [*QKVO, (7, 4, 8, 16, 2)],
        [(6, 24, 2), cache(16)],
    ),
    (
        Memorizing(8, 4, 40),
        [*QKVO, (7, 4, 8, 16, 2)],
        [cache(16), (40, 2, 20, 2)],
    ),
    (
        RetNet(8, 16),
        [(50, 12, 24, 2), (7, 8, 8, 2), (7, 24, 48, 4)],
        [(3, 24, 48, 4)],
    ),
    (Rwkv(), [(50, 24, 2)] * 8, [(3, 24, 2), *[(3, 24, 4)] * 3]),
    (S4(), [*[(50, 24, 2)] * 5, *SPECTRA], [(3, 64, 24, 4)]),
    (Hyena(), [*[(50, 24, 2)] * (3 + 3 + 4 + 1), *SPECTRA, *SPECTRA], [(3, 2, 50, 24, 2)]),
    (
        Mamba(),
        [*[(50, 48, 2)] * 6, (50, 2, 2), *[(50, 16, 2)] * 2],
        [(3, 48, 16, 2), (3, 48, 4, 2)],
    ),
    (
        Mamba2(2, 16, 8, 1, 4, 8),
        [*[(50, 48, 2)] * 4, *[(50, 48 + 8 + 8, 2)] * 2, (50, 3, 2), (7, 48, 8, 2)],
        [(3, 48, 8, 2), (3, 48 + 8 + 8, 4, 2)],
    ),
]
ENCODERS: list[tuple[Method, Tensors, Tensors]] = [
    (Etc(5, 3), [*ENCODED, (4, 50, 7, 2), (4, 50, 5 + 5, 2), (4, 5, 5, 2)], OUTPUT),
    (Longformer(8, 1), [*ENCODED, (50, 4, 8 + 1 + 1, 2)], OUTPUT),
    (BigBird(8, 3), [*ENCODED, (4, 50, 50, 2)], OUTPUT),
    (LongT5(7, 16), [*ENCODED, (4, 7, 8, 24, 2), (4, 56, 3, 2)], OUTPUT),
    (
        CoLT5(radius=7),
        [*[(50, 10, 2)] * 4, *[(4, 30, 2)] * 2, *[(7, 30, 2)] * 2, (7, 8, 24, 2), (3, 4, 7, 2)],
        OUTPUT,
    ),
    (Unlimiformer(16), [*ENCODED, LOG_SUM_EXP], OUTPUT),
]
CASES = [(DECODER, *case) for case in DECODERS] + [(ENCODER, *case) for case in ENCODERS]


def bytes_of(tensors: Tensors) -> int:
    return sum(map(prod, tensors))


@pytest.mark.parametrize(
    ("model", "method", "kept", "state"), CASES, ids=[case[1].name for case in CASES]
)
def test_tensor_by_tensor(model: Any, method: Method, kept: Tensors, state: Tensors) -> None:
    assert method.state_bytes(model, TOKENS, 2) == bytes_of(state)
    if kept:  # else against autograd (test_method_plain)
        assert method.kept_bytes(model, TOKENS, 2) == bytes_of(kept)


# What is read and written once of the products that are no linear layer: tensors of one layer, all
# three of them alike, or (in the second column) of the one layer that has them.
BOTH = ("logits", "reduction")
MOVED: dict[str, list[tuple[tuple[str, ...], Tensors, int]]] = {
    "full": [(BOTH, [(50, 40), (50, 20)], 3)],
    "sliding-window": [(BOTH, [(50, 40), (50, 20)], 3)],
    "longnet": [(BOTH, [(50, 40), (50, 20)], 3)],
    "rmt": [(BOTH, [(80, 40), (80, 20)], 3)],
    "armt": [
        (BOTH, [(62, 40), (62, 20)], 3),
        (("memory_read",), [(62, 48), (62, 24)], 3),
        (("memory_recall", "memory_write"), [(12, 48), (12, 24)], 3),
    ],
    "transformer-xl": [
        (BOTH, [(134, 40), (134, 20)], 3),
        (("position_logits",), [(134, 40)], 3),
    ],
    "compressive": [
        (BOTH, [(204, 40), (204, 20)], 3),
        (("position_logits",), [(204, 40)], 3),
        (("compress",), [(12, 4, 24), (12, 24)], 3),
    ],
    "block-recurrent": [
        (BOTH, [(50, 40), (50, 20)], 3),
        (("cross_logits", "cross_reduction"), [(50, 40), (50, 20)], 1),
        (("state_logits", "state_reduction"), [(42, 40), (42, 20)], 1),
    ],
    "memorizing": [
        (BOTH, [(50, 40), (50, 20)], 3),
        (("search",), [(50, 40), (7, 40, 20)], 1),
        (("found_logits", "found_reduction"), [(200, 40), (200, 20)], 1),
    ],
    "retnet": [
        (("logits",), [(56, 24), (56, 24)], 3),
        (("reduction",), [(56, 48), (56, 48)], 3),
        (("read_state", "write_state"), [(56, 24), (56, 48)], 3),
    ],
    "rwkv": [(("scan",), [(50, 24)] * 4, 3)],
    "s4": [(("kernel",), [(50, 24)], 3), (("fft",), [(50, 24)] * 3, 3)],
    "hyena": [(("short",), [(50, 72)] * 2, 3), (("fft",), [(2, 50, 24)] * 3, 3)],
    "mamba": [
        (("short", "scan"), [(50, 48)] * 2, 3),
        (("read_state",), [(50, 48), (50, 16)], 3),
    ],
    "mamba-2": [
        (("short",), [(50, 64)] * 2, 3),
        ((*BOTH, "write_state", "read_state"), [(56, 48), (56, 3, 8)], 3),
        (("scan",), [(7, 48, 8)], 3),
    ],
    "etc": [(BOTH, [(55, 40)] * 2, 3)],
    "longformer": [((*BOTH, "global_logits", "global_reduction"), [(56, 40)] * 2, 3)],
    "bigbird": [(BOTH, [(50, 40)] * 2, 3)],
    "longt5": [(("aggregate",), [(50, 24)], 3), (BOTH, [(50, 40)] * 2, 3)],
    "colt5": [
        (("light_logits", "light_reduction"), [(50, 10)] * 2, 3),
        (("heavy_logits", "heavy_reduction"), [(4, 30), (7, 30)], 3),
    ],
    "unlimiformer": [(BOTH, [(96, 40)] * 2, 3)],
}
ATTENTION: Tensors = [(3, 24, 40), (3, 24, 20), (3, 24, 20), (3, 40, 24)]
ENCODER_S: Tensors = [(3, 24, 40)] * 4
WEIGHTS: dict[str, Tensors] = {
    "armt": [*ATTENTION, (3, 24, 8), (3, 24, 8), (3, 24, 24), (3, 24, 1)],
    "transformer-xl": [*ATTENTION, (3, 24, 40)],
    "compressive": [*ATTENTION, (3, 24, 40), (3, 4, 24, 24)],
    "block-recurrent": [
        *ATTENTION, (24, 40), (40, 24), (24, 2, 40), (24, 2, 20), (80, 24), (24, 24)
    ],
    "retnet": [(3, 2, 24, 24), (3, 2, 24, 48), (3, 48, 24)],
    "rwkv": [(3, 4, 24, 24)],
    "s4": [(3, 24, 48)],
    "hyena": [(3, 24, 72), (3, 72, 3), (3, 33, 64), (3, 2, 64, 64), (3, 64, 48), (3, 24, 24)],
    "mamba": [(3, 24, 96), (3, 48, 4), (3, 48, 2 + 16 + 16), (3, 2, 48), (3, 48, 24)],
    "mamba-2": [(3, 24, 48 + 64 + 3), (3, 64, 4), (3, 48, 24)],
    "longformer": [*ENCODER_S, (3, 24, 40), (3, 24, 80)],
    "colt5": [
        (3, 24, 2), (3, 24, 3, 10), (3, 10, 24), (3, 24, 30), (3, 24, 60), (3, 30, 24)
    ],
}  # fmt: skip
"""Of the others: those of the backbone's own attention."""


@pytest.mark.parametrize(
    ("model", "method"), [case[:2] for case in CASES], ids=lambda one: one.name
)
def test_what_is_moved_and_what_is_learned(model: Any, method: Method) -> None:
    terms = {str(term.name): term for term in method.mixing(model, TOKENS)}
    apart = {name for name, term in terms.items() if term.operator not in ("mm", "addmm")}
    assert apart == {name for names, _, _ in MOVED[method.name] for name in names}
    for names, tensors, layers in MOVED[method.name]:
        for name in names:
            assert terms[name].elements == layers * bytes_of(tensors), name
    backbone_s = ATTENTION if model.decoder else ENCODER_S
    assert method.weights(model) == bytes_of(WEIGHTS.get(method.name, backbone_s))


def test_a_linear_layer() -> None:
    """Two of them, from 3 numbers to 7, of five rows."""
    term = linear("x", 5, 3, 7, 2)
    assert (term.flops, term.elements, term.weights) == (2 * 2 * 5 * 21, 2 * 5 * (3 + 7), 2 * 21)
    assert (term.operator, linear("x", 5, 3, 7, bias=True).operator) == ("mm", "addmm")


def test_s4_makes_its_kernel_of_complex_sums() -> None:
    """Each number of it: 32 pairs of conjugates, four products and four sums for one."""
    kernel = next(term for term in S4().mixing(DECODER, TOKENS) if term.name == "kernel")
    assert kernel.flops == sum(4 + 4 for _ in range(3 * 24) for _ in range(50) for _ in range(32))


def test_every_method_is_there() -> None:
    assert {case[1].name for case in CASES} == set(METHODS)


# Settings that Transformers has as defaults are asked there; of the others, those of the papers.
PAPERS: dict[str, dict[str, Any]] = {
    "full": {},
    "rmt": {"segment_size": 512, "memory_tokens": 10},
    "armt": {"segment_size": 512, "memory_tokens": 10, "key_width": 64, "features": 2 * 3 * 64},
    "transformer-xl": {"segment": 384, "memory": 384},
    "compressive": {"segment": 512, "memory": 512, "compressed": 512, "rate": 2},
    "block-recurrent": {"block": 512, "state_vectors": 512, "segment": 4096},
    "memorizing": {"segment": 512, "neighbours": 32, "store": 2**18},
    "unlimiformer": {"window": 1024},
    "etc": {"global_tokens": 230, "radius": 84},
    "colt5": {"radius": 127, "query_share": 16, "key_share": 8},
    "longnet": {
        "segments": (2048, 4096, 8192, 16384, 32768),
        "dilations": (1, 2, 4, 6, 12),
    },
    "s4": {"state_size": 64},
    "hyena": {"order": 2, "short_filter": 3, "features": 33, "filter_width": 64},
    "rwkv": {},
    "retnet": {"chunk": 512, "head_width": 256},
}
LONGEST = {
    "rmt": 499 * 4096, "armt": 50_000_000, "transformer-xl": 3800, "memorizing": 2**18,
    "unlimiformer": 500_000, "sliding-window": 2**13, "longformer": 63 * 512, "bigbird": 2**12,
    "longt5": 2**14, "colt5": 2**16, "longnet": 2**15, "s4": 2**14, "hyena": 2**17,
    "rwkv": 2**13, "retnet": 2**13, "mamba": 2**20,
}  # fmt: skip


def library() -> dict[str, dict[str, Any]]:
    """Defaults of Transformers' config classes."""
    bigbird, longt5, mamba, mamba2 = BigBirdConfig(), LongT5Config(), MambaConfig(), Mamba2Config()
    return {
        "sliding-window": {"window": MistralConfig().sliding_window},
        "longformer": {"window": LongformerConfig().attention_window, "global_tokens": 1},
        "bigbird": {"block": bigbird.block_size, "random_blocks": bigbird.num_random_blocks},
        "longt5": {"radius": longt5.local_radius, "global_block": longt5.global_block_size},
        "mamba": {
            "expand": mamba.expand,
            "state_size": mamba.state_size,
            "short_filter": mamba.conv_kernel,
        },
        "mamba-2": {
            "expand": mamba2.expand,
            "head_width": mamba2.head_dim,
            "state_size": mamba2.state_size,
            "groups": 1,  # as all released models have
            "short_filter": mamba2.conv_kernel,
            "chunk": mamba2.chunk_size,
        },
    }


def test_settings_are_those_of_paper_or_library() -> None:
    published = PAPERS | library()
    assert {name: asdict(method) for name, method in METHODS.items()} == published


def test_the_longest_input_that_a_paper_reports() -> None:
    reported = {name: method.reported for name, method in METHODS.items()}
    assert {name: one.tokens for name, one in reported.items() if one} == LONGEST
