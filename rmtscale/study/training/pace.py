"""How many steps fit in some time, from the speed of a training so far."""

from __future__ import annotations

import itertools
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.study.training.layout import METRICS
from rmtscale.study.training.metrics import read_metrics

_INTERVALS = 10


def steps_within(folder: Path, seconds: float, log_every: int) -> int:
    """All steps of a training that shall be done in ``seconds`` from now.

    By the median speed of its last intervals; whole intervals, at least one more.

    Raises:
        BadInput: the training has not run yet.
    """
    seen = read_metrics(folder / METRICS)
    if len(seen) < 2:
        raise BadInput(
            f"finish within {seconds:g} s: the training in {str(folder)!r} has no speed yet, "
            "expected one that has run for some intervals"
        )
    done = seen[-1].step
    pairs = list(itertools.pairwise(seen))[-_INTERVALS:]
    speeds = sorted(after.seconds / (after.step - before.step) for before, after in pairs)
    each = speeds[len(speeds) // 2]
    intervals = max(1, int(seconds / each) // log_every)
    return done + intervals * log_every
