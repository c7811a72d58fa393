"""Which labels are scored, and a loss that never holds the logits of more than one segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt import loss as loss_module
from rmtscale.rmt.cross_entropy import next_token_targets, summed_cross_entropy
from rmtscale.rmt.loss import SegmentLosses, can_fuse
from tests.rmt.tiny_models import VOCABULARY, backbone, padded, tokens


def scored_labels(
    model: RMTForCausalLM, ids: torch.Tensor, mask: torch.Tensor | None = None, **more: Any
) -> set[tuple[int, int]]:
    """Columns whose label changes the loss, found by trying."""
    base = model(ids, mask, ids, **more).loss
    found = set()
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            other = ids.clone()
            other[row, column] = (other[row, column] + 1) % VOCABULARY
            if abs(float(model(ids, mask, other, **more).loss - base)) > 1e-12:
                found.add((row, column))
    return found


@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("columns", [7, 8, 9])
def test_every_label_but_the_first_is_scored_across_segment_boundaries_too(
    alignment: str, columns: int
) -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2, alignment=alignment)).eval()
    assert scored_labels(model, tokens(1, columns)) == {(0, c) for c in range(1, columns)}


def test_padding_is_not_scored_and_the_first_label_of_each_sample_is_not() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).eval()
    ids, mask = padded([6, 3], 6, left=True)
    assert scored_labels(model, ids, mask) == {(0, c) for c in range(1, 6)} | {(1, 4), (1, 5)}
    ids, mask = padded([6, 3], 6, left=False)
    assert scored_labels(model, ids, mask) == {(0, c) for c in range(1, 6)} | {(1, 1), (1, 2)}


def test_the_last_segment_scores_what_it_predicts() -> None:
    """Segments of 4: columns 0-1, 2-5, 6-9. Label 6 is predicted by the segment before."""
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2, loss_on="last")).eval()
    assert scored_labels(model, tokens(1, 10)) == {(0, 7), (0, 8), (0, 9)}


def test_a_loss_mask_picks_labels() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).eval()
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, [0, 2, 5]] = True
    assert scored_labels(model, tokens(1, 10), loss_mask=mask) == {(0, 2), (0, 5)}


def test_targets_are_the_next_tokens() -> None:
    labels = torch.tensor([[5, 6, -100, 8]])
    assert next_token_targets(labels).tolist() == [[6, -100, 8, -100]]
    mask = torch.tensor([[1, 1, 1, 0]])
    assert next_token_targets(labels, mask).tolist() == [[6, -100, -100, -100]]
    only = torch.tensor([[True, False, True, True]])
    assert next_token_targets(labels, None, only).tolist() == [[-100, -100, 8, -100]]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", ["nothing", "head", "body"])
def test_the_fused_loss_equals_the_plain_one(bias: bool, frozen: str) -> None:
    head = torch.nn.Linear(5, 7, bias=bias).double()
    hidden = [torch.randn(2, 3, 5, dtype=torch.float64) for _ in range(3)]
    targets = [torch.randint(0, 7, (2, 3)) for _ in range(3)]
    targets[1][0, 0] = -100
    head.requires_grad_(frozen != "head")
    inputs = [h.requires_grad_(frozen != "body") for h in hidden]
    wanted = [x for x in (*inputs, *head.parameters()) if x.requires_grad]
    plain = torch.zeros((), dtype=torch.float64)
    for h, t in zip(inputs, targets, strict=True):
        plain = plain + summed_cross_entropy(head(h).flatten(0, 1), t.flatten())
    losses = SegmentLosses(head)
    for h, t in zip(inputs, targets, strict=True):
        losses.score(h, t)
    fused = losses.result()
    assert torch.allclose(fused, plain, rtol=1e-12)
    ours = torch.autograd.grad(fused / 4, wanted)
    theirs = torch.autograd.grad(plain / 4, wanted)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_within_its_rounding(dtype: torch.dtype) -> None:
    model = RMTForCausalLM(backbone("gpt2", dtype), RMTConfig(8, 2))
    exact = RMTForCausalLM(backbone("gpt2", torch.float64), RMTConfig(8, 2))
    exact.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    ids = tokens(2, 20)
    for one in (model, exact):
        one(ids, labels=ids).loss.backward()
    assert model(ids, labels=ids).loss.dtype == torch.float32
    room = 50 * torch.finfo(dtype).eps
    for (name, ours), theirs in zip(model.named_parameters(), exact.parameters(), strict=True):
        difference = (ours.grad.double() - theirs.grad).norm()
        assert difference < room * (theirs.grad.norm() + 0.1), name
        assert ours.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_plain_loss_and_its_gradient_equal_torchs(dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    logits = (scale * torch.randn(6, 50, dtype=dtype)).requires_grad_()
    targets = torch.tensor([3, -100, 49, 0, -100, 3])
    ours = summed_cross_entropy(logits, targets)
    theirs = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    (own,) = torch.autograd.grad(3 * ours, logits)
    (other,) = torch.autograd.grad(3 * theirs, logits)
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    assert abs(float(ours - theirs)) <= limit * float(theirs)
    assert (own - other).abs().max() <= limit
    with torch.no_grad():
        assert abs(float(summed_cross_entropy(logits, targets) - theirs)) <= limit * float(theirs)


def test_the_plain_loss_without_a_scored_row_is_zero() -> None:
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    loss = summed_cross_entropy(logits, torch.full((2,), -100))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


def test_what_is_kept_for_the_backward_pass_goes_with_it() -> None:
    """A graph that is kept can be run again; one that is not has nothing left to be run with."""
    model, ids = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2)).train(), tokens(1, 12)
    weight = model.get_output_embeddings().weight
    loss = model(ids, labels=ids).loss
    loss.backward(retain_graph=True)
    once = weight.grad.clone()
    loss.backward()
    assert (weight.grad - 2 * once).abs().max() < 1e-12
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def largest_sum_alive(
    model: RMTForCausalLM, ids: torch.Tensor, run: Callable[[RMTForCausalLM, torch.Tensor], None]
) -> int:
    """Elements of all V-wide tensors that autograd keeps at one time."""
    kept, most = set(), 0

    class Item:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor
            self.size = tensor.numel() if tensor.shape[-1:] == (VOCABULARY,) else 0
            kept.add(id(self))
            sizes[id(self)] = self.size

        def __del__(self) -> None:
            kept.discard(id(self))

    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> Item:
        nonlocal most
        item = Item(tensor)
        most = max(most, sum(sizes[key] for key in kept))
        return item

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda item: item.tensor):
        run(model, ids)
    return most


def train(model: RMTForCausalLM, ids: torch.Tensor) -> None:
    model(ids, labels=ids).loss.backward()


@pytest.mark.parametrize("checkpoint", [True, False])
def test_logits_of_the_whole_sequence_never_exist_at_once(checkpoint: bool) -> None:
    config = RMTConfig(8, 2, checkpoint_segments=checkpoint, keep_logits="none")
    model = RMTForCausalLM(backbone("gpt2"), config).train()
    one_segment = 4 * VOCABULARY
    assert largest_sum_alive(model, tokens(1, 32), train) <= 2 * one_segment
    held = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2, keep_logits="all")).train()
    assert largest_sum_alive(held, tokens(1, 32), train) >= 8 * one_segment, "or it cannot fail"


def test_a_head_with_lora_keeps_one_segment_too_and_is_not_fused() -> None:
    inner = peft.get_peft_model(backbone("llama"), peft.LoraConfig(r=2, target_modules=["lm_head"]))
    model = RMTForCausalLM(inner, RMTConfig(8, 2, keep_logits="none")).train()
    assert not can_fuse(model.get_output_embeddings())
    assert largest_sum_alive(model, tokens(1, 32), train) <= 2 * 4 * VOCABULARY


def test_only_a_plain_head_is_fused() -> None:
    head = torch.nn.Linear(2, 3)
    assert can_fuse(head)
    head.register_forward_hook(lambda *_: None)
    assert not can_fuse(head)
    assert not can_fuse(torch.nn.Sequential(torch.nn.Linear(2, 3)))


def test_last_logits_beside_a_loss_can_be_differentiated() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2))
    out = model(tokens(1, 12), labels=tokens(1, 12), keep_logits="last")
    assert out.logits.requires_grad
    assert out.logits.untyped_storage().nbytes() == VOCABULARY * 8


def test_no_scored_label_is_an_error() -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2))
    with pytest.raises(BadInput, match="labels: none of them is scored"):
        model(tokens(1, 5), labels=torch.full((1, 5), -100))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("columns", [None, 5, VOCABULARY, 24, 64])
def test_padded_columns_and_the_loss_that_is_compiled_change_nothing(
    columns: int | None, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients are those of torch's own cross-entropy, whatever stands behind V."""
    torch.manual_seed(1)
    head = torch.nn.Linear(8, VOCABULARY, bias=bias, dtype=torch.float64)
    hidden = torch.randn(2, 2, 5, 8, dtype=torch.float64)
    targets = torch.randint(VOCABULARY, (2, 2, 5))
    targets[0, 1, 2:] = -100
    found = []
    monkeypatch.setattr(loss_module, "compiled_loss", lambda: loss_module.loss_and_error)
    for kind in ("torch", "ours", "compiled"):
        states = hidden.clone().requires_grad_()
        if kind == "torch":
            loss = torch.nn.functional.cross_entropy(
                head(states).flatten(0, 2), targets.flatten(), reduction="sum"
            )
        else:
            losses = SegmentLosses(head, columns, compile_loss=kind == "compiled")
            for state, target in zip(states, targets, strict=True):
                losses.score(state, target)
            loss = losses.result()
        grads = torch.autograd.grad(loss, [states, *head.parameters()])
        found.append([loss.detach(), *grads])
    for ours in found[1:]:
        for one, other in zip(ours, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_padded_vocabulary_leaves_loss_gradients_and_weights_as_they_are() -> None:
    ids, found = tokens(2, 11), []
    for columns in (None, 64):
        config = RMTConfig(8, 2, pad_vocabulary_to=columns)
        model = RMTForCausalLM(backbone("gpt2"), config).train()
        loss = model(ids, labels=ids).loss
        found.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    with pytest.raises(BadInput, match="pad_vocabulary_to"):
        RMTConfig(8, 2, pad_vocabulary_to=0)
