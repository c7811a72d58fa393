"""``rmtscale reproduce``: a figure of the paper, with its claims checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli.given import as_given
from rmtscale.cli.output import write_line, write_note, write_text
from rmtscale.errors import BadInput, CheckFailed, quoted_list
from rmtscale.steps import steps
from rmtscale.study.figures.figure import REPORTS, Figure, Sources
from rmtscale.study.figures.registry import FIGURES
from rmtscale.units import require_one_of

if TYPE_CHECKING:
    from rmtscale.report.claims import Claim

ALL = "all"
CHOICES = {
    **{name: figure.title for name, figure in FIGURES.items()},
    ALL: "every figure that can be made again from what is committed",
}


OF_TRAININGS = (
    *("quick", "background", "text", "backbone", "runs", "seeds", "jobs"),
    *("max-seconds", "finish-within", "device"),
)
"""Options of figures that train."""
OF_CHECKPOINTS = ("background", "backbone", "device")
"""Those that a checkpoint in the place of a training is read with."""
NOT_QUICK = ("text", "backbone", "seeds")
"""Those that the toy size has no choice of."""


def _names(attribute: str) -> str:
    """Lists the figures whose kind has this: a store, trainings, a checkpoint."""
    return quoted_list(
        figure.name for figure in FIGURES.values() if getattr(figure.kind, attribute)
    )


def command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(CHOICES)}.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder to write to; of all, of their folders.  (default: reports/)"
        ),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help=f"File of records, of {_names('store')}; nothing is trained or measured."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help=f"Make {_names('checkpoint')} from this checkpoint, nothing is trained; "
            "several are shown side by side."
        ),
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
    backbone: Annotated[
        str | None,
        typer.Option(
            help=f"Folder of pretrained weights and tokenizer, of {_names('pretrained')}, or of "
            "those that a --checkpoint stands on."
        ),
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
    require_one_of("figure", name, CHOICES)
    given = [option for option in ("records", "checkpoint", *OF_TRAININGS) if as_given(option)]
    if name == ALL:
        if given:
            raise BadInput(
                f"{as_given(given[0])} with {ALL}: expected none, figures are made from "
                "what is committed"
            )
        _make_all(out or REPORTS, force=force)
        return
    figure = FIGURES[name]
    _require_taken(figure, given)
    # What is drawn at toy size is no report.
    own = Path("build") / f"{name}-quick" if quick else REPORTS / name
    folder = own if out is None else out
    checkpoints = tuple(checkpoint or ())
    sources = Sources(records=records, checkpoints=checkpoints)
    if figure.kind.trainings is not None and records is None:
        from rmtscale.cli.figure_runs import parse_seeds, parse_texts, training_setup

        setup = training_setup(
            runs,
            figure.kind.trainings,
            quick=quick,
            background=background,
            texts=parse_texts(text),
            jobs=jobs,
            max_seconds=max_seconds,
            finish_within=finish_within,
            device=device,
            backbone=backbone,
        )
        sources = Sources(
            checkpoints=checkpoints, training=setup, quick=quick, seeds=parse_seeds(seeds)
        )
    claims = _make(figure, folder, sources, force=force)
    for claim in claims:
        write_text(f"{claim.outcome}: {claim.text}")
        write_text(f"    paper: {claim.paper}; ours: {claim.ours}")
    write_line(f"written to {folder}")
    if _fails(claims):
        raise CheckFailed(_verdict(claims))
    write_line(_verdict(claims))


command.__doc__ = f"{command.__doc__}\n" + "\n\n".join(
    f"    {name}: {title.split(': ', 1)[-1]}" for name, title in CHOICES.items()
)


def _require_taken(figure: Figure, given: Sequence[str]) -> None:
    """Refuses an option that has no use with this figure and these sources.

    Raises:
        BadInput: there is one; the message says with what it is taken.
    """
    kind = figure.kind
    if "records" in given and kind.store is None:
        raise BadInput(
            f"{as_given('records')}: {figure.name} is not made from records, expected "
            f"{_names('store')}"
        )
    if "checkpoint" in given and not kind.checkpoint:
        raise BadInput(
            f"{as_given('checkpoint')} with {figure.name}: expected {_names('checkpoint')}"
        )
    trained = [option for option in given if option in OF_TRAININGS]
    if trained and kind.trainings is None:
        raise BadInput(
            f"{as_given(trained[0])}: {figure.name} trains nothing, expected {_names('trainings')}"
        )
    for option, attribute in (("background", "background"), ("text", "texts")):
        if option in given and not getattr(kind, attribute):
            raise BadInput(f"{as_given(option)} with {figure.name}: expected {_names(attribute)}")
    if "backbone" in given and not kind.pretrained and "checkpoint" not in given:
        expected = "--checkpoint with it" if kind.checkpoint else _names("pretrained")
        raise BadInput(f"{as_given('backbone')} with {figure.name}: expected {expected}")
    if "finish-within" in given and kind.equal_steps:
        raise BadInput(
            f"{as_given('finish-within')} with {figure.name}: expected none, its trainings are "
            "compared at the same number of steps"
        )
    for source, taken in (("records", ()), ("checkpoint", OF_CHECKPOINTS)):
        unused = [option for option in trained if option not in taken]
        if source in given and unused:
            raise BadInput(
                f"{as_given(unused[0])} with {as_given(source)}: expected one of them, nothing is "
                "trained from there"
            )
    fixed = [option for option in NOT_QUICK if option in given]
    if "quick" in given and fixed:
        raise BadInput(
            f"{as_given(fixed[0])} with --quick: expected one of them, the toy size has seed 0, "
            "and a text and a backbone of its own"
        )


def _make_all(folder: Path, *, force: bool) -> None:
    """Makes every figure that can be made from what is committed, each in a folder of its own.

    Raises:
        CheckFailed: a claim does not hold; all figures are made first.
    """
    failed = []
    for figure in steps(FIGURES.values(), "figures"):
        sources = figure.committed()
        if sources is None:
            why = "it takes a training or a checkpoint"
            if figure.kind.store is not None:
                why = "its records are not here"
            write_line(f"{figure.name}: left out, {why}")
            continue
        claims = _make(figure, folder / figure.name, sources, force=force)
        write_line(f"{figure.name}: {_verdict(claims)}; written to {folder / figure.name}")
        if _fails(claims):
            failed.append(figure.name)
    if failed:
        raise CheckFailed(f"not all claims of {', '.join(failed)} hold; the pages say which")


def _make(figure: Figure, folder: Path, sources: Sources, *, force: bool) -> list[Claim]:
    """Makes a figure; what its file of records leaves out is said first."""
    if sources.records is not None and figure.kind.store is not None:
        for warning in figure.kind.store(sources.records).read().warnings():
            write_note(f"warning: {sources.records}: {warning}")
    return figure.make(folder, sources, force=force)


def _fails(claims: list[Claim]) -> int:
    return sum(claim.outcome == "fail" for claim in claims)


def _verdict(claims: list[Claim]) -> str:
    if _fails(claims):
        return f"{_fails(claims)} of {len(claims)} claims do not hold"
    unmeasured = sum(claim.outcome == "not measurable" for claim in claims)
    if unmeasured:
        return (
            f"pass: {len(claims) - unmeasured} of {len(claims)} claims hold, {unmeasured} are not "
            "measurable with these records"
        )
    return f"pass: all {len(claims)} claims hold"
