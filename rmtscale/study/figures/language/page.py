"""The pages of Figures 7, 8, 9, 12 and Table 1, with their numbers, records, trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.language.training_tables import SETTINGS_TABLE, training_tables
from rmtscale.study.records.language import UNTOUCHED, LanguageModel, LanguageRecord
from rmtscale.study.training.language.settings import LEMMA_PROOF
from rmtscale.tabular import csv_text
from rmtscale.units import format_tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


_SETTINGS_OF_RECIPE = "`rmtscale train --recipe NAME` has their settings"
_SETTINGS_RUN = (
    f"their settings are in `trainings/{SETTINGS_TABLE}` beside the records, and `rmtscale train "
    "--recipe NAME` has those of the recipe"
)


def figure_report(
    figure: Figure,
    sources: Sources,
    records: Sequence[LanguageRecord],
    *,
    claims: list[Claim],
    headline: str = "",
    body: str,
    drawings: Mapping[str, Drawing] | None = None,
    numbers: str | None = None,
) -> FigureReport:
    """Puts a figure's folder together; what was trained for it lies in ``trainings``.

    Args:
        figure: the one that was made.
        sources: what it was made from.
        records: what it shows.
        claims: checked.
        headline: the answer that the page begins with; none where the body has one for each part.
        body: pictures and tables of the page.
        drawings: its pictures, by name.
        numbers: its CSV, where that is not the numbers of all records.
    """
    name = figure.name
    tables: dict[str, str] = {}
    if sources.records is None and sources.training is not None:
        trained = {record.model.name for record in records}
        tables = training_tables(sources.training.folder, trained)
    noted = SETTINGS_TABLE in tables
    if sources.records is not None:
        noted = (sources.records.parent / "trainings" / SETTINGS_TABLE).is_file()
    made = fill(
        f"Made by `rmtscale reproduce {name}`. {how_it_was_made(records, noted=noted)}",
        100,
        break_on_hyphens=False,  # names of backbones stay whole
    )
    answer = f"{fill(f'**{headline}.**', 100)}\n\n" if headline else ""
    page = f"""# {figure.title}

{answer}{made}

{body}

## Claims

Differences are losses in bits per byte.

{claims_table(claims)}

Numbers: [{name}.csv]({name}.csv), [records.jsonl](records.jsonl).
"""
    files: dict[str, bytes | str] = {}
    for picture, drawing in (drawings or {}).items():
        files |= picture_files(picture, drawing)
    files[f"{name}.csv"] = csv_of(records) if numbers is None else numbers
    files["records.jsonl"] = "".join(record.to_line() + "\n" for record in records)
    files |= {f"trainings/{file}": text for file, text in tables.items()}
    return FigureReport(claims=claims, page=page, files=files)


def how_it_was_made(records: Sequence[LanguageRecord], *, noted: bool = False) -> str:
    """Writes sentences on machine, text, samples and training, from the records themselves.

    Args:
        records: of the page.
        noted: the settings that were run lie beside the records; a recipe may have others since.
    """
    first = records[0]
    machine = first.environment.gpu or first.environment.processor
    backbones = sorted({record.model.backbone for record in records})
    samples = " and ".join(map(format_tokens, sorted({record.point.samples for record in records})))
    read = {sum(tokens > 0 for tokens in record.whole.tokens) for record in records}
    clusters = " and ".join(map(format_tokens, sorted(read)))
    proofs = first.point.task == LEMMA_PROOF
    kind = "source files" if proofs else "documents"
    alike = "a length" if proofs else "an input size"
    if len(backbones) > 1:
        alike += " of one backbone"
    trained = [one.model.trained_steps for one in records if one.model.changed != UNTOUCHED]
    steps = " and ".join(map(format_tokens, sorted(set(trained))))
    return (
        f"Evaluated on {machine}, {first.point.precision}: {samples} targets of "
        f"{clusters} {kind} of {first.point.text} ({first.point.split}), the same "
        f"for every curve of {alike}. Backbone{'s' if len(backbones) > 1 else ''} "
        f"{' and '.join(backbones)}, {steps} training steps each, {_seeds(records)}. All trainings "
        f"are shown, none was chosen; {_SETTINGS_RUN if noted else _SETTINGS_OF_RECIPE}. "
        f"Intervals are 95 % over {kind}, of differences on the same tokens; they do not hold what "
        "another seed would change, so every seed is judged by itself."
    )


def _seeds(records: Sequence[LanguageRecord]) -> str:
    """Writes ``seeds 0, 1``, or ``seed 0, of some also 1`` where not every model has each."""
    by_model: dict[str, set[int]] = {}
    for record in records:
        name = record.model.name.removesuffix(f"-{record.model.seed}")
        by_model.setdefault(name, set()).add(record.model.seed)
    of_all = set.intersection(*by_model.values())
    some = set.union(*by_model.values()) - of_all
    if not of_all:
        of_all, some = some, of_all
    also = f", of some also {', '.join(map(str, sorted(some)))}" if some else ""
    return f"seed{'s' if len(of_all) > 1 else ''} {', '.join(map(str, sorted(of_all)))}{also}"


def csv_of(records: Sequence[LanguageRecord]) -> str:
    """Writes the main numbers of all records as CSV, whether it was compiled where any says so."""
    compiles = any(record.point.compile_step is not None for record in records)
    sinks = any(record.sink_tokens for record in records)
    again = any(record.model.trained_repeat_share for record in records)
    later = any((record.model.trained_start_segments or 1) > 1 for record in records)
    rows = []
    for record in records:
        point, model = record.point, record.model
        row: dict[str, object] = {
            "recipe": model.name,
            "backbone": model.backbone,
            "segment_size": model.segment_size,
            "memory_tokens": model.memory_tokens,
            **({"sink_tokens": model.sink_tokens} if sinks else {}),
            **({"start_segments": model.trained_start_segments} if sinks or later else {}),
            **(_repeats(model) if again else {}),
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
        for name, part in record.parts.items():
            prefix = "" if name == "all" else f"{name.replace('-', '_')}_"
            row |= {
                f"{prefix}loss_nats": float(f"{part.mean_nats:.6g}"),
                f"{prefix}perplexity": float(f"{part.perplexity:.6g}"),
                f"{prefix}bits_per_byte": float(f"{part.bits_per_byte:.6g}"),
            }
        compiled = point.compile_step
        row |= {
            **({"compile_step": None if compiled is None else int(compiled)} if compiles else {}),
            "flops_per_scored_token": float(f"{record.flops_per_token:.6g}"),
            "seconds_per_scored_token": float(f"{record.seconds_per_token:.6g}"),
            "peak_allocated_bytes": record.memory.peak_allocated_bytes,
            "peak_resident_bytes": record.memory.peak_resident_bytes,
        }
        rows.append(row)
    return csv_text(rows)


def _repeats(model: LanguageModel) -> dict[str, float]:
    """Names how much of the training's text repeats, and until which share of the steps."""
    return {"repeat_share": model.trained_repeat_share, "repeat_until": model.trained_repeat_until}
