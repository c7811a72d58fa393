"""Keeps ``torch.compile`` from the loop over segments: the segment step is what it compiles.

The loop over the segments depends on the length of the input: unrolled into a graph, every length
makes one anew, until torch gives up after eight. A step does not depend on it. So the loop, and
what is worked out on the host for it, runs as plain Python, with or without ``torch.compile``
around the model; ``step`` is compiled, once for all lengths of a segment but one token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

_Run = TypeVar("_Run", bound=Callable[..., object])


def run_plainly(function: _Run) -> _Run:
    """Runs ``function`` as Python; what it calls may be compiled."""
    skipped: _Run = torch.compiler.disable(function, recursive=False)  # type: ignore[no-untyped-call]
    return skipped


def never_compiled(function: _Run) -> _Run:
    """Runs ``function`` and everything that it calls as Python."""
    plain: _Run = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return plain


@never_compiled
def of_any_length(values: Tensor) -> Tensor:
    """Returns ``values``, of which one graph is to hold for all sizes of the second dimension."""
    from torch._dynamo import maybe_mark_dynamic

    maybe_mark_dynamic(values, 1)
    return values
