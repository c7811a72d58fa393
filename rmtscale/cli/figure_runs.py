"""What ``reproduce`` hands to the figures that train: where, how long, and who watches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rmtscale.cli.train import require_libraries
from rmtscale.errors import BadInput
from rmtscale.units import require_positive

if TYPE_CHECKING:
    from rmtscale.study.figures.training_runs import How


def how_to_train(
    runs: Path | None,
    kind: str,
    *,
    quick: bool,
    background: str,
    texts: dict[str, str],
    jobs: int,
    max_seconds: float | None,
    finish_within: float | None,
    device: str | None,
) -> How:
    """Where and how trainings run; those of a kind share a folder in ``build``."""
    require_libraries("reproduce")
    require_positive("jobs", jobs)
    from rmtscale.cli.training_progress import PlainLines
    from rmtscale.study.figures.training_runs import How

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def observer(name: str) -> PlainLines:
        say(f"{name}:")
        return PlainLines()

    return How(
        runs=Path("build") / f"{kind}{'-quick' if quick else ''}" if runs is None else runs,
        background=background,
        texts=texts,
        device=device,
        jobs=jobs,
        max_seconds=max_seconds,
        finish_within=finish_within,
        say=say,
        observer=observer,
    )


def parse_texts(given: list[str] | None) -> dict[str, str]:
    """``latex=FOLDER``, as often as there are.

    Raises:
        BadInput: not of this form.
    """
    found = {}
    for one in given or []:
        name, equals, source = one.partition("=")
        if not (name and equals and source):
            raise BadInput(f"text {one!r}: expected NAME=SOURCE such as latex=FOLDER")
        found[name] = source
    return found


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """``0,1,2``.

    Raises:
        BadInput: not a list of whole numbers.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadInput(f"seeds {text!r}: expected a list of whole numbers such as 0,1,2")
    return tuple(dict.fromkeys(int(part) for part in parts))
