"""The cost of writing text: the prompt read once (prefill), then one token after another (decode).

Full attention keeps keys and values of everything it has seen, and reads them with every token. An
RMT reads its prompt segment by segment and keeps the memory; the last segment stays open, with a
cache of its own, and when it is full its memory is read at its end (a pass of m positions) and the
next one opens. Both as the modules run it: Hugging Face's ``generate`` with a cache, and
``rmtscale.rmt.generation``. N new tokens are one prefill, which gives the first, and N - 1 steps.

FLOPs are those of the ``matmul`` convention, every query with every key in the cache. Bytes are
what has to be read or written once: all matrices a pass uses, once whatever the batch; keys and
values; inputs and results of every matmul. Time is a roofline of each operation (Williams et al.
2009), in which causal attention counts only the pairs that are seen; the host is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.breakdown import Term
from rmtscale.costs.breakeven import longest_fitting_tokens
from rmtscale.costs.conventions import matmul_terms
from rmtscale.costs.encoded_prompt import cached_of_output, cached_of_text, read_tokens, split
from rmtscale.costs.kept import cache_numbers, recurrent_state_numbers
from rmtscale.costs.memory import PeakMemory, estimate_memory
from rmtscale.costs.parameters import count_parameters, memory_parameters
from rmtscale.costs.roofline import moved_bytes, seen_pairs
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm, MemoryTerm, PassTerm
from rmtscale.costs.weights import require_weights, weight_bytes
from rmtscale.errors import BadInput
from rmtscale.limits import MOST_NEW_TOKENS, MOST_TOKENS
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layers import Attention
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.precision import DTYPE_BYTES, plain_dtype
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_seconds,
    require_one_of,
    require_positive,
)

if TYPE_CHECKING:
    import pandas as pd

KV_DTYPE_BYTES = {**DTYPE_BYTES, "fp8": 1, "int8": 1}
"""Bytes of a number in a key-value cache; the scales of the 8-bit ones are left out."""
LARGEST_BATCH = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How much is read and written, and how.

    Raises:
        BadInput: a number below 1, or an unknown dtype.
    """

    context_tokens: int
    new_tokens: int
    batch_size: int = 1
    dtype: str = "bf16"
    kv_dtype: str | None = None
    """Dtype of keys and values; None is that of everything else."""
    prefill_chunk: int | None = None
    """Full attention reads the prompt in pieces of so many tokens; None is in one pass."""

    def __post_init__(self) -> None:
        require_positive("context", self.context_tokens, MOST_TOKENS)
        require_positive("new tokens", self.new_tokens, MOST_NEW_TOKENS)
        require_positive("batch size", self.batch_size, MOST_TOKENS)
        object.__setattr__(self, "dtype", plain_dtype(self.dtype))
        require_one_of("kv dtype", self.kv_dtype or self.dtype, KV_DTYPE_BYTES)
        if self.prefill_chunk is not None:
            require_positive("prefill chunk", self.prefill_chunk)
            if self.context_tokens > MOST_NEW_TOKENS * self.prefill_chunk:
                raise BadInput(
                    f"prefill chunk {self.prefill_chunk}: expected no more than "
                    f"{MOST_NEW_TOKENS:,} pieces of a context of {self.context_tokens}"
                )

    @property
    def dtype_bytes(self) -> int:
        return DTYPE_BYTES[self.dtype]

    @property
    def kv_bytes(self) -> int:
        return KV_DTYPE_BYTES[self.kv_dtype or self.dtype]


class Run(NamedTuple):
    """Equal passes of the backbone."""

    rows: int
    """Positions that are computed."""
    keys: int
    """Positions they attend to: what is in the cache, and themselves."""
    logits: int
    """Positions the head is applied to."""
    times: int = 1
    cached: bool = True
    """Keys and values are kept; those of a segment that is read whole are not."""


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
        _weight_bytes(model, generation, recurrence),
        _kept_bytes(model, generation, recurrence, generation.batch_size),
        _state_bytes(model, generation, recurrence, generation.batch_size),
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


def generation_runs(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None
) -> tuple[Iterable[Run], Iterable[Run]]:
    """Returns the passes of prefill and of decode, equal ones of an RMT together."""
    if recurrence is None:
        return _full_runs(generation)
    return _rmt_runs(model, generation, recurrence)


def _full_runs(generation: Generation) -> tuple[Iterable[Run], Iterable[Run]]:
    context = generation.context_tokens
    piece = min(generation.prefill_chunk or context, context)
    ends = [*range(piece, context, piece), context]
    prefill = [Run(end - start, end, 1) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    seen = range(context + 1, context + generation.new_tokens)
    return prefill, (Run(1, keys, 1) for keys in seen)


def _rmt_runs(
    model: ModelSpec, generation: Generation, recurrence: Recurrence
) -> tuple[Iterable[Run], Iterable[Run]]:
    text, memory = recurrence.segment_tokens(model), recurrence.memory_tokens
    # The last segment stays open even when it is full: its last token predicts the next one.
    closed = (generation.context_tokens - 1) // text
    opened = generation.context_tokens - closed * text
    size = recurrence.segment_size
    prefill = [Run(size, size, 0, closed, cached=False)] if closed else []
    prefill.append(Run(memory + opened, memory + opened, 1))

    def decode() -> Iterator[Run]:
        first, steps = divmod(opened + generation.new_tokens - 1, text)
        # Segment by segment every place is filled once; the first and the last one partly.
        # Those that no pass fills are left out, however many there are.
        begun = steps if first else 0
        behind = range(max(opened, begun) + 1, (text if first else steps) + 1)
        for place in range(1, text + 1) if first > 1 else chain(range(1, begun + 1), behind):
            filled = first + (place <= steps) - (place <= opened)
            if filled:
                # A segment's first token comes with the memory before it.
                rows = 1 + memory * (place == 1)
                yield Run(rows, memory + place, 1, filled)
        rolled = (opened + generation.new_tokens - 2) // text
        if rolled and memory:
            yield Run(memory, size, 0, rolled)

    return prefill, decode()


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


def _cached_tokens(model: ModelSpec, generation: Generation, recurrence: Recurrence | None) -> int:
    """Positions whose keys and values are kept at most; the last token written is never read."""
    tokens = generation.context_tokens + generation.new_tokens - 1
    if recurrence is None:
        return tokens
    text, memory = recurrence.segment_tokens(model), recurrence.memory_tokens
    if (tokens - 1) // text > (generation.context_tokens - 1) // text:
        return recurrence.segment_size  # one was closed, its memory read at its end
    return memory + tokens - (tokens - 1) // text * text


def _kept_bytes(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None, batch: int
) -> int:
    """Keys and values at their most, those of an encoder's output among them."""
    if isinstance(model, LayeredSpec) and model.encoder_groups:
        read = read_tokens(model, generation.context_tokens)
        numbers = cached_of_output(model, read) + cached_of_text(model, generation.new_tokens)
        return batch * numbers * generation.kv_bytes
    tokens = _cached_tokens(model, generation, recurrence)
    return _cache_bytes(model, generation, tokens, batch)


def _cache_bytes(model: ModelSpec, generation: Generation, tokens: int, batch: int) -> int:
    return batch * cache_numbers(model, tokens) * generation.kv_bytes


def _state_bytes(
    model: ModelSpec, generation: Generation, recurrence: Recurrence | None, batch: int
) -> int:
    own = recurrent_state_numbers(model)
    if recurrence is None:
        return batch * own * generation.dtype_bytes
    numbers = own + memory_parameters(model, recurrence)
    return batch * numbers * generation.dtype_bytes


def _weight_bytes(model: ModelSpec, generation: Generation, recurrence: Recurrence | None) -> int:
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
    """The larger of reading the last piece of the prompt and writing the last token."""
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
    one_pass = estimate_memory(reads, work, recurrence, device)
    cache = Term(
        "persistent", MemoryTerm.KEYS_AND_VALUES, _kept_bytes(model, read, recurrence, batch)
    )
    idle = Term("persistent", MemoryTerm.WEIGHTS, others * generation.dtype_bytes)
    added = tuple(term for term in (idle, cache) if term.amount)
    reading = PeakMemory((*one_pass.terms, *added), "while the prompt is read", one_pass.confirmed)
    workspace = one_pass.by_name().get(f"persistent.{MemoryTerm.LIBRARY_WORKSPACE}", 0)
    amounts = {
        MemoryTerm.WEIGHTS: _weight_bytes(model, generation, recurrence),
        MemoryTerm.LIBRARY_WORKSPACE: workspace,
        MemoryTerm.KEYS_AND_VALUES: _kept_bytes(model, generation, recurrence, batch),
        MemoryTerm.RECURRENT_STATE: _state_bytes(model, generation, recurrence, batch),
        MemoryTerm.LOGITS_AND_LOSS: batch * model.vocabulary * generation.dtype_bytes,
    }
    writing = PeakMemory(
        tuple(Term("persistent", name, amount) for name, amount in amounts.items() if amount),
        "at the last token",
        one_pass.confirmed,
    )
    return max(reading, writing, key=lambda peak: peak.total)
