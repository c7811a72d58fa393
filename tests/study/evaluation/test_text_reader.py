"""TextReader: the numbers of the Predictor, whatever is on the device when."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.graph import SegmentStep
from rmtscale.study.training import rolling
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.language.reading import TextReader
from tests.rmt.tiny_models import backbone, tokens

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def build(kind: str = "gpt2", size: int = 8, memory: int = 2) -> Predictor:
    rmt = RMTForCausalLM(
        backbone(kind, torch.float32), RMTConfig(segment_size=size, memory_tokens=memory)
    )
    return Predictor(rmt).eval()


def made(batch: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    ids, targets = tokens(batch, columns).numpy(), tokens(batch, columns, seed=2).numpy()
    targets[0, -1] = -100
    return ids, targets


@settings(max_examples=20, derandomize=True)
@given(st.integers(0, 2), st.integers(1, 30), st.data())
def test_it_reads_what_the_predictor_reads(memory: int, columns: int, data: st.DataObject) -> None:
    scored = data.draw(st.integers(1, columns))
    predictor = build(size=4 + 2 * memory, memory=memory)
    ids, targets = made(2, columns)
    expected = predictor.token_losses(torch.from_numpy(ids), torch.from_numpy(targets), scored)
    found = TextReader(predictor, CPU, batch_size=2).token_losses(ids, targets, scored)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("memory", [0, 2])
def test_fixed_buffers_are_read_before_they_are_written_again(
    monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """What a captured segment works with, here without the capture."""
    predictor = build(size=4 + 2 * memory, memory=memory)
    ids, targets = made(5, 37)
    plain = TextReader(predictor, CPU, batch_size=3)
    reader = TextReader(predictor, CPU, batch_size=3)
    monkeypatch.setattr(reader, "captures", True)
    reader.warm_up(3)
    for scored in (3, 4, 11, 37):
        for rows in (slice(0, 3), slice(3, 5), slice(1, 4)):  # whole, a rest, whole again
            wanted = plain.token_losses(ids[rows], targets[rows], scored)
            assert torch.equal(reader.token_losses(ids[rows], targets[rows], scored), wanted)
    assert list(reader.segment_steps) == [3]


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_compiled_segments_give_the_same_losses(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest of a batch and a short segment run as they are; another reader compiles nothing anew.

    On a CPU that is taken for a GPU: the compiled segment is not captured.
    """
    monkeypatch.setattr(rolling, "SegmentStep", partial(SegmentStep, backend="aot_eager"))
    predictor = build(kind)
    ids, targets = made(5, 37)
    plain = TextReader(predictor, CPU, batch_size=3)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for _ in range(2):
        reader = TextReader(predictor, CPU, batch_size=3, compile_step=True)
        monkeypatch.setattr(reader, "captures", True)
        for scored in (3, 37):
            for rows in (slice(0, 3), slice(3, 5)):
                wanted = plain.token_losses(ids[rows], targets[rows], scored)
                found = reader.token_losses(ids[rows], targets[rows], scored)
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_few_segments_at_a_time_are_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TextReader(build(), CPU, batch_size=2)
    on_device = reader.on_device
    seen: list[tuple[int, ...]] = []

    def noted(values: np.ndarray) -> torch.Tensor:
        seen.append(values.shape)
        return on_device(values)

    monkeypatch.setattr(reader, "on_device", noted)
    ids, targets = made(2, 400)
    reader.token_losses(ids, targets, 4)
    assert max(shape[1] for shape in seen) == 4 * 4
    assert sum(shape[1] for shape in seen) == 400 + 4


def test_a_warm_up_changes_nothing() -> None:
    reader = TextReader(build(), CPU, batch_size=2)
    ids, targets = made(2, 12)
    before = reader.token_losses(ids, targets, 5)
    reader.warm_up(3)
    assert torch.equal(reader.token_losses(ids, targets, 5), before)


def test_what_cannot_be_read() -> None:
    with pytest.raises(BadInput, match="precision 'bf16' on a CPU: expected fp32"):
        TextReader(build(), CPU, "bf16", batch_size=1)
    ids, targets = made(1, 8)
    with pytest.raises(BadInput, match="scored tokens 9: expected 1 to 8"):
        TextReader(build(), CPU, batch_size=1).token_losses(ids, targets, 9)


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "gpt_neo"])
@pytest.mark.parametrize("compiled", [False, True])
def test_captured_segments_give_the_same_losses(
    compiled: bool, kind: str, memory: int, precision: str
) -> None:
    device = torch.device("cuda")
    predictor = build(kind, size=4 + 2 * memory, memory=memory)
    ids, targets = made(5, 37)
    plain = TextReader(predictor, device, precision, batch_size=3, cuda_graph=False)
    reader = TextReader(predictor, device, precision, batch_size=3, compile_step=compiled)
    reader.warm_up(3)
    within = 1e-5
    if compiled:  # code that rounds in other places, in bf16 with 8 bits
        within = 1e-4 if precision == "fp32" else 2e-2
    for scored in (3, 4, 11, 37):
        for rows in (slice(0, 3), slice(3, 5), slice(1, 4)):  # whole, a rest, whole again
            wanted = plain.token_losses(ids[rows], targets[rows], scored)
            found = reader.token_losses(ids[rows], targets[rows], scored)
            torch.testing.assert_close(found, wanted, rtol=within, atol=within)
    assert list(reader.segment_steps) == [3]
    assert reader.segment_steps[3].uses_graph is (compiled or kind != "gpt_neo")


@GPU
@pytest.mark.gpu
def test_memory_on_a_gpu_does_not_grow_with_the_length() -> None:
    reader = TextReader(build(size=12), torch.device("cuda"), batch_size=4, cuda_graph=False)
    reader.warm_up(3)
    peaks = []
    for segments in (8, 512):
        ids, targets = made(4, segments * 8)
        torch.cuda.reset_peak_memory_stats()
        reader.token_losses(ids, targets, 8)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[0] == peaks[1]


def test_ids_are_not_copied_more_than_once() -> None:
    """Slices of the host's arrays, not a new array a segment."""
    reader = TextReader(build(), CPU, batch_size=2)
    ids, _ = made(2, 16)
    first = next(reader.segments(ids, [(0, 4), (4, 8)]))
    assert np.shares_memory(first.numpy(), ids)
