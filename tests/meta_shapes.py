"""Operators on ``meta`` whose answer is remembered: the same shapes in, the same shapes out.

Much of torch works out shapes in Python, half a millisecond an operator. A real module runs the
same few operators on the same few shapes, layer by layer and segment by segment.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import is_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

META = torch.device("meta")
PLAIN = (torch.Tensor, torch.nn.Parameter)
Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]
_operators: dict[int, tuple[Any, bool]] = {}
"""Operators by their id, as hashing one takes longer than all else here; and whether all that it
returns is new: no view, nothing written in place."""
_remembered: dict[Any, Layout | tuple[Layout, ...] | None] = {}
"""Of an operator and its arguments: the layouts of what comes out, None if that is something else
than tensors that each fill a storage of their own."""


class RememberedShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs an operator on ``meta`` once for each layout of its inputs.

    Modes within this one see every operator as before.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.saved = 0
        """Operators that were not run."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        number = id(func)
        if number not in _operators:
            new = all(one.alias_info is None for one in func._schema.returns)
            _operators[number] = func, new
        if not _operators[number][1]:
            return func(*args, **kwargs)
        try:
            # What is made of plain numbers has the default dtype.
            key = (number, torch.get_default_dtype(), _layouts(args), _layouts(kwargs.items()))
            known = key in _remembered
        except TypeError:  # an input elsewhere than on meta, or one that cannot be a key
            return func(*args, **kwargs)
        if not known:
            out = func(*args, **kwargs)
            several = type(out) is tuple
            given = {
                id(one.untyped_storage()) for one in tree_iter((args, kwargs)) if is_tensor(one)
            }
            found = tuple(_layout(one, given) for one in (out if several else (out,)))
            made = tuple(one for one in found if one is not None)
            whole = len(made) == len(found)
            _remembered[key] = (made if several else made[0]) if whole else None
            return out
        layouts = _remembered[key]
        if layouts is None:
            return func(*args, **kwargs)
        self.saved += 1
        if isinstance(layouts[0], torch.Size):
            return _make(*layouts)
        return tuple(_make(*layout) for layout in layouts)


def _layouts(values: Any) -> tuple[Any, ...]:
    """Arguments, with its layout in the place of each tensor.

    Raises:
        TypeError: a tensor that is not a plain one on ``meta``.
    """
    parts: list[Any] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            if not value.is_meta or type(value) not in PLAIN:
                raise TypeError(value.device)
            parts.append((value.shape, value.stride(), value.dtype, value.storage_offset()))
        elif isinstance(value, tuple | list):
            parts.append(_layouts(value))
        else:
            parts += (type(value), value)
    return tuple(parts)


def _layout(result: Any, given: set[int]) -> Layout | None:
    """How to make a result again; None unless it is a tensor that fills a storage of its own.

    Args:
        given: storages of the inputs, which a few operators return without saying so.
    """
    if type(result) is not torch.Tensor or not result.is_meta or result.storage_offset():
        return None
    if id(result.untyped_storage()) in given:
        return None
    layout = (result.shape, result.stride(), result.dtype)
    again = _make(*layout).untyped_storage().nbytes()
    return layout if again == result.untyped_storage().nbytes() else None


def _make(shape: Any, stride: Any, dtype: Any) -> torch.Tensor:
    made: torch.Tensor = torch.ops.aten.empty_strided.default(
        shape, stride, dtype=dtype, device=META
    )
    return made
