"""A dead band on the memory at inference, against the plain RMT of the same weights. Measured.

Beyond the paper, and a variant of its RMT: a number of the memory keeps its old value unless one
segment changes it by at least the dead band. Claims: Reasoning reaches what this project set out
for and is above plain; the tasks that plain RMT keeps are kept as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rmtscale.errors import BadInput, quoted_list
from rmtscale.intervals import newcombe_interval
from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve, Points
from rmtscale.study.figures.memory_tasks.claims import curves_by, words
from rmtscale.study.figures.memory_tasks.recipes import SEEDS, TASKS
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.records.widths import ChosenWidths
from rmtscale.units import format_accuracy, format_tokens

LONGEST = 4096
DRIFTS = "reasoning"
"""The task whose states drift, so that plain RMT loses it."""
TARGET = 0.97
"""Accuracy of Reasoning at 4096 segments."""
_NONE = "no such variant"
_TOLERANCE = "95 % interval of the difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One checkpoint, evaluated with its dead band and without."""

    dead_band: float
    width_chosen: str
    """Says how the dead band was chosen."""
    held: Curve
    plain: Curve

    def shared(self) -> list[int]:
        """Lists the numbers of segments that both were evaluated at."""
        return [count for count in self.held if count in self.plain]


Comparisons = Mapping[str, Mapping[int, Comparison]]
"""Curves by task and seed."""


def compare(records: Sequence[EvaluationRecord], widths: ChosenWidths | None = None) -> Comparisons:
    """Pairs the curves of every checkpoint that was evaluated with a dead band.

    Args:
        records: of evaluations.
        widths: says how dead bands were chosen; without it none is known to be.

    Raises:
        BadInput: no record has a dead band, or those of a checkpoint have several.
    """
    ways = ChosenWidths() if widths is None else widths
    found: dict[str, dict[int, Comparison]] = {}
    for task in TASKS:
        own = [record for record in records if record.point.task == task]
        held = [record for record in own if record.point.dead_band]
        plain = _by_seed(record for record in own if not record.point.dead_band)
        for seed, curve in _by_seed(held).items():
            bands = sorted({one.point.dead_band for one in held if one.trained_seed == seed})
            if len(bands) > 1:
                raise BadInput(
                    f"dead bands {quoted_list(bands)} of {task}, seed {seed}: expected one"
                )
            weights = next(iter(curve.values())).point.weights
            pair = Comparison(
                dead_band=bands[0],
                width_chosen=ways.how(weights, bands[0]),
                held=curve,
                plain=plain.get(seed, {}),
            )
            found.setdefault(task, {})[seed] = pair
    if not found:
        raise BadInput("records without a dead band: expected some of 'evaluate --dead-band'")
    return found


def check_claims(ours: Comparisons, paper: Mapping[str, Points]) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by task and seed.
        paper: the paper's curves of plain RMT, by task.
    """
    title = TITLES[DRIFTS]
    claims = []
    for seed, pair in ours.get(DRIFTS, {}).items():
        claims.append(_target(f"{title}, seed {seed}", pair, paper[DRIFTS]))
        claims.append(_above(f"{title}, seed {seed}", pair))
    claims.append(_seeds(f"{title}: on {len(SEEDS)} seeds", ours.get(DRIFTS, {})))
    claims += [
        _not_below(f"{TITLES[task]}, seed {seed}", pair)
        for task, pairs in ours.items()
        for seed, pair in pairs.items()
    ]
    return claims


def _by_seed(records: Iterable[EvaluationRecord]) -> dict[int, Curve]:
    return {**curves_by(lambda record: record.trained_seed, records)}


def _target(title: str, pair: Comparison, paper: Points) -> Claim:
    text = f"{title}: {format_accuracy(TARGET)} at {format_tokens(LONGEST)} segments"
    plain = f"{format_accuracy(paper[LONGEST])} without one"
    record = pair.held.get(LONGEST)
    if record is None:
        return Claim(text, plain, "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.accuracy >= TARGET else "fail"
    return Claim(text, plain, words(record), outcome, "exact")


def _above(title: str, pair: Comparison) -> Claim:
    text = f"{title}: above plain at {format_tokens(LONGEST)} segments"
    held, plain = pair.held.get(LONGEST), pair.plain.get(LONGEST)
    if held is None or plain is None:
        return Claim(text, _NONE, "not evaluated", "not measurable")
    outcome: Outcome = "pass" if _difference(held, plain)[0] > 0 else "fail"
    ours = f"{words(held)} against {words(plain)}"
    return Claim(text, _NONE, ours, outcome, _TOLERANCE)


def _seeds(text: str, pairs: Mapping[int, Comparison]) -> Claim:
    ends = [pair.held[LONGEST] for pair in pairs.values() if LONGEST in pair.held]
    if len(ends) < len(SEEDS):
        ours = f"weights of {len(ends)} of {len(SEEDS)} are kept"
        return Claim(text, _NONE, ours, "not measurable")
    reached = sum(record.accuracy >= TARGET for record in ends)
    outcome: Outcome = "pass" if reached == len(ends) else "fail"
    return Claim(text, _NONE, f"{reached} of {len(ends)} reach it", outcome, "exact")


def _not_below(title: str, pair: Comparison) -> Claim:
    text = f"{title}: not below plain at any length"
    shared = pair.shared()
    if not shared:
        return Claim(text, _NONE, "no length was evaluated with and without", "not measurable")
    below = [count for count in shared if _difference(pair.held[count], pair.plain[count])[1] < 0]
    if not below:
        ours = f"at all {len(shared)} lengths"
        return Claim(text, _NONE, ours, "pass", _TOLERANCE)
    worst = max(below, key=lambda count: pair.plain[count].accuracy - pair.held[count].accuracy)
    where = "most at" if len(below) > 1 else "at"
    ours = (
        f"below it at {len(below)} of {len(shared)}, {where} {format_tokens(worst)}: "
        f"{words(pair.held[worst])} against {words(pair.plain[worst])}"
    )
    return Claim(text, _NONE, ours, "fail", _TOLERANCE)


def _difference(held: EvaluationRecord, plain: EvaluationRecord) -> tuple[float, float]:
    return newcombe_interval(held.correct, held.point.samples, plain.correct, plain.point.samples)
