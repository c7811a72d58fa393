"""Progress of a training on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rmtscale.cli.output import write_note
from rmtscale.units import (
    format_accuracy,
    format_count,
    format_loss,
    format_percent,
    format_seconds,
    format_tokens,
)

if TYPE_CHECKING:
    from rmtscale.study.training.curriculum import Stage
    from rmtscale.study.training.loop import Observer
    from rmtscale.study.training.metrics import Interval
    from rmtscale.study.training.settings import LoopSettings


@contextmanager
def watching() -> Iterator[Observer]:
    """Yields the observer that suits standard error."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    with Bar() as bar:
        yield bar


class _Watcher(ABC):
    """How many steps there are, and where the training stands."""

    def __init__(self) -> None:
        self.steps = self.stages = self._done = 0
        self._known = True
        """Whether the end is known: a last stage with steps of its own has none until it begins."""

    def begin(self, settings: LoopSettings, stages: tuple[Stage, ...], step: int) -> None:
        self.steps, self.stages, self._done = settings.steps, len(stages), step
        self._known = settings.own_last_steps is None
        if step:
            most = "" if self._known else "at most "
            steps = format_tokens(self.steps)
            self._say(f"going on at step {format_tokens(step)} of {most}{steps}")

    @abstractmethod
    def _say(self, text: str) -> None:
        """Shows a line."""

    def words(self, interval: Interval) -> str:
        """Puts an interval into one line."""
        if interval.end_step is not None:
            self.steps, self._known = interval.end_step, True
        left = self.steps - interval.step if self._known else 0
        each = interval.seconds / max(interval.step - self._done, 1)
        self._done = interval.step
        known, used = interval.validation or {}, interval.gpu_utilization
        shown = format_loss if interval.accuracy is None else format_accuracy
        checked = ", ".join(f"{name} seg. {shown(x)}" for name, x in known.items())
        return (
            f"[{interval.stage + 1}/{self.stages}] {interval.stage_name}: "
            f"{_learned(interval)}, {format_count(interval.tokens_per_second, 3)} tokens/s"
            f", waited {format_percent(interval.waiting_share)} for data"
            + ("" if used is None else f", GPU utilization {format_percent(used)}")
            + (f"; validation: {checked}" if checked else "")
            + (f"; about {format_seconds(each * left, digits=2)} left" if left and each else "")
        )


def _learned(interval: Interval) -> str:
    loss = f"loss {format_loss(interval.loss)}"
    if interval.repeated_loss is not None:
        loss += f" (of repeated text {format_loss(interval.repeated_loss)})"
    if interval.told_loss is not None:
        loss += f" (of what memory tells {format_loss(interval.told_loss)})"
    if interval.accuracy is None:
        return loss
    return f"{loss}, accuracy {format_accuracy(interval.accuracy)}"


class PlainLines(_Watcher):
    """A line for each interval."""

    def interval(self, interval: Interval) -> None:
        self._say(f"step {format_tokens(interval.step)} {self.words(interval)}")

    def _say(self, text: str) -> None:
        write_note(text)


class Bar(_Watcher):
    """A bar with the last interval beside it; validations stay as lines above."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress: Any = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, settings: LoopSettings, stages: tuple[Stage, ...], step: int) -> None:
        super().begin(settings, stages, step)
        self._task = self._progress.add_task("", total=settings.steps, completed=step)

    def interval(self, interval: Interval) -> None:
        words = self.words(interval)
        short = f"[{interval.stage + 1}/{self.stages}] {interval.stage_name}: {_learned(interval)}"
        self._progress.update(
            self._task, completed=interval.step, total=self.steps, description=short
        )
        if interval.validation:
            self._say(f"step {format_tokens(interval.step)} {words}")

    def _say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)
