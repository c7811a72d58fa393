"""Whether a layout can be: of a model, a workload and a cluster; and what runs it."""

from __future__ import annotations

from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.layouts.recompute import BY_OPERATOR, why_not
from rmtscale.errors import BadInput
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.layout import TORCH_CONTEXTS, Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload


def require_possible(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    recurrence: Recurrence | None,
    cluster: Cluster | None = None,
) -> None:
    """Refuses a layout that cannot be.

    Raises:
        BadInput: the layout, and in one line why it cannot be and what could.
    """
    reason = why_impossible(model, workload, layout, recurrence, cluster)
    if reason:
        raise BadInput(f"layout {layout.name!r}: {reason}")


def why_impossible(
    model: ModelSpec,
    workload: Workload,
    layout: Layout,
    recurrence: Recurrence | None = None,
    cluster: Cluster | None = None,
) -> str:
    """Says why a layout cannot be; empty where it can."""
    if cluster is not None and layout.gpus != cluster.gpus:
        return f"is of {layout.gpus:,} GPUs, expected {cluster.gpus:,}"
    return (
        _of_the_model(model, layout)
        or _of_the_batch(workload, layout)
        or _of_the_text(workload, layout, recurrence)
    )


def _of_the_model(model: ModelSpec, layout: Layout) -> str:
    tp, pp = layout.tp, layout.pp * layout.virtual_stages
    for what, size in (
        ("heads", model.heads),
        ("key and value heads", model.kv_heads),
        ("columns of the feed-forward", model.mlp_width),
    ):
        if size % tp:
            return f"tp {tp}, expected a divisor of the {size} {what} of {model.name}"
    if pp > model.layers:
        return f"{pp} stages, expected at most the {model.layers} layers of {model.name}"
    if layout.virtual_stages > 1 and model.layers % pp:
        return f"{pp} virtual stages, expected a divisor of {model.layers} layers"
    heads = model.kv_heads // tp
    if layout.cp > 1 and layout.context == "alltoall" and heads % layout.cp:
        return (
            f"cp {layout.cp} all-to-all, expected a divisor of the {heads} key and value heads "
            "of a rank"
        )
    if layout.ep > 1:
        block = experts_of(model) if _taped(model) else None
        if block is None:
            return f"ep {layout.ep}, expected 1, {model.name} has no experts"
        if block.experts % layout.ep:
            return f"ep {layout.ep}, expected a divisor of the {block.experts} experts"
        if layout.dp % layout.ep:
            return f"ep {layout.ep}, expected a divisor of dp {layout.dp}"
    return why_not(model, layout.recompute)


def _taped(model: ModelSpec) -> bool:
    return isinstance(model, LayeredSpec) and model.groups[0][0].feed_forward is not None


def _of_the_batch(workload: Workload, layout: Layout) -> str:
    at_once = layout.dp * layout.micro_batch
    if workload.batch_size % at_once:
        return (
            f"takes {at_once} sequences at once, expected a divisor of the batch size "
            f"{workload.batch_size}"
        )
    if layout.virtual_stages > 1 and layout.micro_batches(workload.batch_size) % layout.pp:
        return (
            f"{layout.micro_batches(workload.batch_size)} micro-batches, expected a multiple of "
            f"pp {layout.pp} with virtual stages (Narayanan et al. 2021)"
        )
    if workload.checkpoint_layers or workload.checkpoint_segments:
        return "checkpoints are said by the layout (full), expected none in the workload"
    return ""


def _of_the_text(workload: Workload, layout: Layout, recurrence: Recurrence | None) -> str:
    if recurrence is None:
        if layout.state_by_state:
            return "is state by state, expected an RMT, full attention has no state"
        if layout.cp > workload.tokens:
            return f"cp {layout.cp}, expected at most the {workload.tokens} tokens"
        return ""
    if layout.cp > 1:
        return f"cp {layout.cp}, expected 1 with an RMT, whose segments are read whole"
    if layout.virtual_stages > 1:
        return f"vp {layout.virtual_stages}, expected 1 with an RMT"
    if layout.state_by_state and not workload.train:
        return "is state by state, expected a training, inference keeps one state anyway"
    if layout.sequence_parallel and recurrence.segment_size % layout.tp:
        return f"tp {layout.tp}, expected a divisor of the segment size {recurrence.segment_size}"
    return ""


def runs_in(layout: Layout, recurrence: Recurrence | None) -> tuple[str, ...]:
    """Names the frameworks that can train with a layout; none where nothing that is known can.

    Full attention: Megatron-LM has ZeRO-1 and no FSDP with pipelines, torchtitan FSDP2 with all
    else and torch's own context parallelism, DeepSpeed ZeRO with all-to-all. An RMT is trained by
    ``rmtscale.rmt`` under DDP, under FSDP2, and by Transformers' ``tp_plan`` alone or inside FSDP2,
    state by state too (docs/cluster.md); nothing known pipelines it, or cuts its segments by
    position among tensor ranks, and of recomputation it has that of whole layers and segments.
    """
    if recurrence is not None:
        plain = layout.pp == 1 and layout.ep == 1 and not layout.sequence_parallel
        plain = plain and layout.recompute in ("none", "full")
        joined = layout.tp > 1 and layout.shards > 1
        runs = layout.zero == 3 or (layout.zero == 0 and not joined)
        return ("rmtscale",) if plain and runs else ()
    found = []
    listed = layout.recompute in BY_OPERATOR
    torch = layout.context in TORCH_CONTEXTS
    if layout.zero < 2 and layout.shard_vocabulary and not listed and not (layout.cp > 1 and torch):
        found.append("Megatron-LM")
    if (layout.zero == 3 or layout.shards == 1) and (layout.cp == 1 or torch):
        found.append("torchtitan")
    whole = layout.pp == 1 and layout.tp == 1 and not listed
    if whole and (layout.cp == 1 or layout.context == "alltoall"):
        found.append("DeepSpeed")
    return tuple(found)
