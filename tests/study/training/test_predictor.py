"""Predictor against a slow one that runs the backbone by hand; what may influence what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.study.training.language import model as module
from rmtscale.study.training.language.model import Predictor
from tests.rmt.slow_reference import cut_text, run
from tests.rmt.tiny_models import VOCABULARY, backbone, tokens

KINDS = ["gpt2", "gpt_neox", "gpt_neo"]
FAST = settings(max_examples=25, derandomize=True)


def build(
    kind: str = "gpt2",
    size: int = 8,
    memory: int = 2,
    dtype: torch.dtype = torch.float64,
    **more: Any,
) -> Predictor:
    torch.manual_seed(0)
    rmt = RMTForCausalLM(
        backbone(kind, dtype), RMTConfig(segment_size=size, memory_tokens=memory, **more)
    )
    if rmt.memory.initial_ME is not None:
        torch.nn.init.normal_(rmt.memory.initial_ME)
    return Predictor(rmt).eval()


def slow(
    predictor: Predictor, ids: torch.Tensor, targets: torch.Tensor, scored: int
) -> list[list[torch.Tensor]]:
    """Losses of each sample at its last ``scored`` columns, token by token."""
    rmt = predictor.rmt
    model, m = rmt.backbone, rmt.config.memory_tokens
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    found = []
    for row in range(len(ids)):
        initial = rmt.memory.initial_ME
        state = [] if initial is None else list(initial)
        losses = []
        for part in cut_text(range(ids.shape[1]), rmt.config.segment_size - 2 * m, "right"):
            text = [embed(ids[row, column]) for column in part]
            hidden = run(model.base_model, [*state, *text, *state])
            for place, column in enumerate(part):
                target = int(targets[row, column])
                if target == -100:
                    losses.append(0 * hidden.sum())
                else:
                    losses.append(-torch.log_softmax(head(hidden[m + place]), -1)[target])
            state = [hidden[m + len(part) + k] for k in range(m)]
        found.append(losses[-scored:])
    return found


def made(
    batch: int, columns: int, ignored: Iterable[tuple[int, int]] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    ids, targets = tokens(batch, columns), tokens(batch, columns, seed=2)
    for row, column in ignored:
        targets[row, column] = -100
    return ids, targets


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    memory = draw(st.integers(0, 2))
    columns = draw(st.integers(1, 14))
    batch = draw(st.integers(1, 2))
    scored = draw(st.integers(1, columns))
    places = st.tuples(st.integers(0, batch - 1), st.integers(0, columns - 1))
    return {
        "kind": draw(st.sampled_from(KINDS)),
        "memory": memory,
        "size": 2 * memory + draw(st.integers(1, 5)),
        "batch": batch,
        "columns": columns,
        "scored": scored,
        "ignored": draw(st.sets(places, max_size=3)),
        "recompute": draw(st.booleans()),
    }


@FAST
@given(cases())
def test_loss_and_gradients_are_those_of_the_slow_one(case: dict[str, Any]) -> None:
    predictor = build(
        case["kind"], case["size"], case["memory"], checkpoint_segments=case["recompute"]
    ).train()
    ids, targets = made(case["batch"], case["columns"], case["ignored"])
    scored = case["scored"]
    known = slow(predictor, ids, targets, scored)
    counted = int((targets[:, -scored:] != -100).sum())
    expected = torch.stack([loss for row in known for loss in row]).sum() / max(counted, 1)
    # GPT-Neo attends in fp32, whatever its dtype is.
    tolerance: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5} if case["kind"] == "gpt_neo" else {}
    loss = predictor(ids, targets, scored)
    torch.testing.assert_close(loss, expected, **tolerance)
    weights = list(predictor.parameters())
    grads = [
        torch.autograd.grad(one, weights, allow_unused=True, materialize_grads=True)
        for one in (loss, expected)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
    each = predictor.eval().token_losses(ids, targets, scored)
    assert each.shape == (case["batch"], scored)
    assert each.dtype == torch.float32
    expected_each = torch.stack([torch.stack(row) for row in known]).float()
    torch.testing.assert_close(each, expected_each)


@pytest.mark.parametrize("kind", KINDS)
def test_one_segment_without_memory_is_the_plain_model(kind: str) -> None:
    predictor = build(kind, size=9, memory=0, dtype=torch.float32)
    ids, targets = made(3, 9, ignored=[(0, 8), (2, 4)])
    logits = predictor.rmt.backbone(ids).logits[:, -6:]
    plain = F.cross_entropy(logits.flatten(0, 1), targets[:, -6:].flatten())
    torch.testing.assert_close(predictor(ids, targets, 6), plain)


def test_segments_that_do_not_matter_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory those before the scored ones; with it none."""
    for memory, expected in ((0, 2), (1, 4)):
        predictor = build(size=4 + 2 * memory, memory=memory)
        ids, targets = made(1, 16)
        seen: list[int] = []
        step = predictor.rmt.step

        def counting(*given: Any, step: Any = step, seen: list[int] = seen) -> Any:
            seen.append(1)
            return step(*given)

        monkeypatch.setattr(predictor.rmt, "step", counting)
        predictor(ids, targets, 5)
        predictor.token_losses(ids, targets, 5)
        assert len(seen) == 2 * expected


def test_the_head_runs_on_scored_tokens_only() -> None:
    predictor, heads = build(), []
    predictor.rmt.backbone.lm_head.register_forward_hook(
        lambda _m, args, _out: heads.append(args[0].shape[0])
    )
    ids, targets = made(2, 16)
    predictor.train()(ids, targets, 3)
    assert heads == [6]
    heads.clear()
    predictor.token_losses(ids, targets, 6)
    assert heads == [4, 8]


def test_losses_read_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large vocabulary: the logits of a few tokens at a time, whatever is asked at once."""
    predictor, heads = build(), []
    ids, targets = made(2, 16, ignored=[(0, 13)])
    whole = predictor.token_losses(ids, targets, 6)
    predictor.rmt.backbone.lm_head.register_forward_hook(
        lambda _m, args, _out: heads.append(args[0].shape[0])
    )
    for rows, wanted in ((3, [3, 1, 3, 3, 2]), (0, [1] * 12)):
        heads.clear()
        monkeypatch.setattr(module, "LOGITS", rows * VOCABULARY)
        assert torch.equal(predictor.token_losses(ids, targets, 6), whole)
        assert heads == wanted


def test_later_text_never_influences_earlier_losses() -> None:
    predictor = build()
    ids, targets = made(2, 12)
    before = predictor.token_losses(ids, targets, 12)
    for column in range(12):
        changed = ids.clone()
        changed[:, column] = (changed[:, column] + 1) % VOCABULARY
        after = predictor.token_losses(changed, targets, 12)
        assert torch.equal(after[:, :column], before[:, :column])
        assert (after[:, column:] != before[:, column:]).any()


@pytest.mark.parametrize(("memory", "matters"), [(0, False), (2, True)])
def test_the_first_segment_reaches_the_last_through_memory_alone(
    memory: int, matters: bool
) -> None:
    predictor = build(size=4 + 2 * memory, memory=memory)
    ids, targets = made(2, 12)
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % VOCABULARY
    before, after = (predictor(given, targets, 4) for given in (ids, changed))
    assert bool(before != after) is matters
    # And so does the gradient, back to what only the first segment holds.
    ids[:, :4], ids[:, 4:] = 7, ids[:, 4:] % 7
    predictor.zero_grad()
    predictor(ids, targets % 7, 4).backward()
    embedding = predictor.rmt.get_input_embeddings().weight
    assert isinstance(embedding, torch.nn.Parameter)
    head_only = torch.autograd.grad(predictor(ids[:, 4:], targets[:, 4:] % 7, 4), embedding)[0][7]
    assert embedding.grad is not None
    assert bool((embedding.grad[7] - head_only).abs().sum() > 1e-9) is matters


def test_a_sample_of_ignored_targets_has_no_loss() -> None:
    predictor = build()
    ids, targets = tokens(2, 8), torch.full((2, 8), -100)
    assert not predictor(ids, targets, 4).any()
    assert not predictor.token_losses(ids, targets, 4).any()


@pytest.mark.parametrize("scored", [0, 9])
def test_more_scored_than_there_is(scored: int) -> None:
    predictor = build()
    ids, targets = made(1, 8)
    for call in (predictor, predictor.token_losses):
        with pytest.raises(BadInput, match=f"scored tokens {scored}: expected 1 to 8"):
            call(ids, targets, scored)


def test_bf16_weights_have_gradients_everywhere() -> None:
    predictor = build(dtype=torch.float32).train()
    ids, targets = made(2, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = predictor(ids, targets, 4)
    loss.backward()
    assert [name for name, p in predictor.named_parameters() if p.grad is None] == []
