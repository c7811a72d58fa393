"""The page of Figure 6: heatmaps of one sample, read by a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_6.claims import Looks, check_claims
from rmtscale.study.figures.figure_6.drawing import Heatmap, draw
from rmtscale.study.figures.figure_6.sample import Sample, find_sample, inside, measure
from rmtscale.study.figures.memory_tasks.plan import Trainings, best_checkpoint, plan
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.figures.training_runs import TrainingSetup, require_trained
from rmtscale.tabular import csv_text

if TYPE_CHECKING:
    from rmtscale.study.evaluation.attention import AttentionMap
    from rmtscale.study.training.memory_tasks.checkpoint import Checkpoint
    from rmtscale.study.training.memory_tasks.data import TaskData
    from rmtscale.study.training.memory_tasks.reading import Reader

TRAININGS = Trainings(families=("reasoning",), seeds=SEEDS[:1])
_SEGMENT_TITLES = (
    "a fact: detected and written",
    "no fact: memory is kept",
    "a fact: detected and written",
    "the question: answered from memory",
)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from a checkpoint that was given, or from a training of its own.

    Raises:
        BadInput: a checkpoint of another task.
        CheckFailed: the time was up before the training was done.
    """
    from rmtscale.study.evaluation.attention import attention_maps
    from rmtscale.study.evaluation.evaluate import data_of
    from rmtscale.study.training.device import find_device, in_use
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    setup = sources.training
    assert setup is not None, "no way to train, nor background and device of a checkpoint"
    checkpoint = load_checkpoint(sources.checkpoint or _trained(setup, sources), "reasoning")
    device = find_device(setup.device)
    reader = Reader(checkpoint.answerer, device)
    data = data_of(checkpoint, setup.background)
    sample = find_sample(data, reader.answerer.segment_tokens)
    with in_use(device):
        maps = attention_maps(reader, data.vocabulary, sample.ids)
        looks = [look for attention in maps for look in measure(reader, attention, sample)]
        answered = int(reader.logits(sample.ids[None]).argmax())
    claims = check_claims(looks)
    seen = sum(claim.outcome == "pass" for claim in claims)
    answer = (
        f"Memory looks at facts and is kept, the answer looks at it: {seen} of {len(claims)} seen"
    )
    drawing = draw([_heatmap(reader, attention, sample) for attention in maps], answer)
    return FigureReport(
        claims=claims,
        page=_page(figure, sources, checkpoint, data, sample, answered, claims),
        files={**picture_files("figure-6", drawing), "figure-6.csv": _csv(looks)},
    )


def _trained(setup: TrainingSetup, sources: Sources) -> Path:
    """Trains what is not trained yet and returns its checkpoint."""
    planned = plan(TRAININGS, quick=sources.quick, background=setup.background, seeds=sources.seeds)
    require_trained(planned.recipes, setup)
    (checkpoint,) = best_checkpoint(setup.folder / next(iter(planned.recipes))).values()
    return checkpoint


def _heatmap(reader: Reader, attention: AttentionMap, sample: Sample) -> Heatmap:
    from rmtscale.study.evaluation.attention import places

    read, text, write, _ = places(reader.model, len(attention.labels))
    marked = inside([*sample.facts, sample.question], attention.segment, text)
    runs = [range(at, at + 1) for at in marked]
    title = f"{attention.segment + 1}: {_SEGMENT_TITLES[attention.segment]}"
    return Heatmap(title, attention.labels, attention.average(), runs, [*read, *write])


def _csv(looks: Sequence[Looks]) -> str:
    return csv_text(
        {
            "segment": look.segment + 1,
            "query": look.query,
            "key": key,
            "share": f"{share.measured:.6g}",
            "even_share": f"{share.even:.6g}",
        }
        for look in looks
        for key, share in (("fact", look.at_fact), ("memory read", look.at_memory))
        if share is not None
    )


def _page(
    figure: Figure,
    sources: Sources,
    checkpoint: Checkpoint,
    data: TaskData,
    sample: Sample,
    answered: int,
    claims: list[Claim],
) -> str:
    words = data.vocabulary.decode(sample.ids.tolist())
    facts = [" ".join(words[at] for at in columns) for columns in sample.facts]
    question = " ".join(words[at] for at in sample.question)
    settings = checkpoint.settings
    made_from = f" --checkpoint {sources.checkpoint}" if sources.checkpoint else ""
    right, answer = data.task.classes[sample.answer], data.task.classes[answered]
    return f"""# {figure.title}

Made by `rmtscale reproduce figure-6{made_from}` from
{settings.backbone}, seed {settings.seed}, after
{checkpoint.trained.all_steps:,} steps on up to {checkpoint.trained_segments} segments of
{settings.segment_size} ({checkpoint.trained.stage}). One sample of four segments, the first of
the validation samples whose facts stand in the first and the third:
"{facts[0]}" ... "{facts[1]}" ... "{question}" Right is {right}, the model says {answer}.

![Attention in four segments](figure-6.png)

Queries down, keys across; attention averaged over layers and heads. Blue: memory; orange: facts
and question. Stretches of other text are one cell: the sum of its keys, the mean of its queries.

{claims_table(claims)}

Numbers: [figure-6.csv](figure-6.csv): share of the attention, in the head where it is largest.
"""
