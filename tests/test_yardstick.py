"""A limit in seconds holds for the best round; after one that was fast enough no more are run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests import yardstick


@pytest.mark.parametrize(
    ("seconds", "run", "best"),
    [
        ([0.9, 2.0, 2.0], 1, 0.9),
        ([1.5, 0.8, 0.1], 2, 0.8),
        ([1.5, 1.2, 1.4, 0.1], 3, 1.2),
    ],
)
def test_best_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], run: int, best: float
) -> None:
    left = iter(seconds)
    stats = SimpleNamespace(min=0.0)

    def pedantic(work: Callable[[], float], rounds: int) -> None:
        stats.min = min(work() for _ in range(rounds))

    benchmark: Any = SimpleNamespace(pedantic=pedantic, stats=SimpleNamespace(stats=stats))
    monkeypatch.setattr(yardstick, "seconds_of", lambda work: work())
    assert yardstick.best_seconds(benchmark, lambda: next(left), 1.0, rounds=3) == best
    assert len(list(left)) == len(seconds) - run
