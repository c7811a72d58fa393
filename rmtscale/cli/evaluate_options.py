"""Options of ``rmtscale evaluate`` that every kind of task has, and those that only one has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmtscale.cli.given import as_given, refuse_unread
from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.training.kinds import KINDS, task_names
from rmtscale.study.training.layout import TRAINED_PART

if TYPE_CHECKING:
    from rmtscale.study.training.settings import LoopSettings

Background = Annotated[
    str | None,
    typer.Option(
        help="Memory tasks: noise, its validation part.  (default: as trained, else python)"
    ),
]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="Of a memory task, NAME=VALUE, such as placement=depth:1; may be repeated.",
    ),
]
Text = Annotated[
    str | None,
    typer.Option(help="Language: its validation part is read.  (default: as trained)"),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Language: folder of packed text.  (default: the training's)"),
]
"""Options of all commands that read what a checkpoint was trained on."""
OPTIONS = {
    "memory": (
        *("long-samples", "background", "repeats", "option", "seed", "probe", "paired-noise"),
        *("backbone", "compile", "merge-lora", "lengths", "stories", "answers"),
    ),
    "language": ("backbone", "compile", "text", "history", "cache"),
}
"""Options that not every kind of task has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Options that every kind of task has."""

    checkpoint: Path
    task: str | None
    """Task that the checkpoint must be of; None takes any."""
    segments: tuple[int, ...]
    samples: int
    batch_size: int | None
    """Sequences at once; None is the kind's default."""
    dead_band: float | None
    """Dead band of the memory; None is the checkpoint's own."""
    precision: str | None
    """Precision; None is that of the training, where the device has it."""
    device: str | None
    out: Path
    """File of records."""
    anew: bool
    """Whether the records in the file are dropped."""
    output_format: str


def task_of(checkpoint: Path) -> str:
    """Reads which task a checkpoint was trained on.

    Raises:
        BadInput: not a checkpoint, or of no task there is.
    """
    from rmtscale.study.training.checkpoint import read_meaning

    task, known = read_meaning(checkpoint).get("task"), task_names()
    if task not in known:
        raise BadInput(
            f"checkpoint {str(checkpoint)!r} is of the task {task!r}: expected {quoted_list(known)}"
        )
    return str(task)


def refuse_foreign(given: Iterable[str], kind: str, task: str) -> None:
    """Raises ``BadInput`` where an option was given that only another kind of task has."""
    for name in given:
        for owner, names in OPTIONS.items():
            if name in names and name not in OPTIONS[kind]:
                raise BadInput(
                    f"{as_given(name)}: expected with {KINDS[owner].label} only, this checkpoint "
                    f"is of {task}"
                )


BESIDE_LENGTHS = ("lengths", "stories", "answers", "background", "seed")
"""Options of the memory tasks that may stand beside ``--lengths``."""
OF_CHECKPOINT = ("backbone", "compile", "merge-lora")
"""Those that may where a checkpoint is read, not with ``--model``."""
NOT_OF_MODEL = (*OF_CHECKPOINT, "task", "dead-band")
"""Options that a decoder of another package has no use for."""


def refuse_unread_backbone(checkpoint: Path) -> None:
    """Refuses a backbone beside a checkpoint that stands on none.

    Raises:
        BadInput: the checkpoint has all its weights, and a backbone was given.
    """
    if any(checkpoint.glob("model*.safetensors")) and not (checkpoint / TRAINED_PART).exists():
        refuse_unread(
            "with a checkpoint of its trained part only, "
            f"checkpoint {str(checkpoint)!r} has all its weights",
            "backbone",
        )


def by_lengths(given: Mapping[str, object], segments: str | None, model: Path | None) -> bool:
    """Tells whether an evaluation is one of BABILong by lengths.

    Raises:
        BadInput: an option was given that only the other kind of evaluation has.
    """
    if "lengths" not in given:
        for name in ("stories", "answers"):
            if name in given:
                raise BadInput(f"{as_given(name)}: expected with --lengths only")
        if model is not None:
            raise BadInput(f"{as_given('model')}: expected with --lengths only")
        return False
    if segments is not None:
        raise BadInput(f"{as_given('segments')} with {as_given('lengths')}: expected one of them")
    for name in NOT_OF_MODEL:
        if model is not None and as_given(name):
            raise BadInput(f"{as_given(name)} with --model: expected with a checkpoint only")
    for name in given:
        if name not in (*BESIDE_LENGTHS, *OF_CHECKPOINT):
            raise BadInput(f"{as_given(name)} with --lengths: expected with --segments only")
    return True


def default_precision(asked: Asked, settings: LoopSettings, device: Any) -> str:
    """Chooses the precision asked for, else that of the training; a CPU has no bf16."""
    if asked.precision is not None:
        return asked.precision
    return "fp32" if device.type == "cpu" else settings.precision
