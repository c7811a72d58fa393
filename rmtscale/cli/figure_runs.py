"""Options of ``reproduce`` for figures that train: where, how long, on what, and who watches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.cli.output import write_note
from rmtscale.cli.train import require_libraries
from rmtscale.errors import BadInput
from rmtscale.units import require_positive

if TYPE_CHECKING:
    from rmtscale.study.figures.training_runs import TrainingSetup


def training_setup(
    folder: Path | None,
    trainings: str,
    *,
    quick: bool,
    background: str,
    texts: dict[str, str],
    jobs: int,
    max_seconds: float | None,
    finish_within: float | None,
    device: str | None,
    backbone: str | None = None,
) -> TrainingSetup:
    """Returns where and how trainings run.

    Args:
        folder: of the trainings; None is the one in ``build`` that their kind shares.
        trainings: name of the kind.
        quick: the toy size, which has a folder of its own.
        background: noise of the memory tasks.
        texts: sources of the language tasks, by name.
        jobs: trainings side by side.
        max_seconds: time for training.
        finish_within: seconds within which all trainings are to end.
        device: ``cuda`` or ``cpu``; None is the GPU where there is one.
        backbone: pretrained weights of the recipes that name none.
    """
    require_libraries("reproduce")
    require_positive("jobs", jobs)
    from rmtscale.cli.training_progress import PlainLines
    from rmtscale.study.figures.training_runs import TrainingSetup

    def observer(name: str) -> PlainLines:
        write_note(f"{name}:")
        return PlainLines()

    shared = Path("build") / (f"{trainings}-quick" if quick else trainings)
    return TrainingSetup(
        folder=shared if folder is None else folder,
        background=background,
        texts=texts,
        backbone=backbone,
        device=device,
        jobs=jobs,
        max_seconds=max_seconds,
        finish_within=finish_within,
        announce=write_note,
        observer=observer,
    )


def parse_texts(given: list[str] | None) -> dict[str, str]:
    """Parses ``latex=FOLDER``, as often as it was given.

    Raises:
        BadInput: not of this form.
    """
    sources = {}
    for text in given or []:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise BadInput(f"text {text!r}: expected NAME=SOURCE such as latex=FOLDER")
        sources[name] = source
    return sources


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Parses ``0,1,2``.

    Raises:
        BadInput: not a list of whole numbers.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadInput(f"seeds {text!r}: expected a list of whole numbers such as 0,1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))
