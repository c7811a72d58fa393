"""Bytes that are held while a prompt is read and text is written: weights, cache, memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rmtscale.costs.breakdown import Term
from rmtscale.costs.encoded_prompt import cached_of_output, cached_of_text, read_tokens, split
from rmtscale.costs.generation_runs import Generation
from rmtscale.costs.kept import cache_numbers, recurrent_state_numbers
from rmtscale.costs.memory import PeakMemory, estimate_memory
from rmtscale.costs.parameters import count_parameters, memory_parameters
from rmtscale.costs.terms import MemoryTerm
from rmtscale.costs.weights import weight_bytes
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

if TYPE_CHECKING:
    pass


def _cached_tokens(model: ModelSpec, generation: Generation, recurrence: Recurrence | None) -> int:
    """Positions whose keys and values are kept at most; the last token written is never read."""
    tokens = generation.context_tokens + generation.new_tokens - 1
    if recurrence is None:
        return tokens
    text, memory = recurrence.segment_tokens(model), recurrence.memory_tokens
    if (tokens - 1) // text > (generation.context_tokens - 1) // text:
        return recurrence.segment_size  # one was closed, its memory read at its end
    return memory + tokens - (tokens - 1) // text * text


def kept_bytes(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None, batch: int
) -> int:
    """Returns the bytes of keys and values at their most, an encoder's output among them."""
    if isinstance(model, LayeredSpec) and model.encoder_groups:
        read = read_tokens(model, generation.context_tokens)
        numbers = cached_of_output(model, read) + cached_of_text(model, generation.new_tokens)
        return batch * numbers * generation.kv_bytes
    tokens = _cached_tokens(model, generation, recurrence)
    return _cache_bytes(model, generation, tokens, batch)


def _cache_bytes(model: ModelSpec, generation: Generation, tokens: int, batch: int) -> int:
    return batch * cache_numbers(model, tokens) * generation.kv_bytes


def written_state_bytes(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None, batch: int
) -> int:
    """Returns the bytes of recurrent states, and of an RMT's memory."""
    own = recurrent_state_numbers(model)
    if recurrence is None:
        return batch * own * generation.dtype_bytes
    numbers = own + memory_parameters(model, recurrence)
    return batch * numbers * generation.dtype_bytes


def read_weight_bytes(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None
) -> int:
    """Returns the bytes of all weights, an RMT's first memory among them."""
    weights = weight_bytes(model, generation.dtype_bytes)
    if recurrence is not None:  # the first memory is a weight
        weights += memory_parameters(model, recurrence) * generation.dtype_bytes
    return weights


def generation_peak(
    model: ModelSpec,
    generation: Generation,
    device: DeviceSpec,
    recurrence: Recurrence | None = None,
) -> PeakMemory:
    """Returns the larger peak, of reading the prompt's last piece or of writing the last token."""
    context, batch = generation.context_tokens, generation.batch_size
    piece = context
    if recurrence is None and generation.prefill_chunk:
        piece = min(context, generation.prefill_chunk)
    reads, others = model, 0
    if isinstance(model, LayeredSpec) and model.encoder_groups:
        # The encoder works alone; the decoder's weights are there.
        reads, piece = split(model).encoder, read_tokens(model, context)
        others = count_parameters(model).total - count_parameters(reads).total
    work = Workload(tokens=piece, batch_size=batch, precision=generation.dtype)
    read = replace(generation, new_tokens=1)
    # ``generate`` runs each segment by the backbone's own modules.
    one_pass = estimate_memory(reads, work, recurrence, device, cuda_graph=False)
    cache = Term(
        "persistent", MemoryTerm.KEYS_AND_VALUES, kept_bytes(model, read, recurrence, batch)
    )
    idle = Term("persistent", MemoryTerm.WEIGHTS, others * generation.dtype_bytes)
    added = tuple(term for term in (idle, cache) if term.amount)
    reading = PeakMemory((*one_pass.terms, *added), "while the prompt is read", one_pass.confirmed)
    workspace = one_pass.by_name().get(f"persistent.{MemoryTerm.LIBRARY_WORKSPACE}", 0)
    amounts = {
        MemoryTerm.WEIGHTS: read_weight_bytes(model, generation, recurrence),
        MemoryTerm.LIBRARY_WORKSPACE: workspace,
        MemoryTerm.KEYS_AND_VALUES: kept_bytes(model, generation, recurrence, batch),
        MemoryTerm.RECURRENT_STATE: written_state_bytes(model, generation, recurrence, batch),
        MemoryTerm.LOGITS_AND_LOSS: batch * model.vocabulary * generation.dtype_bytes,
    }
    writing = PeakMemory(
        tuple(Term("persistent", name, amount) for name, amount in amounts.items() if amount),
        "at the last token",
        one_pass.confirmed,
    )
    return max(reading, writing, key=lambda peak: peak.total)
