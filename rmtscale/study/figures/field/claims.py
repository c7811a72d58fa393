"""The whole field on one chart: the designs that the paper argues against in words. Analytic.

One backbone of each kind, a decoder and an encoder, and every method that it can have. Claims of
the paper that need no GPU: full attention is quadratic, RMT linear with a state that does not
grow, and what it is put around may be pretrained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.costs.comparison import Comparison, compare_methods
from rmtscale.costs.methods.catalog import methods_for
from rmtscale.files import require_writable, write_whole
from rmtscale.report.claims import Claim, claims_table, within
from rmtscale.report.field import estimate_rows, facts_table, overtaking_rows, verdict
from rmtscale.report.figures.field import draw_field
from rmtscale.report.style import render
from rmtscale.specs.catalog import PRESETS
from rmtscale.tabular import csv_text
from rmtscale.units import doubling_tokens

MODELS = {"decoders": "opt-1.3b", "encoders": "bert-large-cased"}
LENGTHS = doubling_tokens()


def file_names(stems: Sequence[str]) -> list[str]:
    """What is written for each comparison, and the page that shows them."""
    kinds = (".png", ".svg", ".csv", "-break-even.csv")
    return [f"{stem}{kind}" for stem in stems for kind in kinds] + ["README.md"]


def run(folder: Path, *, force: bool = False) -> list[Claim]:
    """Writes both comparisons into ``folder``; returns the claims, checked.

    Raises:
        BadInput: a file is there already and ``force`` is not set, or cannot be written.
    """
    require_writable([folder / name for name in file_names(list(MODELS))], force=force)
    comparisons = {
        stem: compare_methods(PRESETS[name], methods_for(PRESETS[name]), LENGTHS)
        for stem, name in MODELS.items()
    }
    claims = check_claims(comparisons["decoders"])
    write_comparisons(folder, comparisons, "rmtscale reproduce field", f"{claims_table(claims)}\n")
    return claims


def check_claims(comparison: Comparison) -> list[Claim]:
    """The growth of full attention and of RMT between the two greatest lengths."""
    last = comparison.tokens[-2:]

    def exponent(name: str, quantity: str) -> float:
        costs = [comparison.cost(name, tokens, quantity) for tokens in last]
        return math.log(costs[1] / costs[0]) / math.log(last[1] / last[0])

    longest = max(
        (method for method in comparison.methods if method.pretrained and method.reported),
        key=lambda method: method.reported.tokens if method.reported else 0,
    )
    recurrent = longest.name in ("rmt", "armt")
    return [
        within("full attention: FLOPs grow with exponent", 2, exponent("full", "flops"), 0.02),
        within("RMT: FLOPs grow with exponent", 1, exponent("rmt", "flops"), 0.001),
        within("RMT: state grows with exponent", 0, exponent("rmt", "state_bytes"), 0),
        Claim(
            "longest reported input on pretrained weights",
            "RMT's",
            longest.title,
            "pass" if recurrent else "fail",
        ),
    ]


def write_comparisons(
    folder: Path, comparisons: dict[str, Comparison], command: str, claims: str = ""
) -> None:
    """Figures, data and a page for each comparison; ``require_writable`` comes first."""
    intro = (
        f"Made by `{command}`. Analytic, nothing is measured here: FLOPs of a forward pass "
        "(`matmul` convention), state of one sequence. Only the sequence mixing is exchanged; "
        "width, depth, vocabulary and feed-forward stay. Every method says in "
        "`rmtscale/costs/methods/` what is counted, what is left out, and its settings. A "
        "line is thick up to the longest input that the method's own paper reports."
    )
    page = [
        f"# The field: ways to a long input on one backbone\n\n{fill(intro, 100)}\n",
        *([claims] if claims else []),
    ]
    for stem, comparison in comparisons.items():
        images = render(draw_field(comparison))
        for kind, content in images.items():
            write_whole(folder / f"{stem}.{kind}", content)
        write_whole(folder / f"{stem}.csv", csv_text(estimate_rows(comparison)))
        write_whole(folder / f"{stem}-break-even.csv", csv_text(overtaking_rows(comparison)))
        page.append(
            f"## {comparison.model.name}\n\n![FLOPs per token and state against length]({stem}.png)"
            f"\n\n{fill(verdict(comparison), 100)}\n\n{facts_table(comparison)}\n\n"
            f"Data: [{stem}.csv]({stem}.csv), [{stem}-break-even.csv]({stem}-break-even.csv).\n"
        )
    write_whole(folder / "README.md", "\n".join(page))
