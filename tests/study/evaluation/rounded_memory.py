"""Evaluates with the memory rounded after each segment, as storing it in a few bits would.

``python -m tests.study.evaluation.rounded_memory 0.4 evaluate CHECKPOINT --segments 1024``.

What stands behind the width is given to ``rmtscale``. Each number of the memory is rounded to the
nearest multiple of the width, which takes the place of a dead band. Records know nothing of it and
say dead band 0, so that ``--out`` has to name a file of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor

from rmtscale.rmt import base


def rounded(values: Tensor, width: float) -> Tensor:
    return (values / width).round() * width


@contextmanager
def memory_on_a_grid(width: float) -> Iterator[None]:
    """Rounds what every RMT hands from one segment to the next."""

    def hand_over(_: Tensor, new_BMD: Tensor, __: object) -> Tensor:
        return rounded(new_BMD, width)

    with mock.patch.object(base, "apply_dead_band", hand_over):
        yield


def main(arguments: list[str]) -> None:
    from rmtscale.cli.main import main as rmtscale

    width, *given = arguments
    with memory_on_a_grid(float(width)):
        rmtscale(given)


if __name__ == "__main__":
    main(sys.argv[1:])
