"""Methods side by side on one backbone: what each costs at each length, and who overtakes whom."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.breakeven import LONGEST_TOKENS, growing_steps
from rmtscale.costs.method_estimates import MethodEstimate, estimate_method
from rmtscale.costs.methods.catalog import find_method, methods_for, with_segments
from rmtscale.costs.methods.method import Method
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.tabular import Printed, to_frame
from rmtscale.units import format_bytes, format_flops, format_tokens

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("flops", "state_bytes")


class Overtaking(NamedTuple):
    """From ``tokens`` on, up to 1e9, ``less`` stays below ``more``; 1 is from the start."""

    quantity: str
    """``flops`` or ``state_bytes``."""
    less: str
    more: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Comparison(Printed):
    """Costs by method and length, in the order asked for."""

    model: ModelSpec
    methods: tuple[Method, ...]
    tokens: tuple[int, ...]
    dtype: str
    estimates: dict[tuple[str, int], MethodEstimate]
    """Estimates by name of the method and length."""
    overtakings: tuple[Overtaking, ...]
    """Where one of any two methods stays below the other in the end; equal ones have none."""

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Returns a row for each method and length, as text."""
        rows = [
            [
                method.name,
                format_tokens(tokens),
                format_flops(self.cost(method.name, tokens)),
                format_bytes(self.cost(method.name, tokens, "state_bytes")),
            ]
            for method in self.methods
            for tokens in self.tokens
        ]
        return ["method", "tokens", "FLOPs", "state"], rows

    def cost(self, method: str, tokens: int, quantity: str = "flops") -> int:
        return int(getattr(self.estimates[method, tokens], quantity))

    def least(self, quantity: str, names: Sequence[str] | None = None) -> str:
        """The method that needs least at the greatest length, of ``names`` or of all."""
        among = [method.name for method in self.methods] if names is None else names
        return min(among, key=lambda name: self.cost(name, self.tokens[-1], quantity))

    def overtaking(self, quantity: str, first: str, second: str) -> Overtaking | None:
        """Who of the two is below the other in the end, and from where on."""
        for found in self.overtakings:
            if found.quantity == quantity and {found.less, found.more} == {first, second}:
                return found
        return None

    def rows(self) -> list[dict[str, object]]:
        """Returns a row of plain numbers for each method and length, units in the keys."""
        return [
            {
                "model": self.model.name,
                "method": method.name,
                "tokens": tokens,
                "dtype": self.dtype,
                "flops": self.cost(method.name, tokens),
                "state_bytes": self.cost(method.name, tokens, "state_bytes"),
                "activation_bytes": self.cost(method.name, tokens, "activation_bytes"),
                "pretrained": method.pretrained,
                "reported_tokens": method.reported.tokens if method.reported else None,
                "source": method.reported.source if method.reported else method.source,
            }
            for method in self.methods
            for tokens in self.tokens
        ]

    def to_frame(self) -> pd.DataFrame:
        """Returns ``rows`` as a frame."""
        return to_frame(self.rows())


def select_methods(names: str, model: ModelSpec, recurrence: Recurrence) -> tuple[Method, ...]:
    """The methods of a comma-separated list, or ``all`` that the backbone can have.

    RMTs get the segments of ``recurrence``.

    Raises:
        BadInput: an unknown method, one that the backbone cannot have, or none.
    """
    if names == "all":
        chosen = methods_for(model)
    else:
        wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
        if not wanted:
            raise BadInput(f"methods {names!r}: expected a list such as full,rmt,mamba, or all")
        chosen = [find_method(name, model) for name in wanted]
    return tuple(with_segments(method, recurrence) for method in chosen)


def compare_methods(
    model: ModelSpec, methods: Sequence[Method], tokens: Sequence[int], dtype: str = "bf16"
) -> Comparison:
    """Every method at every length, and the break-even length of any two.

    A break-even is found on a grid of growing steps and then by bisection. Costs of methods that
    work in blocks rise in steps, and two of them may cross several times before one stays below:
    what is found is one of these crossings, between two steps of the grid.

    Raises:
        BadInput: a backbone that cannot have one of the methods, or a dtype that is not known.
    """
    estimates = {
        (method.name, length): estimate_method(model, length, method, dtype)
        for method in methods
        for length in tokens
    }
    grid = [tokens for tokens in growing_steps(LONGEST_TOKENS) if tokens]
    on_grid = {method.name: estimate_method(model, grid, method, dtype) for method in methods}
    found = []
    for first, second in combinations(methods, 2):
        for quantity in QUANTITIES:
            costs = [list(getattr(on_grid[method.name], quantity)) for method in (first, second)]
            if costs[0][-1] == costs[1][-1]:
                continue
            less, more = (first, second) if costs[0][-1] < costs[1][-1] else (second, first)
            if less is second:
                costs.reverse()
            length = _first_below(model, less, more, quantity, dtype, grid, *costs)
            found.append(Overtaking(quantity, less.name, more.name, length))
    return Comparison(model, tuple(methods), tuple(tokens), dtype, estimates, tuple(found))


def _first_below(
    model: ModelSpec,
    less: Method,
    more: Method,
    quantity: str,
    dtype: str,
    grid: list[int],
    lower: list[int],
    upper: list[int],
) -> int:
    """The smallest length behind the last one of the grid where ``less`` is not below."""
    dearer = [tokens for tokens, low, high in zip(grid, lower, upper, strict=True) if low >= high]
    if not dearer:
        return 1

    def below(tokens: int) -> bool:
        low, high = (estimate_method(model, tokens, method, dtype) for method in (less, more))
        return bool(getattr(low, quantity) < getattr(high, quantity))

    behind = range(max(dearer), LONGEST_TOKENS)
    return behind.start + bisect_left(behind, True, key=below)
