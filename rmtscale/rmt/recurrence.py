"""The segment loop: what each step is fed, where gradients are cut, what is recomputed.

Shape legend: B batch (the rows of one step), N text columns of the input, L segment tokens,
M memory, E embedding width, S segments.

Source: Bulatov et al. 2024, "Recurrent Memory Transformer". BPTT is cut as the authors' code has
it, counted from the end: the state that enters a window of ``bptt_segments`` segments is detached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from rmtscale.rmt.compiling import never_compiled, run_plainly
from rmtscale.rmt.cross_entropy import IGNORED
from rmtscale.rmt.segmenting import Step
from rmtscale.rmt.sharding import part_of


@dataclass(frozen=True, slots=True)
class Piece:
    """One step's inputs, on the device."""

    ids_BL: Tensor
    """The ids, or the embeddings, (B, L, E)."""
    targets_BL: Tensor | None
    lengths_B: Tensor | None
    """Text tokens of each row; None when all rows are full, the case without any mask."""
    rows_B: Tensor | None
    """Which samples these rows are; None when they are all of them."""
    columns_BL: Tensor | None
    """The columns of the text in the input; None for a plain slice."""
    start: int
    """Column of a plain slice."""
    last: bool
    """Whether this is the last step, in which every sample ends."""


@never_compiled
def place_rows(steps: Sequence[Step], batch: int, device: torch.device) -> Tensor | None:
    """Returns rows, starts and lengths of all steps, (3, rows of all steps), on the device.

    None where every step is a plain slice of the input.
    """
    if all(step.uniform(batch) for step in steps):
        return None
    flat = [[], [], []]  # type: list[list[int]]
    for step in steps:
        for numbers, more in zip(flat, (step.rows, step.starts, step.lengths), strict=True):
            numbers.extend(more)
    return torch.tensor(flat, dtype=torch.long).to(device)


@run_plainly
def pieces(
    steps: Sequence[Step],
    input_ids_BN: Tensor,
    targets_BN: Tensor | None = None,
    facts: Tensor | None = None,
) -> Iterator[Piece]:
    """Returns the inputs of each step.

    Indices are planned on the host and copied over once (``place_rows``), unless they are given.
    """
    batch, columns = input_ids_BN.shape[:2]
    device = input_ids_BN.device
    uniform = [step.uniform(batch) for step in steps]
    if facts is None:
        facts = place_rows(steps, batch, device)
    used = 0
    for index, step in enumerate(steps):
        size, last = len(step.rows), index == len(steps) - 1
        begin, used = used, used + size
        if uniform[index]:
            here = slice(step.starts[0], step.starts[0] + step.tokens)
            targets_BL = None if targets_BN is None else targets_BN[:, here]
            yield Piece(input_ids_BN[:, here], targets_BL, None, None, None, here.start, last)
            continue
        assert facts is not None, "made for steps that are not uniform"
        rows_B, starts_B, lengths_B = facts[:, begin:used]
        column_1L = torch.arange(step.tokens, device=device)[None]
        # Past a row's own text any token will do; the clamp keeps the index in the input.
        columns_BL = (starts_B[:, None] + column_1L).clamp(max=columns - 1)
        row_B1 = rows_B[:, None]
        targets_BL = None
        if targets_BN is not None:
            beyond_BL = column_1L >= lengths_B[:, None]
            targets_BL = targets_BN[row_B1, columns_BL].masked_fill(beyond_BL, IGNORED)
        even = min(step.lengths) == step.tokens
        yield Piece(
            input_ids_BN[row_B1, columns_BL],
            targets_BL,
            None if even else lengths_B,
            None if size == batch else rows_B,
            columns_BL,
            -1,
            last,
        )


@never_compiled
def join(kept: Sequence[tuple[Piece, Tensor]], batch: int, columns: int) -> Tensor:
    """Puts values of pieces back into the columns of the input: the inverse of ``pieces``.

    Args:
        kept: each piece, with its values, (rows, L, any).
        batch: B.
        columns: N.

    Returns:
        (B, N, any), zeros where there is no text.
    """
    first = kept[0][1]
    plain = all(piece.columns_BL is None for piece, _ in kept)
    if plain and sum(values.shape[1] for _, values in kept) == columns:
        return torch.cat([values for _, values in kept], dim=1)
    joined = first.new_zeros(batch, columns, first.shape[-1])
    all_B = torch.arange(batch, device=first.device)
    for piece, values in kept:
        tokens = values.shape[1]
        if piece.columns_BL is None:
            joined[:, piece.start : piece.start + tokens] = values
            continue
        rows_B = all_B if piece.rows_B is None else piece.rows_B
        rows_BL = rows_B[:, None].expand_as(piece.columns_BL)
        if piece.lengths_B is None:
            joined[rows_BL, piece.columns_BL] = values
            continue
        own_BL = torch.arange(tokens, device=first.device)[None] < piece.lengths_B[:, None]
        joined[rows_BL[own_BL], piece.columns_BL[own_BL]] = values[own_BL]
    return joined


@never_compiled
def limit_to_last(targets_BN: Tensor, step: Step) -> Tensor:
    """Targets of the last step's text only; the others are not scored."""
    starts_B1 = torch.tensor(step.starts, device=targets_BN.device)[:, None]
    columns_1N = torch.arange(targets_BN.shape[1], device=targets_BN.device)[None]
    return targets_BN.masked_fill(columns_1N < starts_B1, IGNORED)


@never_compiled
def cut_gradient(state_BME: Tensor, initial_BME: Tensor, before: Step) -> Tensor:
    """Detaches the state that enters a new window, but for samples that have not begun yet.

    Their state is still the initial one, which has to be trained from there.

    Args:
        state_BME: the state after the window before.
        initial_BME: the state before the first segment.
        before: the last step of the window before.
    """
    begun = set(before.rows)
    state_BME = state_BME.detach()
    if len(begun) == len(state_BME):
        return state_BME
    # Row by row: an index would have to be copied over, and the copy waited for.
    rows = [(state_BME if row in begun else initial_BME)[row] for row in range(len(state_BME))]
    return torch.stack(rows)


Segment = Callable[[Tensor, Piece], tuple[Any, ...]]
"""``(state_BME, piece)`` to ``(new state, anything else)``."""


@run_plainly
def recur(
    segment: Segment,
    inputs: Iterable[Piece],
    state_BME: Tensor,
    *,
    recompute: bool = False,
    keep_rng: bool = True,
) -> Iterator[tuple[Piece, Tensor, tuple[Any, ...]]]:
    """Runs segment after segment; yields each one's piece, the state after it, and its results.

    A sample that does not take part in a step keeps its state.

    Args:
        segment: one recurrent step.
        inputs: the pieces, in order.
        state_BME: the state before the first.
        recompute: one activation checkpoint per segment: the backward pass runs the whole of the
            segment once more, so that the activations of only one are alive.
        keep_rng: the second run has to draw the same dropout.
    """
    for piece in inputs:
        rows_B = piece.rows_B
        own_BME = state_BME if rows_B is None else state_BME.index_select(0, rows_B)
        if recompute and torch.is_grad_enabled():
            # Without the early stop, whose savings depend on the kind of backbone, what is
            # recomputed is the same for all of them: everything.
            with set_checkpoint_early_stop(False):
                new_BME, *rest = checkpoint(
                    segment, own_BME, piece, use_reentrant=False, preserve_rng_state=keep_rng
                )
        else:
            new_BME, *rest = segment(own_BME, piece)
        # A copy: a view would keep all hidden states of the segment alive, in every checkpoint.
        new_BME = new_BME.to(state_BME.dtype, copy=True)
        state_BME = new_BME if rows_B is None else state_BME.index_copy(0, rows_B, new_BME)
        yield piece, state_BME, tuple(rest)
        del rest  # not held while the next segment runs


class _Given(torch.autograd.Function):
    """A value whose gradients have already been worked out."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, grads: list[Tensor], *_inputs: Tensor) -> Tensor:
        ctx.grads = grads
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("the gradients of a truncated BPTT loss are handed out only once")
        grads, ctx.grads = ctx.grads, None
        return (None, None, *(x.mul_(grad.to(x.dtype)) for x in grads))


@never_compiled
def _given(value: Tensor, grads: list[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    result: Tensor = _Given.apply(value, grads, *inputs)  # type: ignore[no-untyped-call]
    return result


class _Zeros(torch.autograd.Function):
    """A value, and gradients of zero for what it does not depend on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *inputs: Tensor) -> Tensor:
        ctx.like = [(x.shape, x.dtype, x.device) for x in inputs]
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        zeros = (
            torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like
        )
        return (grad, *zeros)


@never_compiled
def all_take_part(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Returns ``loss`` with a gradient, if only of zero, for every parameter that is trained.

    A loss on the last segment alone, with truncated BPTT, does not depend on the initial memory.
    Under DDP a parameter without a gradient stops the second step.

    Args:
        loss: a scalar.
        parameters: leaves of the graph; those that are frozen are left out.
    """
    left = {id(x): x for x in parameters if x.requires_grad}
    stack = [] if loss.grad_fn is None else [loss.grad_fn]
    seen = set(stack)
    while stack and left:
        node = stack.pop()
        left.pop(id(getattr(node, "variable", None)), None)
        for other, _ in node.next_functions:
            if other is not None and other not in seen:
                seen.add(other)
                stack.append(other)
    if not left:
        return loss
    result: Tensor = _Zeros.apply(loss, *left.values())  # type: ignore[no-untyped-call]
    return result


LOSS_SCALES = (2.0**16, 2.0**12, 2.0**8, 2.0**4, 1.0)
"""Factors of a loss in fp16, tried until every gradient is finite."""


@never_compiled
def runs_in_half(inputs: Sequence[Tensor]) -> bool:
    """Whether gradients pass through fp16, by the dtype of a parameter or by autocast."""
    kind = inputs[0].device.type if inputs else "cpu"
    by_autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    in_half = by_autocast and torch.get_autocast_dtype(kind) == torch.half
    return in_half or any(x.dtype == torch.half for x in inputs)


def _scaled_gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients in fp32 that were worked out under a loss scale.

    The caller's scale comes with ``backward``, when this graph is gone; without one, fp16 rounds
    most gradients of a mean over many tokens to zero.
    """
    grads: list[Tensor | None] = []
    for scale in LOSS_SCALES:
        keep = scale != LOSS_SCALES[-1]
        found = torch.autograd.grad(loss * scale, inputs, allow_unused=True, retain_graph=keep)
        grads = [None if grad is None else grad.float() / scale for grad in found]
        largest = [grad.abs().amax() for grad in grads if grad is not None and grad.numel()]
        if not largest or bool(torch.stack(largest).isfinite().all()):
            break
    return grads


@never_compiled
def _gradients(loss: Tensor, inputs: Sequence[Tensor], half: bool) -> Sequence[Tensor | None]:
    if half:
        return _scaled_gradients(loss, inputs)
    found: Sequence[Tensor | None] = torch.autograd.grad(loss, inputs, allow_unused=True)
    return found


@run_plainly
def differentiate(
    losses: Iterable[Tensor], inputs: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Returns the sum of ``losses`` and its gradients; each loss is differentiated at once.

    When the next loss is worked out, the graph of the one before is gone. An input that no loss
    depends on has a gradient of zero.

    Args:
        losses: scalars, made one after another (a generator).
        inputs: tensors that require gradients: parameters, a state.
    """
    total: Tensor | None = None
    grads: list[Tensor | None] = [None] * len(inputs)
    owned = [False] * len(inputs)
    half = runs_in_half(inputs)
    for loss in losses:
        total = loss.detach() if total is None else total + loss.detach()
        if not loss.requires_grad:
            continue
        for index, grad in enumerate(_gradients(loss, inputs, half)):
            known = grads[index]
            if known is None:
                grads[index] = grad
            elif grad is None:
                continue
            elif owned[index]:
                known.add_(grad)
            else:
                # Not in place: autograd may hand out a tensor that something else shares.
                grads[index], owned[index] = known + grad, True
            del known, grad
        del loss
    assert total is not None, "at least one window"
    return total, _apart(grads, inputs)


@never_compiled
def _apart(grads: list[Tensor | None], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Returns gradients laid out as what they are of, no two of which share memory.

    Autograd may hand out one tensor twice, or a part of another. None becomes zeros. The list that
    is given is emptied, so that there is never more than one gradient twice.
    """
    known: set[int] = set()
    apart = []
    grads.reverse()
    for of in inputs:
        found = grads.pop()
        grad = torch.zeros_like(of) if found is None else found.detach()
        del found
        part = part_of(grad)
        storage = part.untyped_storage()
        whole = storage.nbytes() == part.nbytes and part.stride() == part_of(of).stride()
        if whole and storage.data_ptr() not in known:
            apart.append(grad)
        else:
            apart.append(torch.empty_like(of, dtype=grad.dtype).copy_(grad))
        known.add(part_of(apart[-1]).untyped_storage().data_ptr())
        del grad, part, storage
    return apart


@run_plainly
def collect(losses: Iterable[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Returns the sum of ``losses``, each differentiated as soon as it is there.

    That is what makes truncated BPTT save memory under a caller who knows only
    ``loss.backward()`` (Trainer, accelerate). Costs one buffer of the size of the gradients.
    ``backward`` works once.

    Args:
        losses: scalars, made one after another (a generator).
        inputs: tensors that require gradients: parameters, a state.
    """
    total, grads = differentiate(losses, inputs)
    return _given(total, grads, inputs)
