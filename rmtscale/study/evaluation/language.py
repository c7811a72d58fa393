"""Loss, speed and memory of a language model at each length: one record a length, resumable.

Shape legend: B batch, N text columns of the input, S scored tokens of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.profiler.environment import measured_environment
from rmtscale.profiler.memory import MemoryMeter
from rmtscale.records.measurement import Memory
from rmtscale.records.nvml import Gpu
from rmtscale.rmt.cross_entropy import IGNORED
from rmtscale.steps import steps
from rmtscale.study.evaluation.compiling import compiles
from rmtscale.study.evaluation.scores import ClusterSums, Losses, PositionSums
from rmtscale.study.records.clusters import Part
from rmtscale.study.records.language import (
    ALL,
    LAST_SEGMENT,
    NAMES,
    NAMES_WITHOUT,
    PROOF,
    LanguageModel,
    LanguagePoint,
    LanguageRecord,
    LanguageStore,
)
from rmtscale.study.records.line import recorded
from rmtscale.study.tasks import lemma_proof
from rmtscale.study.tasks.blocks import TokenBatch
from rmtscale.study.tasks.lemma_proof import LemmaProof
from rmtscale.study.training.checkpoint import source_name, weights_digest
from rmtscale.study.training.device import in_use, open_meter
from rmtscale.study.training.language.checkpoint import LanguageCheckpoint
from rmtscale.study.training.language.data import LanguageData, Source
from rmtscale.study.training.language.flops import sample_flops
from rmtscale.study.training.language.reading import TextReader
from rmtscale.study.training.language.settings import LANGUAGE_MODELING, LEMMA_PROOF
from rmtscale.study.training.layout import BEST, LAST, STAGES
from rmtscale.study.training.settings import PRECISIONS
from rmtscale.study.training.share import ALL as ALONE
from rmtscale.study.training.share import Share
from rmtscale.units import require_one_of, require_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageEvaluation:
    """Holds what a checkpoint is asked."""

    segments: tuple[int, ...]
    samples: int | None = 1000
    """Most samples, evenly spread over the text; None is all of it."""
    history_tokens: int | None = None
    """Language modelling: tokens that every target has before it in its document, so that models
    that read less are scored on the same targets. None: as many as the longest length reads."""
    batch_size: int = 32
    """Sequences at once; equal at every length, so that memory can be compared."""
    text: str | None = None
    """Source; None is the one it was trained on."""
    precision: str = "fp32"
    compile_step: bool | None = None
    """Compile the step of a full segment; None: as it was trained, where there is a GPU."""
    name: str | None = None
    """Name of the model in the records; None is the folder of its training."""

    def __post_init__(self) -> None:
        require_positive("batch size", self.batch_size, MOST_SAMPLES)
        if self.samples is not None:
            require_positive("samples", self.samples, MOST_SAMPLES)
        require_one_of("precision", self.precision, PRECISIONS)
        if not self.segments:
            raise BadInput("segments: expected one or more numbers such as 1,2,4")
        for count in self.segments:
            require_positive("segments", count, MOST_SEGMENTS)
        if self.history_tokens is not None and self.history_tokens < 0:
            raise BadInput(f"history tokens {self.history_tokens}: expected 0 or more")


def evaluate_language(
    checkpoint: LanguageCheckpoint,
    asked: LanguageEvaluation,
    store: LanguageStore,
    *,
    device: torch.device,
    cache: Path,
    observe: Callable[[LanguageRecord, bool], None] | None = None,
    share: Share = ALONE,
) -> list[LanguageRecord]:
    """Evaluates every length that is not in the store yet, shortest first.

    Args:
        checkpoint: what is evaluated.
        asked: lengths, samples, text.
        store: records are appended to it, one per length.
        device: where it runs.
        cache: folder of packed text.
        observe: is told of each record, and whether it was there before.
        share: of several processes, each of which reads some batches; the first one writes.

    Returns:
        The records of all lengths asked for; none on another process than the first.

    Raises:
        BadInput: no such text, none that is long enough, or bf16 on a CPU; or a CPU is to compile.
    """
    compiled = compiles(checkpoint, asked.compile_step, device)
    with store.writing() if share.writes else nullcontext(), in_use(device):
        meter, gpu = open_meter(device)
        settings, predictor = checkpoint.settings, checkpoint.predictor
        # Before any text is packed: it refuses what cannot be.
        TextReader(predictor, device, asked.precision, batch_size=asked.batch_size)
        history_tokens = _history_tokens(checkpoint, asked)
        text = asked.text or settings.text
        data = LanguageData(replace(settings, text=text), cache, checkpoint.tokenizer)
        with share.first_alone():  # it packs the text, the others find it there
            source = data.source("validation", history_tokens)
        weights, samples = weights_digest(checkpoint.folder), source.samples(asked.samples)
        known = store.read().latest() if share.writes else {}
        model = described(checkpoint, asked.name)
        records = []
        for segments in steps(sorted(set(asked.segments)), "reading", weigh=float):
            point = LanguagePoint(
                task=settings.task,
                options=dict(settings.task_options),
                weights=weights,
                text=source_name(text),
                text_digest=source.digest,
                segments=segments,
                segment_tokens=predictor.segment_tokens,
                block_tokens=settings.scored_tokens_of(segments),
                history_tokens=history_tokens,
                samples=samples,
                precision=asked.precision,
                device=device.type,
                dead_band=predictor.rmt.config.dead_band,
                compile_step=compiled,
            )
            found = recorded(known, point, asked.compile_step)
            if found is not None and found.batch_size != min(asked.batch_size, samples):
                found = None  # the same loss, but neither its speed nor its memory
            (there,) = share.agree(device, found is not None)
            if found is not None:
                record = replace(found, model=model)
            elif not there:
                record = _evaluate_length(
                    point, model, checkpoint, source, asked.batch_size, meter, gpu, device, share
                )
            if not share.writes:
                continue
            if not there:
                if not math.isfinite(record.whole.mean_nats):
                    raise CheckFailed(
                        f"{model.name} at {segments} segments: its loss is "
                        f"{record.whole.mean_nats}, expected a number"
                    )
                store.append(record)
            if observe is not None:
                observe(record, there)
            records.append(record)
        return records


def _history_tokens(checkpoint: LanguageCheckpoint, asked: LanguageEvaluation) -> int:
    settings = checkpoint.settings
    if settings.task != LANGUAGE_MODELING:
        if asked.history_tokens is not None:
            raise BadInput(
                f"history tokens {asked.history_tokens} with {settings.task}: expected none, a "
                "sample is a whole theorem"
            )
        return 0
    if not settings.memory_tokens and max(asked.segments) > 1:
        raise BadInput(
            f"segments {max(asked.segments)} without memory: expected 1, no other is read"
        )
    needed = max(asked.segments) * settings.segment_tokens - settings.scored_tokens
    if asked.history_tokens is None:
        return needed
    if asked.history_tokens < needed:
        raise BadInput(
            f"history tokens {asked.history_tokens}: expected {needed} or more, what "
            f"{max(asked.segments)} segments hold before the target"
        )
    return asked.history_tokens


def _evaluate_length(
    point: LanguagePoint,
    model: LanguageModel,
    checkpoint: LanguageCheckpoint,
    source: Source,
    batch_size: int,
    meter: MemoryMeter,
    gpu: Gpu | None,
    device: torch.device,
    share: Share,
) -> LanguageRecord:
    predictor = checkpoint.predictor
    batch_size = min(batch_size, point.samples)
    batch = next(iter(source.batches(point.tokens, batch_size, point.samples)))
    memory = _peak(meter, checkpoint, point, batch, device)
    reader = TextReader(
        predictor,
        device,
        point.precision,
        batch_size=batch_size,
        compile_step=bool(point.compile_step),
    )
    reader.warm_up(point.block_tokens)
    scores = _Scores(point, checkpoint.tokenizer.token_bytes)
    clock = _Clock(reader, point.block_tokens)
    batches = steps(_batches(source, point, batch_size), total=-(-point.samples // batch_size))
    for pair, losses in share.in_order(batches, clock.read):
        scores.add(*pair, [each.cpu().numpy() for each in losses])
    seconds = share.longest(clock.seconds, device)
    return LanguageRecord(
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        point=point,
        model=model,
        parts=scores.parts(),
        position_nats=scores.positions.means(),
        forward_flops=sample_flops(predictor.rmt, checkpoint.settings, point.segments),
        batch_size=batch_size,
        seconds=seconds,
        tokens_per_second=point.samples * point.tokens / seconds,
        processes=share.ranks,
        memory=memory,
        environment=measured_environment(gpu),
    )


def _peak(
    meter: MemoryMeter,
    checkpoint: LanguageCheckpoint,
    point: LanguagePoint,
    batch: TokenBatch,
    device: torch.device,
) -> Memory:
    """Measures reading one batch. Nothing is captured, because torch does not count a graph's
    memory, nor compiled."""
    reader = TextReader(
        checkpoint.predictor,
        device,
        point.precision,
        batch_size=len(batch.ids),
        cuda_graph=False,
    )
    reader.warm_up(point.block_tokens)

    def step() -> None:
        reader.token_losses(batch.ids, batch.targets, point.block_tokens)

    return meter.measure(step)


def _batches(
    source: Source, point: LanguagePoint, batch_size: int
) -> Iterator[tuple[TokenBatch, TokenBatch | None]]:
    """Each batch, and for lemma-proof the same theorems without their lemmas."""
    given = (point.tokens, batch_size, point.samples)
    if isinstance(source, LemmaProof):
        pairs = (source.batches(*given, relevant=relevant) for relevant in (None, False))
        yield from zip(*pairs, strict=True)
        return
    for batch in source.batches(*given):
        yield batch, None


class _Clock:
    """Reads batches, and counts the time of it."""

    def __init__(self, reader: TextReader, scored_tokens: int) -> None:
        self.reader, self.scored_tokens = reader, scored_tokens
        self.seconds = 0.0

    def read(self, pair: tuple[TokenBatch, TokenBatch | None]) -> tuple[torch.Tensor, ...]:
        """Reads a batch, and the other one, which is not on the clock: losses of each, (B, S)."""
        batch, other = pair
        start = perf_counter()
        losses_BS = self._losses(batch)
        if losses_BS.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += perf_counter() - start
        return (losses_BS,) if other is None else (losses_BS, self._losses(other))

    def _losses(self, batch: TokenBatch) -> torch.Tensor:
        """Fills the last batch up, so that each has as many rows."""
        losses_BS = self.reader.token_losses(batch.ids, batch.targets, self.scored_tokens)
        missing = self.reader.batch_size - len(losses_BS)
        return torch.nn.functional.pad(losses_BS, (0, 0, 0, missing))


class _Scores:
    """Adds up what the batches of one length come to."""

    def __init__(self, point: LanguagePoint, token_bytes: np.ndarray) -> None:
        self.point, self.token_bytes = point, token_bytes
        # Of models that read more at once too, the same tokens.
        most = point.options.get("most_tokens")
        segment_tokens = point.segment_tokens
        self._last_tokens = min(segment_tokens, most) if isinstance(most, int) else segment_tokens
        self.positions = PositionSums(min(point.block_tokens, point.segment_tokens))
        proof = (LAST_SEGMENT, PROOF, NAMES, NAMES_WITHOUT) if point.task == LEMMA_PROOF else ()
        self._sums = {name: ClusterSums() for name in (ALL, *proof)}

    def parts(self) -> dict[str, Part]:
        return {name: sums.part() for name, sums in self._sums.items()}

    def add(self, batch: TokenBatch, other: TokenBatch | None, losses: Sequence[Losses]) -> None:
        """Adds a batch, and the same theorems without their lemmas, with the losses of both."""
        scored = self.point.block_tokens
        losses_BS, *others = (each[: len(batch.ids)] for each in losses)
        targets_BS, marks_BS = batch.targets[:, -scored:], batch.marks[:, -scored:]
        counted_BS = targets_BS != IGNORED
        bytes_BS = self.token_bytes[np.where(counted_BS, targets_BS, 0)]
        self.positions.add(counted_BS, losses_BS)
        chosen = {ALL: (counted_BS, losses_BS)}
        if other is not None:
            names_BS = counted_BS & ((marks_BS & lemma_proof.NAME) > 0)
            last_BS = counted_BS.copy()
            last_BS[:, : -self._last_tokens] = False
            assert np.array_equal(targets_BS[names_BS], other.targets[:, -scored:][names_BS]), (
                "the same names, with their lemmas and without"
            )
            chosen |= {
                LAST_SEGMENT: (last_BS, losses_BS),
                PROOF: (counted_BS & ((marks_BS & lemma_proof.PROOF) > 0), losses_BS),
                NAMES: (names_BS, losses_BS),
                NAMES_WITHOUT: (names_BS, others[0]),
            }
        for name, (mask_BS, nats_BS) in chosen.items():
            self._sums[name].add(batch.clusters, mask_BS, nats_BS, bytes_BS)


def described(checkpoint: LanguageCheckpoint, name: str | None = None) -> LanguageModel:
    """Returns the model of a checkpoint, as its records have it."""
    settings, trained = checkpoint.settings, checkpoint.trained
    return LanguageModel(
        name=name or training_name(checkpoint.folder),
        backbone=settings.backbone,
        segment_size=settings.segment_size,
        memory_tokens=settings.memory_tokens,
        sink_tokens=settings.sink_tokens,
        parameters=trained.parameters,
        trainable_parameters=trained.trainable_parameters,
        trained_weights=settings.trained_weights,
        trained_segments=trained.segments,
        trained_start_segments=settings.start_segments,
        trained_mixing=settings.mixing,
        trained_repeat_share=settings.repeat_share,
        trained_repeat_until=settings.repeat_until,
        trained_steps=trained.step,
        trained_tokens=trained.tokens,
        trained_flops=trained.flops,
        trained_seconds=trained.seconds,
        trained_peak_bytes=trained.peak_allocated_bytes,
        seed=settings.seed,
    )


def training_name(folder: Path) -> str:
    """Returns the folder of the training that a checkpoint was written in."""
    folder = folder.resolve()
    if folder.parent.name == STAGES:
        return folder.parent.parent.name
    return folder.parent.name if folder.name in (BEST, LAST) else folder.name
