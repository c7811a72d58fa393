"""The cost of writing text: the prompt read once (prefill), then one token after another (decode).

The passes are those of ``generation_runs``, and what is held that of ``generation_memory``. FLOPs
are those of the ``matmul`` convention, every query with every key in the cache. Bytes are what has
to be read or written once: all matrices a pass uses, once whatever the batch; keys and values;
inputs and results of every matmul. Time is a roofline of each operation (Williams et al. 2009), in
which causal attention counts only the pairs that are seen; the host is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.breakeven import longest_fitting_tokens
from rmtscale.costs.conventions import matmul_terms
from rmtscale.costs.encoded_prompt import read_tokens, split
from rmtscale.costs.generation_memory import (
    generation_peak,
    kept_bytes,
    read_weight_bytes,
    written_state_bytes,
)
from rmtscale.costs.generation_runs import Generation, Run, generation_runs
from rmtscale.costs.kept import recurrent_state_numbers
from rmtscale.costs.roofline import moved_bytes, seen_pairs
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm, PassTerm
from rmtscale.costs.weights import require_weights
from rmtscale.errors import BadInput
from rmtscale.specs.attention import Attention
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_seconds,
)

if TYPE_CHECKING:
    import pandas as pd

LARGEST_BATCH = 1_000_000


@dataclass(frozen=True, slots=True)
class Phase:
    """Prefill or decode, of the whole batch."""

    flops: int
    moved_bytes: int
    arithmetic_seconds: float
    """Seconds that its FLOPs take at the peak."""
    bandwidth_seconds: float
    """Seconds that its bytes take at the peak."""
    seconds: float
    """Each operation at the slower of the two."""


@dataclass(frozen=True, slots=True)
class GenerationCost(Printed):
    """Holds the cost of one batch of generated text."""

    prefill: Phase
    decode: Phase
    weight_bytes: int
    cache_bytes: int
    """Keys and values at their most."""
    state_bytes: int
    """An RMT's memory."""
    peak_bytes: int
    """With what a pass needs besides."""
    largest_batch: int | None
    """Sequences that fit on the device; None if not one does."""
    tokens_per_second: float
    """While decoding, all sequences together, at most; 0 where only one token is written."""

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns the phases, and what is held, as text."""
        phases = (("prefill", self.prefill), ("decode", self.decode))
        rows = [
            [name, format_flops(phase.flops), format_seconds(phase.seconds), ""]
            for name, phase in phases
        ]
        held = {"keys and values": self.cache_bytes, "peak": self.peak_bytes}
        rows += [[name, "", "", format_bytes(size)] for name, size in held.items()]
        return ["", "FLOPs", "at least", "bytes"], rows

    def to_frame(self) -> pd.DataFrame:
        """Returns the phases as a frame: ``phase`` (prefill, decode), FLOPs, bytes, seconds."""
        phases = {"prefill": self.prefill, "decode": self.decode}
        return to_frame({"phase": name} | asdict(phase) for name, phase in phases.items())


def estimate_generation(
    model: ModelSpec,
    generation: Generation,
    device: DeviceSpec,
    recurrence: Recurrence | None = None,
) -> GenerationCost:
    """Prefill and decode on ``device``, by full attention or by an RMT with ``recurrence``.

    Behind an encoder, the context is what that reads, and the decoder begins with one token.

    Raises:
        BadInput: an encoder alone, an RMT behind one, a device without a peak for the dtype, or a
            segment that cannot be.
    """
    if not model.decoder:
        raise BadInput(f"model {model.name!r}: expected a decoder, an encoder writes no text")
    require_weights(model, device, train=False)
    if isinstance(model, LayeredSpec) and model.encoder_groups:
        if recurrence is not None:
            raise BadInput(f"model {model.name!r}: it has an encoder, expected full attention")
        prefill, decode = _encoded_phases(model, generation, device)
    else:
        prefill, decode = (
            _phase(model, generation, device, runs)
            for runs in generation_runs(model, generation, recurrence)
        )
    steps = generation.batch_size * (generation.new_tokens - 1)

    def peak(batch: int) -> int:
        work = replace(generation, batch_size=batch)
        return generation_peak(model, work, device, recurrence).total

    return GenerationCost(
        prefill,
        decode,
        read_weight_bytes(model, generation, recurrence),
        kept_bytes(model, generation, recurrence, generation.batch_size),
        written_state_bytes(model, generation, recurrence, generation.batch_size),
        peak(generation.batch_size),
        longest_fitting_tokens(peak, device.usable_memory_bytes, LARGEST_BATCH),
        steps / decode.seconds if steps else 0.0,
    )


def _encoded_phases(
    model: LayeredSpec, generation: Generation, device: DeviceSpec
) -> tuple[Phase, Phase]:
    """Encoder, its keys and values, and the decoder's first token; then the other tokens."""
    parts = split(model)
    tokens = read_tokens(model, generation.context_tokens)
    batch, w = generation.batch_size, generation.dtype_bytes
    made = tuple(
        _Operation(
            item.name,
            2 * batch * tokens * item.multiply_adds,
            (item.inner * item.outer + batch * tokens * (item.inner + item.outer)) * w,
        )
        for item in parts.keys_and_values
    )
    encoded = [Run(tokens, tokens, 0, cached=False)]
    reading = _phase(parts.encoder, generation, device, encoded, made)
    first = _phase(parts.decoder, generation, device, [Run(1, 1, 1)])
    sums = (one + more for one, more in zip(astuple(reading), astuple(first), strict=True))
    seen = range(2, generation.new_tokens + 1)
    writing = _phase(parts.decoder, generation, device, (Run(1, keys, 1) for keys in seen))
    return Phase(*sums), writing


class _Operation(NamedTuple):
    name: str
    flops: int
    moved_bytes: int


@lru_cache(maxsize=4096)
def _linear(
    model: ModelSpec, rows: int, logits: int, batch: int, dtype_bytes: int
) -> tuple[_Operation, ...]:
    """The matrices of one pass."""
    return tuple(
        _Operation(
            term.name,
            term.flops * batch,
            moved_bytes(model, term, batch, dtype_bytes, fused=True),
        )
        for term in _pass(model, rows, logits)
        if term.flops and term.name not in ATTENTION_TERMS
    )


def _pass(model: ModelSpec, rows: int, logits: int) -> tuple[PassTerm, ...]:
    """The matmuls of one pass; of a single token, a recurrence takes one step."""
    terms = matmul_terms(model, rows, logits)
    if rows > 1 or not isinstance(model, LayeredSpec):
        return terms
    kept = [term for term in terms if term.name not in (FlopTerm.CONVOLUTION, FlopTerm.SCAN)]
    numbers = recurrent_state_numbers(model)  # each is decayed, added to, and read
    step = PassTerm(FlopTerm.SCAN, 6 * numbers, None, 2 * numbers)
    return (*kept, *((step,) if numbers else ()))


def _attention(model: ModelSpec, generation: Generation, run: Run) -> tuple[_Operation, int]:
    """Both matmuls of one pass, and the FLOPs of the pairs that a causal mask leaves."""
    if isinstance(model, LayeredSpec):
        return _layered_attention(model, generation, run)
    batch, layers = generation.batch_size, model.layers
    pair = 4 * batch * layers * model.query_width
    seen = _seen_pairs(run)
    query_and_output = batch * layers * run.rows * 2 * model.query_width * generation.dtype_bytes
    # Keys and values are read once; the new ones are among them and are written before that.
    key_value = batch * layers * 2 * model.kv_width
    key_value *= generation.kv_bytes if run.cached else generation.dtype_bytes
    moved = query_and_output + key_value * (run.keys + run.rows * run.cached)
    return _Operation("attention", pair * run.rows * run.keys, moved), pair * seen


def _seen_pairs(run: Run, window: int = 0) -> int:
    """Pairs that a causal mask leaves of a pass: of all its keys, less those before its rows."""
    return seen_pairs(run.keys, window) - seen_pairs(run.keys - run.rows, window)


def _layered_attention(
    model: LayeredSpec, generation: Generation, run: Run
) -> tuple[_Operation, int]:
    """Counts layer by layer: each with its heads, its window and what it keeps of a token."""
    batch = generation.batch_size
    flops = seen = moved = 0
    w = generation.kv_bytes if run.cached else generation.dtype_bytes
    for layer, count in model.groups:
        for part in layer.parts:
            if not isinstance(part, Attention) or part.idle:
                continue
            keys = run.keys
            visible = _seen_pairs(run, part.window) if model.causal else run.rows * keys
            kept = part
            if part.reads_encoder:
                keys = read_tokens(model, generation.context_tokens)
                visible = run.rows * keys
                kept = replace(part, reuses_keys=False)
            elif part.window:
                keys = min(keys, part.window + run.rows - 1)
            pair = 2 * sum(square.multiply_adds for square in part.squares())
            flops += count * pair * run.rows * keys
            seen += count * pair * visible
            query = part.heads * (part.head_width + part.value)
            moved += count * run.rows * query * generation.dtype_bytes
            moved += count * w * (kept.cached(keys) + run.cached * part.cached(run.rows))
    return _Operation("attention", batch * flops, batch * moved), batch * seen


def _phase(
    model: ModelSpec,
    generation: Generation,
    device: DeviceSpec,
    runs: Iterable[Run],
    others: tuple[_Operation, ...] = (),
) -> Phase:
    """Sums up the passes of a phase, and other operations that it has once."""
    peak = device.flops_per_second(generation.dtype)
    bandwidth = device.bandwidth_bytes_per_second
    flops = seen_flops = sum(item.flops for item in others)
    moved = sum(item.moved_bytes for item in others)
    seconds = sum(max(item.flops / peak, item.moved_bytes / bandwidth) for item in others)
    for run in runs:
        linear = _linear(model, run.rows, run.logits, generation.batch_size, generation.dtype_bytes)
        attention, seen = _attention(model, generation, run)
        matrices = sum(operation.flops for operation in linear)
        flops += run.times * (matrices + attention.flops)
        seen_flops += run.times * (matrices + seen)
        moved += run.times * (sum(item.moved_bytes for item in linear) + attention.moved_bytes)
        slower = sum(max(item.flops / peak, item.moved_bytes / bandwidth) for item in linear)
        slower += max(seen / peak, attention.moved_bytes / bandwidth)
        seconds += run.times * slower
    return Phase(flops, moved, seen_flops / peak, moved / bandwidth, seconds)
