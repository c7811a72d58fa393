"""The page of Figure 4, and the checkpoints it is made from."""

from __future__ import annotations

from pathlib import Path

from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_4.claims import (
    LONGEST_TRAINED,
    Curves,
    by_task,
    check_claims,
    check_encoder,
    of_way,
    paper_curves,
)
from rmtscale.study.figures.figure_4.drawing import draw
from rmtscale.study.figures.memory_tasks.axes import TITLES
from rmtscale.study.figures.memory_tasks.backbones import (
    NOT_NOTED,
    PRETRAINED_ENCODER,
    by_kind,
    capital,
    described,
)
from rmtscale.study.figures.memory_tasks.page import Section, accuracy_tables, figure_report
from rmtscale.study.figures.memory_tasks.plan import Trainings
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.figures.memory_tasks.runs import collect
from rmtscale.study.training.layout import STAGES


def stage_checkpoints(folder: Path) -> dict[str, Path]:
    """Finds the checkpoints at the ends of the stages of whole segments, shortest first."""
    stages = (folder / STAGES).glob("segments-*")
    ordered = sorted(stages, key=lambda path: int(path.name.split("-")[1]))
    return {path.name: path for path in ordered}


TRAININGS = Trainings(seeds=SEEDS[:1], checkpoints=stage_checkpoints)


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of one seed a task; at toy size without the paper's curves."""
    planned, records = collect(figure, TRAININGS, sources)
    kinds, paper = by_kind(records), paper_curves()
    curves = {kind: by_task(own) for kind, own in kinds.items()}
    first, *others = [kind for kind in kinds if kind != PRETRAINED_ENCODER] or [NOT_NOTED]
    sections = [
        Section(
            title=capital(kind),
            text=described(kinds[kind]),
            claims=check_claims(curves[kind], paper, kind=kind),
            tables=_tables(curves[kind], level=3),
        )
        for kind in others
    ]
    full_size = any(record.trained_segments == LONGEST_TRAINED for record in records)
    if not sources.quick:
        encoders = kinds.get(PRETRAINED_ENCODER, [])
        sections.append(
            Section(
                title=f"{capital(PRETRAINED_ENCODER)}, the paper's own setting",
                text=described(encoders),
                claims=check_encoder(encoders, paper),
                tables=_tables(curves.get(PRETRAINED_ENCODER, {}), level=3),
            )
        )
    return figure_report(
        figure,
        planned,
        records,
        claims=check_claims(curves.get(first, {}), paper, kind=first),
        drawing=draw(curves, paper if full_size else {}),
        caption="Accuracy against segments read",
        tables=_tables(curves.get(first, {})),
        more=sections,
    )


def _tables(curves: Curves, *, level: int = 2) -> str:
    return accuracy_tables(
        {
            f"{TITLES[task]}{of_way(curves, task)}": {
                f"trained on {trained}": curve for trained, curve in own.items()
            }
            for task, own in curves.items()
        },
        level=level,
    )
