"""The page: predictions against published measurements, and clusters of many sizes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rmtscale.report.claims import Claim, claims_table
from rmtscale.report.style import picture_files
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.published.claims import (
    SourceError,
    check_claims,
    constants,
    memory_errors,
    ordered_pairs,
    pairs_within,
    repeats,
    source_errors,
    times,
)
from rmtscale.study.figures.published.drawing import draw_points, draw_scaling
from rmtscale.study.figures.published.points import SOURCES, Published, published_points
from rmtscale.study.figures.published.scaling import BATCH, DEVICE, TOKENS, Scaling, scaling_rows
from rmtscale.tabular import csv_text, markdown_table
from rmtscale.units import format_percent, format_seconds_range, format_tokens


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
            "clusters.csv": csv_text(
                row._asdict()
                | {
                    "seconds": f"{row.seconds:.6g}",
                    "gpu_seconds_per_token": f"{row.gpu_seconds_per_token:.6g}",
                }
                for row in rows
            ),
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
    spreads = sorted(spread for _, spread in repeats(points))
    repeats_found, repeats_middle = len(spreads), format_percent(median(spreads))
    repeats_worst = format_percent(spreads[-1])
    right, pairs = ordered_pairs(points)
    close = pairs_within(points, spreads[-1])
    second = format_percent(memory_errors(points)[-2])
    by_name = {one.name: one for one in times(points)}
    between, inside = (
        [by_name[f"titan-{model}-cp{ranks}-time"] for ranks in (4, 8)]
        for model in ("405b-512", "8b-8")
    )
    off = " and ".join(format_percent(abs(one.error)) for one in between)
    longer = " and ".join(f"{one.measured / one.predicted:.1f}" for one in inside)
    return f"""# {figure.title}

Step times and memory that others published of training on 8 to 3,360 GPUs, beside what
`rmtscale plan --gpus` predicts for the same model, layout and machine. No constant of a step time
was fitted to any of them: arithmetic comes from shares of the data sheet that were measured on an
H200, links from benchmarks of others. But the rows were in sight when the terms were chosen (waves
of tiles, the power cap, misaligned heads), and when these were read out of sources: BLOOM's NVLink
(four links a GPU), torchtitan's card (500 W), its attention (FlashAttention-2 at 0.35 of the peak),
what its selective checkpoints make again, what its casts to float8 move, and what its context
parallelism sends. Points that nobody looked at are still to be held against it.

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

* Megatron's five ZeRO-3 rows are predicted 37 to 80 % too fast. The paper (section 5.2) has them
  within 6 and 24 % of its own layouts at the fewest GPUs, with 4 sequences at once, and 70 % behind
  at twice as many GPUs for the same batch, "due to less cross-node communication" of its own; it
  says no more of the cause, and that tensor parallelism was not tried with ZeRO-3. By bytes over
  bandwidth those gathers would hide behind the arithmetic: what they lost is not in the model, and
  nothing was fitted to it.
* MT-NLG runs the same shape as Megatron's 529.6B on the same kind of machine, at 113 to 126 TFLOP/s
  a GPU where Megatron has 163: the prediction, which knows no framework, is Megatron's. A slot of
  its pipeline takes 1.3 times as long at all three sizes; what DeepSpeed does in it is not known.
* BLOOM ran with `CUDA_LAUNCH_BLOCKING=1`, without which 320 GPUs always hung (its chronicles): the
  host waits for each kernel, and its time adds up, the more the fewer sequences are at once. With
  that, and with gradients that are added up after each micro-batch, {right} of {pairs} pairs are in
  order and not 38. It measured {repeats_found} layouts two to four times: the slowest is
  {repeats_middle} (median) and up to {repeats_worst} above the fastest; {close} of the pairs are no
  further apart than that. Most wrong pairs are still of one model with 2 and 4 sequences at once,
  of which the larger is 5 to 10 % faster. Megatron and DeepSpeed send each rank's part of the
  hidden states to the next stage and gather them there: with whole ones sent, as an earlier version
  of these predictions had it, BLOOM's bias would be nearer to 0 and the median 7.1 %.
* The worst reading of memory is BLOOM's 65 GB of a 196B model with 2 sequences at once: the next
  line of its table has 56 with 4, and its table of the day before 45 for a 194B model in this
  layout. Without it the worst is {second}. In 16 bits DeepSpeed's ZeRO flattens the gradients of
  its part and casts them to fp32 at once (`runtime/zero/stage_1_and_2.py`), which is what one node
  holds most of.
* torchtitan's selective checkpoints make every second matmul again in bf16, and in float8, which
  its list does not name, all but the last; the head stays in bf16 (`costs/layouts/recompute.py`
  and `float8.py` have the sources). What is left: kernels of 2024 on a card at 500 W, and with
  `rowwise` scales an open defect (its issue 1207, which the source names). In float8 the
  checkpoints keep more than the list says (PyTorch's issue 128730), so memory is underestimated
  there.
* Its context parallelism is torch's (`costs/layouts/torch_ring.py`): keys and values are repeated
  to all heads before they are gathered, and their gradients go from rank to rank in fp32. Between
  nodes that is what the 405B's rows took longer for: they are {off} off, and would be 27
  and 38 % off if plain keys and values were gathered. Inside a node it is little, and the 8B on
  four and eight ranks still takes {longer} times as long as is predicted. torch's source
  balances the ranks' work: without that these two rows would be within 12 %, and all others of
  several ranks 21 to 27 % over. So why the 8B is slower from four ranks on is not known.

## Clusters

Training at {format_tokens(TOKENS)} tokens, batch size {BATCH}, on {DEVICE} (8 a node): the longest
input that fits in any layout, and the fastest step: bands and ranges are what the prediction leaves
open.

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


def _seconds(row: Scaling) -> str:
    if not row.layout:
        return "does not fit"
    return format_seconds_range(row.least_seconds, row.most_seconds)


def _gpu_seconds_per_token(row: Scaling) -> str:
    """The range of the step's seconds, as those of one GPU for one token."""
    if not row.layout:
        return ""
    each = row.gpu_seconds_per_token / row.seconds
    return f"{each * row.least_seconds:.2g} to {each * row.most_seconds:.2g}"


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
                _seconds(row),
                _gpu_seconds_per_token(row),
                f"`{row.layout}`" if row.layout else "",
            )
            for row in rows
        ],
    )
