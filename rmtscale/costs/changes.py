"""Changes that make full attention fit, the least far-reaching first.

First what changes nothing in the result (checkpoints, a prompt read in pieces, a smaller batch),
then what changes precision, then another architecture, another device, a shorter input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

from rmtscale.costs.breakeven import longest_fitting_tokens
from rmtscale.costs.question import PIECE_TOKENS, Question, keeps_cache, peak_of
from rmtscale.costs.weights import require_weights
from rmtscale.errors import BadInput
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import DEVICES
from rmtscale.specs.recurrence import Recurrence
from rmtscale.units import format_tokens

_MOST = 4
"""Changes that are worth telling."""


class Change(NamedTuple):
    """Something that makes it fit, in words, and the peak it then has."""

    words: str
    peak_bytes: int


class _Step(NamedTuple):
    words: str
    change: Callable[[Question], Question]
    piece_tokens: int | None = None


def cheapest_change(question: Question, recurrence: Recurrence | None) -> list[Change]:
    """The changes that make full attention fit, the least far-reaching first; at most five."""
    room = question.device.ample_memory_bytes
    found: list[Change] = []
    steps = list(_steps(question))
    for count in (1, 2, 3):
        for chosen in combinations(steps, count):
            asked, pieces = question, None
            try:
                for step in chosen:
                    asked = step.change(asked)
                    pieces = step.piece_tokens or pieces
                peak = peak_of(asked, asked.work, None, pieces).total
            except BadInput:  # two that exclude each other, or a dtype that the device has not
                continue
            if peak <= room:
                found.append(Change(" and ".join(step.words for step in chosen), peak))
        if found:
            break
    found = found[: _MOST - 1]
    found += _other_architecture(question, recurrence)
    found += _other_device(question, recurrence)
    found += _shorter(question)
    return found[: _MOST + 1]


def _steps(question: Question) -> Iterator[_Step]:
    """Single changes, the least far-reaching first."""
    yield from _saving(question)
    work = question.work
    if work.batch_size > 1:
        yield _Step("batch size 1", _workload(batch_size=1))
    if work.precision == "fp32":
        half = question.device.usual_dtype
        yield _Step(f"{half} in place of fp32", _workload(precision=half))
    if question.mode == "train":
        if work.optimizer in ("adamw", "adamw-fused"):
            yield _Step("AdamW's states in 8 bits", _workload(optimizer="adamw-8bit"))
        if work.adapter is None:
            lora = _workload(adapter=Adapter("lora"))
            yield _Step("LoRA of rank 16 in place of all weights", lora)
            if question.model.quantization is None:
                yield _Step("QLoRA of rank 16 on weights in nf4", _qlora)
        return
    if keeps_cache(question.model) and question.kv_dtype is None:
        yield _Step("keys and values in fp8", lambda asked: replace(asked, kv_dtype="fp8"))
    if question.model.quantization is None:
        for weights in ("int8", "nf4"):
            yield _Step(f"weights in {weights}", _quantized(weights))


def _workload(**settings: Any) -> Callable[[Question], Question]:
    return lambda asked: replace(asked, workload=replace(asked.work, **settings))


def _quantized(weights: str) -> Callable[[Question], Question]:
    def quantized(asked: Question) -> Question:
        # The layouts of every library: half of an answer's start, where everything fits anyway.
        from rmtscale.specs.quantization.reading import quantize

        return replace(asked, model=quantize(asked.model, weights))

    return quantized


def _qlora(asked: Question) -> Question:
    return _workload(adapter=Adapter("qlora"))(_quantized("nf4")(asked))


def _saving(question: Question) -> Iterator[_Step]:
    """Steps that save memory and change nothing in the result."""
    work = question.work
    if question.mode == "train" and not work.checkpoint_layers:
        settings = {"checkpoint_layers": True, "checkpoint_segments": False}
        yield _Step("one activation checkpoint per layer", _workload(**settings))
    if question.mode != "train" and keeps_cache(question.model) and work.tokens > PIECE_TOKENS:
        words = f"the prompt read in pieces of {format_tokens(PIECE_TOKENS)}"
        yield _Step(words, lambda asked: asked, PIECE_TOKENS)


def _other_architecture(question: Question, recurrence: Recurrence | None) -> Iterator[Change]:
    if recurrence is None:
        return
    work = question.work
    if question.mode == "train":
        work = replace(work, checkpoint_segments=True, checkpoint_layers=False)
    peak = peak_of(question, work, recurrence).total
    if peak <= question.device.ample_memory_bytes:
        yield Change(_rmt_words(question, recurrence), peak)


def _other_device(question: Question, recurrence: Recurrence | None) -> Iterator[Change]:
    """The smallest known device that full attention fits on, or else an RMT.

    What fits on the device at hand already is not named with a larger one.
    """
    larger = [
        device
        for device in sorted(DEVICES.values(), key=lambda each: each.memory_bytes)
        if device.usable_memory_bytes > question.device.usable_memory_bytes
        and question.work.dtype in device.dtypes
        and _takes_weights(question, device)
    ]
    ways = [_Step("", lambda asked: asked)]
    if not any(_fits(question, way) for way in _saving(question)):
        ways += _saving(question)
    for device, way in product(larger, ways):
        there = replace(question, device=device)
        if _fits(there, way):
            saved = f", and {way.words}" if way.words else ""
            yield Change(f"a larger device, such as {device.name}{saved}", _peak(there, way))
            return
    if recurrence is None or any(_other_architecture(question, recurrence)):
        return
    for device in larger:
        there = replace(question, device=device)
        for change in _other_architecture(there, recurrence):
            yield Change(f"a larger device, such as {device.name}, and {change.words}", change[1])
            return


def _peak(question: Question, way: _Step) -> int:
    """Bytes that full attention takes in this way."""
    asked = way.change(question)
    return peak_of(asked, asked.work, None, way.piece_tokens).total


def _fits(question: Question, way: _Step) -> bool:
    return _peak(question, way) <= question.device.ample_memory_bytes


def _takes_weights(question: Question, device: DeviceSpec) -> bool:
    """Whether the device has kernels for the model's weights as they are stored."""
    try:
        require_weights(question.model, device, train=question.mode == "train")
    except BadInput:
        return False
    return True


def _rmt_words(question: Question, recurrence: Recurrence) -> str:
    kept = " with one checkpoint per segment" if question.mode == "train" else ""
    return f"an RMT of segments of {recurrence.segment_size}{kept}, trained to use its memory"


def _shorter(question: Question) -> Iterator[Change]:
    """The longest input that fits as it is."""

    def peak(tokens: int) -> int:
        return peak_of(question, replace(question.work, tokens=tokens), None).total

    longest = longest_fitting_tokens(
        peak, question.device.usable_memory_bytes, question.work.tokens
    )
    if longest:
        yield Change(f"at most {format_tokens(longest)} tokens", peak(longest))
