"""The parallel adapter: nothing at first, then what its formula says, in every kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens


def make(kind: str, **more: Any) -> RMTForCausalLM | RMTForSequenceClassification:
    if kind in DECODERS:
        decoder: RMTForCausalLM = RMTForCausalLM(backbone(kind), RMTConfig(10, 2, **more)).eval()
        return decoder
    config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, **more)
    encoder: RMTForSequenceClassification = RMTForSequenceClassification(
        backbone(kind), config
    ).eval()
    return encoder


def wake(model: RMTForCausalLM | RMTForSequenceClassification) -> None:
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_()


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
def test_it_starts_as_nothing_and_then_matters(kind: str) -> None:
    plain, ids = make(kind), tokens(2, 15)
    model = make(kind, adapter_width=3)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert len(model.adapters) == 2
    assert torch.equal(model(ids).logits, plain(ids).logits)
    wake(model)
    assert (model(ids).logits - plain(ids).logits).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
def test_only_what_was_added_is_trained(kind: str) -> None:
    model = make(kind, adapter_width=3, checkpoint_segments=True).train()
    wake(model)
    model.freeze_backbone()
    labels = tokens(2, 15) if kind in DECODERS else torch.tensor([0, 1])
    model(tokens(2, 15), labels=labels).loss.backward()
    with_grad = {name for name, p in model.named_parameters() if p.grad is not None}
    added = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert with_grad == added


def test_the_formula() -> None:
    """h = FFN(x) + scale * up(relu(down(x)))."""
    model = make("gpt2", adapter_width=3, adapter_scale=2.5)
    wake(model)
    layer: Any = next(iter(model.body.blocks(model.backbone)))
    adapter: Any = model.adapters[0]
    x = torch.randn(1, 4, 8, dtype=torch.float64)
    down = x @ adapter.down.weight.T + adapter.down.bias
    added = 2.5 * (down.clamp(min=0) @ adapter.up.weight.T + adapter.up.bias)
    assert (layer.mlp(x) - (layer.mlp.forward(x) + added)).abs().max() < 1e-12


def test_a_copy_has_its_own_adapters() -> None:
    model, ids = make("gpt2", adapter_width=3), tokens(1, 9)
    wake(model)
    before = model(ids).logits
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.adapters.parameters():
            parameter.zero_()
    assert torch.equal(model(ids).logits, before)
    assert not torch.equal(other(ids).logits, before)
