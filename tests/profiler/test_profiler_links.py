"""Links between processes of this machine, measured over gloo as over NCCL on GPUs."""

from __future__ import annotations

import sys
from collections import Counter
from time import monotonic

import pytest

from rmtscale.costs.time.link_fit import fit_links
from rmtscale.errors import BadInput
from rmtscale.profiler import links
from rmtscale.profiler.link_bench import group_sizes, sizes_of
from rmtscale.profiler.links import measure_links
from rmtscale.specs.link_speed import KINDS
from tests.forked import Started


def test_two_processes_measure_all_kinds_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RANK", "7")  # what torchrun set for this process is not theirs
    monkeypatch.setattr(links, "start", Started)
    found = measure_links(2, "cpu")
    sizes = sizes_of("cpu").bytes
    assert Counter(one.kind for one in found) == dict.fromkeys(KINDS, len(sizes))
    assert {(one.ranks, one.bytes) for one in found} == {(2, size) for size in sizes}
    for one in found:
        assert 0 < one.seconds <= one.median_seconds < 1
        assert 0 < one.host_seconds < 1
    assert len(fit_links(found)) == len(KINDS)


def test_a_process_that_fails_ends_the_others_and_is_one_line() -> None:
    script = "import sys, time; sys.argv[2] == '1' and sys.exit('no such GPU'); time.sleep(60)"
    begun = monotonic()
    with pytest.raises(BadInput) as caught:
        measure_links(2, command=(sys.executable, "-c", script))
    said = "links of 2 GPUs: process 1 ended with exit code 1: no such GPU, expected to measure"
    assert str(caught.value) == said
    assert monotonic() - begun < 30


@pytest.mark.parametrize(
    ("ranks", "sizes"), [(2, [2]), (4, [2, 4]), (6, [2, 4, 6]), (8, [2, 4, 8])]
)
def test_groups(ranks: int, sizes: list[int]) -> None:
    assert group_sizes(ranks) == sizes
