"""Each checkpoint with its dead band beside the same weights without, by kind of backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.figures.memory_tasks.axes import Curve
from rmtscale.study.figures.memory_tasks.backbones import by_kind, run_names
from rmtscale.study.figures.memory_tasks.claims import curves_by
from rmtscale.study.figures.memory_tasks.recipes import TASKS
from rmtscale.study.figures.memory_tasks.shown import Group, Reading
from rmtscale.study.figures.memory_tasks.trainings import states_to_claim
from rmtscale.study.figures.memory_tasks.ways import by_recipe
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.records.widths import ChosenWidths


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One checkpoint, evaluated with its dead band and without."""

    dead_band: float
    width_chosen: str
    """Says how the dead band was chosen."""
    held: Curve
    plain: Curve
    claimed: frozenset[str]
    """Keys of ``states_to_claim`` that it counts under."""

    @property
    def seed(self) -> int:
        """Returns the seed of the training."""
        return self.record.trained_seed

    @property
    def record(self) -> EvaluationRecord:
        """Returns the record of the shortest length, for what all have in common."""
        return next(iter(self.held.values()))

    @property
    def steps(self) -> int:
        """Returns the steps that the weights have seen."""
        return self.record.trained_steps

    def reading(self, name: str) -> Reading:
        """Returns it as pages and pictures show it, under the name of its training."""
        return Reading(
            name=name,
            curve=self.held,
            plain=self.plain,
            how=f"dead band {self.dead_band:g} ({self.width_chosen})",
            claimed=self.claimed,
        )

    def shared(self) -> list[int]:
        """Lists the numbers of segments that both were evaluated at."""
        return [count for count in self.held if count in self.plain]


def of_each_recipe(pairs: Mapping[str, Comparison]) -> dict[str, list[Comparison]]:
    """Groups the pairs of a task by recipe, in the words that tell them apart."""
    return by_recipe(pairs.values(), lambda pair: pair.record)


Comparisons = Mapping[str, Mapping[str, Comparison]]
"""Curves by task and training, such as ``seed 0``, of one kind of backbone."""


def compare(
    records: Sequence[EvaluationRecord], widths: ChosenWidths | None = None
) -> dict[str, Comparisons]:
    """Pairs the curves of every checkpoint that was evaluated with a dead band, by its weights.

    Args:
        records: of evaluations.
        widths: says how dead bands were chosen; without it none is known to be.

    Returns:
        Pairs by kind of backbone, pretrained ones last.

    Raises:
        BadInput: no record has a dead band, or those of a checkpoint have several.
    """
    ways = ChosenWidths() if widths is None else widths
    found = {kind: _of_one_kind(own, ways) for kind, own in by_kind(_noted(records)).items()}
    kept = {kind: pairs for kind, pairs in found.items() if pairs}
    if not kept:
        raise BadInput("records without a dead band: expected some of 'evaluate --dead-band'")
    return kept


def groups_of(kinds: Mapping[str, Comparisons]) -> list[Group]:
    """Returns what pages and pictures show of each kind of backbone."""
    return [
        Group(
            kind=kind,
            readings={
                task: [pair.reading(name) for name, pair in pairs.items()]
                for task, pairs in ours.items()
            },
        )
        for kind, ours in kinds.items()
    ]


def records_of(ours: Comparisons) -> list[EvaluationRecord]:
    """Lists the records of all curves."""
    return [
        record
        for pairs in ours.values()
        for pair in pairs.values()
        for curve in (pair.held, pair.plain)
        for record in curve.values()
    ]


def _noted(records: Sequence[EvaluationRecord]) -> list[EvaluationRecord]:
    """Gives records that are older than the note of a backbone that of the same weights."""
    known = {
        record.point.weights: record.trained_backbone
        for record in records
        if record.trained_backbone is not None
    }
    return [replace(one, trained_backbone=known.get(one.point.weights)) for one in records]


def _of_one_kind(records: Sequence[EvaluationRecord], ways: ChosenWidths) -> Comparisons:
    found: dict[str, dict[str, Comparison]] = {}
    for task in TASKS:
        own = [record for record in records if record.point.task == task]
        names = run_names(one for one in own if one.point.dead_band)
        plain = curves_by(_weights, (one for one in own if not one.point.dead_band))
        claimed = {
            key: {one.point.weights for one in states}
            for key, states in states_to_claim(own).items()
        }
        pairs = {
            name: _pair(
                [one for one in own if one.point.dead_band and one.point.weights == weights],
                plain.get(weights, {}),
                ways,
                f"{task}, {name}",
                frozenset(key for key, states in claimed.items() if weights in states),
            )
            for weights, name in sorted(names.items(), key=lambda item: item[1])
        }
        if pairs:
            found[task] = pairs
    return found


def _pair(
    held: Sequence[EvaluationRecord],
    plain: Curve,
    ways: ChosenWidths,
    named: str,
    claimed: frozenset[str],
) -> Comparison:
    (weights,) = {record.point.weights for record in held}
    bands = sorted({record.point.dead_band for record in held})
    if len(bands) > 1:
        raise BadInput(f"dead bands {quoted_list(bands)} of {named}: expected one")
    return Comparison(
        dead_band=bands[0],
        width_chosen=ways.how(weights, bands[0]),
        held=curves_by(_weights, held)[weights],
        plain=plain,
        claimed=claimed,
    )


def _weights(record: EvaluationRecord) -> str:
    return record.point.weights
