"""A dead band on the memory at inference, against the plain RMT of the same weights. Measured.

Beyond the paper, and a variant of its RMT: a number of the memory keeps its old value unless one
segment changes it by at least the dead band. Claims: the task that plain RMT loses reaches what
this project set out for and is above plain; the tasks that plain RMT keeps are kept as well. That
task is Reasoning, and on the pretrained encoder Detect & Memorize too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rmtscale.intervals import newcombe_interval
from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.dead_band.comparisons import (
    Comparison,
    Comparisons,
    of_each_recipe,
)
from rmtscale.study.figures.memory_tasks.axes import TITLES, Points
from rmtscale.study.figures.memory_tasks.backbones import (
    NOT_NOTED,
    PRETRAINED_ENCODER,
    RANDOM_DECODER,
    subject,
)
from rmtscale.study.figures.memory_tasks.claims import ENCODER_TARGETS, at_all_lengths, words
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.figures.memory_tasks.shown import first, latest
from rmtscale.study.figures.memory_tasks.trainings import LATEST
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.units import format_accuracy, format_tokens

LONGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A task whose states drift, so that plain RMT loses it, and what has to be kept of it."""

    task: str
    target: float
    """Accuracy at 4096 segments."""
    seeds: int
    """Trainings that have to reach it."""


_REASONING = Drift(task="reasoning", target=0.97, seeds=len(SEEDS))
_TARGET, _SEEDS = ENCODER_TARGETS["detect-memorize"]
DRIFTS = {
    NOT_NOTED: (_REASONING,),
    RANDOM_DECODER: (_REASONING,),
    PRETRAINED_ENCODER: (
        Drift(task="detect-memorize", target=_TARGET, seeds=_SEEDS),
        _REASONING,
    ),
}
"""Tasks that drift by kind of backbone; of another kind none is known to."""
_NONE = "no such variant"
_TOLERANCE = "95 % interval of the difference"


def check_claims(
    ours: Comparisons, paper: Mapping[str, Points], *, kind: str = NOT_NOTED
) -> list[Claim]:
    """Checks every claim against the records.

    Args:
        ours: by task and training, of one kind of backbone.
        paper: the paper's curves of plain RMT, by task.
        kind: of the backbone.
    """
    claims = []
    for drift in DRIFTS.get(kind, ()):
        title, pairs = subject(kind, TITLES[drift.task]), ours.get(drift.task, {})
        for run, pair in pairs.items():
            claims.append(_target(f"{title}, {run}", pair, drift, paper[drift.task]))
            end = pair.plain.get(LONGEST)
            if end is None or end.accuracy < drift.target:
                claims.append(_above(f"{title}, {run}", pair))
        for way, own in (of_each_recipe(pairs) or {"": []}).items():
            whose = f"{title}{f', {way}' if way else ''}"
            claims.append(_on_seeds(whose, first(own), drift, kind))
            if states := latest(own):
                claims.append(_on_seeds(whose, states, drift, kind, LATEST, _went_on(own)))
    claims += [
        _not_below(f"{subject(kind, TITLES[task])}, {run}", pair)
        for task, pairs in ours.items()
        for run, pair in pairs.items()
    ]
    return claims


def _target(title: str, pair: Comparison, drift: Drift, paper: Points) -> Claim:
    text = f"{title}: {format_accuracy(drift.target)} at {format_tokens(LONGEST)} segments"
    plain = f"{format_accuracy(paper[LONGEST])} without one"
    record = pair.held.get(LONGEST)
    if record is None:
        return Claim(text, plain, "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.accuracy >= drift.target else "fail"
    return Claim(text, plain, words(record), outcome, "exact")


def _above(title: str, pair: Comparison) -> Claim:
    text = f"{title}: above plain at {format_tokens(LONGEST)} segments"
    held, plain = pair.held.get(LONGEST), pair.plain.get(LONGEST)
    if held is None or plain is None:
        return Claim(text, _NONE, "not evaluated", "not measurable")
    outcome: Outcome = "pass" if _difference(held, plain)[0] > 0 else "fail"
    ours = f"{words(held)} against {words(plain)}"
    return Claim(text, _NONE, ours, outcome, _TOLERANCE)


def _on_seeds(
    title: str,
    pairs: Sequence[Comparison],
    drift: Drift,
    kind: str,
    which: str = "",
    went_on: str = "",
) -> Claim:
    text = f"{title}: on {drift.seeds} seeds{which}"
    ends = [pair.held[LONGEST] for pair in pairs if LONGEST in pair.held]
    read = len({record.trained_seed for record in ends})
    reached = sum(record.accuracy >= drift.target for record in ends)
    # A seed that misses it settles the claim, however many are still to be read.
    if read < drift.seeds and reached == len(ends):
        ours = (
            f"read on {read} of {drift.seeds}"
            if kind == PRETRAINED_ENCODER
            else f"weights of {read} of {drift.seeds} are kept"
        )
        return Claim(text, _NONE, ours, "not measurable")
    outcome: Outcome = "pass" if reached == len(ends) else "fail"
    return Claim(text, _NONE, f"{reached} of {len(ends)} reach it{went_on}", outcome, "exact")


def _went_on(pairs: Collection[Comparison]) -> str:
    """Says of each seed that was trained on what its states reach, the first one first."""
    said = []
    for seed in sorted({pair.seed for pair in pairs if "" not in pair.claimed}):
        states = sorted(
            (pair for pair in pairs if pair.seed == seed and LONGEST in pair.held),
            key=lambda pair: pair.steps,
        )
        shares = ", ".join(
            f"{format_accuracy(pair.held[LONGEST].accuracy)} after {format_tokens(pair.steps)}"
            for pair in states
        )
        said.append(f"; seed {seed}: {shares} steps" if states else "")
    return "".join(said)


def _not_below(title: str, pair: Comparison) -> Claim:
    text = f"{title}: not below plain at any length"
    shared = pair.shared()
    if not shared:
        return Claim(text, _NONE, "no length was evaluated with and without", "not measurable")
    below = [count for count in shared if _difference(pair.held[count], pair.plain[count])[1] < 0]
    if not below:
        ours = at_all_lengths(len(shared))
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
