"""One question answered whole: does it fit, what does it cost, and what would change that?

A model, a device, a length and a mode. The ways that are set side by side do equal work: full
attention, the same with activation checkpoints (training) or with its prompt read in pieces
(inference), and an RMT at the recommended segment size, in training also with checkpoints. Numbers
are those of ``estimate_memory``, ``estimate_generation``, ``estimate_flops`` and ``step_seconds``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rmtscale.costs.advice import Advice, advise
from rmtscale.costs.captured_steps import trains_captured
from rmtscale.costs.changes import Change, cheapest_change
from rmtscale.costs.design import why_no_rmt
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.generation import estimate_generation
from rmtscale.costs.memory import PeakMemory
from rmtscale.costs.question import PIECE_TOKENS, Question, keeps_cache, peak_of
from rmtscale.costs.segment_choice import recommend_segment
from rmtscale.costs.time.step_kernels import has_kernels
from rmtscale.costs.time_range import TimeRange, operators, slow_end, step_seconds
from rmtscale.specs.attention import Attention
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_bytes, format_flops, format_seconds_range

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of doing it, and what that takes."""

    title: str
    method: str
    segment_size: int | None = None
    checkpoints: bool = False
    piece_tokens: int | None = None
    peak: PeakMemory
    fits: bool
    flops: int
    """FLOPs in the ``matmul`` convention."""
    time: TimeRange | None
    """None where no peak of the device is known."""
    advice: tuple[Advice, ...] = ()
    """Changes that save time beyond what their prediction may be off by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Printed):
    """The answer: every way, the cheapest change that makes it fit, and what to try next."""

    question: Question
    ways: tuple[Way, ...]
    change: Change | None
    """The cheapest change that makes full attention fit; None where it fits, or nothing helps."""
    others: tuple[Change, ...]
    """More changes that make it fit, the less far-reaching first."""
    segment_reason: str
    """Why this segment size; empty where it was given or there is no RMT."""
    no_rmt: str
    """Why no RMT of this model is shown; empty where one is."""

    @property
    def full(self) -> Way:
        """Full attention as it was asked for."""
        return self.ways[0]

    @property
    def verdict(self) -> str:
        """One or two sentences: whether full attention fits, and what would make it."""
        room, needed = self.question.device.usable_memory_bytes, self.full.peak.total
        if self.full.fits:
            narrow = needed > self.question.device.ample_memory_bytes
            but = ", hardly: the CUDA context and fragmentation come on top" if narrow else ""
            return f"Fits: needs {format_bytes(needed)} of {format_bytes(room)}{but}."
        text = f"Does not fit: needs {format_bytes(needed)} of {format_bytes(room)}."
        if self.change is None:
            least = min(self.ways, key=lambda way: way.peak.total)
            return (
                f"{text} Nothing that is known makes it fit on one device; the least is "
                f"{format_bytes(least.peak.total)} ({least.title})."
            )
        return (
            f"{text} The cheapest change that makes it fit: {self.change.words} "
            f"({format_bytes(self.change.peak_bytes)})."
        )

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns a row for each way, as text."""
        rows = [
            [
                way.title,
                format_bytes(way.peak.total),
                "yes" if way.fits else "no",
                "not known" if way.time is None else format_seconds_range(*way.time),
                format_flops(way.flops),
            ]
            for way in self.ways
        ]
        return ["", "memory", "fits", "time", "FLOPs"], rows

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row for each way, with plain numbers and their units in the keys."""
        question = self.question
        head = {
            "model": question.model.name,
            "device": question.device.name,
            "mode": question.mode,
            "tokens": question.workload.tokens,
            "batch_size": question.workload.batch_size,
            "precision": question.workload.precision,
            "usable_memory_bytes": question.device.usable_memory_bytes,
        }
        return [
            head
            | {
                "method": way.method,
                "segment_size": way.segment_size,
                "memory_tokens": None if way.segment_size is None else question.memory_tokens,
                "checkpoints": way.checkpoints,
                "prefill_chunk": way.piece_tokens,
                "fits": way.fits,
                "peak_bytes": way.peak.total,
                "confirmed": way.peak.confirmed,
                "flops": way.flops,
                "seconds_at_least": None if way.time is None else way.time.least_seconds,
                "seconds_at_most": None if way.time is None else way.time.most_seconds,
                "saved_seconds": {one.name: one.saved_seconds for one in way.advice},
                "terms": way.peak.by_name(),
            }
            for way in self.ways
        ]

    def to_frame(self) -> pd.DataFrame:
        """Returns ``rows`` as a frame, without the terms and what saves time."""
        return to_frame(
            {name: value for name, value in row.items() if not isinstance(value, dict)}
            for row in self.rows()
        )


def attends(model: ModelSpec) -> bool:
    """Whether any layer has attention: a recurrent model such as Mamba has none."""
    if not isinstance(model, LayeredSpec):
        return True
    parts = [part for layer, _ in (*model.groups, *model.encoder_groups) for part in layer.parts]
    return any(isinstance(part, Attention) and not part.idle for part in parts)


def answer(question: Question) -> Estimate:
    """Works out every way of a question, and the changes that make full attention fit.

    Raises:
        BadInput: the device has no peak for the dtype, or a segment that cannot be.
    """
    model, work = question.model, question.work
    no_rmt = why_no_rmt(model)
    recurrence, reason = None, ""
    if not no_rmt:
        if question.segment_size is None:
            chosen = recommend_segment(model, work, question.memory_tokens, question.device)
            recurrence, reason = chosen
        else:
            recurrence = Recurrence(question.segment_size, question.memory_tokens)
            recurrence.segment_tokens(model)
    ways = tuple(_ways(question, recurrence))
    changes: list[Change] = []
    if not ways[0].fits:
        changes = cheapest_change(question, recurrence)
    return Estimate(
        question=question,
        ways=ways,
        change=changes[0] if changes else None,
        others=tuple(changes[1:]),
        segment_reason=reason,
        no_rmt=no_rmt,
    )


def _ways(question: Question, recurrence: Recurrence | None) -> Iterator[Way]:
    work = question.work
    train = question.mode == "train"
    short = "full" if attends(question.model) else "all"
    yield _way(question, work, None, "full attention" if attends(question.model) else "all at once")
    if train:
        checkpointed = replace(work, checkpoint_layers=True, checkpoint_segments=False)
        yield _way(question, checkpointed, None, f"{short}, checkpoints")
    elif keeps_cache(question.model) and work.tokens > PIECE_TOKENS:
        yield _way(question, work, None, f"{short}, in pieces", PIECE_TOKENS)
    if recurrence is None:
        return
    title = f"RMT {recurrence.segment_size}"
    yield _way(question, work, recurrence, title + _captured(question, work, recurrence))
    if train:
        checkpointed = replace(work, checkpoint_segments=True, checkpoint_layers=False)
        title += ", checkpoints" + _captured(question, checkpointed, recurrence)
        yield _way(question, checkpointed, recurrence, title)


def _captured(question: Question, work: Workload, recurrence: Recurrence) -> str:
    if not trains_captured(question.model, work, recurrence):
        return ""
    return ", compiled" if work.compile_step else ", captured"


def _way(
    question: Question,
    work: Workload,
    recurrence: Recurrence | None,
    title: str,
    piece: int | None = None,
) -> Way:
    peak = peak_of(question, work, recurrence, piece)
    flops, time = _cost(question, work, recurrence, piece)
    return Way(
        title=title,
        method="full" if recurrence is None else "rmt",
        segment_size=None if recurrence is None else recurrence.segment_size,
        checkpoints=work.checkpoint_layers or work.checkpoint_segments,
        piece_tokens=piece,
        peak=peak,
        fits=peak.total <= question.device.usable_memory_bytes,
        flops=flops,
        time=time,
        advice=_advice(question, work, recurrence, piece),
    )


def _advice(
    question: Question, work: Workload, recurrence: Recurrence | None, piece: int | None
) -> tuple[Advice, ...]:
    if question.mode == "generate" or piece is not None:
        return ()
    return advise(question.model, work, question.device, recurrence, question.calibration)


def _one_pass(question: Question) -> bool:
    return question.mode == "train" or (
        question.mode == "prefill" and not keeps_cache(question.model)
    )


def predicts_kernels(question: Question) -> bool:
    """Whether the times of an answer are those of single kernels; else a roofline's and a slow
    machine's."""
    return question.mode != "generate" and question.device.timed and _predictable(question)


def _predictable(question: Question) -> bool:
    model = question.model
    return model.quantization is None and has_kernels(model, question.work, None)


def _cost(
    question: Question, work: Workload, recurrence: Recurrence | None, piece: int | None
) -> tuple[int, TimeRange | None]:
    """FLOPs and time of one way."""
    model, device = question.model, question.device
    if _one_pass(question) or not device.timed:
        flops = estimate_flops(model, work, recurrence, "matmul").total
        if not device.timed:
            return flops, None
        return flops, step_seconds(model, work, device, recurrence, question.calibration)
    cost = estimate_generation(model, question.generation(work, piece), device, recurrence)
    if question.mode == "prefill" and piece is None and _predictable(question):
        time = step_seconds(model, work, device, recurrence, question.calibration)
        return cost.prefill.flops, time
    phases = (cost.prefill, cost.decode)
    host = operators(model, work, recurrence)
    if question.mode == "generate":
        # Each token is one pass more, of one segment or of everything.
        host += (question.new_tokens - 1) * operators(model, replace(work, tokens=1), None)
    return sum(phase.flops for phase in phases), slow_end(
        sum(phase.seconds for phase in phases), host, captured=recurrence is not None
    )
