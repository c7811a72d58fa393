"""Autocast where torch has none: on ``meta``, by the lists of torch's autocast op reference.

``torch.autocast`` knows no ``meta`` device, and a build for CPUs has none for CUDA. Here a function
mode sees each call of a module and casts what it is given, as the reference says: matmuls and
attention read 16 bits, norms, softmax, powers and losses fp32. Casts of weights that want a
gradient are kept until the end. What autograd saves of all this is autograd's own business.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LOWER = {
    *(F.linear, torch.addmm, torch.matmul, torch.bmm, torch.mm, torch.baddbmm),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.addmm, Tensor.bmm, Tensor.mm),
}
UPPER = {
    *(F.layer_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss, torch.pow, torch.rsqrt),
    *(torch.softmax, Tensor.softmax, Tensor.pow, Tensor.__pow__, Tensor.log_softmax),
    *(torch.exp, Tensor.exp, torch.log, Tensor.log, torch.sum, Tensor.sum),
}


class MetaAutocast(TorchFunctionMode):
    """Casts the inputs of the listed functions.

    Args:
        inference: no cast is kept: torch's ``cached_cast`` keeps none in ``inference_mode``, in
            which a forward pass is measured.
    """

    def __init__(self, dtype: torch.dtype, *, inference: bool = False) -> None:
        super().__init__()
        self.dtype, self.inference = dtype, inference
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}
        self.enabled = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        wanted = None
        if self.enabled and func in LOWER:
            wanted = self.dtype
        elif self.enabled and func in UPPER and kwargs.get("dtype") is None:
            wanted = torch.float32
        if wanted is None:
            return func(*args, **kwargs)
        # A cast is no call of the module: it is not cast again.
        self.enabled = False
        try:
            args = tuple(self.cast(one, wanted) for one in args)
            kwargs = {key: self.cast(one, wanted) for key, one in kwargs.items()}
            return func(*args, **kwargs)
        finally:
            self.enabled = True

    def cast(self, value: Any, dtype: torch.dtype) -> Any:
        """The tensor in ``dtype``; of a weight that wants a gradient one copy for all calls."""
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        kept = value.is_leaf and value.requires_grad and dtype == self.dtype
        if self.inference or not kept:
            return value.to(dtype)
        if id(value) not in self.cache:
            with torch.enable_grad():
                self.cache[id(value)] = (value, value.to(dtype))
        return self.cache[id(value)][1]
