"""Accuracy, speed and memory of a checkpoint at each length: one record a length, resumable.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import perf_counter

import torch

from rmtscale.errors import BadInput
from rmtscale.intervals import wilson_interval
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.profiler.environment import measured_environment
from rmtscale.profiler.memory import MemoryMeter
from rmtscale.records.nvml import Gpu
from rmtscale.rmt.peft_layers import is_merged
from rmtscale.steps import steps
from rmtscale.study.evaluation.compiling import compiles
from rmtscale.study.evaluation.probe import EarlyAnswers, probe
from rmtscale.study.records.evaluation import (
    EvaluationPoint,
    EvaluationRecord,
    EvaluationStore,
    TrainedBackbone,
)
from rmtscale.study.records.line import recorded
from rmtscale.study.tasks.batches import Batches
from rmtscale.study.training.backbone import SIZES
from rmtscale.study.training.checkpoint import source_name, weights_digest
from rmtscale.study.training.device import in_use, open_meter
from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
from rmtscale.study.training.memory_tasks.data import TaskData
from rmtscale.study.training.memory_tasks.reading import Reader
from rmtscale.study.training.settings import PRECISIONS
from rmtscale.study.training.share import ALL, Share
from rmtscale.units import require_one_of, require_positive

LONG_SEGMENTS = 256
"""Longer inputs may be evaluated on fewer samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """Holds what a checkpoint is asked."""

    segments: tuple[int, ...]
    samples: int = 1000
    long_samples: int | None = None
    """Samples at more than 256 segments; None is as many."""
    batch_size: int = 100
    """Sequences at once; equal at every length, so that memory can be compared."""
    background: str = "python"
    noise_repeats: bool = True
    task_options: dict[str, object] | None = None
    """None: as it was trained."""
    seed: int = 0
    precision: str = "fp32"
    compile_step: bool | None = None
    """Compile the step of a full segment; None: as it was trained, where there is a GPU."""

    def __post_init__(self) -> None:
        for name in ("samples", "batch_size", "long_samples"):
            value = getattr(self, name)
            if name != "long_samples" or value is not None:
                require_positive(name.replace("_", " "), value, MOST_SAMPLES)
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        require_one_of("precision", self.precision, PRECISIONS)
        if not self.segments:
            raise BadInput("segments: expected one or more numbers such as 1,2,4")
        for count in self.segments:
            require_positive("segments", count, MOST_SEGMENTS)

    def samples_at(self, segments: int) -> int:
        """Returns the number of samples at a length."""
        if segments > LONG_SEGMENTS and self.long_samples is not None:
            return self.long_samples
        return self.samples


def evaluate(
    checkpoint: Checkpoint,
    settings: EvaluationSettings,
    store: EvaluationStore,
    *,
    device: torch.device,
    observe: Callable[[EvaluationRecord, bool], None] | None = None,
    share: Share = ALL,
    probing: bool = False,
) -> list[EvaluationRecord]:
    """Evaluates every length that is not in the store yet, shortest first.

    Args:
        checkpoint: what is evaluated.
        settings: lengths, samples, noise.
        store: records are appended to it, one per length.
        device: where it runs.
        observe: is told of each record, and whether it was there before.
        share: of several processes, each of which reads some batches; the first one writes.
        probing: asks early while the longest length is read, and records that with it; a length
            that was read before without is read again for that alone.

    Returns:
        The records of all lengths asked for; none on another process than the first.

    Raises:
        BadInput: another process writes to the store, or measures on the device; or a CPU is to
            compile.
    """
    compiled = compiles(checkpoint, settings.compile_step, device)
    with store.writing() if share.writes else nullcontext(), in_use(device):
        meter, gpu = open_meter(device)
        reader = Reader(checkpoint.answerer, device, settings.precision, compile_step=compiled)
        data = data_of(
            checkpoint,
            settings.background,
            settings.task_options,
            noise_repeats=settings.noise_repeats,
        )
        weights = weights_digest(checkpoint.folder)
        known = store.read().latest() if share.writes else {}
        records = []

        def work(segments: int) -> float:
            return segments * settings.samples_at(segments)

        for segments in steps(sorted(set(settings.segments)), "reading", weigh=work):
            point = EvaluationPoint(
                task=checkpoint.settings.task,
                task_options=dict(data.settings.task_options),
                weights=weights,
                background=source_name(settings.background),
                segments=segments,
                segment_tokens=reader.answerer.segment_tokens,
                samples=settings.samples_at(segments),
                seed=settings.seed,
                precision=settings.precision,
                device=device.type,
                dead_band=reader.answerer.rmt.config.dead_band,
                compile_step=compiled,
                merged_lora=is_merged(reader.answerer.rmt),
            )
            record = recorded(known, point, settings.compile_step)
            asks_early = probing and segments == max(settings.segments)
            there, probed = share.agree(
                device, record is not None, record is not None and record.probe is not None
            )
            batches = _batches(point, data, settings)
            if not there:
                early = EarlyAnswers(reader, batches) if asks_early else None
                record = _evaluate_length(
                    point, checkpoint, reader, batches, meter, gpu, share, early
                )
            if share.writes and record is not None:
                if not there:
                    store.append(record)
                if observe is not None:
                    observe(record, there)
            if there and asks_early and not probed:
                found = probe(reader, batches, point.samples, share)
                if share.writes and record is not None:
                    record = replace(record, probe=found)
                    store.append(record)
            if not share.writes or record is None:
                continue
            records.append(record)
        return records


def data_of(
    checkpoint: Checkpoint,
    background: str,
    task_options: dict[str, object] | None = None,
    *,
    noise_repeats: bool = True,
) -> TaskData:
    """Returns the checkpoint's task, with other noise or options than it was trained with."""
    settings = replace(checkpoint.settings, background=background, noise_repeats=noise_repeats)
    if task_options is not None:
        settings = replace(settings, task_options=task_options)
    data = TaskData(settings, checkpoint.data.vocabulary)
    if data.task.classes != checkpoint.data.task.classes:
        raise BadInput(f"task options {task_options!r}: expected the answers it was trained on")
    return data


@dataclass(slots=True)
class Answers:
    """Holds the outcome of reading the batches of one length."""

    right: list[bool] = field(default_factory=list)
    seconds: float = 0.0
    """Time of this process's batches; making them is not in it."""
    ids_bytes: int = 0
    """Bytes of the ids of a batch."""


def right_answers(
    reader: Reader,
    batches: Batches,
    samples: int,
    share: Share = ALL,
    early: EarlyAnswers | None = None,
) -> Answers:
    """Finds which answers are right, in the order of the samples.

    Args:
        reader: reads them.
        batches: of one length.
        samples: how many; whole batches are read.
        share: of several processes, each of which reads some batches.
        early: asks early as well, and takes what is found.
    """
    found = Answers()

    def read(index: int) -> tuple[torch.Tensor, ...]:
        batch = batches.batch(index)
        found.ids_bytes = batch.ids.nbytes
        start = perf_counter()
        if early is None:
            chosen_B = reader.logits(batch.ids).argmax(1).cpu()
            found.seconds += perf_counter() - start
            right_B = chosen_B == torch.from_numpy(batch.answers)
            return (right_B.to(reader.device, torch.uint8),)
        right_BS, *more = early.ask(batch)
        right_BS.cpu()  # Waits for the device, as above.
        found.seconds += perf_counter() - start
        return (right_BS[:, -1].to(torch.uint8), right_BS, *more)

    indices = steps(range(math.ceil(samples / batches.batch_size)))
    for _, (right_B, *asked_early) in share.in_order(indices, read):
        found.right += (right_B > 0).tolist()
        if early is not None:
            early.take(asked_early)
    found.right = found.right[:samples]
    return found


def _batches(point: EvaluationPoint, data: TaskData, settings: EvaluationSettings) -> Batches:
    return data.batches(
        point.tokens,
        point.segment_tokens,
        split=point.split,
        batch_size=min(settings.batch_size, settings.samples),
        seed=point.seed,
    )


def _evaluate_length(
    point: EvaluationPoint,
    checkpoint: Checkpoint,
    reader: Reader,
    batches: Batches,
    meter: MemoryMeter,
    gpu: Gpu | None,
    share: Share,
    early: EarlyAnswers | None,
) -> EvaluationRecord:
    batch_size = batches.batch_size
    _warm_up(reader, batch_size, point.segment_tokens)
    outcomes: list[Answers] = []
    memory = meter.measure(
        lambda: outcomes.append(right_answers(reader, batches, point.samples, share, early))
    )
    found = outcomes[0]
    seconds = share.longest(found.seconds, reader.device)
    correct = sum(found.right)
    low, high = wilson_interval(correct, point.samples)
    read = math.ceil(point.samples / batch_size) * batch_size * point.tokens
    return EvaluationRecord(
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        point=point,
        trained_segments=checkpoint.trained_segments,
        trained_stage=checkpoint.trained.stage,
        trained_curriculum=checkpoint.settings.curriculum,
        trained_steps=checkpoint.trained.all_steps,
        trained_seed=checkpoint.settings.seed,
        trained_from=checkpoint.trained.weights_before,
        trained_backbone=trained_backbone(checkpoint),
        trained_with=checkpoint.trained_with,
        correct=correct,
        accuracy=correct / point.samples,
        low=low,
        high=high,
        batch_size=batch_size,
        seconds=seconds,
        tokens_per_second=read / seconds,
        processes=share.ranks,
        memory=memory,
        host_ids_bytes=found.ids_bytes,
        environment=measured_environment(gpu),
        probe=None if early is None else early.probe(),
    )


def trained_backbone(checkpoint: Checkpoint) -> TrainedBackbone:
    """Describes the backbone that a checkpoint was trained on."""
    settings = checkpoint.settings
    return TrainedBackbone(
        name=settings.backbone,
        kind="decoder" if checkpoint.answerer.decoder else "encoder",
        pretrained=settings.backbone not in SIZES,
        lora_rank=settings.lora_rank,
        segment_size=settings.segment_size,
        memory_tokens=settings.memory_tokens,
        sink_tokens=settings.sink_tokens,
    )


def _warm_up(reader: Reader, batch_size: int, segment_tokens: int) -> None:
    """Two segments, so that kernels are loaded and the step is captured before the clock starts."""
    import numpy as np

    reader.logits(np.zeros((batch_size, 2 * segment_tokens), dtype=np.int32))
