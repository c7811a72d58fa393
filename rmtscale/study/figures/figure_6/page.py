"""The page of Figure 6: heatmaps of one sample, read by a trained model or by several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.errors import BadInput, quoted_list
from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_6.claims import FACT, SEGMENTS, Look, check_claims
from rmtscale.study.figures.figure_6.drawing import Heatmap, draw
from rmtscale.study.figures.figure_6.sample import find_sample, title
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import capital, kind_of
from rmtscale.study.figures.memory_tasks.plan import Trainings, best_checkpoint, plan
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.figures.memory_tasks.ways import way_of
from rmtscale.study.figures.training_runs import TrainingSetup, require_trained
from rmtscale.tabular import csv_text

if TYPE_CHECKING:
    import torch

    from rmtscale.study.evaluation.attention import AttentionMap
    from rmtscale.study.evaluation.attention_samples import AttentionSample
    from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

TRAININGS = Trainings(families=("reasoning",), seeds=SEEDS[:1])
_OF_AN_ENCODER = (
    "An encoder has its memory once, behind [CLS]: what comes out at these positions is the memory "
    "that it writes. In the first layer a look at them is a look at the memory read, in the others "
    "at what has been made of it so far. It answers at [CLS]. What memory keeps can also pass the "
    "attention by, in the residual stream, which no such map shows."
)
_BEFORE_TRAINING = (
    "Before training: the pretrained weights with the memory as it was drawn read the same sample."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A model and how it read its sample."""

    checkpoint: Checkpoint
    kind: str
    """Kind of its backbone."""
    way: str
    """Its recipe, where that is not the usual one."""
    sample: AttentionSample
    told: str
    """The facts, the question, and the answers to it."""
    heatmaps: list[Heatmap]
    looks: list[Look]

    @property
    def name(self) -> str:
        """Says which model it is, in a few words."""
        settings = self.checkpoint.settings
        words = f"{capital(self.kind)}, {TITLES[settings.task]}, seed {settings.seed}"
        return f"{words}, {self.way}" if self.way else words

    def named(self, segment: int) -> Heatmap:
        """Returns the picture of a segment, from 0, under the name of the model."""
        heatmap = self.heatmaps[segment]
        return heatmap._replace(title=f"{self.name}\n{heatmap.title}")


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from checkpoints that were given, or from a training of its own.

    Raises:
        BadInput: a checkpoint of another task, or one that stands on weights that were not given.
        CheckFailed: the time was up before the training was done.
    """
    from rmtscale.study.training.device import find_device, in_use

    setup = sources.training
    assert setup is not None, "no way to train, nor background and device of a checkpoint"
    folders = sources.checkpoints or (_trained(setup, sources),)
    device = find_device(setup.device)
    with in_use(device):
        models = [_read(folder, setup, device) for folder in folders]
    alone = len(models) == 1
    claims = [check_claims(shown.looks, "" if alone else f"{shown.name}: ") for shown in models]
    every = [claim for own in claims for claim in own]
    seen = sum(claim.outcome == "pass" for claim in every)
    drawing = draw(
        # Segments down, models across; one alone is drawn two by two.
        [
            shown.heatmaps[segment] if alone else shown.named(segment)
            for segment in range(SEGMENTS)
            for shown in models
        ],
        f"Memory looks at facts and is kept, the answer looks at it: {seen} of {len(every)} seen",
        columns=max(2, len(models)),
    )
    return FigureReport(
        claims=every,
        page=_page(figure, sources, models, claims),
        files={**picture_files("figure-6", drawing), "figure-6.csv": _csv(models)},
    )


def _trained(setup: TrainingSetup, sources: Sources) -> Path:
    """Trains what is not trained yet and returns its checkpoint."""
    planned = plan(TRAININGS, quick=sources.quick, background=setup.background, seeds=sources.seeds)
    require_trained(planned.recipes, setup)
    (checkpoint,) = best_checkpoint(setup.folder / next(iter(planned.recipes))).values()
    return checkpoint


def _read(folder: Path, setup: TrainingSetup, device: torch.device) -> Shown:
    """Reads the sample of a checkpoint's task."""
    from rmtscale.study.evaluation.attention import attention_maps
    from rmtscale.study.evaluation.evaluate import data_of, trained_backbone
    from rmtscale.study.training.memory_tasks.checkpoint import before_training, load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    checkpoint = load_checkpoint(folder, backbone=setup.backbone)
    task = checkpoint.settings.task
    if task not in TITLES:
        raise BadInput(
            f"checkpoint {str(folder)!r} is of the task {task!r}: expected {quoted_list(TITLES)}"
        )
    reader = Reader(checkpoint.answerer, device)
    data = data_of(checkpoint, setup.background)
    sample = find_sample(data, reader.answerer.segment_tokens)
    maps = attention_maps(reader, data.vocabulary, sample.ids)
    before: list[AttentionMap | None] = [None] * len(maps)
    if checkpoint.settings.lora_rank is not None and setup.backbone is not None:
        begun = Reader(before_training(checkpoint, setup.backbone), device)
        before = [*attention_maps(begun, data.vocabulary, sample.ids)]
    said = data.task.classes[int(reader.logits(sample.ids[None]).argmax())]
    spelled = data.vocabulary.decode(sample.ids.tolist())
    facts = " ... ".join(f'"{fact}"' for fact in sample.words(spelled, "fact"))
    (question,) = sample.words(spelled, "question")
    backbone = trained_backbone(checkpoint)
    return Shown(
        checkpoint,
        kind_of(backbone),
        way_of(task, backbone, checkpoint.trained_with),
        sample,
        f'{facts} ... "{question}" Right is {sample.answer}, the model says {said}.',
        [_heatmap(reader, attention, sample) for attention in maps],
        [
            look
            for attention, begun_with in zip(maps, before, strict=True)
            for look in measure(reader, attention, begun_with, sample)
        ],
    )


def _heatmap(reader: Reader, attention: AttentionMap, sample: AttentionSample) -> Heatmap:
    from rmtscale.study.evaluation.attention import places
    from rmtscale.study.evaluation.attention_shares import parts_inside

    where = places(reader.model, len(attention.labels))
    parts = parts_inside(sample, where.text, attention.segment * len(where.text))
    marked = [range(at, at + 1) for positions in parts.values() for at in positions]
    happens = title(attention.segment, len(sample.parts["fact"]))
    heading = f"{attention.segment + 1}: {happens}"
    memory = [*where.sink, *where.read, *where.write]
    weights = attention.average()
    return Heatmap(heading, attention.labels, weights, marked, memory, where.special)


def measure(
    reader: Reader, attention: AttentionMap, before: AttentionMap | None, sample: AttentionSample
) -> list[Look]:
    """Measures what the written memory, and in the last segment the answer, look at."""
    from rmtscale.study.evaluation.attention import places
    from rmtscale.study.evaluation.attention_shares import BOTH, READ, parts_inside, shares

    where = places(reader.model, len(attention.labels))
    parts = parts_inside(sample, where.text, attention.segment * len(where.text))
    last = attention.segment == SEGMENTS - 1
    then = {}
    if before is not None:
        then = {(x.query, x.key): x.most for x in shares(before, where, parts, answers=last)}
    return [
        Look(x.segment, x.query, x.key, x.most, x.even, then.get((x.query, x.key)))
        for x in shares(attention, where, parts, answers=last)
        if x.key in (BOTH, READ, FACT)
    ]


def _csv(models: Sequence[Shown]) -> str:
    return csv_text(
        {
            "backbone": shown.checkpoint.settings.backbone,
            "task": shown.checkpoint.settings.task,
            "seed": shown.checkpoint.settings.seed,
            **({"recipe": shown.way} if any(one.way for one in models) else {}),
            "segment": look.segment + 1,
            "query": look.query,
            "key": look.key,
            "share": f"{look.share:.6g}",
            "even_share": f"{look.even:.6g}",
            "share_before_training": None if look.before is None else f"{look.before:.6g}",
        }
        for shown in models
        for look in shown.looks
    )


def _page(
    figure: Figure, sources: Sources, models: Sequence[Shown], claims: Sequence[list[Claim]]
) -> str:
    made_from = "".join(f" --checkpoint {folder}" for folder in sources.checkpoints)
    if any(shown.checkpoint.settings.lora_rank is not None for shown in models):
        made_from += " --backbone FOLDER"
    several = len(models) > 1
    arranged = "Segments row by row."
    if several:
        names = "; ".join(shown.name for shown in models)
        arranged = f"Segments from top to bottom, side by side: {names}."
    caption = (
        f"{arranged} Queries down, keys across; attention averaged over layers and heads. Blue: "
        "memory; orange: facts and question. Stretches of other text are one cell: the sum of its "
        "keys, the mean of its queries."
    )
    sections = "\n\n".join(
        _section(shown, own, heading=several) for shown, own in zip(models, claims, strict=True)
    )
    return f"""# {figure.title}

Made by `rmtscale reproduce figure-6{made_from}`.

![Attention in four segments](figure-6.png)

{_lines(caption)}

{sections}

Numbers: [figure-6.csv](figure-6.csv): share of the attention, in the head where it is largest.
"""


def _section(shown: Shown, claims: list[Claim], *, heading: bool) -> str:
    settings, trained = shown.checkpoint.settings, shown.checkpoint.trained
    lora = "" if settings.lora_rank is None else f", frozen, with LoRA of rank {settings.lora_rank}"
    stand = "facts stand in the first and the third"
    if len(shown.sample.parts["fact"]) == 1:
        stand = "fact stands in the first"
    text = (
        f"{TITLES[settings.task]}: {settings.backbone}{lora}, seed {settings.seed}"
        f"{f', {shown.way}' if shown.way else ''}, after "
        f"{trained.all_steps:,} steps on up to {trained.segments} segments of "
        f"{settings.segment_size} ({trained.stage}). One sample of four segments, the first of the "
        f"validation samples whose {stand}:"
    )
    parts = [f"## {shown.name}"] if heading else []
    parts.append(f"{_lines(text)}\n{shown.told}")
    if not shown.checkpoint.answerer.decoder:
        parts.append(_lines(_OF_AN_ENCODER))
    parts.append(claims_table(claims))
    if any(look.before is not None for look in shown.looks):
        parts.append(_BEFORE_TRAINING)
    return "\n\n".join(parts)


def _lines(text: str) -> str:
    return fill(text, 100, break_on_hyphens=False)
