"""The training loop: resumable at any moment, and never waiting for the device without need.

Shape legend: B batch, N text columns of the input.

Losses and right answers are added up on the device and read once per interval; between two
intervals stages change, metrics are written and the state is kept. Everything random is a function
of the seed and the step, so that a run that was killed goes on from its last state to the very
same losses.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Protocol

import torch
from accelerate import Accelerator

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.files import make_folder, remove_folder, write_whole
from rmtscale.locks import sole_writer_in
from rmtscale.specs.layout import Layout
from rmtscale.study.training.curriculum import Progress, Stage, end_step, learning_rate
from rmtscale.study.training.cutting import training_layout
from rmtscale.study.training.device import (
    begin_peak,
    find_device,
    gpu_utilization,
    in_use,
    own_device,
    peak_allocated_bytes,
    precision_on,
    seed_draws,
)
from rmtscale.study.training.gradients import Found
from rmtscale.study.training.keeping import Keeper
from rmtscale.study.training.kinds import make_objective
from rmtscale.study.training.layout import (
    CACHE,
    CUT_STATE,
    LAST,
    METRICS,
    SETTINGS,
    STATE,
    forget,
    remove_leavings_of,
)
from rmtscale.study.training.learning import Learning
from rmtscale.study.training.metrics import Interval, MetricsStore, keep_until, read_metrics
from rmtscale.study.training.prefetch import Batch, Prefetcher
from rmtscale.study.training.settings import LoopSettings
from rmtscale.study.training.settings_file import require_same
from rmtscale.study.training.stopping import Stop, lost_processes, noted_signals
from rmtscale.study.training.train_state import (
    TrainState,
)


class Observer(Protocol):
    """Watches a training."""

    def begin(self, settings: LoopSettings, stages: tuple[Stage, ...], step: int) -> None: ...

    def interval(self, interval: Interval) -> None: ...


class NullObserver:
    """Ignores every event."""

    def begin(self, settings: LoopSettings, stages: tuple[Stage, ...], step: int) -> None:
        pass

    def interval(self, interval: Interval) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Result:
    """Describes how a call ended."""

    finished: bool
    """All steps are done; otherwise the time was up."""
    step: int
    measure: str
    """Measure of a validation: ``accuracy`` or ``loss``."""
    best_score: float | None
    """Score of the best validation, higher is better; None where there was none."""
    last_stage_steps: int | None
    """Steps that the last stage had; None where it was not reached."""


def train(
    settings: LoopSettings,
    folder: Path,
    *,
    anew: bool = False,
    device: str | None = None,
    max_seconds: float | None = None,
    save_seconds: float = 30.0,
    measure_gpu_utilization: bool = False,
    cache: Path | None = None,
    observer: Observer | None = None,
    shard: str = "ddp",
    tp: int = 1,
) -> Result:
    """Trains in ``folder``, or goes on with what is there.

    Args:
        settings: all of it.
        folder: gets settings, state, metrics and checkpoints.
        anew: forget the training that is there.
        device: ``cpu`` or ``cuda``; None takes the GPU if there is one.
        max_seconds: stop, with a state, at the first interval after this.
        save_seconds: keep a state at the first interval after this.
        measure_gpu_utilization: watch one interval of each stage with torch's profiler, which slows
            it down. A GPU only.
        cache: language tasks: folder of the packed text, which trainings may share; by default
            one in ``folder``.
        observer: is told of every interval.
        shard: what several processes do with the weights: ``ddp`` or ``fsdp2``.
        tp: processes that share each matrix.

    Raises:
        BadInput: settings that cannot be, another training in the folder, another process that
            trains there, one that measures on the device, or a CPU whose utilization is asked for.
        CheckFailed: the loss is no longer finite, or another process of the training has gone.
    """
    began = monotonic()
    with ExitStack() as held:
        held.enter_context(lost_processes())
        if os.environ.get("RANK", "0") == "0":  # of several processes, the one that writes
            held.enter_context(sole_writer_in(folder, f"folder {str(folder)!r}"))
            remove_leavings_of(folder)
        accelerator = _accelerator(settings, device)
        if measure_gpu_utilization and own_device(accelerator).type != "cuda":
            raise BadInput("--gpu-utilization on a CPU: expected --device cuda")
        layout = training_layout(accelerator.num_processes, shard, tp)
        held.enter_context(in_use(own_device(accelerator)))
        if anew:
            # One process forgets it, before any looks what is there.
            with accelerator.main_process_first():
                if accelerator.is_main_process:
                    forget(folder)
        run = _Run(
            settings,
            folder,
            accelerator,
            layout,
            cache or folder / CACHE,
            observer or NullObserver(),
        )
        run.measure_gpu_utilization = measure_gpu_utilization
        return run.go(began, max_seconds, save_seconds)


class _Run:
    """One call of ``train``."""

    def __init__(
        self,
        settings: LoopSettings,
        folder: Path,
        accelerator: Accelerator,
        layout: Layout,
        cache: Path,
        observer: Observer,
    ) -> None:
        self.settings, self.folder, self.observer = settings, folder, observer
        if (folder / SETTINGS).is_file():
            require_same(folder / SETTINGS, settings)
        elif any((folder / name).exists() for name in (STATE, CUT_STATE)):
            raise BadInput(f"output {str(folder)!r}: a state without {SETTINGS}, expected --force")
        self.accelerator, self.device = accelerator, own_device(accelerator)
        begin_peak(self.device)
        # The first process packs the text, the others find it there.
        with self.accelerator.main_process_first():
            self.objective = make_objective(settings, cache)
        self.stages = self.objective.stages
        self.learning = Learning(settings, self.objective, accelerator, layout)
        self.share = self.learning.share
        self.keeper = Keeper(settings, folder, self.objective, self.learning)
        data = self.objective.data_digest
        self.state = TrainState(step=0, progress=Progress(), data=data, seconds=0.0)
        self.measure_gpu_utilization = False
        self._watched: set[int] = set()

    @property
    def main(self) -> bool:
        return self.share.writes

    def go(self, began: float, max_seconds: float | None, save_seconds: float) -> Result:
        with noted_signals(self.share.processes > 1) as stop:
            return self._go(began, max_seconds, save_seconds, stop)

    def _go(
        self, began: float, max_seconds: float | None, save_seconds: float, stop: Stop
    ) -> Result:
        self._resume()
        settings, folder = self.settings, self.folder
        self.observer.begin(settings, self.stages, self.state.step)
        saved = monotonic()
        prefetcher: Prefetcher | None = None
        try:
            while not self._finished():
                if prefetcher is None:
                    prefetcher = self._prefetch()
                stage = self.state.progress.stage
                interval = self._watched_interval(prefetcher)
                if self.state.progress.stage != stage:
                    prefetcher.close()
                    prefetcher = None
                    self.keeper.keep_stage(self.state, stage)
                finished = self._finished()
                interval = self._validated(interval, stage, finished)
                if self.main:
                    MetricsStore(folder / METRICS).append(interval)
                    self.observer.interval(interval)
                now = monotonic()
                over = max_seconds is not None and now - began >= max_seconds
                over, due = self.learning.agree(
                    over or stop.asked is not None, self.main and now - saved >= save_seconds
                )
                if finished or over or due:
                    self.learning.save(folder, self.state)
                    saved = now
                if over:
                    break
        finally:
            if prefetcher is not None:
                prefetcher.close()
        finished = self._finished()
        if any(self.learning.agree(finished and self.main and not (folder / LAST).exists())):
            self._keep_last()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        had = self.state.progress.stage_steps if self._in_last_stage else None
        return Result(finished, self.state.step, self.objective.measure, self.state.best_score, had)

    @property
    def _in_last_stage(self) -> bool:
        return self.state.progress.stage + 1 == len(self.stages)

    @property
    def end(self) -> int:
        return end_step(self.settings, self.stages, self.state.progress, self.state.step)

    def _finished(self) -> bool:
        return self.state.step >= self.end

    def _resume(self) -> None:
        found = self.learning.load(self.folder)
        if found is not None:
            begun, self.state = self.state.data, found
            if self.state.data != begun:
                raise BadInput(
                    f"output {str(self.folder)!r}: it was begun with another text or tokenizer, "
                    "expected the same, another --out, or --force to begin anew"
                )
        if self.main:
            make_folder(self.folder)
            if not self._finished():
                remove_folder(self.folder / LAST)  # its end was moved: it is not done any more
            keep_until(self.folder / METRICS, self.state.step)
            write_whole(self.folder / SETTINGS, self.settings.to_json())
        self.accelerator.wait_for_everyone()

    def _prefetch(self) -> Prefetcher:
        stage, objective = self.state.progress.stage, self.objective
        device = self.device
        return Prefetcher(
            lambda step: objective.batch(step, stage).part(self.share, objective.scored),
            self.state.step,
            self.end,
            pin_for=device if device.type == "cuda" else None,
        )

    def _watched_interval(self, prefetcher: Prefetcher) -> Interval:
        """Runs an interval; where asked for, one of each stage, not its first, is profiled."""
        progress = self.state.progress
        begun = progress.stage_steps >= self.settings.log_every
        if not self.measure_gpu_utilization or progress.stage in self._watched or not begun:
            return self._interval(prefetcher)
        self._watched.add(progress.stage)
        interval, utilization = gpu_utilization(lambda: self._interval(prefetcher))
        return replace(interval, gpu_utilization=utilization)

    def _interval(self, prefetcher: Prefetcher) -> Interval:
        """Steps up to the next multiple of ``log_every``."""
        settings, progress, first = self.settings, self.state.progress, self.state.step
        end = self.end
        last = min((first // settings.log_every + 1) * settings.log_every, end)
        sums = torch.zeros(8, device=self.device)
        tokens, rate, repeating, telling = 0, 0.0, 0, 0
        flops: int | None = 0
        start, waited = perf_counter(), prefetcher.waited_seconds
        for step in range(first, last):
            batch = prefetcher.next()
            rate = learning_rate(settings, self.stages[progress.stage], step, end)
            loss, correct, told_loss = self._step(batch, rate)
            rows, columns = batch.inputs[0].shape
            current = float(batch.draw.stage == progress.stage)
            sums[0] += loss
            sums[5 if batch.repeats else 6] += loss
            repeating += batch.repeats
            if told_loss is not None:
                sums[7] += told_loss
                telling += 1
            if correct is not None:
                sums[1] += correct
                sums[2] += current * correct
                sums[3] += current * rows
                sums[4] += rows
            tokens += batch.rows * columns
            each = self.objective.sample_flops(batch.draw)
            flops = None if flops is None or each is None else flops + each * batch.rows
        sums = self.share.total(sums)
        loss_sum, right, current_right, current_rows, rows_sum, *more_sums = sums.tolist()
        repeated, ordinary, told = more_sums
        seconds = perf_counter() - start
        steps = last - first
        if not math.isfinite(loss_sum + told):
            raise CheckFailed(
                f"loss is not finite between steps {first} and {last}; the last state is kept, "
                "expected a lower --learning-rate"
            )
        ranks, others = self.share.ranks, steps - repeating
        own_end = settings.own_last_steps is not None and self._in_last_stage
        current_stage_accuracy = current_right / current_rows if current_rows else None
        self.state = replace(
            self.state,
            step=last,
            progress=self.objective.advance(progress, steps, current_stage_accuracy),
            seconds=self.state.seconds + seconds,
            tokens=self.state.tokens + tokens,
            flops=self.state.flops + (flops or 0),
        )
        return Interval(
            step=last,
            stage=progress.stage,
            stage_name=self.stages[progress.stage].name,
            loss=loss_sum / (steps * ranks),
            repeated_loss=repeated / (repeating * ranks) if repeating else None,
            ordinary_loss=ordinary / (others * ranks) if repeating and others else None,
            told_loss=told / (telling * ranks) if telling else None,
            accuracy=right / rows_sum if rows_sum else None,
            current_stage_accuracy=current_stage_accuracy,
            learning_rate=rate,
            tokens=tokens,
            flops=flops,
            seconds=seconds,
            tokens_per_second=tokens / seconds,
            processes=self.share.processes,
            layout=self.learning.layout.name,
            waiting_share=(prefetcher.waited_seconds - waited) / seconds,
            end_step=end if own_end else None,
            peak_allocated_bytes=peak_allocated_bytes(self.device),
        )

    def _step(self, batch: Batch, rate: float) -> Found:
        """One update; nothing in here waits for the device."""
        # What a pretrained backbone drops out is a function of the step as well; other rows, of
        # another process, drop out other things.
        rank_seed = self.share.rank * 1_000_000_007
        seed_draws(self.device, self.settings.seed * 1_000_003 + batch.step + rank_seed)
        self.learning.plain.train()
        inputs = self.objective.inputs(batch, self.device)
        found = self.learning.update(inputs, batch.weight, rate)
        self.keeper.follow(batch.step)
        return found

    def _validated(self, interval: Interval, stage: int, finished: bool) -> Interval:
        """Adds the validation of the EMA weights, where it is time, and keeps the best ones."""
        if interval.step % self.settings.validate_every and not finished:
            return interval
        validation = self.keeper.validate(stage)
        self.state = self.keeper.keep_best(self.state, stage, validation)
        if finished:
            self.keeper.keep_stage(self.state, stage)
        return replace(interval, validation=validation)

    def _keep_last(self) -> None:
        """Writes the checkpoint of the end, behind all else: where it is, nothing is missing."""
        intervals = read_metrics(self.folder / METRICS) if self.main else []
        if intervals:
            self.keeper.keep_last(self.state, intervals[-1].stage, intervals[-1].validation)
        else:
            self.keeper.keep_last(self.state, self.state.progress.stage, None)


def _accelerator(settings: LoopSettings, device: str | None) -> Accelerator:
    torch_device = find_device(device)
    cpu = torch_device.type == "cpu"
    precision = "bf16" if precision_on(torch_device, settings.precision) == "bf16" else "no"
    return Accelerator(cpu=cpu, mixed_precision=precision)
