"""What Figures 4, 5 and 11 have in common: records of them, the paper's points, files written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rmtscale.errors import BadInput, CheckFailed
from rmtscale.files import write_all
from rmtscale.records.mapping import to_mapping
from rmtscale.report.claims import Claim, Outcome
from rmtscale.study.figures.memory_tasks.axes import CHANCE, Curve, Points
from rmtscale.study.figures.memory_tasks.recipes import Plan, plan
from rmtscale.study.figures.published import published_rows
from rmtscale.study.figures.training_runs import How, evaluate_all, train_all
from rmtscale.study.records.dead_band import plain
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.tabular import csv_text, markdown_table
from rmtscale.units import format_accuracy, format_interval, format_tokens

_PAPER_NAMES = {
    "memorization": "memorize",
    "memorize": "memorize",
    "detect&memorize": "detect-memorize",
    "reasoning": "reasoning",
}


def collect(
    figure: str,
    records: Path | None,
    how: How | None,
    *,
    quick: bool,
    seeds: tuple[int, ...] | None,
    checkpoints: Callable[[Path], dict[str, Path]],
) -> tuple[Plan | None, list[EvaluationRecord]]:
    """The records of a file, or trains and evaluates what is missing and says what was wanted.

    Raises:
        BadInput: no such file, or nothing in it.
        CheckFailed: the time was up before all trainings were done.
    """
    if records is not None:
        return None, _read(records)
    assert how is not None, "records or a way to make them"
    wanted = plan(figure, quick=quick, background=how.background, seeds=seeds)
    left = train_all(wanted.recipes, how)
    if left:
        raise CheckFailed(
            f"time is up, {len(left)} of {len(wanted.recipes)} trainings are not done "
            f"({', '.join(left)}); the same command goes on"
        )
    store = EvaluationStore(how.runs / f"{figure}.jsonl")
    evaluated = evaluate_all(wanted, how, store, checkpoints)
    return wanted, [record for one in evaluated for record in one.records]


def _read(path: Path) -> list[EvaluationRecord]:
    records = plain(EvaluationStore(path).read().latest().values())
    if not records:
        raise BadInput(f"records {str(path)!r}: expected a file that 'rmtscale evaluate' wrote")
    return records


def paper_points(name: str, columns: Sequence[str]) -> dict[tuple[str, ...], Points]:
    """Accuracies of the published figure, as shares, by task and the other columns.

    The last one of ``columns`` is the number of segments read.
    """
    found: dict[tuple[str, ...], dict[int, float]] = {}
    for row in published_rows(name):
        key = (_PAPER_NAMES[row["task"]], *(row[column] for column in columns[:-1]))
        found.setdefault(key, {})[int(row[columns[-1]])] = round(
            float(row["accuracy_pct"]) / 100, 6
        )
    return dict(found)


def curve(records: Iterable[EvaluationRecord]) -> Curve:
    """By number of segments, shortest first; a later record takes the place of an earlier one."""
    return dict(sorted((record.point.segments, record) for record in records)) if records else {}


def grouped(
    records: Iterable[EvaluationRecord], *fields: Callable[[EvaluationRecord], object]
) -> dict[tuple[object, ...], Curve]:
    """Curves by what ``fields`` say of their records, in the order they come."""
    parts: dict[tuple[object, ...], list[EvaluationRecord]] = {}
    for record in records:
        parts.setdefault(tuple(field(record) for field in fields), []).append(record)
    return {key: curve(part) for key, part in parts.items()}


def reaches(text: str, paper: float, record: EvaluationRecord | None, target: str = "") -> Claim:
    """A claim that ours is at least the paper's, as far as so many samples can tell."""
    if record is None:
        return Claim(text, format_accuracy(paper), "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.high >= paper else "fail"
    return Claim(text, format_accuracy(paper), words(record), outcome, target or "95 % interval")


def learned(text: str, record: EvaluationRecord | None) -> Claim:
    """A claim that something was learned at all: the interval lies above chance."""
    if record is None:
        return Claim(text, "above chance", "not evaluated", "not measurable")
    outcome: Outcome = "pass" if record.low > CHANCE else "fail"
    return Claim(text, "above chance", words(record), outcome, "95 % interval")


def words(record: EvaluationRecord) -> str:
    """``99.90 % (99.43 to 99.98)``."""
    return f"{format_accuracy(record.accuracy)} ({format_interval(record.low, record.high)})"


def accuracy_table(curves: Mapping[str, Curve]) -> str:
    """Accuracies as Markdown, a column for each curve."""
    counts = sorted({count for one in curves.values() for count in one})
    rows = []
    for count in counts:
        known = [one[count] for one in curves.values() if count in one]
        cells = [words(one[count]) if count in one else "" for one in curves.values()]
        rows.append([format_tokens(count), format_tokens(known[0].point.tokens), *cells])
    return markdown_table(("segments", "tokens", *curves), rows)


def how_it_was_made(records: Sequence[EvaluationRecord], wanted: Plan | None) -> str:
    """Sentences on machine, noise and training, from the records themselves."""
    first = records[0]
    found = {one.environment.gpu or one.environment.processor or "" for one in records}
    machines = " and ".join(sorted(found))
    noise = sorted({record.point.background for record in records})
    samples = sorted({record.point.samples for record in records})
    counts = " and ".join(format_tokens(count) for count in samples)
    said = [
        f"Evaluated on {machines}, {first.point.precision}, {counts} samples a length, noise: the "
        f"validation part of {', '.join(noise)}; segments hold "
        f"{format_tokens(first.point.segment_tokens)} tokens of text.",
    ]
    if wanted is not None:
        one = next(iter(wanted.recipes.values()))
        said.append(
            f"Trained from random initialisation ({one.backbone}, segment size "
            f"{one.segment_size}, {one.memory_tokens} memory tokens); the paper's models are "
            "pretrained. All trainings are shown, none was chosen."
        )
    return " ".join(said)


def csv_of(records: Sequence[EvaluationRecord]) -> str:
    """Returns the main numbers of all records."""
    return csv_text(
        {
            "task": record.point.task,
            "trained_segments": record.trained_segments,
            "trained_stage": record.trained_stage,
            "curriculum": int(record.trained_curriculum),
            "seed": record.trained_seed,
            "segments": record.point.segments,
            "tokens": record.point.tokens,
            "samples": record.point.samples,
            "correct": record.correct,
            "accuracy": f"{record.accuracy:.6g}",
            "low": f"{record.low:.6g}",
            "high": f"{record.high:.6g}",
            "tokens_per_second": f"{record.tokens_per_second:.6g}",
            "peak_allocated_bytes": record.memory.peak_allocated_bytes,
            "peak_resident_bytes": record.memory.peak_resident_bytes,
        }
        for record in records
    )


def write_figure(
    folder: Path,
    name: str,
    rendered: Mapping[str, bytes],
    records: Sequence[EvaluationRecord],
    wanted: Plan | None,
    readme: str,
    *,
    force: bool,
) -> None:
    """Figure, records, numbers, settings and a README, whole or not at all."""
    contents: dict[str, bytes | str] = {
        **{f"{name}.{kind}": data for kind, data in rendered.items()},
        f"{name}.csv": csv_of(records),
        "records.jsonl": "".join(record.to_line() + "\n" for record in records),
        "README.md": readme,
    }
    if wanted is not None:
        settings = {recipe: to_mapping(one) for recipe, one in wanted.recipes.items()}
        for one in settings.values():
            one["background"] = Path(str(one["background"])).name
        contents["settings.json"] = json.dumps(settings, indent=1) + "\n"
    write_all(folder, contents, force=force)
