"""A training step as one captured piece of work: forward, loss and backward of all segments.

Shape legend: tensors of any shape; what a step reads and gives is the model's to say.

``loss = model(...).loss`` replays one graph, which works out the loss and all gradients, for a
gradient of 1 by the loss; ``loss.backward()`` multiplies them by the one that comes and hands them
out. So optimizers, clipping, accumulation, loss scaling and trainers see what they always see. The
gradients are in the same buffers at every step, and a parameter without a gradient is handed its
buffer itself, without a copy.

While a graph is captured the modules hold aliases of their parameters: what hands the gradients to
the real ones (``AccumulateGrad``) may be kept alive by a loss of an earlier step, on a stream that
a capture must not touch.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rmtscale.errors import reason_of
from rmtscale.rmt.attention_kernel import fastest_attention
from rmtscale.rmt.capturable import facts, refusal, settings
from rmtscale.rmt.capture import Capture, Captures, Inputs
from rmtscale.rmt.compiling import never_compiled, run_plainly
from rmtscale.units import require_positive

Results = tuple[Tensor | None, ...]
"""The loss, and what else a step gives: the memory, logits."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One call of a model, as something that can be run again on other values."""

    key: Hashable
    """All that the work depends on but the model and the shapes of the inputs."""
    inputs: Inputs
    """Tensors on the model's device, or None. One that requires a gradient gets one."""
    run: Callable[[Inputs, list[Tensor]], tuple[Results, list[Tensor]]]
    """From inputs and what is trained to results, the loss first, and gradients, none shared."""
    refusal: str | None = None
    """Why this call cannot be captured."""


class CapturedTraining:
    """Captures the training steps of one model and replays them.

    Args:
        capture: how.
        lengths: how many shapes of inputs are kept; the one unused for longest makes room.
        compile_step: compile the blocks for full segments, and the loss behind a plain head.
        backend: of ``torch.compile``.

    Raises:
        BadInput: fewer than one length.
    """

    def __init__(
        self,
        capture: Capture,
        lengths: int,
        *,
        compile_step: bool = False,
        backend: Any = "inductor",
    ) -> None:
        require_positive("lengths", lengths)
        self._compiles = compile_step
        self._backend = backend
        self._compiled: list[tuple[nn.Module, Any]] | None = None
        self._working = False
        self.capture = capture
        self._captures = Captures(capture, lengths, sights=2)
        self._facts: Hashable = None
        self._gradients: list[Tensor] | None = None
        self._pending: weakref.ref[_Pending] | None = None
        self._said: set[str] = set()

    @property
    def compiles(self) -> bool:
        """Whether what runs now is captured and wanted compiled."""
        return self._compiles and self._working

    def step(self, model: Any, state_BME: Tensor, ids_BL: Tensor) -> Any:
        """Runs the step of a full segment, while it is captured as fast as it can be."""
        if not self._working:
            return model.step(state_BME, ids_BL)
        with fastest_attention(model, len(ids_BL)), self._compiled_blocks(model):
            return model.step(state_BME, ids_BL)

    @contextmanager
    def _compiled_blocks(self, model: Any) -> Iterator[None]:
        """Puts compiled code into the blocks: compiled once, because all of them are alike."""
        if not self._compiles:
            yield
            return
        if self._compiled is None:
            self._compiled = [
                (block, torch.compile(block._call_impl, dynamic=False, backend=self._backend))
                for block in model.body.blocks(model.backbone)
            ]
        before = [block._compiled_call_impl for block, _ in self._compiled]
        try:
            for block, compiled in self._compiled:
                block._compiled_call_impl = compiled
            yield
        finally:
            for (block, _), old in zip(self._compiled, before, strict=True):
                block._compiled_call_impl = old

    def __len__(self) -> int:
        """Counts the shapes that are captured."""
        return len(self._captures)

    def forget(self) -> None:
        """Drops what was captured: the next step captures anew. What was compiled is kept."""
        self._captures.clear()
        self._gradients = None

    @run_plainly
    def __call__(self, model: Any, step: TrainingStep) -> Results | None:
        """Replays a step; None where it has to be run eagerly, this time or always."""
        device = model.embedding_VE.device
        why = self.capture.refusal(device) or step.refusal or refusal(model)
        if why is not None:
            self._say(why)
            return None
        now = facts(model)
        if now != self._facts:
            self._facts = now
            self.forget()
        trained = [p for p in model.parameters() if p.requires_grad]
        self._keep_what_was_handed_out(trained)
        key = (step.key, settings(model))

        @run_plainly
        def work(*inputs: Any) -> Any:
            return self._work(model, step, inputs)

        try:
            found = self._captures.find(key, step.inputs, work)
        except RuntimeError as error:
            again = "; tried again without compiling" if self._compiles else ""
            self._say(f"{type(error).__name__}: {reason_of(error, 300)}{again}")
            if self._compiles:
                self._compiles = False
                self._captures.clear()
            return None
        if found is None:
            return None
        results, gradients = found.replay(step.inputs)
        if self._gradients is None:
            self._gradients = gradients[: len(trained)]
        wanted = [x for x in step.inputs if isinstance(x, Tensor) and x.requires_grad]
        # What is the caller's own may stay with the caller for long.
        own = [x.clone() for x in gradients[len(trained) :]]
        pending = _Pending([*gradients[: len(trained)], *own])
        self._pending = weakref.ref(pending)
        loss, *others = (None if x is None else x.detach().clone() for x in results)
        assert loss is not None, "the first result is the loss"
        return _hand_out(loss, pending, [*trained, *wanted]), *others

    @run_plainly
    def _work(self, model: Any, step: TrainingStep, inputs: Inputs) -> Any:
        """Works out a step on buffers, with gradients in tensors of their own."""
        torch.clear_autocast_cache()
        self._working = True
        try:
            with own_parameters(model) as trained:
                wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
                results, own = step.run(inputs, [*trained, *wanted])
        finally:
            self._working = False
        torch.clear_autocast_cache()
        if self._gradients is not None:
            # One set of buffers for all shapes.
            torch._foreach_copy_(self._gradients, own[: len(trained)])
            own[: len(trained)] = self._gradients
        return tuple(None if x is None else x.detach() for x in results), own

    def _keep_what_was_handed_out(self, trained: Sequence[nn.Parameter]) -> None:
        """Moves gradients that are still wanted out of the buffers that are written next."""
        if self._gradients is None:
            return
        pending = None if self._pending is None else self._pending()
        if pending is not None:
            pending.keep()
        for parameter, buffer in zip(trained, self._gradients, strict=True):
            grad = parameter.grad
            if grad is not None and grad.data_ptr() == buffer.data_ptr():
                parameter.grad = grad.clone()

    def _say(self, why: str) -> None:
        if why not in self._said:
            self._said.add(why)
            warnings.warn(f"training steps are not captured: {why}", stacklevel=2)


@contextmanager
def own_parameters(model: nn.Module) -> Iterator[list[Tensor]]:
    """Puts aliases in the place of all parameters, and yields those that are trained.

    They share the memory of the real ones and are leaves of their own.
    """
    places = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]
    aliases = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for _, _, parameter in places
    }
    trained = [aliases[id(p)] for p in model.parameters() if p.requires_grad]
    try:
        for module, name, parameter in places:
            module._parameters[name] = aliases[id(parameter)]
        yield list(trained)
    finally:
        for module, name, parameter in places:
            module._parameters[name] = parameter


class _Pending:
    """Gradients that wait for the backward pass of their loss."""

    def __init__(self, gradients: list[Tensor]) -> None:
        self._gradients: list[Tensor] | None = gradients
        self._kept = False

    def keep(self) -> None:
        """Copies them, because their buffers are about to be overwritten."""
        if self._gradients is not None and not self._kept:
            self._gradients = [gradient.clone() for gradient in self._gradients]
            self._kept = True

    def take(self) -> list[Tensor]:
        if self._gradients is None:
            raise RuntimeError("the gradients of a captured loss are handed out only once")
        gradients, self._gradients = self._gradients, None
        return gradients


class _HandOut(torch.autograd.Function):
    """A loss whose gradients have already been worked out."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, pending: _Pending, *_inputs: Tensor) -> Tensor:
        ctx.pending = pending
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.pending.take()
        for dtype in {x.dtype for x in gradients}:
            torch._foreach_mul_([x for x in gradients if x.dtype == dtype], grad.to(dtype))
        # Tensors that nothing else holds: autograd takes them as they are.
        return (None, None, *(x.detach() for x in gradients))


@never_compiled
def _hand_out(value: Tensor, pending: _Pending, inputs: Sequence[Tensor]) -> Tensor:
    result: Tensor = _HandOut.apply(value, pending, *inputs)  # type: ignore[no-untyped-call]
    return result
