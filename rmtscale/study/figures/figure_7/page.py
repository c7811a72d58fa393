"""The page of Figure 7, and the trainings it is made from."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_7.claims import answer, check_claims, sizes_of
from rmtscale.study.figures.figure_7.drawing import draw
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import size_name
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.published import counterpart, published
from rmtscale.study.figures.language.recipes import latex_sizes, quick_latex
from rmtscale.study.figures.language.runs import collect
from rmtscale.study.figures.language.tables import losses_table

TRAININGS = Trainings(full=latex_sizes, quick=quick_latex)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of models that were trained on mixed lengths."""
    records = collect(figure, TRAININGS, sources)
    paper, sizes = published(), sizes_of(records)
    beside = {size.segment_size: curves for size in sizes if (curves := counterpart(size, paper))}
    headline = answer(sizes)
    return figure_report(
        figure,
        sources,
        records,
        claims=check_claims(records, paper),
        headline=headline,
        body=_body(sizes),
        drawings={figure.name: draw(sizes, beside, headline)},
    )


def _body(sizes: Sequence[InputSize]) -> str:
    tables = "\n\n".join(
        f"## {size_name(size, sizes).capitalize()}\n\n{losses_table(size).markdown()}"
        for size in sizes
    )
    return f"""![Loss against segments read](figure-7.png)

Above: bits per byte of the target block, which is the last of the segments read; perplexity beside
it. A line is the mean over seeds, thin lines are the seeds. Orange: the model without memory, which
sees so many tokens before the block. Middle: the same as change against the model without memory
that has no more positions than a segment, with intervals. Below: the paper's (another model, text
and tokenizer), so only changes against its own GPT-2 can be set beside ours.

{tables}"""
