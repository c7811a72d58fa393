"""The page of Figure 10: a report with the paper's claims on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.report.bundle import file_contents
from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.document import make_document, read_source
from rmtscale.report.series import Group, group_records
from rmtscale.report.style import picture_files
from rmtscale.report.verdict import judge
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_10.claims import SWEEP, check_claims, explain, training_group
from rmtscale.study.figures.figure_10.drawing import draw

RECORDS = Path("profiles/nvidia-h200/figure-10.jsonl")
CAPTURED = Path("profiles/nvidia-h200/figure-10-captured.jsonl")
"""The RMT's steps captured: series of their own, each with its claims."""
INFERENCE = Path("profiles/nvidia-h200/gpt2-inference.jsonl")
"""The paper states the constant memory of inference beside the figure."""


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the figure from a file of records, or from the committed ones.

    Raises:
        BadInput: no such file of records, or none of them is of this figure.
    """
    paths = [sources.records or RECORDS]
    if not paths[0].exists():
        raise BadInput(
            f"records {str(paths[0])!r}: no such file here; expected --records with its place, "
            f"rmtscale's own folder, or one of yours: rmtscale profile {SWEEP} --out "
            f"{shlex.quote(str(paths[0]))}"
        )
    if sources.records is None:
        paths += [path for path in (CAPTURED, INFERENCE) if path.is_file()]
    files = [read_source(path) for path in paths]
    groups = group_records([record for file in files for record in file.reading.records])
    group = training_group(groups)
    claims = check_claims(group, groups)
    differences = explain(group, claims)
    document = make_document(
        files,
        f"Figure 10: GPT-2 training on {group.setting.machine}",
        claims,
        differences,
        compared=False,
    )
    drawing = draw(group)
    pictures = {} if drawing is None else picture_files("figure-10", drawing)
    return FigureReport(
        claims=claims,
        page=_page(figure, group, claims, differences, drawn=bool(pictures)),
        files={**file_contents(document), **pictures},
    )


def _page(
    figure: Figure, group: Group, claims: list[Claim], differences: Sequence[str], *, drawn: bool
) -> str:
    picture = "![Memory and iteration time against length](figure-10.png)\n\n" if drawn else ""
    verdict = "\n".join(f"* {sentence}" for sentence in judge(group).sentences)
    notes = "\n".join(f"* {text}" for text in differences)
    return f"""# {figure.title}

Made by `rmtscale reproduce figure-10`. {group.setting.title()}.

{picture}{verdict}

{claims_table(claims)}

{notes}

Everything, with where each point comes from: [index.html](index.html). Numbers:
[records.csv](records.csv).
"""
