"""``rmtscale attention``: what a trained RMT looks at while it reads one sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rmtscale.cli import options
from rmtscale.cli.evaluate_options import (
    Background,
    Cache,
    TaskOptions,
    Text,
    refuse_foreign,
    refuse_unread_backbone,
    task_of,
)
from rmtscale.cli.output import require_format, write_line, write_rows, write_table, write_text
from rmtscale.cli.train import require_libraries
from rmtscale.cli.train_settings import read_options
from rmtscale.errors import BadInput
from rmtscale.files import require_writable, write_all
from rmtscale.limits import MOST_SAMPLES, MOST_SEGMENTS
from rmtscale.study.training.kinds import kind_name
from rmtscale.units import format_loss, parse_sizes, require_positive

if TYPE_CHECKING:
    import torch

    from rmtscale.study.evaluation.attention import Spelling
    from rmtscale.study.evaluation.attention_samples import AttentionSample
    from rmtscale.study.training.rolling import Roller


class Shown(NamedTuple):
    """A checkpoint, ready to read a sample, and what is to be said of it."""

    reader: Roller
    spelling: Spelling
    sample: AttentionSample
    about: str
    answered: bool


def command(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that 'rmtscale train' wrote.")],
    segments: Annotated[int, typer.Option(help="Of the sample.")] = 4,
    sample: Annotated[int, typer.Option(help="Which validation sample, from 0.")] = 0,
    show: Annotated[
        str | None,
        typer.Option(help="Segments that are shown, from 1: a list such as 1,4.  (default: all)"),
    ] = None,
    background: Background = None,
    option: TaskOptions = None,
    backbone: options.Backbone = None,
    text: Text = None,
    cache: Cache = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the picture, its page and its numbers."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    output_format: options.Format = "table",
) -> None:
    """Shows what memory, answer and scored text look at: Figure 6 of any task and sample.

    The table has the share of the attention that goes to the facts, to the memory that was read and
    to other text, in the head that looks most and in the mean, beside that of an even look.

    Example: rmtscale attention reports/figure-5/checkpoints/reasoning-0 --out build/attention
    """
    require_format(output_format)
    require_positive("segments", segments, MOST_SEGMENTS)
    if not 0 <= sample <= MOST_SAMPLES:
        raise BadInput(f"sample {sample}: expected 0 to {MOST_SAMPLES}")
    require_libraries("attention")
    from rmtscale.study.figures.figure_6 import any_sample

    shown = _shown_segments(show, segments, any_sample.MOST_SHOWN)
    task = task_of(checkpoint)
    kind = kind_name(task)
    given = {
        "background": background,
        "option": option,
        "backbone": backbone,
        "text": text,
        "cache": cache,
    }
    refuse_foreign([name for name, value in given.items() if value is not None], kind, task)
    refuse_unread_backbone(checkpoint)
    if force and out is None:
        raise BadInput("--force: expected with --out only, nothing is written")
    if out is not None:
        require_writable([out / "README.md"], force=force)
    from rmtscale.study.training.device import find_device, in_use

    where = find_device(device)
    with in_use(where):
        if kind == "memory":
            found = _story(checkpoint, segments, sample, where, background, option, backbone)
        else:
            found = _text(checkpoint, segments, sample, where, text, cache, backbone)
        looks = any_sample.look(
            found.reader, found.spelling, found.sample, shown, answered=found.answered
        )
    if output_format == "table":
        write_text(found.about)
        write_table(any_sample.COLUMNS, any_sample.cells(looks), text_columns=3)
        write_text(
            "most: share of the attention in the head that pays most; mean: over layers and heads; "
            "even: were all positions looked at alike."
        )
    else:
        write_rows(any_sample.rows(looks), output_format)
    if out is not None:
        title = f"What {task} looks at, sample {sample}"
        write_all(out, any_sample.files(title, found.about, looks), force=force)
        if output_format == "table":
            write_line(f"written to {out}")


def _shown_segments(show: str | None, segments: int, most: int) -> list[int] | None:
    """Parses ``1,4`` into indices from 0.

    Raises:
        BadInput: no such segment, or more than one picture holds.
    """
    if show is None:
        wanted = list(range(1, segments + 1))
    else:
        wanted = sorted(set(parse_sizes(show, "show")))
    if wanted[-1] > segments:
        raise BadInput(f"show {show!r}: expected segments from 1 to {segments}")
    if len(wanted) > most:
        raise BadInput(
            f"{len(wanted)} segments: expected at most {most} in one picture, a list such as "
            f"--show 1,2,{segments}"
        )
    return [one - 1 for one in wanted]


def _story(
    checkpoint: Path,
    segments: int,
    number: int,
    device: torch.device,
    background: str | None,
    option: list[str] | None,
    backbone: str | None,
) -> Shown:
    from rmtscale.cli.evaluate_memory import default_background
    from rmtscale.study.evaluation.attention_samples import story_sample
    from rmtscale.study.evaluation.evaluate import data_of
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
    from rmtscale.study.training.memory_tasks.reading import Reader

    loaded = load_checkpoint(checkpoint, backbone=backbone)
    task_options: dict[str, Any] | None = None if option is None else read_options(option)
    data = data_of(loaded, background or default_background(loaded), task_options)
    reader = Reader(loaded.answerer, device)
    sample = story_sample(data, segments, reader.model.segment_tokens, number)
    spelled = data.vocabulary.decode(sample.ids.tolist())
    said = data.task.classes[int(reader.logits(sample.ids[None]).argmax())]
    facts = "; ".join(sample.words(spelled, "fact"))
    (question,) = sample.words(spelled, "question")
    about = (
        f"{loaded.settings.task}, {segments} segments of {loaded.settings.segment_size}, sample "
        f'{number}: "{facts}" ... "{question}" Right is {sample.answer}, the model says {said}.'
    )
    return Shown(reader, data.vocabulary, sample, about, answered=True)


def _text(
    checkpoint: Path,
    segments: int,
    number: int,
    device: torch.device,
    text: str | None,
    cache: Path | None,
    backbone: str | None,
) -> Shown:
    from rmtscale.cli.evaluate_language import default_cache, require_text_here
    from rmtscale.study.evaluation.attention_samples import Pieces, text_sample
    from rmtscale.study.training.language.checkpoint import load_language_checkpoint
    from rmtscale.study.training.language.data import LanguageData
    from rmtscale.study.training.language.reading import TextReader

    loaded = load_language_checkpoint(checkpoint, backbone=backbone)
    if text is None:
        require_text_here(loaded)
    settings = replace(loaded.settings, text=text or loaded.settings.text)
    if not settings.memory_tokens and segments > 1:
        raise BadInput(f"segments {segments} without memory: expected 1, no other is read")
    where = default_cache(loaded.folder) if cache is None else cache
    tokens = segments * settings.segment_tokens
    history = tokens - settings.scored_tokens_of(segments)
    source = LanguageData(settings, where, loaded.tokenizer).source("validation", history)
    reader = TextReader(loaded.predictor, device, batch_size=1)
    sample = text_sample(source, tokens, number)
    targets = sample.targets
    assert targets is not None, "a sample of a language task"
    scored = int((targets >= 0).sum())
    losses = reader.token_losses(
        sample.ids[None], targets[None], settings.scored_tokens_of(segments)
    )
    about = (
        f"{settings.task}, {segments} segments of {settings.segment_size}, sample {number}: "
        f"{scored} tokens scored, loss {format_loss(float(losses.sum()) / scored)}."
    )
    return Shown(reader, Pieces(loaded.tokenizer), sample, about, answered=False)
