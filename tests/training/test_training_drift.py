"""A state is pushed on the way to one of those nearest to it, and should stay where it settled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.experiments.memory_tasks import quick
from rmtscale.training.drift import push, settled_at

NEAREST = 4


@given(st.integers(2, 9), st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_it_goes_its_share_of_the_way_to_a_near_one(batch, memory, width, seed):
    """Every pushed state lies on the line to one of the four nearest, found one by one."""
    torch.manual_seed(seed)
    state, share = torch.randn(batch, memory, width), torch.rand(batch)
    found = push(state, share)
    for row in range(batch):
        away = [float((state[row] - one).double().square().sum()) for one in state]
        others = sorted((one for one in range(batch) if one != row), key=away.__getitem__)
        targets = [state[row].lerp(state[one], float(share[row])) for one in others[:NEAREST]]
        assert any(torch.allclose(found[row], one, atol=1e-5) for one in targets)


def test_all_of_the_nearest_are_gone_to():
    state = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 100.0]).view(6, 1, 1)
    seen = {float(push(state, torch.ones(6))[0]) for _ in range(200)}
    assert seen == {1.0, 2.0, 3.0, 4.0}


def test_a_share_of_0_leaves_it_where_it_is():
    state = torch.randn(5, 2, 3)
    share = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    assert (push(state, share) == state).all((1, 2)).tolist() == [True, False, True, False, True]


def test_one_alone_has_nowhere_to_go():
    state = torch.randn(1, 2, 3)
    assert torch.equal(push(state, torch.ones(1)), state)


def test_where_it_settles():
    """After the segment with the last fact, number 0, and one more it has read two."""
    assert settled_at(np.array([0, 5])).tolist() == [2, 7]


def test_a_push_without_a_way_back():
    with pytest.raises(BadInput, match=r"push share 0\.3 without a drift weight: expected 0"):
        replace(quick("memorize"), push_share=0.3)
    with pytest.raises(BadInput, match=r"push share 1\.5: expected 0 to 1"):
        replace(quick("memorize"), push_share=1.5, drift_weight=1.0)
