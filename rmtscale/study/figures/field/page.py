"""The page of the field: a chart and a table a comparison, as in ``rmtscale compare``."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

from rmtscale.costs.comparison import Comparison, compare_methods
from rmtscale.costs.methods.catalog import methods_for
from rmtscale.report.claims import claims_table
from rmtscale.report.field import facts_table, overtaking_rows, verdict
from rmtscale.report.style import picture_files
from rmtscale.specs.catalog import PRESETS
from rmtscale.study.figures.field.claims import check_claims
from rmtscale.study.figures.field.drawing import draw
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.tabular import csv_text
from rmtscale.units import doubling_tokens

MODELS = {"decoders": "opt-1.3b", "encoders": "bert-large-cased"}
LENGTHS = doubling_tokens()


def make(figure: Figure, _sources: Sources) -> FigureReport:
    """Makes the figure from formulas alone, one comparison for each kind of backbone."""
    comparisons = {
        stem: compare_methods(PRESETS[name], methods_for(PRESETS[name]), LENGTHS)
        for stem, name in MODELS.items()
    }
    claims = check_claims(comparisons["decoders"])
    page = comparisons_page(
        figure.title, comparisons, "rmtscale reproduce field", f"{claims_table(claims)}\n"
    )
    return FigureReport(claims=claims, page=page, files=comparison_files(comparisons))


def comparison_files(comparisons: Mapping[str, Comparison]) -> dict[str, bytes | str]:
    """Makes the chart and the numbers of each comparison, named by its stem."""
    contents: dict[str, bytes | str] = {}
    for stem, comparison in comparisons.items():
        contents |= picture_files(stem, draw(comparison))
        contents[f"{stem}.csv"] = csv_text(comparison.rows())
        contents[f"{stem}-break-even.csv"] = csv_text(overtaking_rows(comparison))
    return contents


def comparisons_page(
    title: str, comparisons: Mapping[str, Comparison], command: str, claims: str | None = None
) -> str:
    """Writes the page that shows the files of the comparisons.

    Args:
        title: its heading.
        comparisons: by the stem of their files.
        command: the command line that made them.
        claims: the table of claims, where there are any.
    """
    intro = (
        f"Made by `{command}`. Analytic, nothing is measured here: FLOPs of a forward pass "
        "(`matmul` convention), state of one sequence. Only the sequence mixing is exchanged; "
        "width, depth, vocabulary and feed-forward stay. Every method says in "
        "`rmtscale/costs/methods/` what is counted, what is left out, and its settings. A "
        "line is thick up to the longest input that the method's own paper reports. Methods that "
        "work in blocks may cross several times: a break-even is the length from which one stays "
        "below the other for good, up to 1e9 tokens, and exact."
    )
    paragraphs = [f"# {title}\n\n{fill(intro, 100, break_on_hyphens=False)}\n"]
    if claims is not None:
        paragraphs.append(claims)
    for stem, comparison in comparisons.items():
        paragraphs.append(
            f"## {comparison.model.name}\n\n![FLOPs per token and state against length]({stem}.png)"
            f"\n\n{fill(verdict(comparison), 100)}\n\n{facts_table(comparison)}\n\n"
            f"Data: [{stem}.csv]({stem}.csv), [{stem}-break-even.csv]({stem}-break-even.csv).\n"
        )
    return "\n".join(paragraphs)
