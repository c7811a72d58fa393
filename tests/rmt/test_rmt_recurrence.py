"""Cuts, checkpoints and what is alive: gradients through a kept path, none through a cut one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.rmt.recurrence import collect
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, tokens


def decoder(
    kind: str = "gpt2", dtype: torch.dtype = torch.float64, dropout: float = 0.0, **more: Any
) -> RMTForCausalLM:
    inner = backbone(kind, dtype, dropout=dropout)
    model: RMTForCausalLM = RMTForCausalLM(inner, RMTConfig(8, 2, **more)).train()
    return model


def gradients(model: RMTForCausalLM, ids: torch.Tensor, **more: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(ids, labels=ids, **more).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def spans_of_influence(model: RMTForCausalLM, ids: torch.Tensor) -> list[float | None]:
    """Whether the first segment's embeddings get a gradient from the last segment's loss."""
    seen = []

    def remember(_module: Any, _args: Any, output: torch.Tensor) -> None:
        seen.append(output)
        if output.requires_grad:
            output.retain_grad()

    hook = model.get_input_embeddings().register_forward_hook(remember)
    try:
        loss = model(ids, labels=ids).loss
    finally:
        hook.remove()
    loss.backward()
    return [None if x.grad is None else float(x.grad.abs().max()) for x in seen]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9])
def test_a_loss_on_the_last_segment_reaches_exactly_the_segments_kept(depth: int) -> None:
    """Five segments; those within the depth get a gradient, those before it get none at all."""
    model = decoder(loss_on="last", bptt_segments=depth)
    reached = spans_of_influence(model, tokens(1, 20))
    assert len(reached) == 5
    kept = min(depth, 5)
    assert all(grad is None for grad in reached[: 5 - kept])
    assert all(grad is not None and grad > 1e-8 for grad in reached[5 - kept :])


def test_the_gradient_through_a_cut_is_exactly_zero_and_through_the_kept_part_is_not() -> None:
    model, ids = decoder(bptt_segments=2), tokens(1, 16)
    weight = model.get_input_embeddings().weight
    memory = torch.randn(1, 2, 8, dtype=torch.float64, requires_grad=True)
    # Of four segments, the first two are one window: what comes in reaches only their loss.
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, 9:] = True
    assert weight.requires_grad
    model(ids, labels=ids, memory=memory, loss_mask=mask).loss.backward()
    assert memory.grad is None or memory.grad.abs().max() == 0
    mask[:, 1:9] = True
    model(ids, labels=ids, memory=memory, loss_mask=mask).loss.backward()
    assert memory.grad is not None
    assert memory.grad.abs().max() > 1e-6


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("loss_on", ["all", "last"])
def test_checkpointed_equals_plain(kind: str, loss_on: str) -> None:
    ids = tokens(2, 15)
    plain = decoder(kind, loss_on=loss_on)
    again = decoder(kind, loss_on=loss_on, checkpoint_segments=True)
    again.load_state_dict(plain.state_dict())
    ours, theirs = gradients(again, ids), gradients(plain, ids)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name] - theirs[name]).abs().max() < 1e-10, name


@pytest.mark.parametrize("kind", ENCODERS)
def test_checkpointed_equals_plain_in_encoders(kind: str) -> None:
    results = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        config = RMTConfig(10, 2, cls_token_id=1, sep_token_id=2, checkpoint_segments=checkpoint)
        model = RMTForSequenceClassification(backbone(kind), config).train()
        torch.manual_seed(0)
        model.memory.reset(1.0)
        model(tokens(2, 15), labels=torch.tensor([0, 2])).loss.backward()
        results.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    for name, grad in results[0].items():
        assert (grad - results[1][name]).abs().max() < 1e-10, name


def test_dropout_is_the_same_when_a_segment_is_run_again() -> None:
    """With dropout on, a second draw would give other gradients than the first."""
    plain, again = decoder(dropout=0.5), decoder(dropout=0.5, checkpoint_segments=True)
    again.load_state_dict(plain.state_dict())
    results = []
    for model in (plain, again):
        torch.manual_seed(3)
        results.append(gradients(model, tokens(1, 15)))
    for name in results[0]:
        assert (results[0][name] - results[1][name]).abs().max() < 1e-10, name


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_state_is_no_view_of_all_hidden_states(checkpoint: bool) -> None:
    model, ids = decoder(checkpoint_segments=checkpoint), tokens(2, 12)
    for memory in (model(ids, labels=ids).memory, model.eval()(ids).memory):
        assert memory.untyped_storage().nbytes() == memory.nbytes


def count_runs(model: RMTForCausalLM, ids: torch.Tensor) -> tuple[int, int]:
    """How often each segment's blocks run in the forward and in the backward pass."""
    runs = []
    model.backbone.transformer.h[0].register_forward_hook(lambda *_: runs.append(1))
    loss = model(ids, labels=ids).loss
    forward = len(runs)
    loss.backward()
    return forward, len(runs) - forward


def test_a_checkpoint_runs_every_segment_once_more() -> None:
    assert count_runs(decoder(), tokens(1, 16)) == (4, 0)
    assert count_runs(decoder(checkpoint_segments=True), tokens(1, 16)) == (4, 4)
    evaluated = decoder(checkpoint_segments=True).eval()
    assert count_runs(evaluated, tokens(1, 16)) == (4, 0)


class Kept:
    """A tensor that autograd keeps for the backward pass, with the segment it belongs to."""

    def __init__(self, tensor: torch.Tensor, segment: int) -> None:
        self.tensor, self.segment = tensor, segment


def alive_at_most(
    model: RMTForCausalLM, ids: torch.Tensor, run: Callable[[RMTForCausalLM, torch.Tensor], None]
) -> int:
    """The largest number of segments whose activations are alive at one time."""
    segment = most = 0
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def begin(*_: Any) -> None:
        nonlocal segment
        segment += 1

    def pack(tensor: torch.Tensor) -> Kept:
        nonlocal most
        item = Kept(tensor, segment)
        if not isinstance(tensor, torch.nn.Parameter):
            kept.add(item)
        most = max(most, len({other.segment for other in kept}))
        return item

    hook = model.get_input_embeddings().register_forward_pre_hook(begin)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda item: item.tensor):
        run(model, ids)
    hook.remove()
    return most


def backward_of_forward(model: RMTForCausalLM, ids: torch.Tensor) -> None:
    model(ids, labels=ids).loss.backward()


def backward_of_windows(model: RMTForCausalLM, ids: torch.Tensor) -> None:
    for loss in model.window_losses(ids):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("run", [backward_of_forward, backward_of_windows])
def test_truncated_bptt_has_at_most_k_segments_alive(
    run: Callable[[RMTForCausalLM, torch.Tensor], None],
) -> None:
    ids = tokens(1, 32)
    assert alive_at_most(decoder(), ids, run) == 8
    assert alive_at_most(decoder(bptt_segments=3), ids, run) == 3
    assert alive_at_most(decoder(bptt_segments=1), ids, run) == 1


def test_no_graph_before_the_last_window_of_a_loss_on_the_last_segment() -> None:
    model = decoder(bptt_segments=2, loss_on="last")
    assert alive_at_most(model, tokens(1, 32), backward_of_forward) == 2


def test_window_losses_leave_the_gradients_of_forward_and_add_up_to_its_loss() -> None:
    model, ids = decoder(bptt_segments=2), tokens(2, 19)
    wanted = gradients(model, ids)
    loss = model(ids, labels=ids).loss.detach()
    model.zero_grad()
    parts = []
    for part in model.window_losses(ids, labels=ids):
        torch.autograd.backward(part)
        parts.append(part.detach())
    assert len(parts) == 3
    assert (sum(parts) - loss).abs() < 1e-12
    for name, grad in wanted.items():
        own = dict(model.named_parameters())[name].grad
        assert (own - grad).abs().max() < 1e-12, name


def test_a_truncated_loss_scales_like_any_other_and_backs_up_once() -> None:
    model, ids = decoder(bptt_segments=1), tokens(1, 16)
    wanted = gradients(model, ids)
    model.zero_grad()
    loss = model(ids, labels=ids).loss
    (loss * 3).backward(retain_graph=True)
    for name, grad in wanted.items():
        own = dict(model.named_parameters())[name].grad
        assert (own - 3 * grad).abs().max() < 1e-12, name
    with pytest.raises(RuntimeError, match="only once"):
        loss.backward()


def test_truncated_bptt_under_autocast() -> None:
    model = decoder(dtype=torch.float32, bptt_segments=2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens(2, 16), labels=tokens(2, 16)).loss
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_collect_does_not_write_into_shared_gradients() -> None:
    """The gradients of both summands are one tensor in autograd's hands."""
    left, right = (torch.ones(3, requires_grad=True) for _ in range(2))
    weight = torch.tensor([1.0, 2.0, 3.0])
    total = collect((((left + right) * weight).sum() for _ in range(3)), [left, right])
    torch.autograd.backward(total)
    for summand in (left, right):
        assert summand.grad is not None
        assert summand.grad.tolist() == [3, 6, 9]
    assert total.item() == 36


def test_last_logits_beside_a_truncated_loss_have_no_graph() -> None:
    """Theirs is freed with the window's; what would fail later is not offered."""
    model, ids = decoder(bptt_segments=1), tokens(1, 16)
    out = model(ids, labels=ids, keep_logits="last")
    assert not out.logits.requires_grad
    assert out.loss.requires_grad
