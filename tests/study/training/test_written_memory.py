"""The measurement of what becomes of written memory says of a tiny decoder what a slow one says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from rmtscale.study.training.layout import LAST
from rmtscale.study.training.loop import train
from tests.study.training import written_memory
from tests.tiny_text import tiny_text_settings


def test_how_far_documents_are_apart() -> None:
    states = np.random.default_rng(3).standard_normal((4, 3, 8))
    cosines = []
    for slot in range(3):
        for one in range(4):
            for other in range(4):
                if one != other:
                    a, b = states[one, slot], states[other, slot]
                    cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    found = written_memory.apart(torch.from_numpy(states))
    assert found == pytest.approx(1 - np.mean(cosines), abs=1e-12)


def test_what_is_changed_without_training() -> None:
    written = torch.randn(4, 3, 8, dtype=torch.float64) + 5 * torch.eye(8, dtype=torch.float64)[2]
    text = torch.randn(4, 20, 8, dtype=torch.float64) / 10
    found = written_memory.variants(written, text)
    size = text.square().mean(-1).sqrt().mean()
    at_size = found["written, at the size of embeddings"]
    assert torch.allclose(at_size.square().mean(-1).sqrt(), size)
    assert (found["written, dimension 2 at 0"][..., 2] == 0).all()
    placed = found["written, at mean and spread of embeddings"]
    assert torch.allclose(placed.mean((0, 1)), text.mean((0, 1)))
    assert torch.allclose(placed.std((0, 1)), text.std((0, 1)))
    assert torch.equal(found["embeddings of the last 3 tokens"], text[:, -3:])


def test_a_tiny_decoder_is_measured(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_text_settings(text, sink_tokens=1, steps=12)
    train(settings, tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    checkpoint = str(tmp_path / "run" / LAST)
    given = ["--text", str(text), "--windows", "4", "--tokens", "16"]
    written_memory.main([checkpoint, checkpoint, *given])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 12
    assert rows[:6] == rows[6:]
    # One of two memory tokens is a sink, and the other carries.
    assert {row["vectors"] for row in rows} == {"4"}
    sizes = {row["read_at_the_memory_positions"]: float(row["rms"]) for row in rows}
    assert sizes["written, at the size of embeddings"] < sizes["written"]
