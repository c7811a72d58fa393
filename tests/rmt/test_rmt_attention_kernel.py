"""The choice among attention kernels; on a GPU, that a choice changes nothing but time."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention import SDPBackend

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.attention_kernel import (
    KERNELS,
    Shape,
    attention_seconds,
    fastest_attention,
    fastest_first,
)
from tests.rmt.tiny_models import backbone


def test_the_fastest_comes_first_and_what_cannot_run_last() -> None:
    flash, cudnn, efficient = KERNELS
    times = {flash: None, cudnn: 2.0, efficient: 1.0}
    assert fastest_first(KERNELS, times.__getitem__) == (efficient, cudnn, flash)
    times = {flash: 1.0, cudnn: 1.0, efficient: None}
    assert fastest_first(KERNELS, times.__getitem__) == (flash, cudnn, efficient), "torch's order"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_attention_is_left_as_it_is(dtype: torch.dtype) -> None:
    model = RMTForCausalLM(backbone("gpt2", dtype), RMTConfig(8, 2)).eval()
    assert isinstance(fastest_attention(model, 1), nullcontext)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.gpu
@pytest.mark.parametrize("train", [False, True])
def test_kernels_are_timed(train: bool) -> None:
    shape = Shape(2, 4, 200, 64, torch.bfloat16, True, train, torch.device("cuda", 0))
    before = torch.cuda.get_rng_state()
    times = {kernel: attention_seconds(kernel, shape) for kernel in KERNELS}
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert 0 < (times[SDPBackend.FLASH_ATTENTION] or 0) < 0.01
    odd = Shape(2, 4, 200, 64, torch.float64, True, train, torch.device("cuda", 0))
    assert attention_seconds(SDPBackend.FLASH_ATTENTION, odd) is None
