"""Which backbone records are of: two kinds never share a curve, a claim or a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import fill

from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.trainings import as_begun, later_states
from rmtscale.study.figures.memory_tasks.ways import apart, changes_in_full, trained_way
from rmtscale.study.records.evaluation import EvaluationRecord, TrainedBackbone
from rmtscale.units import format_tokens

NOT_NOTED = ""
"""Kind of records that were written before backbones were noted."""
RANDOM_DECODER = "decoder from random initialisation"
PRETRAINED_ENCODER = "pretrained encoder"
"""The paper's own setting of the memory tasks."""


def by_kind(records: Iterable[EvaluationRecord]) -> dict[str, list[EvaluationRecord]]:
    """Groups records by the kind of their backbone, what is not noted first, pretrained last.

    A record that is older than the note of a training's settings has those of the same weights, and
    one of a later state those of the state that it went on from.
    """
    every, groups = list(records), dict[str, list[EvaluationRecord]]()
    noted = {one.point.weights: one.trained_with for one in every if one.trained_with is not None}
    whole = [replace(one, trained_with=noted.get(one.point.weights)) for one in every]
    for record in as_begun(whole):
        groups.setdefault(kind_of(record.trained_backbone), []).append(record)
    return dict(sorted(groups.items(), key=lambda group: ("pretrained" in group[0], group[0])))


def kind_of(backbone: TrainedBackbone | None) -> str:
    """Names a kind of backbone: ``pretrained encoder``, ``decoder from random initialisation``."""
    if backbone is None:
        return NOT_NOTED
    if backbone.pretrained:
        return f"pretrained {backbone.kind}"
    return f"{backbone.kind} from random initialisation"


def capital(kind: str) -> str:
    """Writes a kind at the beginning of a sentence."""
    return kind[:1].upper() + kind[1:]


def subject(kind: str, title: str) -> str:
    """Writes what a claim is about: the paper's own setting is named in each of its claims."""
    return title if kind in (NOT_NOTED, RANDOM_DECODER) else f"{capital(kind)}, {title}"


def run_name(record: EvaluationRecord) -> str:
    """Names a training by its seed, and by its recipe where that is not the usual one."""
    way = trained_way(record)
    return f"seed {record.trained_seed}{f', {way}' if way else ''}"


def recipe_names(records: Iterable[EvaluationRecord]) -> dict[str, str]:
    """Names trainings as ``run_name`` does, by the digest of their weights, and those of one name
    by the numbers in which their recipes differ."""
    known = list(records)
    differ = apart(known)
    names: dict[str, str] = {}
    for record in known:
        weights = record.point.weights
        names.setdefault(weights, ", ".join(filter(None, (run_name(record), differ[weights]))))
    return names


def run_names(records: Iterable[EvaluationRecord]) -> dict[str, str]:
    """Names trainings by the digest of their weights: no two of one task have the same name.

    Trainings are named by their recipes (``ways.py``). Of those with one name, those on another
    backbone than most of the task's say so, later states have their steps (``seed 2, after 15,950
    steps``), and the rest, of one recipe, are counted in the order in which they were evaluated:
    ``seed 1``, ``seed 1, training 2``.
    """
    every = sorted(records, key=lambda record: (record.evaluated_at, record.point.weights))
    first: dict[str, EvaluationRecord] = {}
    for record in every:
        first.setdefault(record.point.weights, record)
    names = recipe_names(first.values())
    usual = _most_used(record.trained_backbone for record in first.values())
    for weights, name in _shared(names).items():
        backbone = first[weights].trained_backbone
        if backbone is not None and backbone.name != usual:
            names[weights] = f"{name}, {backbone.name}"
    later = later_states(every)
    for weights, name in _shared(names).items():
        if weights in later:
            names[weights] = f"{name}, after {format_tokens(first[weights].trained_steps)} steps"
    trainings: Counter[str] = Counter()
    for weights, name in _shared(names).items():
        trainings[name] += 1
        if trainings[name] > 1:
            names[weights] = f"{name}, training {trainings[name]}"
    return names


def _most_used(backbones: Iterable[TrainedBackbone | None]) -> str | None:
    """Names the backbone of the most trainings; None where two have as many."""
    counts = Counter(backbone.name for backbone in backbones if backbone is not None)
    most = [name for name, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else None


def _shared(names: Mapping[str, str]) -> dict[str, str]:
    counts = Counter(names.values())
    return {weights: name for weights, name in names.items() if counts[name] > 1}


def described(records: Sequence[EvaluationRecord], more: str = "") -> str:
    """Writes sentences on the backbones of one kind and their segments, in lines.

    Of several, or of several ways to train one, a list says which trainings each is of.

    Args:
        records: of the kind.
        more: a sentence behind them.
    """
    ways: dict[str, list[EvaluationRecord]] = {}
    segments: dict[str, list[str]] = {}
    for one in records:
        backbone = one.trained_backbone
        if backbone is not None:
            words = backbone.name, _trained(backbone), changes_in_full(one)
            way = ", ".join(filter(None, words))
            ways.setdefault(way, []).append(one)
            of_segment = segments.setdefault(_segment(backbone, one.point.segment_tokens), [])
            of_segment += [] if way in of_segment else [way]
    if len(ways) < 2:
        said = [f"{way}. {segment}." for segment, (way,) in segments.items()]
        return _filled([*said, more])
    parts = []
    for segment, own in segments.items():
        most_first = sorted(own, key=lambda way: -len({one.point.weights for one in ways[way]}))
        items = [f"{way}: {_trainings(ways[way])}." for way in most_first]
        parts += ["\n".join(f"* {_filled([item], 98)}".replace("\n", "\n  ") for item in items)]
        parts += [f"{segment}."]
    return "\n\n".join([*parts[:-1], _filled([parts[-1], more])])


def _filled(sentences: Sequence[str], width: int = 100) -> str:
    return fill(" ".join(filter(None, sentences)), width, break_on_hyphens=False)


def _trainings(records: Iterable[EvaluationRecord]) -> str:
    """Lists trainings: ``Memorize, seeds 0, 1; Detect & Memorize, seed 0``."""
    seeds: dict[str, set[int]] = {}
    for one in records:
        seeds.setdefault(one.point.task, set()).add(one.trained_seed)
    return "; ".join(
        f"{TITLES.get(task, task)}, seed{'s' if len(own) > 1 else ''} "
        + ", ".join(map(str, sorted(own)))
        for task, own in seeds.items()
    )


def _trained(backbone: TrainedBackbone) -> str:
    if backbone.lora_rank is not None:
        return f"frozen, with LoRA of rank {backbone.lora_rank}"
    return "all weights trained"


def _segment(backbone: TrainedBackbone, tokens: int) -> str:
    rest = backbone.segment_size - tokens
    if backbone.kind == "encoder":
        parts = f"{backbone.memory_tokens} are memory and {rest - backbone.memory_tokens} special"
    else:
        parts = f"2 x {backbone.memory_tokens} are memory"
    return (
        f"Of the {backbone.segment_size} positions of a segment {format_tokens(tokens)} are text, "
        f"{parts}"
    )
