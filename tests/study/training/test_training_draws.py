"""What a training draws is a function of its seed alone."""

from __future__ import annotations

import pytest
import torch

from rmtscale.study.training.device import seed_draws

SEEDS = [0, 1, 1_000_003, 2**62, -5]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cpu_draws_what_torch_would(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(9), torch.nn.functional.dropout(torch.ones(99))
    torch.rand(3)
    seed_draws(torch.device("cpu"), seed)
    assert torch.equal(torch.rand(9), expected[0])
    assert torch.equal(torch.nn.functional.dropout(torch.ones(99)), expected[1])


def test_no_other_device_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is not there would write down the stack, in every step."""

    def refuse(seed: int) -> None:
        raise AssertionError(f"asked with {seed}")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    with pytest.raises(AssertionError, match="asked with 3"):
        seed_draws(torch.device("cuda"), 3)
    seed_draws(torch.device("cpu"), 3)
