"""What Figures 7, 8, 9 and 12 and Table 1 have in common: records, the paper's points, pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from rmtscale.errors import BadInput
from rmtscale.files import write_all
from rmtscale.report.claims import Claim, claims_table
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.lines import Published
from rmtscale.study.figures.published import published_rows
from rmtscale.study.figures.training_runs import How
from rmtscale.study.figures.training_tables import FOLDER, training_tables
from rmtscale.study.records.dead_band import plain
from rmtscale.study.records.language import LanguageRecord, LanguageStore
from rmtscale.tabular import csv_text
from rmtscale.units import format_tokens

LANGUAGE_MODELING, LEMMA_PROOF = "language-modeling", "lemma-proof"
FIXED, MIXING = "fixed_length", "length_mixing"
"""The curricula, as the paper's points name them."""
PAPER_PERPLEXITY = 9.14
"""GPT-2 at input size 128."""
PAPER_BITS = 0.843
"""GPT-2 at input size 1024."""
LONG_INPUT = 512
"""From here on a segment stands beside the paper's longer input."""


Write = Callable[..., list[Claim]]
"""``(folder, records, force=...)`` to claims, checked."""


def running(figure: str, task: str, write: Write) -> Callable[..., list[Claim]]:
    """The ``run`` of a figure: its records, found or made, and everything that is made of them."""

    def run(
        folder: Path,
        *,
        force: bool = False,
        records: Path | None = None,
        how: How | None = None,
        quick: bool = False,
        seeds: tuple[int, ...] | None = None,
    ) -> list[Claim]:
        """Writes pictures, numbers and a README into ``folder``; returns the claims, checked.

        Beside them, in ``trainings``, what was trained, unless records were given.

        Args:
            folder: to write to.
            force: overwrite what is there.
            records: evaluations made before; nothing is trained then.
            how: where and how to train.
            quick: the toy size.
            seeds: None is all of the recipes'.
        """
        found = records_of(figure, task, records, how, quick=quick, seeds=seeds)
        claims = write(folder, found, force=force)
        if records is None and how is not None:
            tables = training_tables(how.runs, {one.model.name for one in found})
            write_all(folder / FOLDER, tables, force=force)
        return claims

    return run


def records_of(
    figure: str,
    task: str,
    records: Path | None,
    how: How | None,
    *,
    quick: bool,
    seeds: tuple[int, ...] | None,
) -> list[LanguageRecord]:
    """The records of a file, or those that are trained and evaluated for this figure.

    Raises:
        BadInput: no such file, nothing in it, or another task.
    """
    if records is not None:
        found = plain(LanguageStore(records).read().latest().values())
        if not found:
            raise BadInput(
                f"records {str(records)!r}: expected a file of evaluated language models"
            )
    else:
        assert how is not None, "records or a way to make them"
        from rmtscale.study.figures.language.runs import collect_language

        found = collect_language(figure, how, quick=quick, seeds=seeds)
    others = sorted({one.point.task for one in found} - {task})
    if others:
        raise BadInput(f"task {others[0]!r} in the records of {figure}: expected {task}")
    return found


def published(curriculum: str = MIXING) -> dict[int, Published]:
    """The paper's curves by its input size; of the longer one there are those with mixing."""
    curves: dict[int, dict[int, float]] = {}
    nats_per_bit = 1.0
    for row in published_rows("language/published_128.csv"):
        if row["curriculum"] == curriculum and row["input_size"] == "128":
            trained, count = int(row["trained_segments"]), int(row["eval_segments"])
            curves.setdefault(trained, {})[count] = float(row["bpb"])
            nats_per_bit = float(row["loss_nats"]) / float(row["bpb"])
    found = {128: Published(128, math.log(PAPER_PERPLEXITY) / nats_per_bit, curves)}
    if curriculum == MIXING:
        longer: dict[int, dict[int, float]] = {}
        for row in published_rows("language/published_1024.csv"):
            trained = int(row["trained"].split()[0])
            longer.setdefault(trained, {})[int(row["eval_segments"])] = float(row["bpb"])
        found[1024] = Published(1024, PAPER_BITS, longer)
    return found


def counterpart(size: InputSize, paper: Mapping[int, Published]) -> Published | None:
    """The paper's curves that stand beside an input size; None at toy size."""
    if size.segment_size >= LONG_INPUT:
        return paper.get(1024)
    return paper.get(size.segment_size)


def how_it_was_made(records: Sequence[LanguageRecord]) -> str:
    """Sentences on machine, text, samples and training, from the records themselves."""
    first = records[0]
    machine = first.environment.gpu or first.environment.processor
    backbones = ", ".join(sorted({one.model.backbone for one in records}))
    samples = " and ".join(format_tokens(n) for n in sorted({one.point.samples for one in records}))
    clusters = sum(1 for tokens in first.whole.tokens if tokens)
    proofs = first.point.task == LEMMA_PROOF
    kind = "source files" if proofs else "documents"
    seeds = ", ".join(map(str, sorted({one.model.seed for one in records})))
    steps = " and ".join(
        format_tokens(n) for n in sorted({one.model.trained_steps for one in records})
    )
    return (
        f"Evaluated on {machine}, {first.point.precision}: {samples} targets of "
        f"{format_tokens(clusters)} {kind} of {first.point.text} ({first.point.split}), the same "
        f"for every curve of {'a length' if proofs else 'an input size'}. Backbone {backbones}, "
        f"{steps} training steps each, seeds {seeds}. All trainings are shown, none was chosen; "
        "`rmtscale train --recipe NAME` has their settings. "
        f"Intervals are 95 % over {kind}, of differences on the same tokens; they do not hold what "
        "another seed would change, so every seed is judged by itself."
    )


def csv_of(records: Sequence[LanguageRecord]) -> str:
    """The main numbers of all records."""
    rows = []
    for one in records:
        point, model = one.point, one.model
        row: dict[str, object] = {
            "recipe": model.name,
            "backbone": model.backbone,
            "segment_size": model.segment_size,
            "memory_tokens": model.memory_tokens,
            "trained_segments": model.trained_segments,
            "mixing": int(model.trained_mixing),
            "trained_steps": model.trained_steps,
            "trained_flops": model.trained_flops,
            "trained_seconds": float(f"{model.trained_seconds:.6g}"),
            "seed": model.seed,
            "segments": point.segments,
            "tokens": point.tokens,
            "block_tokens": point.block_tokens,
            "context_tokens": point.tokens - point.block_tokens,
            "samples": point.samples,
        }
        for name, part in one.parts.items():
            prefix = "" if name == "all" else f"{name.replace('-', '_')}_"
            row |= {
                f"{prefix}loss_nats": float(f"{part.mean_nats:.6g}"),
                f"{prefix}perplexity": float(f"{part.perplexity:.6g}"),
                f"{prefix}bits_per_byte": float(f"{part.bits_per_byte:.6g}"),
            }
        row |= {
            "flops_per_scored_token": float(f"{one.flops_per_token:.6g}"),
            "seconds_per_scored_token": float(f"{one.seconds_per_token:.6g}"),
            "peak_allocated_bytes": one.memory.peak_allocated_bytes,
            "peak_resident_bytes": one.memory.peak_resident_bytes,
        }
        rows.append(row)
    return csv_text(rows)


def page(
    figure: str, title: str, records: Sequence[LanguageRecord], claims: list[Claim], body: str
) -> str:
    """The README of a folder: how it was made, pictures and tables, claims, where the data are."""
    made = fill(f"Made by `rmtscale reproduce {figure}`. {how_it_was_made(records)}", 100)
    return f"""# {title}

{made}

{body}

## Claims

Differences are losses in nats per token.

{claims_table(claims)}

Numbers: [{figure}.csv]({figure}.csv), [records.jsonl](records.jsonl).
"""


def write_page(
    folder: Path,
    figure: str,
    pictures: Mapping[str, Mapping[str, bytes]],
    records: Sequence[LanguageRecord],
    readme: str,
    *,
    force: bool,
    table: str | None = None,
) -> None:
    """Pictures, records, numbers and a README, all or none.

    Args:
        folder: to write to.
        figure: name of the numbers.
        pictures: rendered, by name.
        records: what they show.
        readme: its text.
        force: overwrite what is there.
        table: the numbers, where they are not those of all records.

    Raises:
        BadInput: a file is there and ``force`` is not set, or cannot be written.
    """
    contents: dict[str, bytes | str] = {
        f"{name}.{kind}": data
        for name, rendered in pictures.items()
        for kind, data in rendered.items()
    }
    contents[f"{figure}.csv"] = csv_of(records) if table is None else table
    contents["records.jsonl"] = "".join(record.to_line() + "\n" for record in records)
    contents["README.md"] = readme
    write_all(folder, contents, force=force)
