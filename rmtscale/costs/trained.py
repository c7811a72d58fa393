"""Trained weights, in bytes: gradients, fp32 copies, optimizer state, and a step of these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rmtscale.costs.design import Design
from rmtscale.costs.optimizers import state_bytes, work_bytes
from rmtscale.costs.parameter_shapes import Tensors, count_numbers, trained_tensors
from rmtscale.costs.peak_candidates import PeakCandidate
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import FP32_BYTES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes

IN_THE_STEP = "in the optimizer step"
"""Where gradients are all there and no activation is."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training step's bytes besides weights and activations; in inference all are 0."""

    gradient_bytes: int = 0
    adapter_bytes: int = 0
    """Weights of adapters, which are there beside the model's."""
    master_bytes: int = 0
    """fp32 copies of the weights on the device."""
    state_bytes: int = 0
    """Optimizer states on the device."""
    host_bytes: int = 0
    """Copies, gradients and states of an offloaded optimizer."""
    step_gradient_bytes: int = 0
    """Gradients while the optimizer steps: of fp32 copies, where it steps on these."""
    step_work_bytes: int = 0

    @classmethod
    def of(cls, model: ModelSpec, workload: Workload, design: Design, weights: int) -> Trained:
        """Returns what a workload trains.

        Args:
            weights: numbers of all weights, those of a method or of an RMT's memory included.

        Raises:
            BadInput: an offloaded optimizer that does not fit in the host's memory.
        """
        if not workload.train:
            return cls()
        memory = design.memory_tokens if isinstance(design, Recurrence) else 0
        width, adapter, casts = workload.weight_bytes, workload.adapter, workload.casts
        if adapter is not None and adapter.lora:
            width = FP32_BYTES
        stepped = FP32_BYTES if casts.master or workload.offload_optimizer else width
        numbers, added, state, work = _trained_sizes(
            model, adapter, memory, weights, workload.optimizer, stepped
        )
        adapter_bytes = added * width
        copies = numbers * FP32_BYTES
        if workload.offload_optimizer:
            host = state + 2 * copies
            if workload.host_memory_bytes is not None and host > workload.host_memory_bytes:
                raise BadInput(
                    f"host memory {format_bytes(workload.host_memory_bytes)}: expected "
                    f"{format_bytes(host)} or more for the offloaded optimizer"
                )
            gradients = numbers * width
            return cls(gradients, adapter_bytes, host_bytes=host, step_gradient_bytes=gradients)
        if casts.master:
            return cls(numbers * width, adapter_bytes, copies, state, 0, copies, work)
        return cls(numbers * width, adapter_bytes, 0, state, 0, numbers * width, work)

    def optimizer_step(self) -> PeakCandidate:
        """Returns what is alive while the optimizer steps."""
        return PeakCandidate(
            IN_THE_STEP,
            gradients=self.step_gradient_bytes,
            work=self.step_work_bytes,
        )


@lru_cache(maxsize=256)
def _trained_sizes(
    model: ModelSpec,
    adapter: Adapter | None,
    memory_tokens: int,
    weights: int,
    optimizer: str,
    number_bytes: int,
) -> tuple[int, int, int, int]:
    """Sizes that no length changes, so that a search over lengths adds the tensors up once.

    Args:
        number_bytes: of a number that the optimizer steps on.

    Returns:
        Numbers that are trained, those of them that an adapter has, bytes of the optimizer's state
        and of what it holds while it steps.
    """
    tensors = trained_tensors(model, adapter, memory_tokens)
    numbers = count_numbers(tensors)
    if adapter is not None:
        added = count_numbers(trained_tensors(model, adapter, 0))
    else:
        added = 0
        if numbers != weights:
            # A method's own weights: as one tensor more, or fewer numbers in a matrix.
            tensors = (*tensors, Tensors((weights - numbers,)))
            numbers = weights
    state = state_bytes(optimizer, tensors, number_bytes)
    return numbers, added, state, work_bytes(optimizer, tensors, number_bytes)
