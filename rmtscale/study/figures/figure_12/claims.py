"""Figure 12 of the paper: a curriculum of fixed lengths against one that mixes them. Measured.

Claims: a model that was trained on mixed numbers of segments is better at one segment, and at many
it extrapolates at least as well. Paired by document, the same trained segments and seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.language.claims import Contrast, contrast, lower, no_higher
from rmtscale.study.figures.language.groups import InputSize, difference, input_sizes
from rmtscale.study.figures.language.published import FIXED, MIXING, Published, published
from rmtscale.study.records.language import LanguageRecord
from rmtscale.units import format_bits_per_byte, format_percent

WAYS = {"fixed": FIXED, "mixing": MIXING}
"""Curricula by our name, and how the paper's points name each."""

Ways = Mapping[str, InputSize]


def paper_curves() -> dict[str, Published]:
    """Reads the published curves at input size 128, by way."""
    return {way: published(name)[128] for way, name in WAYS.items()}


def by_way(records: Sequence[LanguageRecord]) -> dict[str, InputSize]:
    """Picks the smallest input size that was trained both ways.

    Raises:
        BadInput: there is none.
    """
    fixed, mixing = (input_sizes(records, mixing=way) for way in (False, True))
    for ways in zip(fixed, mixing, strict=True):
        if all(set(size.rmt) - {1} for size in ways):
            return dict(zip(WAYS, ways, strict=True))
    raise BadInput(
        "records of figure-12: expected models trained on 2 segments or more, fixed and mixed"
    )


def check_claims(ours: Ways, paper: Mapping[str, Published], name: str = "") -> list[Claim]:
    """Checks every claim against both ways of one input size.

    Args:
        ours: by way.
        paper: its curves by way.
        name: of the input size, where claims of several stand beside each other.
    """
    begin = f"{name}, " if name else ""
    return [
        lower(
            f"{begin}read 1 segment: mixing is better",
            _papers(paper, last=False),
            _mixing_less_fixed(ours, last=False),
        ),
        no_higher(
            f"{begin}read many more than trained on: mixing is no worse",
            _papers(paper, last=True),
            _mixing_less_fixed(ours, last=True),
        ),
    ]


def answer(ours: Ways) -> str:
    """Says what mixing changes at one segment and at many."""
    words = []
    for last in (False, True):
        means = [gap.interval.mean for gap in _mixing_less_fixed(ours, last=last)]
        if means:
            where = "many segments" if last else "one segment"
            mean = format_bits_per_byte(sum(means) / len(means), signed=True)
            words.append(f"{mean} bits per byte at {where}")
    return f"Mixing lengths in training changes the loss by {' and '.join(words)}"


def _mixing_less_fixed(ours: Ways, *, last: bool) -> Iterator[Contrast]:
    """Yields mixing less fixed, all else alike, at one segment or at the most that both read."""
    for trained, runs in ours["mixing"].rmt.items():
        for seed, curve in runs.items():
            other = ours["fixed"].rmt.get(trained, {}).get(seed, {})
            shared = sorted(set(curve) & set(other))
            at = shared[-1] if last and shared else 1
            if trained > 1 and at in shared and (not last or at > trained):
                where = f"trained on {trained}, seed {seed}, read {at}"
                yield from contrast(where, seed, difference(curve[at], other[at]))


def _papers(paper: Mapping[str, Published], *, last: bool) -> str:
    """Writes the paper's change of the loss by mixing, the least and the most of its trainings."""
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
