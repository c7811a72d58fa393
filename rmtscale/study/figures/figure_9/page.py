"""The page of Figure 9, and the trainings it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_9.claims import against_one_pass, answer, check_claims
from rmtscale.study.figures.figure_9.drawing import LAST, Prover, draw, provers
from rmtscale.study.figures.figure_9.table import proofs_table
from rmtscale.study.figures.language.claims import shown
from rmtscale.study.figures.language.groups import by_backbone
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.recipes import lean, quick_lean
from rmtscale.study.figures.language.runs import collect
from rmtscale.study.records.language import ALL
from rmtscale.study.training.language.settings import LEMMA_PROOF

TRAININGS = Trainings(full=lean, quick=quick_lean, task=LEMMA_PROOF)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of models that read theorems after their lemmas."""
    records = collect(figure, TRAININGS, sources)
    kinds = {name: provers(own) for name, own in by_backbone(records).items()}
    several = len(kinds) > 1
    claims, drawings, sections = [], {}, []
    for number, (backbone, models) in enumerate(kinds.items(), 1):
        name, headline = backbone if several else "", answer(models)
        picture = figure.name if number == 1 else f"{figure.name}-{number}"
        claims += check_claims(models, name)
        drawings[picture] = draw(models, f"{name}: {headline}" if several else headline)
        sections.append(_section(models, headline if several else "", picture, name))
    return figure_report(
        figure,
        sources,
        records,
        claims=claims,
        headline="" if several else headline,
        body="\n\n".join([EXPLAINED, *sections] if several else sections),
        drawings=drawings,
    )


def _one_pass(models: Sequence[Prover]) -> str:
    """Writes a paragraph on the price of cutting the text; none where no model read it uncut."""
    parts = (("all tokens", ALL), ("the last segment", LAST))
    differences = [
        f"{words} {shown(contrasts)}"
        for words, part in parts
        if (contrasts := against_one_pass(models, part))
    ]
    if not differences:
        return ""
    text = (
        "Memory, read at the segments of its training, less a model without memory that was "
        "trained on as many tokens and reads the same text in one pass (bits per byte): "
        f"{'; '.join(differences)}."
    )
    return f"{fill(text, 100)}\n\n"


EXPLAINED = """\
A sample is a theorem's statement, shuffled lemmas and its proof, cut in segments; irrelevant lemmas
fill the room, so more segments are more lemmas, not more of the proof. Above: loss of all
tokens and of the last segment, which has the proof in it. Below: the names of lemmas inside the
proof, with the lemma in the context and with another in its place (the same theorems, the same
proofs), and the difference, with intervals. All of a sample is scored: each model with memory is
held against the model without that was trained on as many segments, and so on as many targets."""


def _section(models: Sequence[Prover], headline: str, picture: str, name: str) -> str:
    """Writes what one backbone shows, under its name where there are several."""
    heading = f"## {name}\n\n{fill(f'**{headline}.**', 100)}\n\n" if name else ""
    explained = "" if name else f"{EXPLAINED}\n\n"
    return f"""{heading}![Losses of proofs and of names against segments read]({picture}.png)

{explained}{_one_pass(models)}{"###" if name else "##"} Numbers

{proofs_table(models).markdown()}"""
