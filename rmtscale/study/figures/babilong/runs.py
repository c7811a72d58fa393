"""Evaluated models as curves, plain or with a dead band, and the ones that are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from rmtscale.study.figures.babilong.recipes import MEMORY_TOKENS
from rmtscale.study.records.babilong import BabilongRecord, BabilongTraining
from rmtscale.study.records.widths import BORROWED, ChosenWidths
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.study.tasks.lengths import FEW_SAMPLES, LENGTHS
from rmtscale.study.training.memory_tasks.learned import (
    Noted,
    changes,
    differences,
    memory_tokens_before,
)
from rmtscale.units import format_memory_tokens, format_tokens

PLAIN, DEAD_BAND, SINK = "plain", "dead band", "sink"
VARIANTS = {PLAIN: "RMT, ours", DEAD_BAND: "RMT, ours, with a dead band"}
"""Titles by variant: the RMT as the paper has it, and with a dead band on its memory in the
evaluation. Neither ever stands in for the other, and an RMT with sink tokens, which is listed with
all runs, for none of them."""
ALL_FIVE = "all five"
"""Says that one model learned all five tasks."""
_FIELDS = ("closing_questions", "late_facts", "burn_in_dead_band", "memory_noise")
Curve = Mapping[str, BabilongRecord]
"""Records by name of the length, shortest first."""
_Identity = tuple[object, ...]
_BESIDE = (
    *("task_options.stories", "task_options.ask_state", "memory_tokens", "sink_tokens"),
    *("bare_tokens", "fact_fragments", "replay_lost", "between_share"),
)
"""Settings that a title names in words of its own, that the list of every run has, or that all
recipes have on. All others that are on stand in the title."""


@dataclass(frozen=True, slots=True)
class Run:
    """One model on one task, in one variant.

    Raises:
        ValueError: no record, or those of several models, tasks, variants or dead bands.
    """

    title: str
    """Names backbone, what it was trained on, seed and dead band."""
    curve: Curve
    others: tuple[BabilongRecord, ...] = ()
    """Records that the curve leaves out: of fewer samples, or older than another of the length."""
    width_chosen: str = ""
    """Says how the width of its dead band was chosen; of a plain run nothing."""

    def __post_init__(self) -> None:
        identities = {_identity(record) for record in self.records}
        if len(identities) != 1:
            raise ValueError(f"curve of {len(identities)} models or variants: expected one")

    @property
    def _any(self) -> BabilongRecord:
        return next(iter(self.curve.values()))

    @property
    def task(self) -> str:
        """``qa1`` to ``qa5``."""
        return self._any.point.stories

    @property
    def variant(self) -> str:
        """One of ``VARIANTS``, or ``SINK``."""
        return variant_of(self._any)

    @property
    def training(self) -> BabilongTraining | None:
        """Says how the weights came about; None for a model that was not trained here."""
        return self._any.training

    @property
    def model(self) -> str | None:
        """Name of the backbone, and that one model learned all five tasks where it did; None for a
        model that was not trained here."""
        if self.training is None:
            return None
        return self.training.backbone + (f", {ALL_FIVE}" if _all_five(self.training) else "")

    @property
    def answers(self) -> str:
        """``classes`` or ``generate``."""
        return self._any.point.answers

    @property
    def dead_band(self) -> float:
        """Dead band of the memory; 0 of a plain run."""
        return self._any.point.dead_band

    @property
    def records(self) -> list[BabilongRecord]:
        """All that was read, those of the curve first."""
        return [*self.curve.values(), *self.others]

    def alone(self, length: str) -> BabilongRecord | None:
        """Returns the last record of a length whose samples were read one by one, if any."""
        found = [one for one in self.records if one.point.length == length and one.batch_size == 1]
        return max(found, key=lambda one: one.evaluated_at, default=None)

    @property
    def shares(self) -> dict[str, float]:
        """Accuracies by length."""
        return {length: record.accuracy for length, record in self.curve.items()}


def trained_with(training: BabilongTraining) -> Sequence[Noted]:
    """Returns the settings of all trainings of the weights, the last one last: of a record that is
    older than their note those that it has fields for."""
    if training.trained_with:
        return training.trained_with
    values = {name: getattr(training, name) for name in _FIELDS}
    return [{name: value for name, value in values.items() if value is not None}]


def changes_of(training: BabilongTraining) -> list[str]:
    """Names what a training had on beside what all recipes have and the list of every run says."""
    return changes(trained_with(training), [{}], _BESIDE)


def _memory(training: BabilongTraining) -> list[str]:
    """Names the memory where it has sinks, or is or was of another size than in the recipes.

    Records without a note of their trainings keep their names: backbones tell those apart.
    """
    noted = training.trained_with or ()
    before = memory_tokens_before(noted)
    words = format_memory_tokens(training.memory_tokens, training.sink_tokens)
    if before:
        words += f" ({', '.join(map(format_tokens, before))} before)"
    named = before or (noted and training.memory_tokens != MEMORY_TOKENS)
    return [words] if named or training.sink_tokens else []


def variant_of(record: BabilongRecord) -> str:
    """Names the variant of the RMT that a record is of; with sink tokens ``SINK``, always."""
    if record.sink_tokens:
        return SINK
    return DEAD_BAND if record.point.dead_band else PLAIN


def runs_of(records: Iterable[BabilongRecord], widths: ChosenWidths | None = None) -> list[Run]:
    """Groups records by task, model and variant.

    Of several of one length the curve has that of most samples, and of these the last: a few that
    were read to time them take no other's place. A length that was read with fewer samples than the
    benchmark has at any stays off a curve that has others with enough.

    Args:
        records: of evaluations.
        widths: says how dead bands were chosen; without it none is known to be.
    """
    ways = ChosenWidths() if widths is None else widths
    grouped: dict[_Identity, list[BabilongRecord]] = {}
    for record in records:
        grouped.setdefault(_identity(record), []).append(record)
    found = []
    for own in grouped.values():
        chosen: dict[str, BabilongRecord] = {}
        for record in own:
            known = chosen.get(record.point.length)
            if known is None or record.point.samples >= known.point.samples:
                chosen[record.point.length] = record
        read = {length: chosen[length] for length in LENGTHS if length in chosen}
        enough = {name: one for name, one in read.items() if one.point.samples >= FEW_SAMPLES}
        curve = enough or read
        others = tuple(one for one in own if one is not curve.get(one.point.length))
        point = own[0].point
        how = ways.how(point.weights, point.dead_band) if point.dead_band else ""
        found.append(Run(title_of(own[0], how), curve, others, how))
    found = _by_settings(found)
    alike = Counter((run.task, run.title) for run in found)
    named = [
        run if alike[run.task, run.title] == 1 else replace(run, title=_told_apart(run))
        for run in found
    ]
    return sorted(named, key=lambda run: (QAS.index(run.task), run.title))


def title_of(record: BabilongRecord, width_chosen: str) -> str:
    """Names the model of a record, and how the width of its dead band was chosen."""
    point, training = record.point, record.training
    words = [f"{point.model} {point.weights[:6]}"]
    if training is not None:
        learnt = ALL_FIVE if _all_five(training) else training.stories
        words = [f"RMT {training.backbone}", f"trained on {learnt}", f"seed {training.seed}"]
        if training.lora_rank:
            words.append(f"LoRA {training.lora_rank}")
        if training.ask_state:
            words.append("asked for the state")
        words += changes_of(training)
        words += _memory(training)
        words.append(f"{training.steps:,} steps")
    if point.dead_band:
        words.append(f"dead band {point.dead_band:g} ({width_chosen})")
    if point.answers == "generate":
        words.append("free text")
    return ", ".join(words)


def shown(runs: Iterable[Run], variant: str = PLAIN, model: str | None = None) -> dict[str, Run]:
    """Chooses the RMT of each task that reads furthest, and of these the most accurate one.

    All runs are listed; this one is drawn, stands beside the published ones and counts in the
    average. A width that was chosen for its weights takes the place of a borrowed one.

    Args:
        runs: of any kind.
        variant: of ``VARIANTS``; runs of the other are not looked at.
        model: the only one to choose from, if any, as ``Run.model`` names it; of several that
            learned all five tasks, one for all of them.
    """
    chosen = [
        run
        for run in runs
        if run.variant == variant
        and run.training is not None
        and (model is None or run.model == model)
    ]
    if model is not None and model.endswith(ALL_FIVE):
        chosen = _one_training(chosen)
    best: dict[str, Run] = {}
    for run in _without_borrowed(chosen):
        known = best.get(run.task)
        if known is None or _rank(run) > _rank(known):
            best[run.task] = run
    return best


def _without_borrowed(runs: Sequence[Run]) -> list[Run]:
    """Leaves out a borrowed width where one that was chosen for these weights has read all its
    lengths: which of the two is better on the test stories must not decide."""

    def model(run: Run) -> _Identity:
        return _identity(run.records[0])[:-1]

    own = [run for run in runs if run.width_chosen != BORROWED]
    return [
        run
        for run in runs
        if run.width_chosen != BORROWED
        or not any(model(run) == model(one) and set(run.curve) <= set(one.curve) for one in own)
    ]


def _one_training(runs: Sequence[Run]) -> list[Run]:
    """Chooses the weights that read most tasks, furthest and best, in one dead band: tasks of two
    trainings are not those of one model."""
    grouped: dict[_Identity, list[Run]] = {}
    for run in runs:
        grouped.setdefault(_identity(run.records[0])[1:], []).append(run)

    def rank(own: list[Run]) -> tuple[float, ...]:
        places, shares = zip(*map(_rank, own), strict=True)
        return len(own), min(places), sum(shares)

    return max(grouped.values(), key=rank, default=[])


def models(runs: Iterable[Run]) -> list[str]:
    """Lists the backbones of the RMTs, those of one model of all five tasks apart, by name."""
    return sorted({run.model for run in runs if run.model is not None and run.variant != SINK})


def missing(best: Mapping[str, Run], length: str) -> list[str]:
    """Lists the tasks without a run at a length."""
    return [task for task in QAS if task not in best or length not in best[task].curve]


def mean_accuracy(best: Mapping[str, Run], length: str) -> Fraction | None:
    """Averages exactly over the five tasks; None unless each of them has a run at the length."""
    if missing(best, length):
        return None
    return sum((best[task].curve[length].exact_accuracy for task in QAS), Fraction()) / len(QAS)


def mean_accuracies(best: Mapping[str, Run]) -> dict[str, Fraction]:
    """Averages over the five tasks at each length at which all of them have a run."""
    means = {length: mean_accuracy(best, length) for length in LENGTHS}
    return {length: mean for length, mean in means.items() if mean is not None}


def _all_five(training: BabilongTraining) -> bool:
    return training.stories == ",".join(QAS)


def _identity(record: BabilongRecord) -> _Identity:
    point = record.point
    return (
        *(point.stories, point.model, point.weights, point.answers, point.background),
        point.dead_band,
    )


def _by_settings(runs: Sequence[Run]) -> list[Run]:
    """Names runs of one title by the settings in which their trainings differ, as far as these
    were noted."""
    named = list(runs)
    for alike in Counter((run.task, run.title) for run in runs):
        own = {
            str(place): trained_with(run.training)
            for place, run in enumerate(runs)
            if (run.task, run.title) == alike and run.training and run.training.trained_with
        }
        for place, words in differences(own, {}).items() if len(own) > 1 else ():
            run = runs[int(place)]
            named[int(place)] = replace(run, title=", ".join([run.title, *words]))
    return named


def _told_apart(run: Run) -> str:
    point = next(iter(run.curve.values())).point
    return f"{run.title}, weights {point.weights[:6]}, in {point.background}"


def _rank(run: Run) -> tuple[int, float]:
    """Returns the furthest length, and the mean up to it along straight lines between lengths."""
    places = [list(LENGTHS).index(length) for length in run.curve]
    shares = list(run.shares.values())
    if len(places) == 1:
        return places[0], shares[0]
    area = sum(
        (places[at + 1] - places[at]) * (shares[at + 1] + shares[at]) / 2
        for at in range(len(places) - 1)
    )
    return places[-1], area / (places[-1] - places[0])
