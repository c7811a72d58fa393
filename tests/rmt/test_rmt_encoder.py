"""RMTForSequenceClassification against the slow reference."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForSequenceClassification
from tests.rmt.slow_reference import encoder as reference
from tests.rmt.tiny_models import ENCODERS, POSITIONS, backbone, padded, tokens

TOLERANCE = 1e-10
SPECIAL: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}


def make(
    kind: str, size: int = 10, memory: int = 2, seed: int = 0, labels: int = 3, **more: Any
) -> RMTForSequenceClassification:
    config = RMTConfig(size, memory, **SPECIAL, **more)
    return RMTForSequenceClassification(backbone(kind, seed=seed, labels=labels), config)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    memory = draw(st.integers(0, 3))
    columns = draw(st.integers(1, 14))
    lengths = draw(st.lists(st.integers(1, columns), min_size=1, max_size=3))
    lengths[draw(st.integers(0, len(lengths) - 1))] = columns
    columns += draw(st.integers(0, 2))  # that no row has text in
    return {
        "memory": memory,
        "sink": draw(st.integers(0, max(memory - 1, 0))),
        "size": draw(st.integers(1, 6)) + memory + 3,
        "columns": columns,
        "lengths": lengths,
        "left": draw(st.booleans()),
        "alignment": draw(st.sampled_from(["right", "left"])),
        "depth": draw(st.sampled_from([None, 1, 2])),
        "again": draw(st.sampled_from(["checkpoint", "state by state", "no"])),
        "seed": draw(st.integers(0, 99)),
    }


@pytest.mark.parametrize("kind", ENCODERS)
@settings(
    max_examples=25 if os.environ.get("RMTSCALE_THOROUGH") == "1" else 12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=cases())
def test_output_loss_and_every_gradient_equal_the_reference(
    kind: str, case: dict[str, Any]
) -> None:
    ids, mask = padded(case["lengths"], case["columns"], case["left"], case["seed"])
    labels = tokens(len(ids), seed=case["seed"]) % 3
    model = make(
        kind,
        case["size"],
        case["memory"],
        case["seed"],
        sink_tokens=case["sink"],
        alignment=case["alignment"],
        bptt_segments=case["depth"],
        checkpoint_segments=case["again"] == "checkpoint",
        state_by_state=case["again"] == "state by state",
    ).train()
    initial = model.memory.initial_ME
    wanted, logits, states = reference(
        model.backbone,
        [] if initial is None else initial,
        ids,
        mask,
        labels,
        size=case["size"],
        cls=1,
        sep=2,
        alignment=case["alignment"],
        depth=case["depth"],
        sink=case["sink"],
    )
    out = model(ids, mask, labels)
    assert (out.loss - wanted).abs() < TOLERANCE
    assert (out.logits - logits).abs().max() < TOLERANCE
    if case["memory"]:
        assert (out.memory - torch.stack(states)).abs().max() < TOLERANCE
    parameters = dict(model.named_parameters())
    theirs = torch.autograd.grad(wanted, list(parameters.values()), allow_unused=True)
    out.loss.backward()
    for (name, parameter), grad in zip(parameters.items(), theirs, strict=True):
        if parameter.grad is None or grad is None:
            present = grad if parameter.grad is None else parameter.grad
            assert present is None or present.abs().max() == 0, name
        else:
            assert (parameter.grad - grad).abs().max() < TOLERANCE, name


@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_batch_equals_its_samples_one_by_one(kind: str, alignment: str) -> None:
    model = make(kind, alignment=alignment).eval()
    ids, mask = padded([13, 1, 4, 9], 13, left=False)
    together = model(ids, mask)
    for row in range(4):
        alone = model(ids[row][mask[row].bool()][None])
        assert (together.logits[row] - alone.logits[0]).abs().max() < TOLERANCE
        assert (together.memory[row] - alone.memory[0]).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", ENCODERS)
def test_one_segment_without_memory_is_the_backbone_on_its_own_layout(kind: str) -> None:
    model = make(kind, POSITIONS, 0).eval()
    text = tokens(2, POSITIONS - 3)
    cls, sep = torch.full((2, 1), 1), torch.full((2, 1), 2)
    plain = model.backbone(torch.cat([cls, sep, text, sep], 1), attention_mask=None)
    assert torch.equal(model(text).logits, plain.logits)


def test_the_pooler_and_the_head_run_once() -> None:
    model = make("bert").eval()
    runs = []
    model.backbone.bert.pooler.register_forward_hook(lambda *_: runs.append("pooler"))
    model.backbone.classifier.register_forward_hook(lambda *_: runs.append("classifier"))
    model(tokens(2, 20))
    assert runs == ["pooler", "classifier"]


def test_special_tokens_are_asked_for_by_name() -> None:
    with pytest.raises(BadInput, match=r"cls_token_id None: expected a token id of 0 to 18"):
        RMTForSequenceClassification(backbone("bert"), RMTConfig(10, 2))
    with pytest.raises(BadInput, match="sep_token_id 99"):
        RMTForSequenceClassification(
            backbone("bert"), RMTConfig(10, 2, cls_token_id=1, sep_token_id=99)
        )
    model = RMTForSequenceClassification(backbone("modernbert"), RMTConfig(10, 2))
    assert (model.config.cls_token_id, model.config.sep_token_id) == (1, 2)


def test_other_problem_types_have_their_own_loss() -> None:
    regression = make("bert", labels=1)
    labels = torch.tensor([0.5, -1.0], dtype=torch.float64)
    out = regression(tokens(2, 9), labels=labels)
    assert torch.allclose(out.loss, ((out.logits[:, 0] - labels) ** 2).mean())
    many = make("bert")
    wanted = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    out = many(tokens(2, 9), labels=wanted)
    odds = torch.sigmoid(out.logits)
    slow = -(wanted * odds.log() + (1 - wanted) * (1 - odds).log()).mean()
    assert torch.allclose(out.loss, slow)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0]), r"shape \(1,\): expected torch.int64 and \(2,\)"),
        (torch.tensor([0, 3]), "labels with 3: expected 0 to 2"),
        (torch.tensor([[0.5, 0.5], [0.0, 1.0]]), r"expected a floating dtype and \(2, 3\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make("bert")(tokens(2, 9), labels=labels)
