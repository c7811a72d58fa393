"""Where memory stands among the text, for full and for ragged segments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.memory import (
    Memory,
    decoder_layout,
    decoder_state,
    encoder_layout,
    encoder_state,
    last_text,
    place_BT,
)
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens


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


def rmt_of(kind: str, memory: int) -> Any:
    """The same backbone with so many memory tokens, as they were drawn."""
    if kind in ENCODERS:
        config = RMTConfig(12, memory, cls_token_id=1, sep_token_id=2)
        return RMTForSequenceClassification(backbone(kind, labels=3), config).eval()
    return RMTForCausalLM(backbone(kind), RMTConfig(12, memory)).eval()


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
@torch.no_grad()
def test_more_memory_begins_with_the_trained_rows(kind: str) -> None:
    """They are first, bit for bit; the others stay as drawn, and all are read and written."""
    trained, grown = rmt_of(kind, 2), rmt_of(kind, 4)
    trained.memory.initial_ME += 1
    drawn_ME = grown.memory.initial_ME.clone()
    grown.memory.begin_with(trained.memory)
    assert torch.equal(grown.memory.initial_ME[:2], trained.memory.initial_ME)
    assert torch.equal(grown.memory.initial_ME[2:], drawn_ME[2:])
    assert len(drawn_ME[2:].unique()) == drawn_ME[2:].numel()
    assert torch.equal(grown.initial_state(3)[:, :2], trained.initial_state(3))
    ids_BN, moved = tokens(3, 17), []
    for row in range(4):
        state_BME = grown.initial_state(3).clone()
        state_BME[:, row] *= -1
        one, other = (grown(ids_BN, memory=state) for state in (state_BME, grown.initial_state(3)))
        moved.append(float((one.memory - other.memory).abs().min()))
    assert min(moved) > 0


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_what_is_written_for_trained_rows_does_not_see_new_ones_written(kind: str) -> None:
    """New rows stand behind them, and a decoder looks back alone."""
    grown = rmt_of(kind, 4)
    state_BMD = grown.initial_state(1)
    laid_BTD = decoder_layout(state_BMD, grown.embed(tokens(1, 4)), None)
    changed_BTD = laid_BTD.clone()
    changed_BTD[:, -2:] *= -1
    one, other = (grown.body.hidden(grown.backbone, laid) for laid in (laid_BTD, changed_BTD))
    assert torch.equal(one[:, :-2], other[:, :-2])
    assert (one[:, -2:] - other[:, -2:]).abs().min() > 0


def test_a_memory_without_rows_changes_none() -> None:
    drawn = Memory(3, 4)
    drawn.reset(1.0)
    assert drawn.initial_ME is not None
    before_ME = drawn.initial_ME.clone()
    drawn.begin_with(Memory(0, 4))
    assert torch.equal(drawn.initial_ME, before_ME)
