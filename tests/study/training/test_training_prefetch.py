"""Batches come in order, an error reaches who waits, and closing ends the thread."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from rmtscale.study.training.curriculum import Draw
from rmtscale.study.training.prefetch import Batch, Prefetcher


def make(step: int) -> Batch:
    return Batch(step, Draw(0, 0, 1), (torch.tensor([[step]]),), 0, 1)


def test_in_order() -> None:
    prefetcher = Prefetcher(make, 3, 30)
    assert [prefetcher.next().step for _ in range(27)] == list(range(3, 30))
    prefetcher.close()


def test_waiting_is_measured_where_making_is_slow_and_hidden_where_it_is_fast() -> None:
    def slow(step: int) -> Batch:
        time.sleep(0.05)
        return make(step)

    prefetcher = Prefetcher(slow, 0, 4)
    for _ in range(4):
        prefetcher.next()
    prefetcher.close()
    # Nothing is ready before it is asked for: all of the making is waited for, but for the start.
    assert prefetcher.waited_seconds > 0.1
    began = time.perf_counter()
    prefetcher = Prefetcher(make, 0, 4)
    time.sleep(0.2)  # a step of the model, in which all four are made
    for _ in range(4):
        prefetcher.next()
    prefetcher.close()
    assert prefetcher.waited_seconds < 0.25 * (time.perf_counter() - began)


def test_an_error_is_raised_where_the_batch_is_asked_for() -> None:
    def broken(step: int) -> Batch:
        if step == 2:
            raise ValueError("no noise left")
        return make(step)

    prefetcher = Prefetcher(broken, 0, 5)
    assert [prefetcher.next().step for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="no noise left"):
        prefetcher.next()
    prefetcher.close()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    prefetcher = Prefetcher(make, 0, 10**9)
    assert prefetcher.next().step == 0
    prefetcher.close()
    assert threading.active_count() == before
