"""Figure 2 of the paper: FLOPs of full attention and RMT up to 2,048,000 tokens. Analytic.

Claims: every point of the figure, and a saving of x295.07 for OPT-125M and x29.02 for OPT-175B at
2,048,000 tokens, all under the ``paper`` convention (memory tokens free). What the other
conventions say, memory tokens included, is a second figure.
"""

from __future__ import annotations

from pathlib import Path

from rmtscale.costs.conventions import CONVENTIONS, SOURCES
from rmtscale.costs.flops import estimate_flops
from rmtscale.files import require_writable, write_whole
from rmtscale.report.claims import Claim, claims_table, within
from rmtscale.report.style import render
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.study.figures.figure_2.drawing import (
    QUADRATIC_SERIES,
    RMT_SERIES,
    Point,
    draw_conventions,
    draw_scaling,
)
from rmtscale.study.figures.published import published_rows
from rmtscale.tabular import csv_text, markdown_table
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
"""Of the second figure; in the paper's own convention memory costs nothing."""
LENGTHS = doubling_tokens()
HEADLINES = {
    "OPT-125M": 295.07,
    "OPT-1.3B": 154.4,
    "OPT-6.7B": 81.6,
    "OPT-30B": 48.4,
    "OPT-175B": 29.02,
}
"""Full / RMT at 2,048,000 tokens. The text prints 295 for the smallest and calls it 135M."""
FILES = (
    "figure-2.png",
    "figure-2.svg",
    "figure-2.csv",
    "conventions.png",
    "conventions.svg",
    "conventions.csv",
    "README.md",
)

Series = dict[str, list[Point]]


def paper_points() -> Series:
    """The points of the published figure, by series; lengths in both panels stand once."""
    points: dict[str, dict[int, float]] = {}
    for row in published_rows("figure_2/published.csv"):
        points.setdefault(row["series"], {})[int(row["tokens"])] = float(row["xFLOPs"])
    return {
        series: [Point(*item) for item in sorted(values.items())]
        for series, values in points.items()
    }


def our_points() -> Series:
    """The same series from the ``paper`` convention, FLOPs of 512 tokens = 1."""
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
    """Full / RMT by (model, convention), memory tokens as each convention counts them."""
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
    """Every point of the figure within 2e-4, and the headline ratios."""
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
    """Full / RMT at the longest length."""
    recurrence = Recurrence(SEGMENT_SIZE, MEMORY_TOKENS)
    full = _flops(title, LENGTHS[-1], None, convention)
    return full / _flops(title, LENGTHS[-1], recurrence, convention)


def run(folder: Path, *, force: bool = False) -> list[Claim]:
    """Writes figures, data and a README into ``folder``; returns the claims, checked.

    Raises:
        BadInput: a file is there already and ``force`` is not set, or cannot be written.
    """
    require_writable([folder / name for name in FILES], force=force)
    ours, paper, by_convention = our_points(), paper_points(), savings()
    claims = check_claims(ours, paper)
    scaling = render(draw_scaling(ours, paper, {title: headline(title) for title in MODELS}))
    conventions = render(draw_conventions(by_convention))
    contents: dict[str, bytes | str] = {
        "figure-2.png": scaling["png"],
        "figure-2.svg": scaling["svg"],
        "figure-2.csv": _scaling_csv(ours, paper),
        "conventions.png": conventions["png"],
        "conventions.svg": conventions["svg"],
        "conventions.csv": _savings_csv(by_convention),
        "README.md": _readme(claims),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return claims


def _flops(
    title: str, tokens: int, recurrence: Recurrence | None = None, convention: str = "paper"
) -> int:
    model = PRESETS[MODELS[title]]
    return estimate_flops(model, Workload(tokens=tokens), recurrence, convention).total


def _scaling_csv(ours: Series, paper: Series) -> str:
    rows = []
    for series, points in ours.items():
        published = {point.tokens: point.value for point in paper[series]}
        rows += [
            {
                "series": series,
                "tokens": tokens,
                "relative_flops": f"{value:.6g}",
                "paper_relative_flops": published.get(tokens),
            }
            for tokens, value in points
        ]
    return csv_text(rows)


def _savings_csv(by_convention: dict[tuple[str, str], list[Point]]) -> str:
    return csv_text(
        {
            "model": title,
            "convention": convention,
            "tokens": tokens,
            "full_over_rmt_flops": f"{value:.6g}",
        }
        for (title, convention), points in by_convention.items()
        for tokens, value in points
    )


def _readme(claims: list[Claim]) -> str:
    models = ("OPT-125M", "OPT-175B")
    conventions = markdown_table(
        ("convention", "what is counted", *(f"{model}, full / RMT" for model in models)),
        (
            (name, SOURCES[name], *(f"{headline(model, name):,.2f}" for model in models))
            for name in CONVENTIONS
        ),
    )
    return f"""# Figure 2: what a long input costs, full attention against RMT

Made by `rmtscale reproduce figure-2`. FLOPs of a forward pass; analytic, nothing is measured here.

![FLOPs against length](figure-2.png)

Lines are rmtscale's `paper` convention, circles the points of the published figure (Bulatov et
al. 2024, arXiv 2304.11062). ÷ is full attention over RMT at 2,048,000 tokens.

{claims_table(claims)}

## What the other conventions say

![Full attention over RMT under four conventions](conventions.png)

The figure counts memory as free. With segments of {SEGMENT_SIZE} that hold {MEMORY_TOKENS} memory
tokens twice (read and write), {SEGMENT_SIZE - 2 * MEMORY_TOKENS} tokens of text are left in each:

{conventions}

Data: [figure-2.csv](figure-2.csv), [conventions.csv](conventions.csv).
"""
