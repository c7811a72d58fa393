"""Bad input: a clear error that names the value, before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.rmt.tiny_models import backbone, tokens

IDS = tokens(2, 9)
ONES = torch.ones(2, 9, dtype=torch.long)


@pytest.fixture(scope="module")
def model() -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).eval()
    return model


def hole() -> torch.Tensor:
    mask = ONES.clone()
    mask[1, 4] = 0
    return mask


def empty() -> torch.Tensor:
    mask = ONES.clone()
    mask[1] = 0
    return mask


STATE = torch.zeros(2, 2, 8, dtype=torch.float64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "input_ids NoneType: expected a tensor of token ids"),
        ({"input_ids": IDS[:, :0]}, r"input_ids of shape \(2, 0\): expected \(batch, tokens\)"),
        ({"input_ids": IDS[:0]}, r"input_ids of shape \(0, 9\)"),
        ({"input_ids": IDS[0]}, r"input_ids of shape \(9,\)"),
        ({"input_ids": IDS.float()}, "input_ids of torch.float32: expected torch.int64"),
        ({"input_ids": IDS + 19}, r"input_ids with id \d\d: expected 0 to 18"),
        ({"input_ids": IDS - 19}, r"input_ids with id -\d+: expected 0 to 18"),
        ({"input_ids": IDS + 19, "labels": IDS}, r"input_ids with id \d\d: expected 0 to 18"),
        (
            {"input_ids": IDS, "attention_mask": ONES[:1]},
            r"attention_mask of shape \(1, 9\): expected \(2, 9\), the shape of input_ids",
        ),
        ({"input_ids": IDS, "attention_mask": ONES[:, :8]}, r"attention_mask of shape \(2, 8\)"),
        ({"input_ids": IDS, "attention_mask": ONES * 2}, "values other than 0 and 1"),
        ({"input_ids": IDS, "attention_mask": hole()}, "attention_mask of sample 1 has a hole"),
        ({"input_ids": IDS, "attention_mask": empty()}, "attention_mask of sample 1 is all 0"),
        ({"input_ids": IDS, "labels": IDS[:, :8]}, r"labels of shape \(2, 8\): expected \(2, 9\)"),
        ({"input_ids": IDS, "labels": IDS[:1]}, r"labels of shape \(1, 9\)"),
        ({"input_ids": IDS, "labels": IDS + 19}, r"labels with \d\d: expected 0 to 18, or -100"),
        ({"input_ids": IDS, "labels": IDS - 50}, r"labels with -\d+: expected 0 to 18"),
        ({"input_ids": IDS, "labels": IDS, "loss_mask": ONES[:1]}, r"loss_mask of shape \(1, 9\)"),
        (
            {"input_ids": IDS, "memory": STATE[:1]},
            r"memory of shape \(1, 2, 8\): expected \(2, 2, 8\)",
        ),
        ({"input_ids": IDS, "memory": [0.0]}, "memory list: expected a tensor"),
        ({"input_ids": IDS, "memory": STATE[:, :1]}, r"memory of shape \(2, 1, 8\)"),
        ({"input_ids": IDS, "memory": STATE[..., :1]}, r"memory of shape \(2, 2, 1\)"),
        (
            {"input_ids": IDS, "memory": STATE.float()},
            "memory of torch.float32: expected torch.float64, the model's dtype",
        ),
        ({"input_ids": IDS, "memory": STATE.to("meta")}, "memory on meta: expected cpu"),
        ({"input_ids": IDS, "keep_logits": "some"}, "keep_logits 'some': expected one of"),
        (
            {"input_ids": IDS, "labels": ONES.bool()},
            "labels of torch.bool: expected torch.int64 or torch.int32",
        ),
        ({"input_ids": IDS, "labels": ONES.float()}, "labels of torch.float32: expected"),
        ({"input_ids": IDS, "labels": IDS.tolist()}, "labels list: expected a tensor"),
        ({"input_ids": IDS, "attention_mask": [1]}, "attention_mask list: expected a tensor"),
        ({"input_ids": IDS, "loss_mask": ONES[:1]}, r"loss_mask of shape \(1, 9\)"),
        (
            {"input_ids": IDS, "labels": IDS, "loss_mask": ONES * 0.5},
            "loss_mask of torch.float32: expected torch.bool",
        ),
    ],
)
def test_bad_input_is_refused_before_any_work(
    model: RMTForCausalLM, values: dict[str, Any], message: str
) -> None:
    ran = []
    hook = model.get_input_embeddings().register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(BadInput, match=message) as caught:
        model(**values)
    hook.remove()
    assert ran == []
    assert "\n" not in str(caught.value)


def test_a_mask_of_ones_is_no_mask(model: RMTForCausalLM) -> None:
    assert torch.equal(model(IDS, ONES).logits, model(IDS).logits)
    assert torch.equal(model(IDS, ONES.bool()).logits, model(IDS).logits)


def test_labels_of_32_bits_are_those_of_64(model: RMTForCausalLM) -> None:
    narrow, wide = model(IDS, labels=IDS.int()).loss, model(IDS, labels=IDS).loss
    assert torch.equal(narrow, wide)


def test_windows_are_checked_when_they_are_asked_for(model: RMTForCausalLM) -> None:
    with pytest.raises(BadInput, match="labels of shape"):
        model.window_losses(IDS, labels=IDS[:, :8])
