"""``rmtscale evaluate --lengths``: BABILong's original test stories, by task and length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rmtscale.cli.evaluate_memory import default_background
from rmtscale.cli.evaluate_options import Asked, default_precision
from rmtscale.cli.output import write_note, write_rows, write_table, write_text
from rmtscale.errors import BadInput
from rmtscale.study.records.babilong import BabilongRecord, BabilongStore
from rmtscale.study.tasks.babi.names import parse_stories
from rmtscale.study.tasks.lengths import parse_lengths
from rmtscale.units import (
    format_accuracy,
    format_bytes,
    format_compiled,
    format_count,
    format_dead_band,
    format_score,
    format_score_interval,
    format_seconds,
    format_tokens,
)

if TYPE_CHECKING:
    import torch

    from rmtscale.study.evaluation.babilong import Answering, BabilongSettings
    from rmtscale.study.tasks.noise import Noise


def evaluate_lengths(
    asked: Asked,
    lengths: str,
    *,
    stories: str | None = None,
    samples: int | None = None,
    answers: str = "classes",
    background: str | None = None,
    seed: int = 0,
    backbone: str | None = None,
    compile: bool | None = None,
    merge_lora: bool = False,
) -> None:
    """Evaluates a checkpoint of this package, and prints all points."""
    from rmtscale.study.evaluation.compiling import compiles
    from rmtscale.study.evaluation.evaluate import data_of
    from rmtscale.study.evaluation.rmt_answers import RmtAnswers
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    loaded = load_checkpoint(asked.checkpoint, asked.task, backbone)
    if loaded.settings.task != "babilong":
        raise BadInput(
            f"--lengths {lengths!r}: expected a checkpoint of babilong, this one is of "
            f"{loaded.settings.task}; see --segments"
        )
    if asked.dead_band is not None:
        loaded.answerer.rmt.set_dead_band(asked.dead_band)
    if merge_lora:
        loaded.merge_lora()
    device = find_device(asked.device)
    compiled = compiles(loaded, compile, device)
    settings = _settings(
        asked,
        lengths,
        stories or str(loaded.settings.task_options.get("stories", "qa1")),
        samples=samples,
        answers=answers,
        background=background or default_background(loaded),
        seed=seed,
        precision=default_precision(asked, loaded.settings, device),
        compile_step=compile,
    )
    reader = Reader(loaded.answerer, device, settings.precision, compile_step=compiled)
    model = RmtAnswers(loaded, reader, answers)
    noise = data_of(loaded, settings.background).noise("evaluation")
    _evaluate(asked, model, noise, settings, device)


def evaluate_model(
    asked: Asked,
    lengths: str,
    *,
    stories: str | None = None,
    samples: int | None = None,
    answers: str = "generate",
    background: str | None = None,
    seed: int = 0,
) -> None:
    """Evaluates any decoder of a folder, which answers in free text, and prints all points."""
    from rmtscale.study.evaluation.decoder_answers import DecoderAnswers
    from rmtscale.study.tasks.background import load_background
    from rmtscale.study.tasks.noise import Noise
    from rmtscale.study.training.device import find_device

    if answers != "generate":
        raise BadInput(f"--answers {answers!r} with --model: expected generate, it has no classes")
    device = find_device(asked.device)
    settings = _settings(
        asked,
        lengths,
        stories or "qa1",
        samples=samples,
        answers=answers,
        background=background or "python",
        seed=seed,
        precision=asked.precision or ("fp32" if device.type == "cpu" else "bf16"),
    )
    model = DecoderAnswers(asked.checkpoint, device, settings.precision)
    documents = load_background(settings.background, "evaluation")
    _evaluate(asked, model, Noise(documents, model.vocabulary), settings, device)


def _settings(asked: Asked, lengths: str, stories: str, **values: Any) -> BabilongSettings:
    """Checks what is asked; stories that are not there are refused before long texts are read."""
    from rmtscale.study.evaluation.babilong import BabilongSettings
    from rmtscale.study.tasks.babi.pool import load_pool

    settings = BabilongSettings(
        stories=parse_stories(stories),
        lengths=parse_lengths(lengths),
        batch_size=100 if asked.batch_size is None else asked.batch_size,
        **values,
    )
    for qa in settings.stories:
        load_pool(qa, "original", "test")
    return settings


def _evaluate(
    asked: Asked, model: Answering, noise: Noise, settings: BabilongSettings, device: torch.device
) -> None:
    from rmtscale.study.evaluation.babilong import evaluate_babilong
    from rmtscale.study.training.checkpoint import source_name

    records = evaluate_babilong(
        model,
        noise,
        source_name(settings.background),
        settings,
        BabilongStore(asked.out, anew=asked.anew),
        device=device.type,
        observe=say,
    )
    write_records(records, asked.output_format)


def say(record: BabilongRecord, known: bool) -> None:
    """One line on standard error as soon as a length is done."""
    again = " (in the file already)" if known else ""
    repeats = ", the noise repeats" if record.tokens > record.noise_tokens else ""
    write_note(
        f"{record.point.stories} at {record.point.length}: {format_accuracy(record.accuracy)} of "
        f"{format_tokens(record.point.samples)}{repeats}{again}"
    )


def write_records(records: list[BabilongRecord], output_format: str) -> None:
    """Prints a row for each task and length."""
    if output_format != "table":
        write_rows([plain_row(record) for record in records], output_format)
        return
    rows = []
    for record in records:
        peak = record.memory.peak_bytes
        rows.append(
            [
                record.point.stories,
                record.point.length,
                format_score(record.accuracy),
                format_score_interval(record.low, record.high),
                format_tokens(record.point.samples),
                format_count(record.tokens_per_second, 3),
                format_seconds(record.seconds_per_sample),
                "" if peak is None else format_bytes(peak),
            ]
        )
    band = format_dead_band(records[0].point.dead_band)
    compiled = format_compiled(any(record.point.compile_step for record in records))
    write_text(f"BABILong, original test stories, right in percent{band}{compiled}")
    columns = ["task", "length", "right", "95 %", "samples", "tokens/s", "each", "peak"]
    write_table(columns, rows, text_columns=2)


def plain_row(record: BabilongRecord) -> dict[str, Any]:
    """Returns the main numbers of a record, with units in their names."""
    return {
        "task": record.point.stories,
        "length": record.point.length,
        "words": record.words,
        "tokens": record.tokens,
        "samples": record.point.samples,
        "left_out": record.left_out,
        "correct": record.correct,
        "accuracy": record.accuracy,
        "accuracy_low": record.low,
        "accuracy_high": record.high,
        "unanswered": record.unanswered,
        "tokens_per_second": record.tokens_per_second,
        "seconds_per_sample": record.seconds_per_sample,
        "peak_bytes": record.memory.peak_bytes,
        "batch_size": record.batch_size,
        "precision": record.point.precision,
        "device": record.point.device,
        "sink_tokens": record.sink_tokens,
        "dead_band": record.point.dead_band,
        "compile_step": record.point.compile_step,
        "merged_lora": record.point.merged_lora,
        "answers": record.point.answers,
        "model": record.point.model,
    }
