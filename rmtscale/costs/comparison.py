"""Methods side by side on one backbone: what each costs at each length, and who overtakes whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from rmtscale.costs.breakeven import LONGEST_TOKENS, below_for_good_tokens
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

    Break-evens are exact: methods that work in blocks may cross several times, and what is found
    is the length from which one stays below for good, that is up to 1e9 tokens.

    Raises:
        BadInput: a backbone that cannot have one of the methods, or a dtype that is not known.
    """
    estimates = {
        (method.name, length): estimate_method(model, length, method, dtype)
        for method in methods
        for length in tokens
    }
    found = []
    counted = {method.name: _Counted(model, method, dtype) for method in methods}
    for pair in combinations(counted.items(), 2):
        for quantity in QUANTITIES:
            costs = {name: partial(one.costs, quantity) for name, one in pair}
            less, more = sorted(costs, key=lambda name: costs[name]([LONGEST_TOKENS]))
            start = below_for_good_tokens(costs[less], costs[more])
            if start is not None:
                found.append(Overtaking(quantity, less, more, start))
    return Comparison(model, tuple(methods), tuple(tokens), dtype, estimates, tuple(found))


class _Counted:
    """The costs of one method at all lengths that were asked for."""

    def __init__(self, model: ModelSpec, method: Method, dtype: str) -> None:
        self._asked = model, method, dtype
        self._known: dict[int, dict[str, int]] = {}

    def costs(self, quantity: str, lengths: Sequence[int]) -> list[int]:
        """Returns a cost for each length."""
        unknown = [tokens for tokens in lengths if tokens not in self._known]
        if unknown:
            model, method, dtype = self._asked
            rows = estimate_method(model, unknown, method, dtype).rows()
            self._known.update(zip(unknown, rows, strict=True))
        return [self._known[tokens][quantity] for tokens in lengths]
