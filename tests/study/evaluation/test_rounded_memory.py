"""The measurement with a rounded memory rounds each state, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from tests.study.evaluation import rounded_memory

CHECKPOINTS = Path(__file__).parents[3] / "reports" / "figure-5" / "checkpoints"
WIDTH = 0.4


def test_to_the_nearest_multiple() -> None:
    values = np.random.default_rng(5).uniform(-3, 3, 200)
    multiples = WIDTH * np.arange(-10, 11)
    nearest = [multiples[np.abs(multiples - value).argmin()] for value in values]
    found = rounded_memory.rounded(torch.from_numpy(values), WIDTH)
    np.testing.assert_allclose(found.numpy(), nearest, atol=1e-12)


def test_each_segment_hands_over_rounded_numbers() -> None:
    answerer = load_checkpoint(CHECKPOINTS / "memorize-0").answerer
    text = torch.randint(10, 100, (2, answerer.segment_tokens), generator=torch.manual_seed(1))
    initial = answerer.initial(2)
    with torch.no_grad():
        written, said = answerer.step(initial, text)
        with rounded_memory.memory_on_a_grid(WIDTH):
            handed, said_too = answerer.step(initial, text)
        after, _ = answerer.step(initial, text)
    assert torch.equal(said, said_too), "the first segment reads what it always reads"
    assert torch.equal(written, after), "nothing is left of it"
    assert torch.equal(handed, rounded_memory.rounded(written, WIDTH))
    assert not torch.equal(handed, written)


def test_an_evaluation_is_of_rounded_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a grid this wide every number of the memory is 0, and the fact is lost."""
    shares = []
    for width in ("1e-6", "1000"):
        out = tmp_path / f"{width}.jsonl"
        given = ["evaluate", str(CHECKPOINTS / "memorize-0"), "--segments", "2", "--samples", "8"]
        with pytest.raises(SystemExit) as leaving:
            rounded_memory.main([width, *given, "--device", "cpu", "--out", str(out)])
        assert leaving.value.code in (0, None)
        (record,) = EvaluationStore(out).read().records
        assert record.point.dead_band == 0
        shares.append(record.accuracy)
    capsys.readouterr()
    assert shares[0] == 1 > shares[1]
