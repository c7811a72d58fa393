"""The page of Figure 8, and the trainings it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_8.claims import answer, answer_costs, check_claims
from rmtscale.study.figures.figure_8.cost_quality import draw as draw_costs
from rmtscale.study.figures.figure_8.drawing import draw
from rmtscale.study.figures.figure_8.table import cost_table
from rmtscale.study.figures.language.groups import InputSize, input_sizes
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.recipes import latex_sizes, quick_latex
from rmtscale.study.figures.language.runs import collect

TRAININGS = Trainings(full=latex_sizes, quick=quick_latex)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes both pictures from records of models that were trained on mixed lengths."""
    records = collect(figure, TRAININGS, sources)
    sizes = input_sizes(records, mixing=True)
    headline, costs = answer(sizes), answer_costs(sizes)
    return figure_report(
        figure,
        sources,
        records,
        claims=check_claims(records),
        headline=headline,
        body=_body(sizes, costs),
        drawings={figure.name: draw(sizes, headline), "cost-quality": draw_costs(sizes, costs)},
    )


def _how_long_tokens_are(sizes: Sequence[InputSize]) -> str:
    """Says what a position's bits per byte are worked out with, of each input size."""
    wholes = [size.records[0].whole for size in sizes]
    means = dict.fromkeys(f"{sum(one.text_bytes) / one.total_tokens:.2f}" for one in wholes)
    text = (
        "Records hold how many bytes documents have, not what stands at each position: every "
        f"token is taken as long as the mean of all ({' and '.join(means)} bytes). Means over all "
        "positions are exact, and so are ratios at any one."
    )
    return fill(text, 100)


def _compared_with(sizes: Sequence[InputSize]) -> str:
    """Says which models without memory the headline and the claims are about."""
    own = dict.fromkeys(f"context {one.own_context}" for one in sizes if one.own_context)
    text = (
        'The headline and what is said to be "without memory" compare two segments read with a '
        "model that sees as many true tokens as memory takes positions"
    )
    text += f" ({' and '.join(own)})" if own else ""
    text += '; "without memory and context" is the model that sees the block alone.'
    return fill(text, 100)


def _body(sizes: Sequence[InputSize], costs: str) -> str:
    tables = "\n\n".join(
        f"### {size_name(size, sizes).capitalize()}\n\n{cost_table(size).markdown()}"
        for size in sizes
    )
    return f"""![Loss by position in the block](figure-8.png)

Thick lines are means over bins of equal width on the log axis, thin ones the positions themselves;
both are means over seeds. "Context" is how many true tokens a model without memory sees before the
block. FLOPs are those of a forward pass (`matmul`), all segments that were read among them, over
the tokens scored.

{_compared_with(sizes)}

{_how_long_tokens_are(sizes)}

## Cost and quality

{fill(f"**{costs}.**", 100)}

![Loss against FLOPs and time for each token](cost-quality.png)

Numbers beside the points: tokens of context, segments read. Filled diamonds pay for reading the
whole history again for each block. In a stream the history was read once, when it came, and its
state is at hand: then each block costs one segment, however much the memory holds (hollow). A
model without memory could keep keys and values in a stream, at a state that grows with its
context; that was not measured. Time is that of the evaluation, at its batch size.

{tables}"""
