"""The page of Figure 2: both pictures, their numbers, and what every convention counts."""

from __future__ import annotations

from rmtscale.costs.conventions import CONVENTIONS, SOURCES
from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_2.claims import (
    MEMORY_TOKENS,
    MODELS,
    SEGMENT_SIZE,
    Series,
    check_claims,
    headline,
    our_points,
    paper_points,
    savings,
)
from rmtscale.study.figures.figure_2.drawing import Point, draw_conventions, draw_scaling
from rmtscale.tabular import csv_text, markdown_table


def make(figure: Figure, _sources: Sources) -> FigureReport:
    """Makes the figure from formulas alone."""
    ours, paper, by_convention = our_points(), paper_points(), savings()
    claims = check_claims(ours, paper)
    scaling = draw_scaling(ours, paper, {title: headline(title) for title in MODELS})
    return FigureReport(
        claims=claims,
        page=_page(figure, claims),
        files={
            **picture_files("figure-2", scaling),
            "figure-2.csv": _scaling_csv(ours, paper),
            **picture_files("conventions", draw_conventions(by_convention)),
            "conventions.csv": _savings_csv(by_convention),
        },
    )


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


def _page(figure: Figure, claims: list[Claim]) -> str:
    models = ("OPT-125M", "OPT-175B")
    conventions = markdown_table(
        ("convention", "what is counted", *(f"{model}, full / RMT" for model in models)),
        (
            (name, SOURCES[name], *(f"{headline(model, name):,.2f}" for model in models))
            for name in CONVENTIONS
        ),
    )
    return f"""# {figure.title}

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
