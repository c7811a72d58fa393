"""RMTForCausalLM against the slow reference, and what a batch, a memory and a head have to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.grids import THOROUGH
from tests.rmt.slow_reference import decoder as reference
from tests.rmt.tiny_models import DECODERS, POSITIONS, backbone, padded, tokens

TOLERANCE = 1e-10
FAST = settings(
    max_examples=25 if THOROUGH else 8,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """A model, an input and a way to train: anything that changes the result."""
    memory = draw(st.integers(0, 3))
    text = draw(st.integers(1, 5))
    columns = draw(st.integers(2, 14))
    lengths = draw(st.lists(st.integers(1, columns), min_size=1, max_size=3))
    lengths[draw(st.integers(0, len(lengths) - 1))] = columns
    columns += draw(st.integers(0, 2))  # that no row has text in
    return {
        "memory": memory,
        "sink": draw(st.integers(0, max(memory - 1, 0))),
        "size": text + 2 * memory,
        "columns": columns,
        "lengths": lengths,
        "left": draw(st.booleans()),
        "alignment": draw(st.sampled_from(["right", "left"])),
        "loss_on": draw(st.sampled_from(["all", "last"])),
        "depth": draw(st.sampled_from([None, 1, 2, 3])),
        "again": draw(st.sampled_from(["checkpoint", "state by state", "no"])),
        "keep": draw(st.sampled_from(["none", "last", "all"])),
        "masked": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }


def gradients(
    loss: torch.Tensor, parameters: dict[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor | None]:
    """By name; None where nothing flows."""
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, grads, strict=True))


def assert_close(ours: torch.Tensor | None, theirs: torch.Tensor | None, what: str) -> None:
    if ours is None or theirs is None:
        present = ours if theirs is None else theirs
        assert present is None or present.abs().max() == 0, what
        return
    assert (ours - theirs).abs().max() < TOLERANCE, what


@pytest.mark.parametrize("kind", DECODERS)
@FAST
@given(case=cases())
def test_output_loss_and_every_gradient_equal_the_reference(
    exact: None, kind: str, case: dict[str, Any]
) -> None:
    ids, mask = padded(case["lengths"], case["columns"], case["left"], case["seed"])
    labels = ids.clone()
    labels[tokens(*ids.shape, seed=case["seed"] + 1) < 4] = -100
    loss_mask = tokens(*ids.shape, seed=case["seed"] + 2) > 5 if case["masked"] else None
    config = RMTConfig(
        case["size"],
        case["memory"],
        sink_tokens=case["sink"],
        alignment=case["alignment"],
        loss_on=case["loss_on"],
        bptt_segments=case["depth"],
        checkpoint_segments=case["again"] == "checkpoint",
        state_by_state=case["again"] == "state by state",
    )
    model = RMTForCausalLM(backbone(kind, seed=case["seed"]), config).train()
    initial = model.memory.initial_ME
    wanted, logits, states = reference(
        model.backbone,
        [] if initial is None else initial,
        ids,
        mask,
        labels,
        size=case["size"],
        alignment=case["alignment"],
        loss_on=case["loss_on"],
        loss_mask=loss_mask,
        depth=case["depth"],
        sink=case["sink"],
    )
    keep = {"keep_logits": case["keep"]}
    if wanted is None:
        with pytest.raises(BadInput, match="none of them is scored"):
            model(ids, mask, labels, loss_mask=loss_mask, **keep)
        return
    out = model(ids, mask, labels, loss_mask=loss_mask, **keep)
    assert_close(out.loss, wanted, "loss")
    for row, length in enumerate(case["lengths"]):
        if case["memory"]:
            assert_close(out.memory[row], states[row], f"memory of {row}")
        if case["keep"] == "last":
            assert_close(out.logits[row, 0], logits[row][-1], f"last logits of {row}")
        if case["keep"] == "all":
            assert_close(out.logits[row][mask[row].bool()], logits[row], f"logits of {row}")
            assert out.logits[row][~mask[row].bool()].abs().sum() == 0
            assert length == len(logits[row])
    if case["keep"] == "none":
        assert out.logits is None
    parameters = dict(model.named_parameters())
    theirs = gradients(wanted, parameters)
    out.loss.backward()
    for name, parameter in parameters.items():
        assert_close(parameter.grad, theirs[name], f"gradient of {name}")


@pytest.mark.parametrize("kind", DECODERS)
def test_no_memory_and_one_segment_is_the_backbone_bit_for_bit(kind: str) -> None:
    for dtype in (torch.float32, torch.float64):
        inner = backbone(kind, dtype)
        model = RMTForCausalLM(inner, RMTConfig(POSITIONS, 0)).eval()
        ids = tokens(2, POSITIONS)
        assert torch.equal(model(ids, keep_logits="all").logits, inner(ids).logits)


@pytest.mark.parametrize("kind", DECODERS)
def test_the_backbone_keeps_its_weights(kind: str) -> None:
    inner = backbone(kind)
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    model = RMTForCausalLM(inner, RMTConfig(8, 2))
    assert model.backbone is inner
    after = inner.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("kind", DECODERS)
def test_a_batch_equals_its_samples_one_by_one(
    exact: None, kind: str, alignment: str, left: bool
) -> None:
    lengths = [13, 1, 4, 9]
    ids, mask = padded(lengths, 13, left)
    model = RMTForCausalLM(backbone(kind), RMTConfig(8, 2, alignment=alignment)).eval()
    together = model(ids, mask, keep_logits="all")
    for row, length in enumerate(lengths):
        text = ids[row][mask[row].bool()][None]
        alone = model(text, keep_logits="all")
        assert alone.logits.shape[1] == length
        assert_close(together.logits[row][mask[row].bool()], alone.logits[0], f"logits {row}")
        assert_close(together.memory[row], alone.memory[0], f"memory {row}")


@pytest.mark.parametrize("kind", DECODERS)
def test_going_on_from_a_memory_equals_one_call(exact: None, kind: str) -> None:
    model = RMTForCausalLM(backbone(kind), RMTConfig(8, 2)).eval()
    ids = tokens(2, 14)
    whole = model(ids, keep_logits="all")
    first = model(ids[:, :6], keep_logits="all")
    second = model(ids[:, 6:], memory=first.memory, keep_logits="all")
    assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, "logits")
    assert_close(second.memory, whole.memory, "memory")
    fresh = model(ids[:, 6:], keep_logits="all")
    assert (fresh.logits - second.logits).abs().max() > 1e-3, "the memory has to matter"


def test_a_gradient_flows_into_the_memory_that_was_given() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2, bptt_segments=1))
    memory = torch.randn(1, 2, 8, dtype=torch.float64, requires_grad=True)
    model(tokens(1, 12), labels=tokens(1, 12), memory=memory).loss.backward()
    assert memory.grad is not None
    assert memory.grad.abs().sum() > 0


def test_a_tuple_is_returned_when_asked_for() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).eval()
    logits, memory = model(tokens(1, 9), return_dict=False)
    assert logits.shape == (1, 1, 19)
    assert memory.shape == (1, 2, 8)


def test_padding_does_not_cost_segments_that_a_sample_does_not_have() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).eval()
    seen = []
    model.backbone.transformer.h[0].register_forward_pre_hook(
        lambda _, args: seen.append(tuple(args[0].shape))
    )
    ids, mask = padded([12, 3], 12, left=True)
    model(ids, mask)
    assert seen == [(1, 8, 8), (1, 8, 8), (2, 8, 8)]


def test_plain_calls_look_at_no_mask_and_wait_for_the_device_once() -> None:
    """No mask reaches attention, and causality is left to the kernel."""
    model = RMTForCausalLM(backbone("llama", torch.float32), RMTConfig(8, 2)).eval()
    masks = []
    for layer in model.backbone.model.layers:
        layer.register_forward_pre_hook(
            lambda _, __, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
        )
    ids, mask = padded([12, 3], 12, left=True)
    model(ids, mask)
    assert masks
    assert all(mask is None for mask in masks)
