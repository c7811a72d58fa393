"""The matmul ceiling: how fast one large product runs here, in this process, in this dtype."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

CUDA_SIZE, CPU_SIZE = 8192, 1024
_WARM_UP, _REPEATS = 2, 5


def matmul_flops_per_second(dtype: Any, device: str) -> float:
    """Median of five square products; 8192 on a GPU (2^40 FLOPs), 1024 on a CPU."""
    import torch

    size = CUDA_SIZE if device == "cuda" else CPU_SIZE
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(left)
    seconds = []
    for _ in range(_WARM_UP + _REPEATS):
        if device == "cuda":
            torch.cuda.synchronize()
        start = perf_counter()
        torch.mm(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return float(2 * size**3 / median(seconds[_WARM_UP:]))
