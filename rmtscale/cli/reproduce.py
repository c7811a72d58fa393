"""``rmtscale reproduce``: a figure of the paper, with its claims checked."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from rmtscale.cli.output import write_line, write_text
from rmtscale.errors import BadInput, CheckFailed
from rmtscale.units import require_one_of

EXPERIMENTS = {
    "figure-2": "rmtscale.experiments.figure_2",
    "figure-10": "rmtscale.experiments.figure_10",
    "field": "rmtscale.experiments.field",
}
MEASURED = ("figure-10",)
"""Those that are made of records."""


def command(
    experiment: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to. (default: reports/EXPERIMENT)"),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help=f"File of records, of {', '.join(MEASURED)}.  [default: the committed one]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Makes a figure of the paper from our numbers and checks what it claims.

    Example: rmtscale reproduce figure-2 --out reports/figure-2
    """
    require_one_of("experiment", experiment, EXPERIMENTS)
    folder = out if out is not None else Path("reports") / experiment
    if records is not None and experiment not in MEASURED:
        raise BadInput(f"records {str(records)!r}: {experiment} is made of no records")
    more = {} if records is None else {"records": records}
    claims = import_module(EXPERIMENTS[experiment]).run(folder, force=force, **more)
    for claim in claims:
        write_text(f"{claim.outcome}: {claim.text}")
        write_text(f"    paper: {claim.paper}; ours: {claim.ours}")
    write_line(f"written to {folder}")
    failed = [claim for claim in claims if claim.outcome == "fail"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(claims)} claims do not hold")
    open_claims = [claim for claim in claims if claim.outcome == "not measurable"]
    if open_claims:
        write_line(
            f"pass: {len(claims) - len(open_claims)} of {len(claims)} claims hold, "
            f"{len(open_claims)} are not measurable with these records"
        )
        return
    write_line(f"pass: all {len(claims)} claims hold")
