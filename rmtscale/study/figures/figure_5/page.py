"""The page of Figure 5, and the checkpoints with how they were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill

from rmtscale.readers import read_json
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.figures.figure_5.claims import (
    by_task,
    check_claims,
    check_encoder,
    group_of,
    paper_curves,
)
from rmtscale.study.figures.figure_5.drawing import HEADLINE, draw
from rmtscale.study.figures.memory_tasks.backbones import (
    NOT_NOTED,
    PRETRAINED_ENCODER,
    by_kind,
    capital,
    described,
)
from rmtscale.study.figures.memory_tasks.page import Section, figure_report, recipe_tables
from rmtscale.study.figures.memory_tasks.plan import (
    RETENTION_SEGMENTS,
    Plan,
    Trainings,
    best_checkpoint,
)
from rmtscale.study.figures.memory_tasks.runs import collect
from rmtscale.study.figures.memory_tasks.shown import Group
from rmtscale.study.figures.memory_tasks.summary import (
    headline,
    how_to_read,
    lead,
    summary_table,
)
from rmtscale.study.figures.memory_tasks.trainings import trained_on_words
from rmtscale.study.figures.training_runs import TrainingSetup
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.training.layout import METRICS, TASK_FILE, TRAINED_PART

_TRIED = (
    "How they were trained, and what was tried before: [tried](tried/pretrained-encoder/README.md)."
)
_TRY_IT = (
    "What was trained beside the frozen weights lies in `checkpoints`, 1.6 MB each. "
    "Try one: `rmtscale evaluate reports/figure-5/checkpoints/{name} --backbone {backbone}`; where "
    "the weights come from is in [Training](../../docs/training.md#memory-tasks)."
)
_WHY = "tried/README.md#reasoning-seed-2-trained-on"
TRAININGS = Trainings(segments=RETENTION_SEGMENTS)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of every seed; at toy size without the paper's curves."""
    planned, records = collect(figure, TRAININGS, sources)
    kinds, paper = by_kind(records), paper_curves()
    curves = {kind: by_task(own) for kind, own in kinds.items()}
    first, *others = [kind for kind in kinds if kind != PRETRAINED_ENCODER] or [NOT_NOTED]
    groups = {kind: group_of(kind, own) for kind, own in curves.items()}
    sections = [
        Section(
            title=capital(kind) or "A backbone that was not noted",
            text=described(kinds[kind]),
            claims=check_claims(curves[kind], paper, kind=kind),
            tables=recipe_tables(groups[kind], level=3),
        )
        for kind in others
    ]
    if not sources.quick:
        encoder = groups.get(PRETRAINED_ENCODER, Group(kind=PRETRAINED_ENCODER, readings={}))
        sections.append(
            Section(
                title=f"{capital(PRETRAINED_ENCODER)}, the paper's own setting",
                text=described(kinds.get(PRETRAINED_ENCODER, []), _encoder_hint(figure)),
                claims=check_encoder(curves.get(PRETRAINED_ENCODER, {}), paper),
                tables=recipe_tables(encoder, level=3),
            )
        )
    ours = curves.get(first, {})
    parts = [part for group in groups.values() for part in group.parts()]
    known = {} if sources.quick else paper
    report = figure_report(
        figure,
        planned,
        records,
        claims=check_claims(ours, paper, long=not sources.quick, kind=first),
        drawing=draw(parts, known),
        caption="Accuracy against input length",
        tables=recipe_tables(groups[first]) if first in groups else "",
        more=sections,
        hint="Try one: `rmtscale evaluate reports/figure-5/checkpoints/memorize-0 "
        "--segments 1,2,4,8`.",
        lead="\n\n".join(
            (
                lead(headline(parts, HEADLINE, known)),
                summary_table(parts, known),
                fill(how_to_read(parts), 100),
            )
        ),
        note=_note(records),
    )
    if planned is None or sources.training is None:
        return report
    return replace(report, files={**report.files, **_checkpoints(planned, sources.training)})


def _note(records: Sequence[EvaluationRecord]) -> str:
    text = trained_on_words(records, _WHY)
    return f"{text} The picture is of first states." if text else ""


def _encoder_hint(figure: Figure) -> str:
    """Says where what was tried is, and how a committed checkpoint of an encoder is evaluated."""
    adapters = sorted((REPORTS / figure.name / "checkpoints").glob(f"*/{TRAINED_PART}"))
    if not adapters:
        return _TRIED
    folder = adapters[0].parent
    base = read_json(folder / TASK_FILE, f"checkpoint {str(folder)!r}")["base"]
    return f"{_TRIED} {_TRY_IT.format(name=folder.name, backbone=base['name'])}"


def _checkpoints(planned: Plan, setup: TrainingSetup) -> dict[str, bytes]:
    """Reads the evaluated checkpoints and the course of their trainings, by path."""
    files: dict[str, bytes] = {}
    for name in planned.recipes:
        (checkpoint,) = best_checkpoint(setup.folder / name).values()
        files |= {
            f"checkpoints/{name}/{file.relative_to(checkpoint)}": file.read_bytes()
            for file in sorted(checkpoint.rglob("*"))
            if file.is_file() and file.suffix != ".jsonl"
        }
        metrics = setup.folder / name / METRICS
        files[f"checkpoints/{name}/training.jsonl"] = metrics.read_bytes()
    return files
