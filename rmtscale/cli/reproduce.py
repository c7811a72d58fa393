"""``rmtscale reproduce``: a figure of the paper, with its claims checked."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from rmtscale.cli.output import write_line, write_text
from rmtscale.errors import BadInput, CheckFailed, quoted_list
from rmtscale.units import require_one_of

EXPERIMENTS = {
    "figure-2": "rmtscale.study.figures.figure_2.claims",
    "figure-4": "rmtscale.study.figures.figure_4.claims",
    "figure-5": "rmtscale.study.figures.figure_5.claims",
    "figure-6": "rmtscale.study.figures.figure_6.claims",
    "figure-7": "rmtscale.study.figures.figure_7.claims",
    "figure-8": "rmtscale.study.figures.figure_8.claims",
    "figure-9": "rmtscale.study.figures.figure_9.claims",
    "figure-10": "rmtscale.study.figures.figure_10.claims",
    "figure-11": "rmtscale.study.figures.figure_11.claims",
    "figure-12": "rmtscale.study.figures.figure_12.claims",
    "table-1": "rmtscale.study.figures.table_1.claims",
    "field": "rmtscale.study.figures.field.claims",
}
LANGUAGE = ("figure-7", "figure-8", "figure-9", "figure-12", "table-1")
TRAINED = ("figure-4", "figure-5", "figure-6", "figure-11", *LANGUAGE)
"""Those that train what they need."""
MEASURED = ("figure-4", "figure-5", "figure-10", "figure-11", *LANGUAGE)
"""Those that can be made of records alone."""
OF_A_CHECKPOINT = "figure-6"


def command(
    experiment: Annotated[str, typer.Argument(help=f"One of {', '.join(EXPERIMENTS)}.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to.  (default: reports/EXPERIMENT)"),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help=f"File of records, of {', '.join(MEASURED)}; nothing is trained or measured."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="figure-6: of this checkpoint; nothing is trained.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Figures that train: toy size, minutes on a CPU.")
    ] = False,
    background: Annotated[
        str, typer.Option(help="Figures of memory tasks: noise, as of 'rmtscale train'.")
    ] = "python",
    text: Annotated[
        list[str] | None,
        typer.Option(help="Language figures: latex=SOURCE, lean=SOURCE, prose=SOURCE."),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Figures that train: folder of the trainings, which go on there."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Figures that train: a list such as 0,1,2.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Figures that train: trainings side by side.")] = 1,
    max_seconds: Annotated[
        float | None, typer.Option(help="Figures that train: stop training after this.")
    ] = None,
    finish_within: Annotated[
        float | None,
        typer.Option(help="Figures that train: move the ends so that all is trained in this."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Figures that train: cuda or cpu.  (default: the GPU)")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Makes a figure of the paper from our numbers and checks what it claims.

    Example: rmtscale reproduce figure-2 --out reports/figure-2

    Example: rmtscale reproduce figure-5 --quick --out build/figure-5

    Example: rmtscale reproduce figure-7 --text latex=FOLDER --jobs 4 --max-seconds 500
    """
    require_one_of("experiment", experiment, EXPERIMENTS)
    # What is drawn at toy size is no report.
    own = Path("build") / f"{experiment}-quick" if quick else Path("reports") / experiment
    folder = own if out is None else out
    if records is not None and experiment not in MEASURED:
        raise BadInput(f"records {str(records)!r}: {experiment} is made of no records")
    if checkpoint is not None and experiment != OF_A_CHECKPOINT:
        raise BadInput(f"--checkpoint with {experiment}: expected {OF_A_CHECKPOINT}")
    more: dict[str, Any] = {}
    if records is not None:
        more["records"] = records
        for warning in _skipped(experiment, records):
            sys.stderr.write(f"warning: {records}: {warning}\n")
    if experiment in TRAINED and records is None:
        from rmtscale.cli.figure_runs import how_to_train, parse_seeds, parse_texts

        if experiment in LANGUAGE and finish_within is not None:
            raise BadInput(
                f"--finish-within with {experiment}: expected none, its trainings are compared at "
                "the same number of steps"
            )
        how = how_to_train(
            runs,
            "language" if experiment in LANGUAGE else "memory-tasks",
            quick=quick,
            background=background,
            texts=parse_texts(text),
            jobs=jobs,
            max_seconds=max_seconds,
            finish_within=finish_within,
            device=device,
        )
        more |= {"how": how, "quick": quick, "seeds": parse_seeds(seeds)}
        if checkpoint is not None:
            more["checkpoint"] = checkpoint
    elif quick and experiment not in TRAINED:
        raise BadInput(f"--quick: {experiment} trains nothing, expected {quoted_list(TRAINED)}")
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


def _skipped(experiment: str, records: Path) -> list[str]:
    """What is left out of a file of records, in words."""
    from rmtscale.records.store import RecordStore
    from rmtscale.study.records.evaluation import EvaluationStore
    from rmtscale.study.records.language import LanguageStore

    if experiment in LANGUAGE:
        return LanguageStore(records).read().warnings()
    if experiment in TRAINED:
        return EvaluationStore(records).read().warnings()
    return RecordStore(records).read().warnings()
