"""Figure 2 of the paper: FLOPs of full attention and RMT up to 2,048,000 tokens. Analytic.

Claims: every point of the figure, and a saving of x295.07 for OPT-125M and x29.02 for OPT-175B at
2,048,000 tokens, all under the ``paper`` convention (memory tokens free). What the other
conventions say, memory tokens included, is a second figure.
"""

from __future__ import annotations

from rmtscale.costs.conventions import CONVENTIONS
from rmtscale.costs.flops import estimate_flops
from rmtscale.report.claims import Claim, within
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.study.figures.figure_2.drawing import (
    QUADRATIC_SERIES,
    RMT_SERIES,
    Point,
)
from rmtscale.study.figures.published_points import published_rows
from rmtscale.units import doubling_tokens

MODELS = {
    "OPT-125M": "opt-125m",
    "OPT-1.3B": "opt-1.3b",
    "OPT-6.7B": "opt-6.7b",
    "OPT-30B": "opt-30b",
    "OPT-175B": "opt-175b",
}
SEGMENT_SIZE = 512
MEMORY_TOKENS = 10
"""Memory tokens of the second picture; in the paper's own convention they cost nothing."""
LENGTHS = doubling_tokens()
HEADLINES = {
    "OPT-125M": 295.07,
    "OPT-1.3B": 154.4,
    "OPT-6.7B": 81.6,
    "OPT-30B": 48.4,
    "OPT-175B": 29.02,
}
"""Full / RMT at 2,048,000 tokens. The text prints 295 for the smallest and calls it 135M."""

Series = dict[str, list[Point]]


def paper_points() -> Series:
    """Returns the points of the published figure by series; lengths in both panels stand once."""
    points: dict[str, dict[int, float]] = {}
    for row in published_rows("figure_2"):
        points.setdefault(row["series"], {})[int(row["tokens"])] = float(row["xFLOPs"])
    return {
        series: [Point(*item) for item in sorted(values.items())]
        for series, values in points.items()
    }


def our_points() -> Series:
    """Computes the same series in the ``paper`` convention, FLOPs of 512 tokens = 1."""
    series = {
        title: [Point(tokens, _flops(title, tokens) / _flops(title, 512)) for tokens in LENGTHS]
        for title in MODELS
    }
    # In units of one segment an RMT of any size is the same line; OPT-125M stands for all.
    segment = _flops("OPT-125M", 512)
    series[RMT_SERIES] = [
        Point(tokens, _flops("OPT-125M", tokens, Recurrence(SEGMENT_SIZE, 0)) / segment)
        for tokens in LENGTHS
    ]
    series[QUADRATIC_SERIES] = [
        Point(tokens, tokens / 512 + (tokens / 512) ** 2 / 10) for tokens in LENGTHS
    ]
    return series


def savings() -> dict[tuple[str, str], list[Point]]:
    """Computes full / RMT by (model, convention); each convention counts memory its own way."""
    recurrence = Recurrence(SEGMENT_SIZE, MEMORY_TOKENS)
    return {
        (title, convention): [
            Point(
                tokens,
                _flops(title, tokens, None, convention)
                / _flops(title, tokens, recurrence, convention),
            )
            for tokens in LENGTHS
        ]
        for title in ("OPT-125M", "OPT-175B")
        for convention in CONVENTIONS
    }


def check_claims(ours: Series, paper: Series) -> list[Claim]:
    """Checks every point of the figure within 2e-4, and the headline ratios."""
    claims = []
    for series, points in paper.items():
        values = {point.tokens: point.value for point in ours[series]}
        worst = max(abs(values[point.tokens] / point.value - 1) for point in points)
        claims.append(
            Claim(
                f"{series}: worst of {len(points)} points",
                "2e-4",
                f"off by {worst:.1e}",
                "pass" if worst <= 2e-4 else "fail",
                "2e-4 relative",
            )
        )
    for title, ratio in HEADLINES.items():
        value = headline(title)
        # Half a unit of the last digit that is printed.
        rounding = 0.5 * 10.0 ** -len(str(ratio).partition(".")[2]) / ratio
        claims.append(within(f"{title}: full / RMT at 2,048,000 tokens", ratio, value, rounding))
    return claims


def headline(title: str, convention: str = "paper") -> float:
    """Computes full / RMT at the longest length."""
    recurrence = Recurrence(SEGMENT_SIZE, MEMORY_TOKENS)
    full = _flops(title, LENGTHS[-1], None, convention)
    return full / _flops(title, LENGTHS[-1], recurrence, convention)


def _flops(
    title: str, tokens: int, recurrence: Recurrence | None = None, convention: str = "paper"
) -> int:
    model = PRESETS[MODELS[title]]
    return estimate_flops(model, Workload(tokens=tokens), recurrence, convention).total
