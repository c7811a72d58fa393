"""The best layout of a cluster: all that divide, without those that do not fit, by their seconds.

Of one skeleton (degrees, micro-batch, sharding) the least recomputation that fits is taken: more of
it only takes longer. An RMT's width is the batch times ``tp``; where a cluster has more GPUs than
it can use, layouts of a half, a quarter and so on of them are tried too, and the others stay idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from rmtscale.costs.grouped_experts import experts_of
from rmtscale.costs.layouts.memory import GpuMemory, gpu_memory
from rmtscale.costs.layouts.possible import require_possible, runs_in, why_impossible
from rmtscale.costs.layouts.seconds import StepTime, step_time
from rmtscale.costs.memory import known_to_the_byte
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.errors import BadInput
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import AUTO, CONTEXTS, Layout, parse_layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

SHOWN = 6
"""The best layout and the next five."""
MICRO_BATCHES = (1, 2, 4)
RECOMPUTATION = ("none", "selective", "full")
_CONTEXTS = tuple(one for one in CONTEXTS if one != "torchring")
"""Ways that are tried: torch's as it is unasked, since its other one sends as much."""


class Candidate(NamedTuple):
    """A layout that fits, and what it costs."""

    layout: Layout
    memory: GpuMemory
    time: StepTime
    frameworks: tuple[str, ...]
    """Frameworks that run it; none where nothing that is known does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The layouts of one way, full attention or an RMT, the fastest first."""

    title: str
    recurrence: Recurrence | None
    found: tuple[Candidate, ...]
    tried: int
    dropped: dict[str, int]
    """Layouts that were dropped, by reason."""
    least_bytes: int
    """Memory of the layout that needs the least of it, which says how far away the others are."""

    @property
    def best(self) -> Candidate | None:
        """The fastest layout."""
        return self.found[0] if self.found else None

    @property
    def runnable(self) -> Candidate | None:
        """The fastest layout that something known runs."""
        return next((one for one in self.found if one.frameworks), None)

    @property
    def cheapest(self) -> Candidate | None:
        """The layout with the fewest GPU-seconds a token."""
        return min(self.found, key=lambda one: one.time.gpu_seconds_per_token, default=None)


def search_layouts(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    recurrence: Recurrence | None = None,
    name: str = AUTO,
    constants: TimeConstants | None = None,
    *,
    every_layer: bool = False,
) -> Search:
    """Returns the layouts that fit, the fastest first, or the one that is named.

    Args:
        workload: the batch size is that of a whole step, on all GPUs together.
        name: ``auto``, or a layout as ``parse_layout`` takes it.
        constants: of the cluster's device; else those that are known of it.
        every_layer: an RMT with a state in every layer, which can be pipelined at any batch.

    Raises:
        BadInput: a named layout that cannot be, or a model whose layers are not known.
    """
    require_known(model, workload, recurrence)
    title = "full attention" if recurrence is None else f"RMT {recurrence.segment_size}"
    named = None if name == AUTO else parse_layout(name)
    if named is not None:
        require_possible(model, workload, named, recurrence, cluster)
    skeletons = (named,) if named else skeletons_of(model, workload, cluster, recurrence)
    found: list[Candidate] = []
    dropped: Counter[str] = Counter()
    too_large: set[Layout] = set()
    tried, least = 0, 2**63
    device = cluster.device
    for skeleton in skeletons:
        alone = skeleton if skeleton.micro_batch == 1 else replace(skeleton, micro_batch=1)
        if alone in too_large:  # more sequences at once need more
            continue
        if every_layer and skeleton.pp == 1:  # as fast as with a single state
            continue
        memory = None
        for recompute in (skeleton.recompute,) if named else RECOMPUTATION[:: _step(workload)]:
            layout = skeleton
            if recompute != skeleton.recompute:
                layout = replace(skeleton, recompute=recompute)
            tried += 1
            memory = gpu_memory(model, workload, layout, recurrence, device)
            needed = memory.total
            least = min(least, needed)
            if needed <= device.usable_memory_bytes:
                given = (model, workload, layout, cluster, recurrence, constants)
                time = step_time(*given, every_layer=every_layer)
                runs = () if every_layer else runs_in(layout, recurrence)
                found.append(Candidate(layout, memory, time, runs))
                break
        else:
            assert memory is not None, "each skeleton is tried"
            dropped[_reason(memory)] += 1
            too_large.add(alone)
    found.sort(key=lambda one: (one.time.seconds, one.time.gpus, one.layout.name))
    return Search(
        title=title,
        recurrence=recurrence,
        found=tuple(found),
        tried=tried,
        dropped=dict(dropped.most_common()),
        least_bytes=least,
    )


def fits_somehow(
    model: ModelSpec, workload: Workload, cluster: Cluster, recurrence: Recurrence | None = None
) -> bool:
    """Returns whether any layout fits, with all that saves memory."""
    recompute = "full" if workload.train else "none"
    for skeleton in skeletons_of(model, workload, cluster, recurrence, least=True):
        layout = replace(skeleton, recompute=recompute)
        needed = gpu_memory(model, workload, layout, recurrence, cluster.device).total
        if needed <= cluster.device.usable_memory_bytes:
            return True
    return False


def _step(workload: Workload) -> int:
    """Recomputation is tried where there is a backward pass."""
    return 1 if workload.train else len(RECOMPUTATION)


def _reason(memory: GpuMemory) -> str:
    largest = max(memory.terms, key=lambda term: term.amount)
    return f"most of it {largest.name.replace('_', ' ')}"


def require_known(model: ModelSpec, workload: Workload, recurrence: Recurrence | None) -> None:
    """Refuses a model whose layers are not all of one kind that is known operator by operator.

    Raises:
        BadInput: names the model.
    """
    if not known_to_the_byte(model, workload, recurrence):
        raise BadInput(
            f"model {model.name!r}: layouts are of models whose layers are known operator by "
            "operator, and alike"
        )
    for name, value, expected in (
        ("weights", model.quantization and model.quantization.title, "plain weights"),
        ("capture", workload.capture, "segments that run eagerly"),
        ("compile", workload.compile_step, "segments that run eagerly"),
        ("adapter", workload.adapter and repr(workload.adapter.kind), "all weights trained"),
        ("offload optimizer", workload.offload_optimizer, "the optimizer on the GPUs"),
        ("accumulate", workload.accumulate > 1 and workload.accumulate, "its micro-batches (mb)"),
        ("bptt segments", workload.bptt_segments, "BPTT through all segments"),
    ):
        if value:
            raise BadInput(f"{name} {value} with a layout: expected {expected}")


def skeletons_of(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    recurrence: Recurrence | None,
    *,
    least: bool = False,
) -> Iterator[Layout]:
    """Yields the layouts that divide, without recomputation; ``least``: those that need least."""
    sizes = [cluster.gpus]
    while recurrence is not None and sizes[-1] % 2 == 0:
        sizes.append(sizes[-1] // 2)
    for gpus in sizes:
        yield from _of_size(model, workload, cluster, recurrence, gpus, least=least)


def _of_size(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    recurrence: Recurrence | None,
    gpus: int,
    *,
    least: bool,
) -> Iterator[Layout]:
    batch = workload.batch_size
    for tp in _divisors(gpus):
        if tp > cluster.gpus_per_node or why_impossible(
            model, replace(workload, batch_size=1), Layout(tp=tp), recurrence
        ):
            continue
        for pp in _divisors(gpus // tp):
            if pp > model.layers:
                continue
            for cp in _divisors(gpus // tp // pp):
                dp = gpus // tp // pp // cp
                if batch % dp or (cp > 1 and (recurrence is not None or cp > workload.tokens)):
                    continue
                plain = Layout(tp=tp, pp=pp, cp=cp, dp=dp, sequence_parallel=False)
                variants = _least if least else _variants
                for layout in variants(model, workload, plain, recurrence):
                    if not why_impossible(model, workload, layout, recurrence):
                        yield layout


def _variants(
    model: ModelSpec, workload: Workload, plain: Layout, recurrence: Recurrence | None
) -> Iterator[Layout]:
    """The ways to use one set of degrees."""
    rows = workload.batch_size // plain.dp
    zeros = (0,) if plain.shards == 1 or not workload.train else (1, 3)
    states = (False, True) if recurrence is not None and workload.train else (False,)
    virtual = (1, 2) if plain.pp > 1 and recurrence is None and workload.train else (1,)
    expert = _expert_ranks(model, plain)
    cuts = (False,) if plain.tp == 1 else (True,) if recurrence is None else (True, False)
    micro_batches = [one for one in MICRO_BATCHES if rows % one == 0]
    for zero, context, state_by_state, stages, cut, micro_batch in product(
        zeros, _contexts_of(plain), states, virtual, cuts, micro_batches
    ):
        yield replace(
            plain,
            sequence_parallel=cut,
            ep=expert,
            zero=zero,
            micro_batch=micro_batch,
            context=context,
            state_by_state=state_by_state,
            virtual_stages=stages,
        )


def _least(
    model: ModelSpec, workload: Workload, plain: Layout, recurrence: Recurrence | None
) -> Iterator[Layout]:
    """The ways to use one set of degrees of which one needs the least memory."""
    zeros = (3,) if experts_of(model) is None else (3, 1)  # ZeRO-3 gathers all experts of a layer
    zeros = zeros if workload.train and plain.shards > 1 else (0,)
    for context, zero in product(_contexts_of(plain), zeros):
        yield replace(
            plain,
            sequence_parallel=plain.tp > 1
            and (recurrence is None or recurrence.segment_size % plain.tp == 0),
            ep=_expert_ranks(model, plain),
            zero=zero,
            context=context,
            state_by_state=recurrence is not None and workload.train,
        )


def _contexts_of(plain: Layout) -> tuple[str, ...]:
    return _CONTEXTS if plain.cp > 1 else (plain.context,)


def _expert_ranks(model: ModelSpec, plain: Layout) -> int:
    """Ranks that share the experts: as many as divide both them and the data ranks."""
    experts = experts_of(model)
    return 1 if experts is None else _common(plain.dp, experts.experts)


def _common(one: int, other: int) -> int:
    while other:
        one, other = other, one % other
    return one


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
