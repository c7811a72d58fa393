"""Trained weights, in bytes: gradients, fp32 copies, optimizer state, and a step of these."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.costs.design import Design
from rmtscale.costs.optimizers import state_bytes, work_bytes
from rmtscale.costs.parameter_shapes import Tensors, count_numbers, trained_tensors
from rmtscale.costs.peak_candidates import PeakCandidate
from rmtscale.errors import BadInput
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
        recurrence = design if isinstance(design, Recurrence) else None
        tensors = trained_tensors(model, workload.adapter, recurrence)
        if workload.adapter is None and count_numbers(tensors) != weights:
            # A method's own weights: as one tensor more, or fewer numbers in a matrix.
            tensors = (*tensors, Tensors((weights - count_numbers(tensors),)))
        width, adapter = workload.weight_bytes, 0
        if workload.adapter is not None:
            numbers = count_numbers(trained_tensors(model, workload.adapter, None))
            width = FP32_BYTES if workload.adapter.lora else width
            adapter = numbers * width
        numbers = count_numbers(tensors)
        stepped = FP32_BYTES if workload.casts.master or workload.offload_optimizer else width
        state = state_bytes(workload.optimizer, tensors, stepped)
        work = work_bytes(workload.optimizer, tensors, stepped)
        copies = numbers * FP32_BYTES
        if workload.offload_optimizer:
            host = state + 2 * copies
            if workload.host_memory_bytes is not None and host > workload.host_memory_bytes:
                raise BadInput(
                    f"host memory {format_bytes(workload.host_memory_bytes)}: expected "
                    f"{format_bytes(host)} or more for the offloaded optimizer"
                )
            gradients = numbers * width
            return cls(gradients, adapter, host_bytes=host, step_gradient_bytes=gradients)
        if workload.casts.master:
            return cls(numbers * width, adapter, copies, state, 0, copies, work)
        return cls(numbers * width, adapter, 0, state, 0, numbers * width, work)

    def optimizer_step(self) -> PeakCandidate:
        """Returns what is alive while the optimizer steps."""
        return PeakCandidate(
            IN_THE_STEP,
            gradients=self.step_gradient_bytes,
            work=self.step_work_bytes,
        )
