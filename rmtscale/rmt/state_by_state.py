"""BPTT state by state: one segment's graph at a time, and between the two passes states alone.

Shape legend: B batch, M memory, L segment tokens, E embedding width, V vocabulary, S segments.

All segments run forward without a graph, and the states between them are kept, (B, M, E) each.
The backward pass runs segment after segment once more, the last one first, differentiates it at
once and hands the gradient of its first state to the segment before. The arithmetic is that of one
checkpoint per segment; but no graph leads from segment to segment, nothing of a head's loss waits
for the backward pass, and what shards weights can reduce and free a segment's gradients before the
next one runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from rmtscale.rmt.compiling import never_compiled, run_plainly
from rmtscale.rmt.recurrence import Piece
from rmtscale.rmt.sharding import freed_after_forward

Results = tuple[Tensor, Tensor | None, Tensor | None]
Segment = Callable[[Tensor, Piece], Results]
"""``(state before, piece)`` to the state after it, its summed loss, and logits to keep."""


@dataclass(slots=True)
class _Conditions:
    """Holds autocast and random numbers of a first run, for a second one to find again."""

    keep_rng: bool
    device: torch.device
    autocast: dict[str, Any] | None
    random: list[tuple[Tensor, list[int], list[Tensor]]] = field(default_factory=list)

    @classmethod
    def of(cls, device: torch.device, keep_rng: bool) -> _Conditions:
        kind, autocast = device.type, None
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            autocast = {
                "device_type": kind,
                "dtype": torch.get_autocast_dtype(kind),
                "cache_enabled": torch.is_autocast_cache_enabled(),
            }
        return cls(keep_rng, device, autocast)

    def remember(self, like: Tensor) -> None:
        """Notes the random numbers that the next segment begins with."""
        if self.keep_rng:
            self.random.append((torch.get_rng_state(), *get_device_states(like)))

    @contextmanager
    def again(self) -> Iterator[None]:
        """Puts autocast and random numbers back to where the last segment noted began."""
        kind = self.device.type if self.device.type not in ("cpu", "meta") else "cuda"
        host, devices, states = self.random.pop() if self.keep_rng else (None, [], [])
        with torch.random.fork_rng(devices, enabled=self.keep_rng, device_type=kind):
            if host is not None:
                torch.set_rng_state(host)
                set_device_states(devices, states, device_type=kind)
            if self.autocast is None:
                yield
                return
            # Weights cast without a graph, in the first pass, may be in the caller's cache.
            torch.clear_autocast_cache()
            with torch.autocast(**self.autocast):
                yield


class _Sums:
    """Adds up gradients of weights over all segments, each as soon as it is there."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights
        self.found: list[Tensor | None] = [None] * len(weights)

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = [
            weight.register_hook(lambda grad, index=index: self._add(index, grad))  # type: ignore[no-untyped-call]
            for index, weight in enumerate(self.weights)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, index: int, grad: Tensor) -> Tensor | None:
        known = self.found[index]
        if known is None:
            # Not the tensor itself: autograd may hand out one that something else shares. The clone
            # of a DTensor's part is summed over ranks, once a segment: a product stays a part.
            self.found[index] = grad.clone() if type(grad) is Tensor else grad * 1
        else:
            known.add_(grad)
        # Nobody reads what autograd goes on with, and this one takes no memory.
        return grad.new_zeros(()).expand_as(grad) if type(grad) is Tensor else None

    def take(self) -> list[Tensor]:
        """The sums, zeros where no gradient came; they are held here no longer."""
        found, self.found = self.found, []
        return [
            torch.zeros_like(weight) if grad is None else grad
            for grad, weight in zip(found, self.weights, strict=True)
        ]


@dataclass(slots=True)
class _Work:
    """Holds the segments of one window, and how they are run."""

    segment: Segment
    inputs: Sequence[Piece]
    weights: Sequence[Tensor]
    conditions: _Conditions
    sharded: nn.Module | None = None
    scored: list[bool] = field(default_factory=list)


class _StateByState(torch.autograd.Function):
    """``(state, embedded text, weights)`` to the summed loss, the last logits and the state."""

    @staticmethod
    def forward(ctx: Any, work: _Work, state_BME: Tensor, *more: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        states: list[Tensor] = []
        loss = kept = None
        for piece in work.inputs:
            states.append(state_BME)
            work.conditions.remember(state_BME)
            state_BME, found, kept = work.segment(state_BME, piece)
            work.scored.append(found is not None)
            if found is not None:
                loss = found if loss is None else loss + found
        ctx.work = work
        # The weights too: autograd says so if they have changed when the second run begins.
        ctx.save_for_backward(*states, *more)
        return loss, kept, state_BME

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, loss_grad: Tensor | None, kept_grad: Tensor | None, state_grad: Tensor | None
    ) -> tuple[Any, ...]:
        work: _Work = ctx.work
        states = list(ctx.saved_tensors[: len(work.inputs)])
        text_grads: list[Tensor | None] = []
        sums = _Sums(work.weights if work.sharded is None else [])
        freed = nullcontext() if work.sharded is None else freed_after_forward(work.sharded)
        with sums.watching(), freed:
            for piece in reversed(work.inputs):
                own_grad = loss_grad if work.scored.pop() else None
                leaves = [states.pop().detach().requires_grad_()]
                if piece.ids_BL.requires_grad:
                    leaves.append(piece.ids_BL.detach().requires_grad_())
                    piece = replace(piece, ids_BL=leaves[1])  # noqa: PLW2901
                found: Sequence[Tensor | None] = [None] * len(leaves)
                with work.conditions.again(), torch.enable_grad():
                    if any(grad is not None for grad in (state_grad, own_grad, kept_grad)):
                        results = work.segment(leaves[0], piece)
                        grads = (state_grad, own_grad, kept_grad)
                        found = _differentiate(results, grads, leaves, work)
                        del results
                state_grad, kept_grad = found[0], None
                text_grads[:0] = found[1:]
        weight_grads = sums.take() if work.sharded is None else [None] * len(work.weights)
        return (None, state_grad, *text_grads, *weight_grads)


def _differentiate(
    results: Sequence[Tensor | None],
    grads: Sequence[Tensor | None],
    leaves: Sequence[Tensor],
    work: _Work,
) -> Sequence[Tensor | None]:
    """Gradients of the leaves of one segment; those of the weights are added up by hooks.

    Gradients of sharded weights go where FSDP2's own hooks put them, reduced at once.
    """
    pairs = [
        (result, grad)
        for result, grad in zip(results, grads, strict=True)
        if result is not None and grad is not None and result.requires_grad
    ]
    if not pairs:
        return [None] * len(leaves)
    outputs, given = zip(*pairs, strict=True)
    if work.sharded is not None:
        torch.autograd.backward(outputs, given)
        return [leaf.grad for leaf in leaves]
    found = torch.autograd.grad(outputs, [*leaves, *work.weights], given, allow_unused=True)
    return found[: len(leaves)]


@run_plainly
def run_by_state(
    segment: Segment,
    inputs: Sequence[Piece],
    state_BME: Tensor,
    parameters: Iterable[Tensor],
    *,
    keep_rng: bool = True,
    sharded: nn.Module | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Runs segments so that of their backward pass one has a graph at a time.

    ``loss.backward()`` works as ever, once; each parameter gets its whole gradient at one moment,
    as DDP expects, and a gradient of zero where nothing flows.

    Args:
        segment: one recurrent step, which is run once without a graph and once with one.
        inputs: the pieces, in order.
        state_BME: the state before the first.
        parameters: all that ``segment`` uses; frozen ones are left out.
        keep_rng: the second run has to draw the same dropout.
        sharded: the model, if ``fully_shard`` was called on it: gradients of parameters are then
            added up where FSDP2 puts them, segment by segment.

    Returns:
        The sum of the losses, if any segment has one, the logits that the last segment keeps, if
        it does, and the state after it, (B, M, E). All of them can be differentiated.
    """
    weights = [weight for weight in parameters if weight.requires_grad]
    conditions = _Conditions.of(state_BME.device, keep_rng)
    work = _Work(segment, inputs, weights, conditions, sharded)
    embedded = [piece.ids_BL for piece in inputs if piece.ids_BL.requires_grad]
    return _apply(work, state_BME, *embedded, *weights)


@never_compiled
def _apply(work: _Work, *tensors: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
    results: tuple[Tensor | None, Tensor | None, Tensor] = _StateByState.apply(work, *tensors)  # type: ignore[no-untyped-call]
    return results
