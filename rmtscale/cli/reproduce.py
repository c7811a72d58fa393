"""``rmtscale reproduce``: a figure of the paper, with its claims checked."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli.output import write_line, write_table
from rmtscale.errors import CheckFailed
from rmtscale.units import require_one_of

EXPERIMENTS = {"figure-2": "rmtscale.experiments.figure_2"}


def command(
    experiment: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to. (default: reports/EXPERIMENT)"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Makes a figure of the paper from our numbers and checks what it claims.

    Example: rmtscale reproduce figure-2 --out reports/figure-2
    """
    require_one_of("experiment", experiment, EXPERIMENTS)
    folder = out if out is not None else Path("reports") / experiment
    claims = import_module(EXPERIMENTS[experiment]).run(folder, force=force)
    write_table(
        ["claim", "paper", "ours", "outcome"],
        [[claim.text, claim.paper, claim.ours, claim.outcome] for claim in claims],
        text_columns=1,
    )
    write_line(f"written to {folder}")
    failed = [claim for claim in claims if claim.outcome == "fail"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(claims)} claims do not hold")
    write_line(f"pass: all {len(claims)} claims hold")
