"""Full attention and an RMT on a cluster, each in its best layout, and what that means in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rmtscale.costs.layouts.enough import shortfall
from rmtscale.costs.layouts.search import Candidate, Search, search_layouts
from rmtscale.costs.layouts.seconds import StepTime
from rmtscale.costs.time.constants import TimeConstants
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.layout import AUTO
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import format_percent, format_seconds_range


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAnswer:
    """The layouts of both ways on one cluster."""

    model: ModelSpec
    workload: Workload
    cluster: Cluster
    full: Search
    rmt: Search
    wave: Search | None = None
    """Layouts of an RMT with a state in every layer, where a single state leaves GPUs idle."""

    @property
    def words(self) -> str:
        """Says in a few sentences where recurrence saves GPU-seconds and where it takes longer."""
        full, rmt = self.full.best, self.rmt.best
        both = (self.full, self.rmt)
        given = (self.model, self.workload, self.cluster)
        lines = [f"{shortfall(one, *given)}." for one in both if not one.best]
        if full is None or rmt is None:
            lines += [self._alone(one) for one in both if one.best]
            return " ".join(lines)
        return " ".join((self._of_time(full, rmt), self._of_gpus(), self._of_width(rmt))).strip()

    def _alone(self, search: Search) -> str:
        best = search.best
        assert best is not None, "asked of what fits"
        return f"{search.title} fits: {_took(best)} as {best.layout.name}."

    def _of_time(self, full: Candidate, rmt: Candidate) -> str:
        a, b = full.time, rmt.time
        both = f"full attention {_took(full)}, {self.rmt.title} {_took(rmt)}"
        if a.range.most_seconds < b.range.least_seconds:
            return f"Full attention is faster: {both}, {_times(b, a)} as long."
        if b.range.most_seconds < a.range.least_seconds:
            return f"{self.rmt.title} is faster: {both}, {_times(a, b)} less."
        return f"Which is faster cannot be told, their ranges overlap: {both}."

    def _of_gpus(self) -> str:
        full, rmt = self.full.cheapest, self.rmt.cheapest
        assert full is not None, "asked where both fit"
        assert rmt is not None, "asked where both fit"
        a, b = full.time, rmt.time
        ratio = ratio_range(b, a, b.gpus / a.gpus)
        if ratio.most <= 1:
            least, most = (format_percent(1 - one) for one in (ratio.most, ratio.least))
            saves = f"saves {least} to {most} of the GPU-seconds a token"
        elif ratio.least >= 1:
            saves = f"takes {_times(b, a, b.gpus / a.gpus)} the GPU-seconds a token"
        else:
            times = _times(b, a, b.gpus / a.gpus)
            saves = f"may take more GPU-seconds a token or fewer, {times} as many"
        both = " against ".join(format_seconds_range(*one.gpu_seconds_range) for one in (b, a))
        return f"In its cheapest layout {self.rmt.title} {saves}: {both}."

    def _of_width(self, rmt: Candidate) -> str:
        """Says how many GPUs an RMT leaves idle, and at what batch it would not."""
        if not is_narrow(rmt, self.cluster):
            return ""
        tp = rmt.layout.tp
        enough = -(-self.cluster.gpus // tp)
        idle = ""
        if rmt.time.gpus < self.cluster.gpus:
            idle = f"it uses {rmt.time.gpus} of {self.cluster.gpus} GPUs, "
        share = format_percent(rmt.time.busy, digits=0)
        return (
            f"An RMT is as wide as its batch times tp: {idle}a stage is busy {share} of the time; "
            f"a batch of {enough} would keep all busy.{self._of_a_wave(rmt)}"
        )

    def _of_a_wave(self, rmt: Candidate) -> str:
        """Says what a state in every layer would do, whose segments can follow each other."""
        wave = None if self.wave is None else self.wave.best
        if wave is None or wave.time.seconds > 0.9 * rmt.time.seconds:
            return ""
        return (
            " With a state in every layer (associative RMT, Transformer-XL; Sivtsov et al. 2025) "
            f"segments follow each other through the stages: {_took(wave)} as {wave.layout.name}, "
            "and more by what its memories calculate."
        )


class RatioRange(NamedTuple):
    """How many times as long one takes as another, at least and at most."""

    least: float
    most: float


def ratio_range(one: StepTime, other: StepTime, factor: float = 1.0) -> RatioRange:
    """Returns how many times as long ``one`` takes as ``other``, times ``factor``."""
    (least, most), (other_least, other_most) = one.range, other.range
    return RatioRange(factor * least / other_most, factor * most / other_least)


def _times(one: StepTime, other: StepTime, factor: float = 1.0) -> str:
    ends = ratio_range(one, other, factor)
    least, most = (f"{end:.0f}" if end >= 9.95 else f"{end:.2g}" for end in ends)
    return f"x{least} to {most}"


def is_narrow(best: Candidate, cluster: Cluster) -> bool:
    """Whether an RMT leaves GPUs of the cluster idle, or lets them wait."""
    return best.time.gpus < cluster.gpus or best.time.bubble >= 0.2 * best.time.seconds


def _took(one: Candidate) -> str:
    return f"{format_seconds_range(*one.time.range)} a step"


def answer_cluster(
    model: ModelSpec,
    workload: Workload,
    cluster: Cluster,
    recurrence: Recurrence,
    name: str = AUTO,
    constants: TimeConstants | None = None,
) -> ClusterAnswer:
    """Searches the layouts of full attention and of an RMT, or works out the one that is named.

    Args:
        constants: of the cluster's device; else those that are known of it.

    Raises:
        BadInput: a layout that cannot be of either, or a model whose layers are not known.
    """
    given = (recurrence, name, constants)
    rmt = search_layouts(model, workload, cluster, *given)
    wave = None
    if name == AUTO and rmt.best is not None and is_narrow(rmt.best, cluster):
        wave = search_layouts(model, workload, cluster, *given, every_layer=True)
    return ClusterAnswer(
        model=model,
        workload=workload,
        cluster=cluster,
        full=search_layouts(model, workload, cluster, None, name, constants),
        rmt=rmt,
        wave=wave,
    )
