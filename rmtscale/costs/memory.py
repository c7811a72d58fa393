"""Peak memory of one pass or one training step, as named terms that sum to the peak.

The peak is what ``torch.cuda.max_memory_allocated`` shows: the largest sum of live tensors over
the moments of a step. Which one that is depends on the lengths (short inputs peak in the
optimizer, long ones where the loss is differentiated), so the sum of each candidate is formed and
the largest is the answer. It is the steady state: from the second step on, when the optimizer has
its state. Gradients are freed between steps (``set_to_none``).

What a measured step must honour for the comparison to be fair:

* ``full`` runs Hugging Face's own loss (``labels=input_ids``), without a cache, and holds the
  module's output, logits included, until the backward pass is over.
* ``rmt`` is the module of ``rmtscale.rmt`` with right alignment, the loss on all labels and no
  adapters or hooks on its head. In training ``keep_logits="none"``: the head is scored and
  differentiated segment by segment, and only the gradient by the text's hidden states waits.
  In a forward pass ``keep_logits="last"``, or ``infer`` without a CUDA graph.
* ``checkpoint_segments`` recomputes a whole segment but for its head; one is alive at a time.
* Quantised weights are multiplied as they are, or (bitsandbytes' 4 bits) as a copy of one matrix
  at a time: the largest such copy is there inside a layer. They are there in a forward pass only.
* ``bptt_segments=k`` is ``window_losses`` with ``backward`` after each window: at most k segments
  are kept. ``loss.backward()`` on the output of ``forward`` takes one more copy of the gradients.
  Of an encoder, which answers from its last segment, only the last window has a graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rmtscale.costs.activations import ID_BYTES, KEPT_BY_ACTIVATION
from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.captured_steps import graph_streams, runs_captured
from rmtscale.costs.design import Design, resolve_design
from rmtscale.costs.kept import prefill_cache_bytes
from rmtscale.costs.layered_memory import layered_peaks
from rmtscale.costs.lean_segment import LeanStep, runs_lean
from rmtscale.costs.method_memory import MethodStep, method_weights
from rmtscale.costs.methods.method import Method
from rmtscale.costs.parameters import count_parameters, memory_parameters
from rmtscale.costs.peak_candidates import AT_THE_LOGITS, PeakCandidate, Step
from rmtscale.costs.recurrent_peak_candidates import RecurrentStep
from rmtscale.costs.taped_step import TapedRecurrentStep, TapedStep, has_tape
from rmtscale.costs.terms import MemoryTerm
from rmtscale.costs.trained import IN_THE_STEP, Trained
from rmtscale.costs.weights import dequantized_bytes, require_weights, weight_bytes
from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import KINDS, ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_bytes


@dataclass(frozen=True, slots=True)
class PeakMemory(Breakdown):
    """Bytes at the largest moment of a step; the terms are what is alive then."""

    peak_at: str
    """When it is, to be read after "the peak is": ``in the optimizer step``, ``at the logits``."""
    confirmed: bool = True
    """Known operator by operator; False: an upper bound, of a type that no device confirmed, or of
    quantised weights, of which kernels may need more or less besides."""

    def shown(self, amount: int) -> str:
        """Returns bytes as they are printed."""
        return format_bytes(amount)


TRANSIENT_TERMS = (
    MemoryTerm.GRADIENTS,
    MemoryTerm.SAVED_ATTENTION,
    MemoryTerm.SAVED_ACTIVATIONS,
    MemoryTerm.LOGITS_AND_LOSS,
    MemoryTerm.RECURRENT_STATE,
    MemoryTerm.WORKING_SET,
)
"""Names of the numbers of a peak candidate, in their order."""


def estimate_memory(
    model: ModelSpec,
    workload: Workload,
    recurrence: Design = None,
    device: DeviceSpec | None = None,
    *,
    cuda_graph: bool | None = None,
) -> PeakMemory:
    """Peak allocated bytes of ``workload``: full attention in one pass, RMT with ``recurrence``,
    or another method, whose mixing's part is a closed form that no device has confirmed.

    With a ``device`` whose library workspace is known, that is counted too: one for the thread
    that runs forward, one for autograd's, and one for each stream of captured graphs. An RMT runs
    inference on it as ``infer`` does, captured where that works; False for ``cuda_graph`` never is.

    Terms of phase ``persistent`` (weights, buffers, optimizer state, token ids, workspaces, keys
    and values that are kept) are there at and after the peak; those of phase ``transient`` are
    alive at the peak only.

    Raises:
        BadInput: a segment that has no room for text or is longer than the position table, or an
            activation function of which it is not known what it keeps, or a backbone that cannot
            have the method.
    """
    recurrence = resolve_design(model, workload, recurrence)
    require_weights(model, device, train=workload.train, adapter=workload.adapter)
    w = workload.weight_bytes
    numbers, stored = _weights(model, recurrence, w)
    trained = Trained.of(model, workload, recurrence, numbers)
    asked = device is not None if cuda_graph is None else cuda_graph
    captured = asked and runs_captured(model, workload, recurrence)
    candidates = _candidates(model, workload, recurrence, trained, captured)
    copied = dequantized_bytes(model, w)
    if copied:
        candidates = (
            candidate._replace(
                work=candidate.work + copied * (candidate.name not in (AT_THE_LOGITS, IN_THE_STEP))
            )
            for candidate in candidates
        )
    peak = max(candidates, key=PeakCandidate.total)
    persistent = [
        (MemoryTerm.WEIGHTS, stored + trained.adapter_bytes),
        (MemoryTerm.BUFFERS, buffer_bytes(model)),
        (MemoryTerm.MASTER_WEIGHTS, trained.master_bytes),
        (MemoryTerm.OPTIMIZER_STATE, trained.state_bytes),
        (MemoryTerm.TOKEN_IDS, workload.batch_size * workload.tokens * ID_BYTES),
    ]
    if workload.cache:
        kept = prefill_cache_bytes(model, workload, recurrence)
        persistent.append((MemoryTerm.KEYS_AND_VALUES, kept))
    if device is not None:
        streams = 1 + workload.train
        if captured:
            streams += graph_streams(model, workload, recurrence)
        workspaces = streams * device.library_workspace_bytes
        persistent.append((MemoryTerm.LIBRARY_WORKSPACE, workspaces))
    # The working set is net of what has been freed by then; where that is more than it
    # needs itself, fewer activations are alive.
    if peak.work < 0:
        peak = peak._replace(work=0, activations=peak.activations + peak.work)
    transient = zip(TRANSIENT_TERMS, peak[1:], strict=True)
    terms = [Term("persistent", *pair) for pair in persistent if pair[1]]
    terms += [Term("transient", *pair) for pair in transient if pair[1]]
    confirmed = known_to_the_byte(model, workload, recurrence) and model.quantization is None
    return PeakMemory(tuple(terms), peak.name, confirmed)


@lru_cache(maxsize=1024)
def _weights(model: ModelSpec, design: Design, number_bytes: int) -> tuple[int, int]:
    """Returns numbers and bytes of all weights, those of a method or an RMT's memory included."""
    more = 0
    if isinstance(design, Method):
        if model.quantization is not None:
            raise BadInput(
                f"method {design.name!r}: is known on plain weights, {model.name} is stored as "
                f"{model.quantization.title}"
            )
        more = method_weights(model, design)
    elif design is not None:
        more = memory_parameters(model, design)
    numbers = count_parameters(model).total + more
    return numbers, weight_bytes(model, number_bytes) + more * number_bytes


def known_to_the_byte(model: ModelSpec, workload: Workload, recurrence: Design) -> bool:
    """Whether it is known operator by operator what the module keeps; else there is a bound."""
    if not isinstance(model, LayeredSpec):
        return True
    if has_tape(model, workload, recurrence):
        return True
    mixed = workload.casts.autocast or workload.adapter is not None
    return not mixed and in_closed_form(model, workload, recurrence)


def in_closed_form(model: ModelSpec, workload: Workload, recurrence: Design) -> bool:
    """Whether the closed forms of a family hold of one dtype and trained weights.

    Of a window that is shorter than what is read at once, a fused kernel is given a mask, and what
    it then takes is not known.
    """
    if not isinstance(model, LayeredSpec):
        return True
    if not (model.written_like and model.activation in KEPT_BY_ACTIVATION and model.alike):
        return False
    size = workload.tokens
    if isinstance(recurrence, Recurrence):
        size = min(size + recurrence.overhead(model), recurrence.segment_size)
    masked = any(0 < window < size for window in model.windows)
    return workload.attention == "eager" or not masked


def _candidates(
    model: ModelSpec, workload: Workload, recurrence: Design, trained: Trained, captured: bool
) -> Iterator[PeakCandidate]:
    """The moments of a pass or a step at which its memory may peak."""
    if workload.train:
        yield trained.optimizer_step()
    yield from _in_the_model(model, workload, recurrence, trained.gradient_bytes, captured)


def _in_the_model(
    model: ModelSpec, workload: Workload, recurrence: Design, gradients: int, captured: bool
) -> Iterator[PeakCandidate]:
    mixed = workload.casts.autocast or workload.adapter is not None
    taped = mixed or not in_closed_form(model, workload, recurrence)
    step: Step
    if isinstance(recurrence, Method):
        if mixed:
            raise BadInput(
                f"method {recurrence.name!r}: expected one dtype throughout and no adapter, other "
                "memory is known of full attention and RMT"
            )
        if taped:
            raise BadInput(
                f"method {recurrence.name!r}: its memory is known on "
                f"{quoted_list(KINDS)} and what is written like them, not on {model.kind!r}"
            )
        step = MethodStep(model, workload, gradients, recurrence)
    elif isinstance(model, LayeredSpec) and not known_to_the_byte(model, workload, recurrence):
        return layered_peaks(model, workload, recurrence, gradients)
    elif recurrence is None:
        step = (TapedStep if taped else Step)(model, workload, gradients)
    elif captured and runs_lean(model, workload, recurrence):
        step = LeanStep(model, workload, gradients, recurrence)
    else:
        kind = TapedRecurrentStep if taped else RecurrentStep
        step = kind(model, workload, gradients, recurrence)
    return step.train() if workload.train else step.forward()


@lru_cache(maxsize=1024)
def buffer_bytes(model: ModelSpec) -> int:
    """Tables a module holds besides its parameters: GPT-Neo's masks, BERT's position ids."""
    rows = model.position_rows
    if model.kind == "gpt_neo":  # a square of booleans in every layer
        return model.layers * rows * rows
    return 2 * rows * ID_BYTES if model.kind == "bert" else 0
