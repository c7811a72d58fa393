"""The page: predictions against published measurements, and clusters of many sizes."""

from __future__ import annotations

from collections.abc import Sequence

from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.published.claims import (
    SourceError,
    check_claims,
    constants,
    source_errors,
)
from rmtscale.study.figures.published.drawing import draw_points, draw_scaling
from rmtscale.study.figures.published.points import SOURCES, Published, published_points
from rmtscale.study.figures.published.scaling import BATCH, DEVICE, TOKENS, Scaling, scaling_rows
from rmtscale.tabular import csv_text, markdown_table
from rmtscale.units import format_percent, format_seconds, format_tokens


def make(figure: Figure, _sources: Sources) -> FigureReport:
    """Makes the figure from formulas and the committed table alone."""
    points, rows = published_points(), scaling_rows()
    claims = check_claims(points)
    return FigureReport(
        claims=claims,
        page=_page(figure, claims, points, rows),
        files={
            **picture_files("published", draw_points(points, SOURCES)),
            "published.csv": _csv(points),
            **picture_files("clusters", draw_scaling(rows)),
            "clusters.csv": csv_text(row._asdict() for row in rows),
        },
    )


def _csv(points: Sequence[Published]) -> str:
    return csv_text(
        {
            "id": one.name,
            "source": SOURCES[one.source],
            "where": one.where,
            "kind": one.kind,
            "layout": one.layout,
            "measured": f"{one.measured:.6g}",
            "predicted": f"{one.predicted:.6g}",
            "error": f"{one.error:.4f}" if one.measured else "",
        }
        for one in points
    )


def _page(
    figure: Figure, claims: list[Claim], points: Sequence[Published], rows: Sequence[Scaling]
) -> str:
    above = ", ".join(
        f"{SOURCES[one]} {value:+.1f} GiB" for one, value in constants(points).items()
    )
    return f"""# {figure.title}

Step times and memory that others published of training on 8 to 3,360 GPUs, beside what
`rmtscale plan --gpus` predicts for the same model, layout and machine. No constant of a step time
was fitted to any of them: arithmetic comes from shares of the data sheet that were measured on an
H200, links from benchmarks of others. But the rows were in sight when the terms were chosen (waves
of tiles, the power cap, misaligned heads), and when these were read out of sources: BLOOM's NVLink
(four links a GPU), torchtitan's card (500 W) and its attention (FlashAttention-2 at 0.35 of the
peak). Points that nobody looked at are still to be held against it.

![Predicted against published](published.svg)

What was asked of the predictions ("paper"), and what they reach:

{claims_table(claims)}

## By source

One utilization: the error if every step ran at the median utilization of all other sources.
Memory is after one constant a source, which is fitted to it: the median of what its readings have
above the prediction (CUDA's context, NCCL, cache and fragments of the allocator, which `nvidia-smi`
counts): {above}.

{_errors(source_errors(points))}

Where it is wrong, and why, as far as that is known:

* Megatron's ZeRO-3 rows and MT-NLG: DeepSpeed of 2021 overlapped little of its gathers, and no such
  loss is in the model.
* BLOOM's pairs: of one model with 2 and 4 sequences at once the larger is 5 to 10 % faster; the
  prediction sees a longer bubble and nothing that makes up for it.
* torchtitan: the stack of 2024 is slower than the kernels that were measured on the H200, and what
  its selective recomputation keeps is not modelled operator by operator.

## Clusters

Training at {format_tokens(TOKENS)} tokens, batch size {BATCH}, on {DEVICE} (8 a node): the longest
input that fits in any layout, and the fastest step.

![Longest input and step time against the number of GPUs](clusters.svg)

{_clusters(rows)}

An RMT is as wide as its batch times `tp`: beyond that, more GPUs do not make its step shorter, and
what it then costs in GPU-seconds is for waiting. Full attention is cut further and further.
"""


def _errors(errors: list[SourceError]) -> str:
    columns = ("source", "", "points", "median error", "worst", "bias", "one utilization")
    return markdown_table(
        columns,
        [
            (
                SOURCES[one.source],
                one.kind,
                str(one.points),
                format_percent(one.median),
                format_percent(one.worst),
                format_percent(one.bias, signed=True),
                "" if one.one_utilization is None else format_percent(one.one_utilization),
            )
            for one in errors
        ],
    )


def _clusters(rows: Sequence[Scaling]) -> str:
    columns = ("model", "", "GPUs", "longest input", "step", "GPU-seconds a token", "layout")
    return markdown_table(
        columns,
        [
            (
                row.model,
                row.method,
                str(row.gpus),
                format_tokens(row.longest_tokens) if row.longest_tokens else "none",
                format_seconds(row.seconds) if row.layout else "does not fit",
                f"{row.gpu_seconds_per_token:.3g}" if row.layout else "",
                f"`{row.layout}`" if row.layout else "",
            )
            for row in rows
        ],
    )
