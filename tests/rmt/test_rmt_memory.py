"""Where memory stands among the text, for full and for ragged segments."""

from __future__ import annotations

from typing import Any

import torch

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.memory import (
    Memory,
    decoder_layout,
    decoder_state,
    encoder_layout,
    encoder_state,
    last_text,
    place_BT,
)
from tests.rmt.tiny_models import backbone


def named(*values: float) -> torch.Tensor:
    """One row of width 1 whose numbers are names."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


def flat(values: torch.Tensor) -> Any:
    return values[..., 0].tolist()


def test_a_decoder_segment_reads_and_writes_the_same_state() -> None:
    assert flat(decoder_layout(named(91, 92), named(1, 2, 3), None)) == [[91, 92, 1, 2, 3, 91, 92]]


def test_a_shorter_row_has_no_gap() -> None:
    state = named(91, 92).expand(2, -1, -1)
    text = torch.tensor([[1.0, 2, 3], [4, 0, 0]], dtype=torch.float64)[..., None]
    laid = decoder_layout(state, text, torch.tensor([3, 1]))
    assert flat(laid)[0] == [91, 92, 1, 2, 3, 91, 92]
    assert flat(laid)[1][:5] == [91, 92, 4, 91, 92]
    hidden = torch.arange(14.0)[:, None].view(2, 7, 1)
    assert flat(decoder_state(hidden, 2, torch.tensor([3, 1]))) == [[5, 6], [10, 11]]
    assert flat(decoder_state(hidden, 2, None)) == [[5, 6], [12, 13]]
    assert flat(last_text(text, torch.tensor([3, 1]))) == [[3], [4]]
    assert flat(last_text(text, None)) == [[3], [0]]


def test_an_encoder_segment_has_memory_once_behind_cls() -> None:
    state = named(91, 92).expand(2, -1, -1)
    edge = named(71, 72, 73).expand(2, -1, -1)
    text = torch.tensor([[1.0, 2, 3], [4, 0, 0]], dtype=torch.float64)[..., None]
    laid, mask = encoder_layout(state, edge, text, torch.tensor([3, 1]))
    assert flat(laid)[0] == [71, 91, 92, 72, 1, 2, 3, 73]
    assert flat(laid)[1][:6] == [71, 91, 92, 72, 4, 73]
    assert mask is not None
    assert mask.tolist() == [[1] * 8, [1] * 6 + [0] * 2]
    full, none = encoder_layout(state, edge, text, None)
    assert none is None
    assert flat(full)[1] == [71, 91, 92, 72, 4, 0, 0, 73]
    assert flat(encoder_state(laid, 2)) == [[91, 92], [91, 92]]


def test_without_memory_the_text_is_left_alone() -> None:
    text = named(1, 2)
    assert decoder_layout(named(1)[:, :0], text, None) is text
    assert decoder_state(text, 0, None).shape == (1, 0, 1)
    assert Memory(0, 4)(torch.zeros(1), 3).shape == (3, 0, 4)
    assert list(Memory(0, 4).parameters()) == []


def test_filling_never_stands_before_text() -> None:
    lengths = torch.tensor([1, 2, 3])
    place = place_BT(lengths, 2, 3, 2)
    for row, length in enumerate(lengths.tolist()):
        expected = [0, 1, *range(2, 2 + length), 5, 6]
        assert place[row].tolist()[: length + 4] == expected


def test_memory_is_as_wide_as_the_embedding_and_as_large() -> None:
    model = RMTForCausalLM(backbone("opt-projected"), RMTConfig(8, 3))
    assert model.memory.initial_ME is not None
    assert model.memory.initial_ME.shape == (3, 6)
    big = backbone("gpt2", torch.float32)
    with torch.no_grad():
        big.transformer.wte.weight.mul_(100)
    memory = RMTForCausalLM(big, RMTConfig(16, 7)).memory.initial_ME
    assert memory is not None
    assert 0.5 < memory.std() / big.transformer.wte.weight.std() < 2
