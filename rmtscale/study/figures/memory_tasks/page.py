"""The page of a figure of memory tasks, with its numbers, records and settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.records.mapping import to_mapping
from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport
from rmtscale.study.figures.memory_tasks.axes import TITLES, Curve
from rmtscale.study.figures.memory_tasks.backbones import capital
from rmtscale.study.figures.memory_tasks.claims import words
from rmtscale.study.figures.memory_tasks.plan import Plan
from rmtscale.study.figures.memory_tasks.shown import Group, Reading, first
from rmtscale.study.figures.memory_tasks.ways import trained_way
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.tabular import csv_text, markdown_table
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_LENGTH_COLUMNS = 2
_MOST_COLUMNS = 8
"""A wider table is cut off by a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with claims and tables of its own."""

    title: str
    """Its heading."""
    text: str
    """Sentences on what it is about."""
    claims: list[Claim]
    tables: str
    """Markdown, with headings of the third level; empty is none."""

    @property
    def markdown(self) -> str:
        """Returns heading, sentences, claims and tables."""
        parts = (f"## {self.title}", self.text, claims_table(self.claims), self.tables)
        return "\n\n".join(part for part in parts if part)


def figure_report(
    figure: Figure,
    planned: Plan | None,
    records: Sequence[EvaluationRecord],
    *,
    claims: list[Claim],
    drawing: Drawing,
    caption: str,
    tables: str,
    more: Sequence[Section] = (),
    hint: str = "",
    lead: str = "",
    note: str = "",
) -> FigureReport:
    """Puts a figure's folder together.

    Args:
        figure: the one that was made.
        planned: what was trained for it; None where records were given.
        records: what it shows.
        claims: checked.
        drawing: its picture.
        caption: what the picture shows, in words.
        tables: the accuracies as Markdown.
        more: sections behind them.
        hint: a sentence on what to do with it.
        lead: paragraphs above everything else; the picture's headline where there are none.
        note: sentences on its trainings.
    """
    name = figure.name
    lead = lead or fill(f"**{' '.join(drawing.get_suptitle().split())}.**", 100)
    how = f"{how_it_was_made(records, planned)} {note}".strip()
    made = fill(f"Made by `rmtscale reproduce {name}`. {how}", 100, break_on_hyphens=False)
    numbers = f"{hint} Numbers: [{name}.csv]({name}.csv), [records.jsonl](records.jsonl)."
    body = "\n\n".join([claims_table(claims), tables, *(section.markdown for section in more)])
    page = f"""# {figure.title}

{lead}

{made}

![{caption}]({name}.png)

{body}

{fill(numbers.strip(), 100, break_on_hyphens=False)}
"""
    files: dict[str, bytes | str] = {
        **picture_files(name, drawing),
        f"{name}.csv": csv_of(records),
        "records.jsonl": "".join(record.to_line() + "\n" for record in records),
    }
    if planned is not None:
        settings = {recipe: to_mapping(values) for recipe, values in planned.recipes.items()}
        for values in settings.values():
            values["background"] = Path(str(values["background"])).name
        files["settings.json"] = json.dumps(settings, indent=1) + "\n"
    every = [*claims, *(claim for section in more for claim in section.claims)]
    return FigureReport(claims=every, page=page, files=files)


def accuracy_tables(curves: Mapping[str, Mapping[str, Curve]], *, level: int = 2) -> str:
    """Writes a Markdown table under each title, with a column for each of its curves.

    Args:
        curves: by title and name.
        level: of the headings.
    """
    marks = "#" * level
    return "\n\n".join(f"{marks} {title}\n\n{accuracy_table(own)}" for title, own in curves.items())


def recipe_tables(group: Group, *, level: int = 2) -> str:
    """Writes Markdown tables of every reading, one for each task.

    Where that would be too wide there is one for each recipe, and where that is too wide too, later
    states stand apart.

    Args:
        group: of one kind of backbone.
        level: of the headings of tasks.
    """
    parts = []
    for task, own in group.readings.items():
        title = f"{'#' * level} {TITLES[task]}"
        if _fits(own):
            parts.append(f"{title}\n\n{accuracy_table(_columns(own))}")
            continue
        named: dict[str, Mapping[str, Curve]] = {}
        for recipe, some in group.recipes(task).items():
            name = capital(recipe) or "The usual recipe"
            states = first(some)
            if _fits(some) or len(states) in (0, len(some)):
                named[name] = _columns(some, recipe)
                continue
            named[name] = _columns(states, recipe)
            later = [one for one in some if one not in states]
            named[f"{name}, trained on"] = _columns(later, recipe)
        parts += [title, accuracy_tables(named, level=level + 1)]
    return "\n\n".join(parts)


def _fits(readings: Sequence[Reading]) -> bool:
    return _LENGTH_COLUMNS + len(_columns(readings)) <= _MOST_COLUMNS


def _columns(readings: Iterable[Reading], recipe: str = "") -> dict[str, Curve]:
    """Names the curves of trainings, plain ones beside them where they are compared.

    Args:
        readings: of one task.
        recipe: of all of them, where a heading names it.
    """
    curves: dict[str, Curve] = {}
    for one in readings:
        name = one.short_name(recipe)
        curves[", ".join(filter(None, (name, one.how)))] = one.curve
        if one.plain:
            curves[f"{name}, plain"] = one.plain
    return curves


def accuracy_table(curves: Mapping[str, Curve]) -> str:
    """Writes accuracies as Markdown, a column for each curve."""
    rows = []
    for count in sorted({count for curve in curves.values() for count in curve}):
        tokens = next(curve[count].point.tokens for curve in curves.values() if count in curve)
        cells = [words(curve[count]) if count in curve else "" for curve in curves.values()]
        rows.append([format_tokens(count), format_tokens(tokens), *cells])
    return markdown_table(("segments", "tokens", *curves), rows)


def how_it_was_made(records: Sequence[EvaluationRecord], planned: Plan | None) -> str:
    """Writes sentences on machine, noise and training, from the records themselves."""
    first = records[0]
    environments = [record.environment for record in records]
    machines = " and ".join(sorted({env.gpu or env.processor or "" for env in environments}))
    noise = ", ".join(sorted({record.point.background for record in records}))
    samples = sorted({record.point.samples for record in records})
    counts = " to ".join(format_tokens(count) for count in dict.fromkeys((samples[0], samples[-1])))
    text = (
        f"Evaluated in {first.point.precision} on {machines}, with {counts} samples at each "
        f"length; the noise is the validation part of {noise}."
    )
    sizes = {record.point.segment_tokens for record in records}
    if len(sizes) == 1:
        text += f" Segments hold {format_tokens(sizes.pop())} tokens of text."
    if planned is None:
        return text
    settings = next(iter(planned.recipes.values()))
    return (
        f"{text} Trained from random initialisation ({settings.backbone}, segment size "
        f"{settings.segment_size}, {settings.memory_tokens} memory tokens); the paper's models are "
        "pretrained. All trainings are shown, none was chosen."
    )


def _backbone_columns(record: EvaluationRecord) -> dict[str, object]:
    backbone = record.trained_backbone
    if backbone is None:
        return {"backbone": None, "pretrained": None, "lora_rank": None}
    return {
        "backbone": backbone.name,
        "pretrained": int(backbone.pretrained),
        "lora_rank": backbone.lora_rank,
    }


def _trainings(record: EvaluationRecord) -> dict[str, object]:
    return {
        "trained_steps": record.trained_steps,
        "weights": record.point.weights,
        "trained_from": record.trained_from or None,
    }


def _compiled(record: EvaluationRecord) -> int | None:
    compiled = record.point.compile_step
    return None if compiled is None else int(compiled)


def csv_of(records: Sequence[EvaluationRecord]) -> str:
    """Writes the main numbers of all records as CSV, the dead band where any has one, backbone,
    a recipe that is not the usual, whether it was compiled and whether LoRA was merged where any
    says so, and steps, weights and those that they were trained from where any training went on."""
    held = any(record.point.dead_band for record in records)
    noted = any(record.trained_backbone for record in records)
    merges = any(record.point.merged_lora for record in records)
    recipes = any(trained_way(record) for record in records if record.trained_with)
    compiles = any(record.point.compile_step is not None for record in records)
    links = any(record.trained_from for record in records)
    return csv_text(
        {
            "task": record.point.task,
            "trained_segments": record.trained_segments,
            "trained_stage": record.trained_stage,
            "curriculum": int(record.trained_curriculum),
            "seed": record.trained_seed,
            **(_trainings(record) if links else {}),
            **(_backbone_columns(record) if noted else {}),
            **({"recipe": trained_way(record)} if recipes else {}),
            **({"dead_band": f"{record.point.dead_band:g}"} if held else {}),
            "segments": record.point.segments,
            "tokens": record.point.tokens,
            "samples": record.point.samples,
            "correct": record.correct,
            "accuracy": f"{record.accuracy:.6g}",
            "low": f"{record.low:.6g}",
            "high": f"{record.high:.6g}",
            **({"compile_step": _compiled(record)} if compiles else {}),
            **({"merged_lora": int(record.point.merged_lora)} if merges else {}),
            "tokens_per_second": f"{record.tokens_per_second:.6g}",
            "peak_allocated_bytes": record.memory.peak_allocated_bytes,
            "peak_resident_bytes": record.memory.peak_resident_bytes,
        }
        for record in records
    )
