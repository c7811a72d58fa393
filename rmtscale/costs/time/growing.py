"""Kernels of one kind of pass at any length, worked out at a few lengths only.

A pass launches the same kernels at every length, and each goes through as many numbers as the
length, its square, and a constant give. So three lengths are written down on tapes, a fourth is
held against what follows from them, and every other length is arithmetic: neither tape nor sum is
made anew. Lengths that are a multiple of ``ALIGNED_NUMBERS`` are one family and those that are not
another, as are short and long rows of a softmax: within a family the kinds of kernels are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rmtscale.costs.time.kernels import ALIGNED_NUMBERS, LONG_ROW, Kernel, KernelList, Stream

_STEP = 64
"""Between the lengths that are worked out: a multiple of all that tensors are cut into."""
_TRIED = 3
"""The length that is held against the others, in steps behind the first."""


class Term(NamedTuple):
    """A field of a kernel as ``constant + length * (linear + length * square)``."""

    field: int
    constant: int
    linear: int
    square: int


class GrowingKernel(NamedTuple):
    """A kernel of which some fields grow."""

    base: Kernel
    """Fields that do not grow; those that do are 0."""
    terms: tuple[Term, ...]

    def at(self, length: int) -> Kernel:
        """Returns the kernel at a length."""
        fields = list(self.base)
        for field, constant, linear, square in self.terms:
            fields[field] = constant + length * (linear + length * square)
        return type(self.base)._make(fields)

    def term(self, field: int) -> Term:
        """Returns how a field grows, whether or not it does."""
        for one in self.terms:
            if one.field == field:
                return one
        return Term(field, self.base[field], 0, 0)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class GrowingList:
    """Kernels one after another, as the length has them."""

    growing: tuple[GrowingKernel, ...]


class GrownList(NamedTuple):
    """A growing list at one length; used like a ``KernelList``."""

    of: GrowingList
    length: int

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(one.at(self.length) for one in self.of.growing)

    @property
    def launched(self) -> int:
        """How many kernels there are."""
        return len(self.of.growing)


Listed = KernelList | GrownList


class Lengths:
    """One kind of pass at any length.

    Args:
        made: its lists of kernels at a length, as tapes have them; None where they do not grow.
        least: a length from which on the pass is one.
    """

    def __init__(self, made: Callable[[int], Sequence[Listed] | None], least: int) -> None:
        self._made = made
        self._least = least
        self._families: dict[tuple[bool, bool], tuple[GrowingList, ...] | None] = {}

    def at(self, length: int) -> Sequence[Listed] | None:
        """Returns the lists at a length; None where they do not grow."""
        family = (bool(length % ALIGNED_NUMBERS), length > LONG_ROW)
        if family not in self._families:
            self._families[family] = self._grown(*family)
        grown = self._families[family]
        if grown is not None:
            return [GrownList(one, length) for one in grown]
        return self._made(length)

    def _grown(self, odd: bool, long: bool) -> tuple[GrowingList, ...] | None:
        """The lists of a family; None where they do not grow as a polynomial."""
        first = _STEP * (1 + -(-self._least // _STEP)) + odd
        if long:
            first = max(first, LONG_ROW + _STEP + odd)
        lengths = [first + step * _STEP for step in range(_TRIED + 1)]
        if not long and lengths[-1] > LONG_ROW:
            return None
        made = [self._made(length) for length in lengths]
        if any(one is None for one in made):
            return None
        found: list[GrowingList] = []
        known: dict[tuple[int, ...], GrowingList] = {}
        for lists in zip(*made, strict=True):
            same = tuple(map(id, lists))
            if same not in known:
                *three, tried = (one.kernels for one in lists)
                grown = _list_through(first, three)
                if grown is None or GrownList(grown, lengths[-1]).kernels != tried:
                    return None
                known[same] = grown
            found.append(known[same])
        return tuple(found)


def _list_through(first: int, three: Sequence[Sequence[Kernel]]) -> GrowingList | None:
    if len({len(one) for one in three}) != 1:
        return None
    found = [_kernel_through(first, *kernels) for kernels in zip(*three, strict=True)]
    return GrowingList(tuple(one for one in found if one is not None)) if all(found) else None


def _kernel_through(first: int, *three: Kernel) -> GrowingKernel | None:
    one, other, last = three
    if not type(one) is type(other) is type(last):
        return None
    base: list[object] = list(one)
    terms = []
    for field, (a, b, c) in enumerate(zip(one, other, last, strict=True)):
        if a == b == c:
            continue
        if not (type(a) is type(b) is type(c) is int):
            return None
        square, rest = divmod(c - 2 * b + a, 2 * _STEP**2)
        linear, more = divmod(b - a - square * _STEP * (2 * first + _STEP), _STEP)
        if rest or more:
            return None
        terms.append(Term(field, a - first * (linear + first * square), linear, square))
        base[field] = 0
    return GrowingKernel(type(one)._make(base), tuple(terms))


MOVED, NUMBERS = Stream._fields.index("moved_bytes"), Stream._fields.index("numbers")
"""Fields of a stream that may grow."""
