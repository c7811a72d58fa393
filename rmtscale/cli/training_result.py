"""How a call of ``rmtscale train`` ended: a row, and what can be done next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.cli.output import write_line, write_rows, write_table
from rmtscale.units import format_accuracy, format_loss, format_seconds, format_tokens

if TYPE_CHECKING:
    from rmtscale.study.training.loop import Result
    from rmtscale.study.training.settings import LoopSettings


def write_result(settings: LoopSettings, out: Path, result: Result, output_format: str) -> None:
    """Writes how a training stands that has finished, or was stopped.

    Args:
        settings: of the training.
        out: its folder.
        result: of the call.
        output_format: ``table``, ``json`` or ``csv``.
    """
    from rmtscale.study.training.layout import BEST, METRICS, TRAINED_PART
    from rmtscale.study.training.metrics import read_metrics

    intervals = read_metrics(out / METRICS)
    seconds = sum(interval.seconds for interval in intervals)
    answered, score = result.measure == "accuracy", result.best_score
    best = None if score is None else score if answered else -score
    name = "accuracy" if answered else "loss_nats"
    last = intervals[-1] if intervals else None
    row = {
        "task": settings.task,
        "steps": result.step,
        "finished": result.finished,
        "stage": last.stage_name if last else "",
        f"training_{name}": None if last is None else last.accuracy if answered else last.loss,
        f"best_validation_{name}": best,
        "last_stage_steps": result.last_stage_steps,
        "seconds": seconds,
        "checkpoint": str(out / BEST),
    }
    if output_format != "table":
        write_rows([row], output_format)
        return
    write_table(
        ["task", "steps", "stage", "best validation", "time"],
        [
            [
                settings.task,
                format_tokens(result.step),
                str(row["stage"]),
                _shown(best, answered=answered),
                format_seconds(seconds),
            ]
        ],
        text_columns=1,
    )
    _write_short_last_stage(settings, result)
    if result.finished:
        source = getattr(settings, "text", "python")
        words = ["rmtscale", "evaluate", str(out / BEST), "--segments", "1,2,4"]
        words += [] if source == "python" else ["--text", source]
        if (out / BEST / TRAINED_PART).is_file():  # it stands on weights that it does not have
            words += ["--backbone", settings.backbone]
        write_line(f"done; evaluate it with: {shlex.join(words)}")
    else:
        steps = format_tokens(settings.steps)
        most = steps if settings.own_last_steps is None else f"at most {steps}"
        write_line(
            f"stopped at step {format_tokens(result.step)} of {most}; the same command goes on"
        )
        if not (out / BEST).is_dir():
            first = min(settings.validate_every, settings.steps)
            write_line(
                f"nothing to evaluate yet: the first checkpoint is written at step "
                f"{format_tokens(first)}"
            )


def _write_short_last_stage(settings: LoopSettings, result: Result) -> None:
    """Says that ``steps`` ended a training before its last stage had the steps of its own."""
    own, had = settings.own_last_steps, result.last_stage_steps
    if own is None or not result.finished or (had is not None and had >= own):
        return
    if had is None:
        write_line(f"the last stage was not reached: --steps above {settings.steps} goes on")
        return
    write_line(
        f"the last stage had {format_tokens(had)} of its {format_tokens(own)} steps: "
        f"--steps {result.step - had + own} goes on to its end"
    )


def _shown(best: float | None, *, answered: bool) -> str:
    if best is None:
        return "none yet"
    return format_accuracy(best) if answered else format_loss(best)
