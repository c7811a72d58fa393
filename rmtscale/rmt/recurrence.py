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

from rmtscale.rmt.loss import IGNORED
from rmtscale.rmt.segmenting import Step


@dataclass(frozen=True, slots=True)
class Piece:
    """One step's inputs, on the device."""

    ids_BL: Tensor
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


def pieces(
    steps: Sequence[Step], input_ids_BN: Tensor, targets_BN: Tensor | None = None
) -> Iterator[Piece]:
    """Returns the inputs of each step. Indices are planned on the host and copied over once."""
    batch, columns = input_ids_BN.shape
    device = input_ids_BN.device
    uniform = [step.uniform(batch) for step in steps]
    facts: Tensor | None = None
    if not all(uniform):
        flat = [[], [], []]  # type: list[list[int]]
        for step in steps:
            for numbers, more in zip(flat, (step.rows, step.starts, step.lengths), strict=True):
                numbers.extend(more)
        facts = torch.tensor(flat, dtype=torch.long).to(device)
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


def limit_to_last(targets_BN: Tensor, step: Step) -> Tensor:
    """Targets of the last step's text only; the others are not scored."""
    starts_B1 = torch.tensor(step.starts, device=targets_BN.device)[:, None]
    columns_1N = torch.arange(targets_BN.shape[1], device=targets_BN.device)[None]
    return targets_BN.masked_fill(columns_1N < starts_B1, IGNORED)


def cut_gradient(state_BME: Tensor, initial_BME: Tensor, before: Step) -> Tensor:
    """Detaches the state that enters a new window, but for samples that have not begun yet.

    Their state is still the initial one, which has to be trained from there.

    Args:
        state_BME: the state after the window before.
        initial_BME: the state before the first segment.
        before: the last step of the window before.
    """
    waiting = sorted(set(range(len(state_BME))) - set(before.rows))
    state_BME = state_BME.detach()
    if not waiting:
        return state_BME
    rows = torch.tensor(waiting, device=state_BME.device)
    return state_BME.index_copy(0, rows, initial_BME.index_select(0, rows))


Segment = Callable[[Tensor, Piece], tuple[Any, ...]]
"""``(state_BME, piece)`` to ``(new state, anything else)``."""


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
    def forward(ctx: Any, value: Tensor, grads: list[Tensor | None], *_inputs: Tensor) -> Tensor:
        ctx.grads = grads
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("the gradients of a truncated BPTT loss are handed out only once")
        grads, ctx.grads = ctx.grads, None
        return (None, None, *(None if x is None else x.mul_(grad.to(x.dtype)) for x in grads))


def collect(losses: Iterable[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Returns the sum of ``losses``, each differentiated as soon as it is there.

    When the next loss is worked out, the graph of the one before is gone; that is what makes
    truncated BPTT save memory under a caller who knows only ``loss.backward()`` (Trainer,
    accelerate). Costs one buffer of the size of the gradients. ``backward`` works once.

    Args:
        losses: scalars, made one after another (a generator).
        inputs: tensors that require gradients: parameters, a state.
    """
    total: Tensor | None = None
    grads: list[Tensor | None] = [None] * len(inputs)
    for loss in losses:
        total = loss.detach() if total is None else total + loss.detach()
        if not loss.requires_grad:
            continue
        for index, grad in enumerate(torch.autograd.grad(loss, inputs, allow_unused=True)):
            known = grads[index]
            if known is None:
                # Not in place later: autograd may hand out a tensor that something else shares.
                grads[index] = None if grad is None else grad.clone()
            elif grad is not None:
                known.add_(grad)
    assert total is not None, "at least one window"
    result: Tensor = _Given.apply(total, grads, *inputs)  # type: ignore[no-untyped-call]
    return result
