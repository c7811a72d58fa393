"""The page of BABILong: claims, picture, tables by task and length, and which rows have no run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.report.claims import claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.babilong.ablation_table import ablation_table, equal_work
from rmtscale.study.figures.babilong.claims import check_claims
from rmtscale.study.figures.babilong.drawing import draw
from rmtscale.study.figures.babilong.published import SHORT, SYSTEMS
from rmtscale.study.figures.babilong.runs import (
    ALL_FIVE,
    PLAIN,
    VARIANTS,
    Run,
    runs_of,
    shown,
    variant_of,
)
from rmtscale.study.figures.babilong.runs_page import FILE, runs_page
from rmtscale.study.figures.babilong.standing import answer, averages_in_words
from rmtscale.study.figures.babilong.tables import (
    average_table,
    beside_full_attention,
    cost_table,
    models_table,
    names_of_ours,
    samples_in_words,
    task_table,
)
from rmtscale.study.figures.babilong.where_lost import where_lost
from rmtscale.study.figures.figure import REPORTS, Figure, FigureReport, Sources
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.records.widths import WIDTHS_FILE, ChosenWidths, WidthStore
from rmtscale.study.tasks.babi.names import QAS
from rmtscale.tabular import csv_text
from rmtscale.units import format_tokens

RECORDS = REPORTS / "babilong" / "records.jsonl"


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from records of ``evaluate --lengths``, or from the committed ones.

    How dead bands were chosen stands in ``widths.jsonl`` beside them.

    Raises:
        BadInput: no such file, or nothing in it.
    """
    path = sources.records or RECORDS
    records = list(BabilongStore(path).read().latest().values())
    if not records:
        raise BadInput(
            f"records {str(path)!r}: expected a file that 'rmtscale evaluate --lengths' wrote"
        )
    widths = list(WidthStore(path.with_name(WIDTHS_FILE)).read().latest().values())
    ways = ChosenWidths(widths)
    runs = runs_of(records, ways)
    both = {variant: shown(runs, variant) for variant in VARIANTS}
    best, claims = both[PLAIN], check_claims(runs)
    tables = "\n\n".join(
        f"## {task}\n\n{task_table(task, runs)}\n\n{_fill(names_of_ours(task, runs))}"
        + _each_model(runs, task)
        for task in QAS
    )
    averages = f"{average_table(runs)}\n\n{_fill(_COLUMNS)}{_samples(both)}{_each_model(runs)}"
    numbers = (
        f"[Every run and every point]({FILE}). Numbers: [{figure.name}.csv]({figure.name}.csv), "
        "[records.jsonl](records.jsonl)."
    )
    page = f"""# {figure.title}

{_fill(_answer(both))}

{_fill(_lead(records))}

![Accuracy by length, a panel for each task, beside five published systems]({figure.name}.png)

{claims_table(claims)}

## Average

{averages}

{tables}

## Ablation

{_fill(_ABLATION)}

{ablation_table(runs)}

{_fill(equal_work(runs))}

## Where it is lost

{where_lost(runs)}

## What a sample takes

{cost_table(best)}

{_fill(f"{beside_full_attention(best)} {_COSTS}".strip())}

{numbers}
"""
    noted = any(record.point.compile_step is not None for record in records)
    files: dict[str, bytes | str] = {
        **picture_files(figure.name, draw(runs)),
        FILE: runs_page(figure.title, runs),
        f"{figure.name}.csv": csv_text(_row(record, ways, noted=noted) for record in records),
        "records.jsonl": "".join(record.to_line() + "\n" for record in records),
    }
    if widths:
        files[WIDTHS_FILE] = "".join(record.to_line() + "\n" for record in widths)
    return FigureReport(claims=claims, page=page, files=files)


_COLUMNS = (
    f"{'; '.join(f'{short}: {SYSTEMS[name]}' for name, short in SHORT.items())}. The published "
    "numbers are whole percents, so that a claim takes 99 for anything from 98.5 to 99.5. Ours: "
    "the better run of each task, of whatever model. Band: ours with a dead band on the memory, a "
    "variant with claims, columns and lines of its own, apart from those of plain runs. In "
    "brackets stands how its width was chosen: `rmtscale dead-band` chooses it in training text, "
    "by changes of the memory or by accuracy. Borrowed: no record says that it was chosen for "
    "these weights."
)
_MODELS = (
    "Each model alone, by its backbone: a `gpt-neox` is trained from random initialisation, others "
    "are pretrained."
)
_MODELS_OF_ALL = (
    "Each model alone, where it has all five tasks: a backbone with a training for each task, or "
    f"one training of {ALL_FIVE}."
)
_ABLATION = (
    "Each change is added to all those above it: replay, of what a burn-in lost, needs a burn-in, "
    "and the dead band is the last training evaluated with one. The recipes are "
    "`babilong-ablation-qa1-plain-0`, `-burn-in-0`, `-replay-0` and `-fragments-0`; qa1 with all "
    "of it is `babilong-qa1-0`. Each row is a run, in percent with 95 % intervals."
)
_COSTS = (
    "Samples are read side by side, as many as the column says. The time of a sample is its share "
    "of theirs, making the text included. One alone is the time of a sample that was read by "
    "itself, with `--batch-size 1`; it is empty where none was. Full attention is our own lower "
    "bound for one pass of the same backbone over the whole sample on an H200 in bf16, if its "
    "memory allowed it. Peaks of memory are compared between lengths that one checkpoint has read "
    "with as many samples side by side, in one precision, all compiled or none, on one GPU: those "
    "of one command, and those of several that held as much memory before. Stories alone (0k) "
    "come in batches of other sizes and do not count."
)


def _samples(both: Mapping[str, Mapping[str, Run]]) -> str:
    """Writes how many samples the points have; nothing where no task has a run."""
    counts = samples_in_words(run for best in both.values() for run in best.values())
    if not counts:
        return ""
    text = (
        f"Samples of a point: {counts}; the lines below the table of a task say which. Stories "
        f"that are longer than a sample are [left out]({FILE}#every-point). With more than 100 "
        "samples an accuracy has a decimal. Of several readings of the same weights at the same "
        "length with the same width, the one of most samples stands, in every table, claim and "
        "picture. The samples of a smaller one are the first of a larger one's of the same seed, "
        "so that none counts twice."
    )
    return f"\n\n{_fill(text)}"


def _each_model(runs: Sequence[Run], task: str | None = None) -> str:
    """Writes what follows a table of the best runs; nothing where there is one model only."""
    table = models_table(runs, task)
    if table is None:
        return ""
    return f"\n\n{_fill(_MODELS_OF_ALL if task is None else _MODELS)}\n\n{table}"


def _answer(both: Mapping[str, Mapping[str, Run]]) -> str:
    """Writes what comes of it, and which tasks have no run."""
    lacking = [task for task in QAS if task not in both[PLAIN]]
    said = [answer(both), averages_in_words(both)]
    said += [f"No run yet: {', '.join(lacking)}"] if lacking else []
    return f"**{'. '.join(each for each in said if each)}.**"


def _lead(records: list[BabilongRecord]) -> str:
    machines = sorted({r.environment.gpu or r.environment.processor or "" for r in records})
    noise = sorted({record.point.background for record in records})
    tokens = max(record.noise_tokens for record in records)
    return (
        f"Made by `rmtscale reproduce babilong` from evaluations on {' and '.join(machines)}. The "
        "original test stories of bAbI (Weston et al. 2015) are hidden in noise as Kuratov et al. "
        f"2024 hide them. The noise is {', '.join(noise)}: the published systems read PG19, which "
        "was not available here. Lengths are counted in words, 88,592 of them at 128k. The noise "
        f"has {format_tokens(tokens)} tokens, so that longer samples hold some of it more than "
        "once. Of each task one run is drawn bold and stands in the tables, the most accurate of "
        f"those that read furthest; [all others]({FILE}) have a page of their own."
    )


def _fill(text: str) -> str:
    """Wraps a paragraph; a number stays with its percent sign."""
    held = text.replace(" %", "\N{NO-BREAK SPACE}%")
    return fill(held, 100, break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")


def _row(record: BabilongRecord, ways: ChosenWidths, *, noted: bool) -> dict[str, object]:
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
        "variant": variant_of(record),
        "dead_band": f"{record.point.dead_band:g}",
        "dead_band_chosen": (
            ways.how(record.point.weights, record.point.dead_band) if record.point.dead_band else ""
        ),
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
