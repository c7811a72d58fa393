"""Figure 12 of the paper: a curriculum of fixed lengths against one that mixes them. Measured.

Claims: a model that was trained on mixed numbers of segments is better at one segment, and at many
it extrapolates at least as well. Paired by document, the same trained segments and seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.report.style import render
from rmtscale.study.figures.figure_12.drawing import draw
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher
from rmtscale.study.figures.language.groups import InputSize, difference, input_sizes
from rmtscale.study.figures.language.lines import Published
from rmtscale.study.figures.language.page import (
    FIXED,
    LANGUAGE_MODELING,
    MIXING,
    counterpart,
    page,
    published,
    running,
    write_page,
)
from rmtscale.study.figures.language.tables import losses_table
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_loss, format_percent

NAME = "figure-12"
WAYS = {"fixed": FIXED, "mixing": MIXING}
"""Ours, and how the paper's points name it."""

Ways = Mapping[str, InputSize]


def write(folder: Path, records: Sequence[LanguageRecord], *, force: bool = False) -> list[Claim]:
    """Everything that is made of the records; the claims, checked."""
    paper = paper_curves()
    ours = by_way(records)
    claims = check_claims(records, paper)
    size = next(iter(ours.values()))
    shown = paper if counterpart(size, {128: paper["mixing"]}) else {}
    said = answer(ours)
    pictures = {NAME: render(draw(ours, shown, said))}
    title = "Figure 12: fixed lengths in training against mixed ones"
    readme = page(NAME, title, records, claims, _body(ours, said))
    write_page(folder, NAME, pictures, records, readme, force=force)
    return claims


run = running(NAME, LANGUAGE_MODELING, write)


def paper_curves() -> dict[str, Published]:
    """The published curves at input size 128, by way."""
    return {way: published(name)[128] for way, name in WAYS.items()}


def by_way(records: Sequence[LanguageRecord]) -> dict[str, InputSize]:
    """The smallest input size that was trained both ways.

    Raises:
        BadInput: there is none.
    """
    fixed, mixing = (input_sizes(records, mixing=way) for way in (False, True))
    for one, two in zip(fixed, mixing, strict=True):
        if len(set(one.rmt) - {1}) and len(set(two.rmt) - {1}):
            return {"fixed": one, "mixing": two}
    raise BadInput(
        f"records of {NAME}: expected models trained on 2 segments or more, fixed and mixed"
    )


def check_claims(records: Sequence[LanguageRecord], paper: Mapping[str, Published]) -> list[Claim]:
    """Every claim, held against the records.

    Args:
        records: ours, both ways.
        paper: its curves by way.
    """
    ours = by_way(records)
    return [
        lower("read 1 segment: mixing is better", _papers(paper, last=False), at_one(ours)),
        no_higher(
            "read many more than trained on: mixing is no worse",
            _papers(paper, last=True),
            _mixing_less_fixed(ours, last=True),
        ),
    ]


def at_one(ours: Ways) -> list[Contrast]:
    """Mixing less fixed where one segment is read."""
    return list(_mixing_less_fixed(ours, last=False))


def answer(ours: Ways) -> str:
    """The title: what mixing changes at one segment and at many."""
    words = []
    for last in (False, True):
        means = [one.interval.mean for one in _mixing_less_fixed(ours, last=last)]
        if means:
            where = "many segments" if last else "one segment"
            words.append(f"{format_loss(sum(means) / len(means), signed=True)} nats at {where}")
    return f"Mixing lengths in training changes the loss by {' and '.join(words)}"


def _mixing_less_fixed(ours: Ways, *, last: bool) -> Iterator[Contrast]:
    """The same training but for the way, at one segment or at the most that both read."""
    for trained, runs in ours["mixing"].rmt.items():
        for seed, curve in runs.items():
            other = ours["fixed"].rmt.get(trained, {}).get(seed, {})
            shared = sorted(set(curve) & set(other))
            at = shared[-1] if last and shared else 1
            if trained > 1 and at in shared and (not last or at > trained):
                where = f"trained on {trained}, seed {seed}, read {at}"
                yield from contrast(where, seed, difference(curve[at], other[at]))


def _papers(paper: Mapping[str, Published], *, last: bool) -> str:
    """Change of the loss by mixing, from one training to the other end."""
    fixed, mixing = paper["fixed"].curves, paper["mixing"].curves
    changes = {}
    for trained in sorted(set(fixed) & set(mixing) - {1}):
        at = max(set(fixed[trained]) & set(mixing[trained])) if last else 1
        changes[trained] = mixing[trained][at] / fixed[trained][at] - 1
    least, most = (of(changes, key=lambda trained: changes[trained]) for of in (min, max))
    return (
        f"{format_percent(changes[least], signed=True)} (trained on {least}) to "
        f"{format_percent(changes[most], signed=True)} (trained on {most}) of the loss"
    )


def _body(ours: Ways, said: str) -> str:
    tables = "\n\n".join(
        f"## Ours, {way}\n\n{losses_table(one).markdown()}" for way, one in ours.items()
    )
    return f"""{fill(f"**{said}.**", 100)}

![Loss against segments read, fixed and mixed](figure-12.png)

Left: each stage of the curriculum has one number of segments. Right: each batch of a stage has a
number drawn from those of all stages so far. The same steps. Above ours, below the paper's; bits
per byte, but of another text, so compare shapes, not heights. A model trained on 1 segment has
nothing to mix and stands in both.

{tables}"""
