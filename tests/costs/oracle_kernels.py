"""What a step really launches: every operator of the real module on ``meta``, with its bytes.

Nothing here knows a closed form. A dispatch mode sees each operator; a matrix multiplication is
noted by its dimensions, fused attention by heads, length and width, anything else by its name and
the bytes that it reads and writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.meta_shapes import RememberedShapes

MATMULS = ("mm", "addmm", "addmm_", "_addmm_activation", "bmm", "baddbmm")
ATTENTION = ("_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention")
NO_WORK = ("empty", "_unsafe_view", "detach", "alias", "_reshape_alias", "lift_fresh", "new_empty")
FILLED = (
    "zeros",
    "ones",
    "full",
    "arange",
    "fill_",
    "zero_",
    "new_zeros",
    "new_ones",
    "nll_loss_backward",
)
AT_TARGETS = ("scatter_", "nll_loss_forward")
"""They touch a number of each row, at an index."""
PICKED = ("embedding", "index_select", "gather", "index")


def touched_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor that are really read: an expanded dimension is read once."""
    numbers = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts ``(phase, name, what it works on)``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[tuple[Any, ...]] = Counter()
        self.phase = "forward"

    @contextmanager
    def differentiating(self) -> Iterator[None]:
        self.phase = "backward"
        yield
        self.phase = "forward"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        view = any(
            one.alias_info is not None and not one.alias_info.is_write
            for one in func._schema.returns
        )
        read = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        made = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        if view or name.startswith(NO_WORK) or not any(one.dim() for one in (*read, *made)):
            return out
        self.found[(self.phase, *self._noted(name, read, made))] += 1
        if name == "_safe_softmax":  # is minus infinity, all of a row, zeros there
            rows, numbers = made[0].nbytes, made[0].numel()
            for moved in (rows + numbers, numbers, 2 * rows):
                self.found[(self.phase, "inside", moved)] += 1
        return out

    def _noted(self, name: str, read: list[Any], made: list[Any]) -> tuple[Any, ...]:
        if name in MATMULS:
            a, b = read[-2:]
            batch = a.shape[0] if a.dim() == 3 else 1
            return ("matmul", batch, a.shape[-2], b.shape[-1], a.shape[-1], a.element_size())
        if name.startswith(ATTENTION):
            back = name.endswith("backward")
            q = read[int(back)]
            batch, heads, size, width = q.shape
            return ("attention", back, batch * heads, size, width, q.element_size())
        written = sum(map(touched_bytes, made))
        if name.startswith(PICKED):
            return (name, 2 * written)
        if name.startswith(FILLED):
            return (name, written)
        if name in AT_TARGETS:
            return (name, 2 * min(touched_bytes(one) for one in read if one.dim()))
        return (name, sum(map(touched_bytes, read)) + written)


def traced(spec: ModelSpec, work: Workload, recurrence: Recurrence | None) -> Counter[Any]:
    """Runs one step of the real module, without its optimizer, and returns what it launched."""
    kernels = Kernels()
    with RememberedShapes(), oracle.as_on_the_gpu(), torch.device("meta"), kernels:
        tokens = work.tokens if recurrence is None else recurrence.segment_size
        model: Any = oracle.build(spec, replace(work, tokens=tokens))
        if recurrence is not None:
            model = oracle.wrap(model, work, recurrence)
        ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
        kernels.found.clear()

        def backward(loss: Any) -> None:
            with kernels.differentiating():
                torch.autograd.backward(loss)

        with oracle.autocast_of(work):
            if not work.train:
                with torch.no_grad():
                    model(ids) if recurrence else oracle.whole_pass(model, spec, ids, train=False)
                return kernels.found
            if recurrence is None:
                loss = oracle.whole_pass(model, spec, ids, train=True).loss
        if recurrence is not None:
            oracle.train_segments(model, spec, ids, backward, work)
        else:
            backward(loss)
    return kernels.found
