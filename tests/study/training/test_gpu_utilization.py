"""The time that kernels cover: side by side counts once."""

from __future__ import annotations

import random

import pytest
import torch

from rmtscale.study.training.device import covered, gpu_utilization


def test_side_by_side_counts_once() -> None:
    assert covered([]) == 0
    assert covered([(0, 2), (1, 3), (5, 6)]) == 4
    assert covered([(0, 10), (2, 3), (4, 5)]) == 10
    assert covered([(5, 6), (0, 1)]) == 2


def test_against_counting() -> None:
    chance = random.Random(0)
    spans = [(begin := chance.randrange(200), begin + chance.randrange(20)) for _ in range(40)]
    cells = {cell for begin, end in spans for cell in range(begin, end)}
    assert covered(spans) == len(cells)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    one = torch.randn(4096, 4096, device="cuda")

    def work() -> int:
        for _ in range(20):
            one @ one
        torch.cuda.synchronize()
        return 3

    assert work() == 3
    result, share = gpu_utilization(work)
    assert result == 3
    assert 0.5 < share <= 1.01
