"""The page of BABILong: claims, picture, tables by task and length, and which rows have no run."""

from __future__ import annotations

from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.report.claims import claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.babilong.ablation_table import ablation_table
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.drawing import draw
from rmtscale.study.figures.babilong.runs import DEAD_BAND, PLAIN, Run, runs_of, shown
from rmtscale.study.figures.babilong.tables import (
    average_table,
    cost_table,
    details_table,
    task_table,
)
from rmtscale.study.figures.babilong.where_lost import where_lost
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.tabular import csv_text
from rmtscale.units import format_tokens

RECORDS = REPORTS / "babilong" / "records.jsonl"


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of ``evaluate --lengths``, or from the committed ones.

    Raises:
        BadInput: no such file, or nothing in it.
    """
    path = sources.records or RECORDS
    records = list(BabilongStore(path).read().latest().values())
    if not records:
        raise BadInput(
            f"records {str(path)!r}: expected a file that 'rmtscale evaluate --lengths' wrote"
        )
    runs = runs_of(records)
    best, claims = shown(runs), check_claims(runs)
    tables = "\n\n".join(f"## {task}\n\n{task_table(task, runs)}" for task in QAS)
    numbers = f"Numbers: [{figure.name}.csv]({figure.name}.csv), [records.jsonl](records.jsonl)."
    page = f"""# {figure.title}

{_fill(_lead(best, records))}

![Accuracy by length, a panel for each task, beside five published systems]({figure.name}.png)

{claims_table(claims)}

## Average

{average_table(runs)}

{_fill(_BACKBONES)}

{tables}

## Ablation

{_fill(_ABLATION)}

{ablation_table(runs)}

## Where it is lost

{where_lost(runs)}

## What a sample takes

{cost_table(best)}

{_fill(_COSTS)}

## Every point

{details_table(runs)}

{numbers}
"""
    noted = any(record.point.compile_step is not None for record in records)
    files: dict[str, bytes | str] = {
        **picture_files(figure.name, draw(runs)),
        f"{figure.name}.csv": csv_text(_row(record, noted=noted) for record in records),
        "records.jsonl": "".join(record.to_line() + "\n" for record in records),
    }
    return FigureReport(claims=claims, page=page, files=files)


_BACKBONES = (
    "A row without a backbone takes the better run of each task, a row of one backbone its own "
    "only. Runs with a dead band on the memory are a variant of their own: they have claims and "
    "lines of their own, and never stand in a row, a line or an average of plain ones."
)
_ABLATION = (
    "Each change is added to all that stand above it, and stays: to replay what a burn-in lost "
    "needs a burn-in, and a dead band is an evaluation of the last training. Recipes "
    "`babilong-ablation-qa1-plain-0`, `-burn-in-0`, `-replay-0`, `-fragments-0`; that of qa1 with "
    "everything is `babilong-qa1-0`. A row for each run, in percent."
)
_COSTS = (
    "A sample's seconds are those of a batch, making its text included, by the rows read together. "
    "Full attention is our own lower bound for one pass of the same backbone over the whole sample "
    "on an H200 in bf16, if its memory allowed it."
)


def _lead(best: dict[str, Run], records: list[BabilongRecord]) -> str:
    lacking = [task for task in QAS if task not in best]
    machines = sorted({r.environment.gpu or r.environment.processor or "" for r in records})
    noise = sorted({record.point.background for record in records})
    tokens = max(record.noise_tokens for record in records)
    text = (
        f"Made by `rmtscale reproduce babilong` from evaluations on {' and '.join(machines)}. The "
        "original test stories of bAbI (Weston et al. 2015), hidden as Kuratov et al. 2024 do, in "
        f"noise of {', '.join(noise)}; the published systems read PG19, which is not to be had. A "
        "length is a number of words, 88,592 at 128k. The noise has "
        f"{format_tokens(tokens)} tokens; longer samples hold some of it again. Of each task the "
        "run that reads furthest is drawn bold, and of these the most accurate; all are in the "
        "tables."
    )
    if lacking:
        text = f"**No run yet: {', '.join(lacking)}.** {text}"
    return text


def _fill(text: str) -> str:
    return fill(text, 100, break_on_hyphens=False)


def _row(record: BabilongRecord, *, noted: bool) -> dict[str, object]:
    training, compiled = record.training, record.point.compile_step
    return {
        "task": record.point.stories,
        "length": record.point.length,
        "words": record.words,
        "tokens": record.tokens,
        "model": record.point.model,
        "answers": record.point.answers,
        "weights": record.point.weights,
        "trained_on": "" if training is None else training.stories,
        "backbone": "" if training is None else training.backbone,
        "seed": "" if training is None else training.seed,
        "variant": DEAD_BAND if record.point.dead_band else PLAIN,
        "dead_band": f"{record.point.dead_band:g}",
        "samples": record.point.samples,
        "left_out": record.left_out,
        "correct": record.correct,
        "accuracy": f"{record.accuracy:.6g}",
        "low": f"{record.low:.6g}",
        "high": f"{record.high:.6g}",
        "unanswered": record.unanswered,
        **({"compile_step": None if compiled is None else int(compiled)} if noted else {}),
        "tokens_per_second": f"{record.tokens_per_second:.6g}",
        "seconds_per_sample": f"{record.seconds_per_sample:.6g}",
        "peak_allocated_bytes": record.memory.peak_allocated_bytes,
        "peak_resident_bytes": record.memory.peak_resident_bytes,
    }
