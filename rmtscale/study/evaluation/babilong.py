"""BABILong: accuracy on the original test stories by task and length, speed, memory; resumable.

Shape legend: B batch, N text columns of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

import numpy as np

from rmtscale.errors import BadInput
from rmtscale.intervals import wilson_interval
from rmtscale.limits import MOST_SAMPLES
from rmtscale.profiler.environment import measured_environment
from rmtscale.profiler.memory import MemoryMeter
from rmtscale.records.nvml import Gpu
from rmtscale.study.evaluation.breakdown import Answered, break_down
from rmtscale.study.records.babilong import (
    BabilongPoint,
    BabilongRecord,
    BabilongStore,
    BabilongTraining,
)
from rmtscale.study.records.line import recorded
from rmtscale.study.tasks.babi.asked import Asked
from rmtscale.study.tasks.babi.grammar import labels
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.babi.pool import Pool, load_pool
from rmtscale.study.tasks.lengths import LENGTHS, samples_of, words_of
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.streamed import StreamedRow, StreamedRows
from rmtscale.study.training.device import in_use, open_meter
from rmtscale.study.training.settings import PRECISIONS
from rmtscale.units import require_one_of, require_positive

ANSWERS = ("classes", "generate")


@dataclass(frozen=True, slots=True, kw_only=True)
class BabilongSettings:
    """Holds what a model is asked."""

    stories: tuple[str, ...]
    lengths: tuple[str, ...]
    samples: int | None = None
    """Samples at each length; None is as many as the benchmark has."""
    batch_size: int = 100
    """Sequences at once; equal at every length, so that memory can be compared."""
    background: str = "python"
    seed: int = 0
    precision: str = "fp32"
    answers: str = "classes"
    compile_step: bool | None = None
    """Whether the model was asked to compile full segments; None: nothing was asked."""

    def __post_init__(self) -> None:
        require_positive("batch size", self.batch_size, MOST_SAMPLES)
        if self.samples is not None:
            require_positive("samples", self.samples, MOST_SAMPLES)
        if not 0 <= self.seed < 2**31:
            raise BadInput(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        require_one_of("precision", self.precision, PRECISIONS)
        require_one_of("answers", self.answers, ANSWERS)

    def samples_at(self, length: str) -> int:
        """Returns the number of samples at a length."""
        return samples_of(length) if self.samples is None else self.samples


class Answering(Protocol):
    """A model that answers questions after long inputs."""

    @property
    def kind(self) -> str:
        """``rmt`` or ``decoder``."""
        ...

    @property
    def weights(self) -> str:
        """Digest of its weights."""
        ...

    @property
    def dead_band(self) -> float:
        """Dead band of its memory; 0 for none."""
        ...

    @property
    def compile_step(self) -> bool:
        """Whether it compiles the step of a full segment."""
        ...

    @property
    def merged_lora(self) -> bool:
        """Whether its LoRA is merged into its weights."""
        ...

    @property
    def training(self) -> BabilongTraining | None:
        """Says how it was trained, where that was done here."""
        ...

    def prompt(self, asked: Asked) -> str:
        """Returns what is written in the place of the question."""
        ...

    def warm_up(self, batch_size: int) -> None:
        """Reads something, so that nothing is loaded or captured while the clock runs."""
        ...

    def answer(
        self, rows: StreamedRows, asked: Sequence[Asked], labels: Sequence[str]
    ) -> list[str | None]:
        """Returns the label that each row is answered with; None where it is not exactly one."""
        ...


def evaluate_babilong(
    model: Answering,
    noise: Noise,
    source: str,
    settings: BabilongSettings,
    store: BabilongStore,
    *,
    device: str,
    observe: Callable[[BabilongRecord, bool], None] | None = None,
) -> list[BabilongRecord]:
    """Evaluates every task at every length that is not in the store yet, shortest first.

    Args:
        model: what answers.
        noise: the background, in the model's vocabulary.
        source: name of the background.
        settings: tasks, lengths, samples.
        store: records are appended to it, one per task and length.
        device: where the model is.
        observe: is told of each record, and whether it was there before.

    Raises:
        BadInput: another process writes to the store or measures on the device, or no original
            test stories.
    """
    import torch

    where = torch.device(device)
    with store.writing(), in_use(where):
        meter, gpu = open_meter(where)
        began_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = store.read().latest()
        records = []
        for length in settings.lengths:
            for qa in settings.stories:
                pool = load_pool(qa, "original", "test")
                point = BabilongPoint(
                    stories=qa,
                    length=length,
                    answers=settings.answers,
                    model=model.kind,
                    weights=model.weights,
                    background=source,
                    samples=min(settings.samples_at(length), len(pool.asked)),
                    seed=settings.seed,
                    precision=settings.precision,
                    device=where.type,
                    dead_band=model.dead_band,
                    compile_step=model.compile_step,
                    merged_lora=model.merged_lora,
                )
                there = recorded(known, point, settings.compile_step)
                record = there or replace(
                    _evaluate(point, pool, model, noise, settings, meter, gpu),
                    evaluation_began_at=began_at,
                )
                if there is None:
                    store.append(record)
                if observe is not None:
                    observe(record, there is not None)
                records.append(record)
        return records


def chosen(pool: Pool, noise: Noise, point: BabilongPoint) -> tuple[list[int], int | None, int]:
    """Chooses questions in an order that is the same at every length.

    Returns:
        Their numbers in the test file; the tokens of a sample, None for stories alone; and how many
        questions were left out because their story does not fit.
    """
    order = np.random.default_rng((20_240_614, point.seed)).permutation(len(pool.asked)).tolist()
    if point.length == "0k":
        return order[: point.samples], None, 0
    tokens = round(words_of(point.length) * noise.tokens / noise.words)
    fit = pool.lengths(noise.vocabulary) <= tokens
    fitting = [number for number in order if fit[number]]
    return fitting[: point.samples], tokens, len(order) - len(fitting)


def batches(
    pool: Pool,
    noise: Noise,
    point: BabilongPoint,
    batch_size: int,
    prompt: Callable[[Asked], str],
) -> Iterator[tuple[StreamedRows, list[Asked], int]]:
    """Yields rows of one length, their questions, and how many of them count.

    Batches of stories alone hold those of equal length, as many as there are; all others are full,
    the last one with rows that do not count.
    """
    numbers, tokens, _ = chosen(pool, noise, point)

    def row(number: int) -> StreamedRow:
        seeds = (point.seed, QAS.index(point.stories), LENGTHS[point.length], number)
        asked = pool.asked[number]
        rng = np.random.default_rng(seeds)
        return StreamedRow(rng, asked, noise, tokens, prompt(asked))

    if tokens is None:
        by_tokens: dict[int, list[int]] = {}
        for number in numbers:
            by_tokens.setdefault(row(number).tokens, []).append(number)
        groups = [
            own[first : first + batch_size]
            for _, own in sorted(by_tokens.items())
            for first in range(0, len(own), batch_size)
        ]
    else:
        groups = [
            numbers[first : first + batch_size] for first in range(0, len(numbers), batch_size)
        ]
    for group in groups:
        count = len(group)
        whole = group if tokens is None else [group[at % count] for at in range(batch_size)]
        yield StreamedRows([row(one) for one in whole]), [pool.asked[one] for one in whole], count


def _evaluate(
    point: BabilongPoint,
    pool: Pool,
    model: Answering,
    noise: Noise,
    settings: BabilongSettings,
    meter: MemoryMeter,
    gpu: Gpu | None,
) -> BabilongRecord:
    numbers, _, left_out = chosen(pool, noise, point)
    if not numbers:
        raise BadInput(f"length {point.length!r}: no test story of {point.stories} is as short")
    batch_size = min(settings.batch_size, len(numbers))
    found: list[str | None] = []
    answered: list[Answered] = []
    read = rows_read = longest = 0
    seconds = 0.0

    def run() -> None:
        nonlocal read, rows_read, longest, seconds
        start = perf_counter()
        for rows, asked, count in batches(pool, noise, point, batch_size, model.prompt):
            answers = model.answer(rows, asked, labels(point.stories))
            found.extend(answers[:count])
            answered.extend(
                Answered(one, row.fact_ends, row.tokens, answer == one.answer)
                for answer, one, row in zip(
                    answers[:count], asked[:count], rows.rows[:count], strict=True
                )
            )
            read += rows.shape[0] * rows.shape[1]
            rows_read += rows.shape[0]
            longest = max(longest, rows.shape[1])
        seconds = perf_counter() - start

    model.warm_up(batch_size)
    memory = meter.measure(run)
    correct = sum(one.right for one in answered)
    training = model.training
    low, high = wilson_interval(correct, len(found))
    return BabilongRecord(
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        point=point,
        training=training,
        words=words_of(point.length),
        tokens=longest,
        noise_tokens=noise.tokens,
        left_out=left_out,
        correct=correct,
        accuracy=correct / len(found),
        low=low,
        high=high,
        unanswered=sum(answer is None for answer in found),
        right=_in_order(answered, [pool.asked[number] for number in numbers]),
        breakdown=break_down(answered, None if training is None else training.segment_tokens),
        batch_size=batch_size,
        seconds=seconds,
        seconds_per_sample=seconds / rows_read,
        tokens_per_second=read / seconds,
        memory=memory,
        environment=measured_environment(gpu),
    )


def _in_order(answered: Sequence[Answered], asked: Sequence[Asked]) -> str:
    """Writes a 1 for each right answer, in the order of the questions.

    Stories alone are read in another order, those of equal length together.
    """
    right = {id(one.asked): one.right for one in answered}
    return "".join("1" if right[id(one)] else "0" for one in asked)
