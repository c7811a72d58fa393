"""Options and tables of many GPUs, which ``plan`` and ``estimate`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rmtscale.cli.given import refuse_unread
from rmtscale.cli.output import write_line, write_rows, write_table, write_text
from rmtscale.specs.workload import MASTER_OPTIMIZERS
from rmtscale.units import format_bytes, format_percent, format_seconds_range

if TYPE_CHECKING:
    from rmtscale.costs.layouts.answer import ClusterAnswer
    from rmtscale.costs.layouts.search import Candidate, Search
    from rmtscale.costs.time.constants import TimeConstants
    from rmtscale.specs.device import DeviceSpec
    from rmtscale.specs.model import ModelSpec
    from rmtscale.specs.workload import Workload

Gpus = Annotated[int | None, typer.Option(help="Many GPUs: how many of them.  (default: one)")]
GpusPerNode = Annotated[int, typer.Option(help="Many GPUs: of these share a node.")]
Interconnect = Annotated[
    str, typer.Option(help="Many GPUs: between nodes, such as ib-hdr.  (default: the usual one)")
]
LayoutName = Annotated[
    str,
    typer.Option(
        "--layout",
        help="Many GPUs: auto (the best), or a name such as tp8-sp-pp4-dp2-zero1-full.",
    ),
]
MANY_PRECISION = "master-bf16"
"""Precision of a training on many GPUs, unless another is asked for."""
_SHARES_SAID = "shares of the data sheet that were measured on an H200"
_LINKS_SAID = "what others measured"


def require_many(gpus: int | None, gpus_per_node: int, mode: str, method: str = "rmt") -> None:
    """Refuses options of many GPUs without them, and what is not known on them.

    Raises:
        BadInput: names the option.
    """
    from rmtscale.errors import BadInput

    if gpus is None:
        alone = ("layout", "interconnect", "gpus_per_node")
        refuse_unread("with --gpus, the number of them", *alone)
        return
    if gpus <= gpus_per_node:
        refuse_unread(f"with more GPUs than the {gpus_per_node} of a node", "interconnect")
    if mode == "generate":
        raise BadInput(
            f"mode {mode!r}: expected train or prefill with --gpus, whose answer says how long the "
            "next token takes"
        )
    refuse_unread("without --gpus", "kv_dtype", "convention")
    if method != "rmt":
        state = ", whose answer says what a state in every layer would bring"
        raise BadInput(
            f"method {method!r}: expected rmt with --gpus{state if method == 'armt' else ''}: what "
            "other methods calculate in a layer is not known on a rank"
        )


class Asked(NamedTuple):
    """The options of a cluster and of the RMT on it, as they were given."""

    gpus: int
    gpus_per_node: int
    interconnect: str
    layout: str
    segment_size: int | None
    """None: a recommended one, for each workload."""
    memory_tokens: int
    calibration: TimeConstants | None = None


def write_many(
    model: ModelSpec,
    works: Sequence[Workload],
    device: DeviceSpec,
    asked: Asked,
    output_format: str,
    *,
    usual: bool = True,
    terms: bool = False,
) -> None:
    """Works out and prints the answer to each workload on the cluster of the options.

    Args:
        usual: trainings are in ``MANY_PRECISION``.
        terms: the memory of the best layouts by term, and what they send, too.

    Raises:
        BadInput: a cluster, a layout or a model that cannot be.
    """
    from rmtscale.costs.layouts.answer import answer_cluster
    from rmtscale.costs.layouts.segment import recommend_cluster_segment
    from rmtscale.costs.time.constants_file import known_constants
    from rmtscale.specs.cluster import Cluster
    from rmtscale.specs.recurrence import Recurrence

    constants = asked.calibration or known_constants(device)
    cluster = Cluster.of(
        device, asked.gpus, asked.gpus_per_node, asked.interconnect, constants.links
    )
    found, reasons = [], []
    for given in works:
        work = _usual_precision(given) if usual else given
        where = (cluster, asked.memory_tokens, asked.layout, constants)
        if asked.segment_size is None:
            recurrence, reason = recommend_cluster_segment(model, work, *where)
        else:
            recurrence, reason = Recurrence(asked.segment_size, asked.memory_tokens), ""
        found.append(answer_cluster(model, work, cluster, recurrence, asked.layout, constants))
        reasons.append(reason)
    write_answers(found, output_format, constants, reasons, terms=terms)


def _usual_precision(work: Workload) -> Workload:
    """The workload in the precision that trainings on many GPUs have."""
    from dataclasses import replace

    alone = work.optimizer not in MASTER_OPTIMIZERS or work.precision != "bf16"
    return work if alone or not work.train else replace(work, precision=MANY_PRECISION)


def write_answers(
    found: Sequence[ClusterAnswer],
    output_format: str,
    constants: TimeConstants,
    reasons: Sequence[str],
    *,
    terms: bool = False,
) -> None:
    """Prints the words, then the best layout and the next five of full attention and RMT.

    Args:
        reasons: why the segment of each answer was taken; nothing where it was asked for.
        constants: that arithmetic was predicted with.
        terms: the memory of the best ones by term, and what they send, too.
    """
    if output_format != "table":
        rows = [
            row
            for answer in found
            for search in (answer.full, answer.rmt)
            for row in _rows(answer, search)
        ]
        write_rows(rows, output_format)
        return
    for answer, reason in zip(found, reasons, strict=True):
        work = answer.workload
        what = "Training" if work.train else "Reading a prompt"
        write_text(f"{what}: {answer.words}")
        write_line()
        write_text(
            f"{answer.model.name} on {answer.cluster.title()}; {work.tokens:,} tokens, batch size "
            f"{work.batch_size} of a whole step, {work.precision}, {work.attention}"
        )
        for search in (answer.full, answer.rmt):
            _write_search(answer, search)
        if reason:
            write_text(f"Segment size: {reason}.")
        if terms:
            _write_terms(answer)
    if any("logits" in reason for one in found for reason in one.full.dropped):
        write_text("A loss that is worked out in chunks needs less than its logits do here.")
    arithmetic, links, unseen = _SHARES_SAID, _LINKS_SAID, "; no cluster was measured"
    if constants.measured:
        arithmetic = f"constants of {constants.source}"
    if found[0].cluster.measured:
        links, unseen = "what calibrate --measure found of them", ""
    elif constants.links:
        links = "what was measured inside a node, and by others between nodes"
    busy = ""
    if any(one.workload.train for one in found):
        busy = " busy: share of the step in which the busiest GPU calculates."
    write_text(f"Predicted: arithmetic from {arithmetic}, links from {links}{unseen}.{busy}")


def _shown(search: Search) -> list[Candidate]:
    """The best and the next five; and the cheapest and the best that runs, if not among them."""
    from rmtscale.costs.layouts.search import SHOWN

    shown = list(search.found[:SHOWN])
    for one in (search.cheapest, search.runnable):
        if one is not None and one not in shown:
            shown.append(one)
    return shown


def _write_search(answer: ClusterAnswer, search: Search) -> None:
    write_line()
    dropped = sum(search.dropped.values())
    reasons = "; ".join(f"{count} {reason}" for reason, count in search.dropped.items())
    write_text(
        f"{search.title}: {len(search.found)} layouts fit, {dropped} do not"
        + (f" ({reasons})" if reasons else "")
    )
    if not search.found:
        return
    shown = _shown(search)
    some = any(one.time.gpus != answer.cluster.gpus for one in shown)
    cells = [_cells(answer, search, one, gpus=some) for one in shown]
    columns = ["layout", *(["GPUs"] if some else []), "step", "GPU time a token"]
    # Beside the range of the next token there is no room for how busy a GPU is.
    columns += ["memory", "busy"] if answer.workload.train else ["next token", "memory"]
    write_table(columns, cells, text_columns=1)
    runs: dict[str, int] = {}
    for one in shown:
        for name in one.frameworks or ("nothing known (*)",):
            runs[name] = runs.get(name, 0) + 1
    write_text("Of these run in " + ", ".join(f"{name} {count}" for name, count in runs.items()))


def _write_terms(answer: ClusterAnswer) -> None:
    """Writes the bytes of a GPU by term, and what it sends, of the best layout of each way."""
    from rmtscale.costs.layouts.collectives import count_collectives

    best = [(search, search.best) for search in (answer.full, answer.rmt) if search.best]
    held = {
        search.title: {term.name: term.amount for term in one.memory.terms}
        for search, one in best
        if one is not None
    }
    names = list(dict.fromkeys(name for terms in held.values() for name in terms))
    if not held:
        return
    rows = [
        [
            str(name).replace("_", " "),
            *(format_bytes(terms[name]) if name in terms else "" for terms in held.values()),
        ]
        for name in names
    ]
    write_table(["memory of a GPU", *held], rows, text_columns=1)
    sums: dict[str, list[int]] = {}
    for search, one in best:
        if one is None:
            continue
        for part in count_collectives(answer.model, answer.workload, one.layout, search.recurrence):
            kind = f"{search.title}: {part.kind.replace('_', ' ')}, {part.axis}"
            before = sums.get(kind, [0, 0, 0])
            more = (part.calls, part.elements, part.bytes)
            sums[kind] = [a + b for a, b in zip(before, more, strict=True)]
    rows = [
        [kind, f"{calls:,}", f"{elements:,}", format_bytes(sent)]
        for kind, (calls, elements, sent) in sums.items()
    ]
    if rows:
        write_table(["sent by a GPU in a step", "calls", "elements", "bytes"], rows, text_columns=1)


def _cells(answer: ClusterAnswer, search: Search, one: Candidate, *, gpus: bool) -> list[str]:
    from rmtscale.costs.layouts.serving import decode_range, decode_seconds

    after = [format_bytes(one.memory.total, 3), format_percent(one.time.busy, digits=0)]
    if not answer.workload.train:
        seconds = decode_seconds(
            answer.model, answer.workload, one.layout, answer.cluster, search.recurrence
        )
        after = [format_seconds_range(*decode_range(seconds, one.time))]
        after.append(format_bytes(one.memory.total, 2))  # three ranges leave no room for more
    return [
        one.layout.name + ("" if one.frameworks else " *"),
        *([str(one.time.gpus)] if gpus else []),
        format_seconds_range(*one.time.range),
        format_seconds_range(*one.time.gpu_seconds_range),
        *after,
    ]


def _rows(answer: ClusterAnswer, search: Search) -> list[dict[str, Any]]:
    """A row for each layout that is shown; where none fits one, with what would be enough."""
    from rmtscale.costs.layouts.enough import enough_gpus

    if search.found:
        return [_row(answer, search, rank, one) for rank, one in enumerate(_shown(search), 1)]
    asked = (answer.model, answer.workload, answer.cluster)
    row = _row(answer, search, None, None)
    return [row | {"enough_gpus": enough_gpus(*asked, search.recurrence)}]


def _row(
    answer: ClusterAnswer, search: Search, rank: int | None, one: Candidate | None
) -> dict[str, Any]:
    from rmtscale.costs.layouts.collectives import count_collectives

    work, recurrence = answer.workload, search.recurrence
    sent = None
    if one is not None:
        parts = count_collectives(answer.model, work, one.layout, recurrence)
        sent = sum(part.bytes for part in parts)
    return {
        "model": answer.model.name,
        "method": "full" if recurrence is None else "rmt",
        "segment_size": None if recurrence is None else recurrence.segment_size,
        "mode": work.mode,
        "tokens": work.tokens,
        "batch_size": work.batch_size,
        "device": answer.cluster.device.name,
        "usable_memory_bytes": answer.cluster.device.usable_memory_bytes,
        "gpus": answer.cluster.gpus,
        "fits": one is not None,
        "gpus_used": one and one.time.gpus,
        "rank": rank,
        "layout": one and one.layout.name,
        "seconds": one and one.time.seconds,
        "seconds_at_least": one and one.time.range.least_seconds,
        "seconds_at_most": one and one.time.range.most_seconds,
        "gpu_seconds_per_token": one and one.time.gpu_seconds_per_token,
        "busy_share": one and one.time.busy,
        "peak_bytes_per_gpu": one and one.memory.total,
        "sent_bytes_per_gpu": sent,
        "frameworks": one and "/".join(one.frameworks),
        "least_bytes_per_gpu": search.least_bytes if search.tried else None,
        "enough_gpus": None,
    }
