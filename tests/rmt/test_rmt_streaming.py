"""A stream in any chunking equals one call; its state can be saved and restored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, Stream
from tests.grids import THOROUGH
from tests.rmt.tiny_models import DECODERS, backbone, tokens


def make(kind: str = "gpt2", size: int = 8, memory: int = 2) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(
        backbone(kind), RMTConfig(size, memory, alignment="left")
    ).eval()
    return model


@pytest.mark.parametrize("kind", DECODERS)
@settings(
    max_examples=60 if THOROUGH else 6,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(chunks=st.lists(st.integers(1, 11), min_size=1, max_size=6), batch=st.integers(1, 2))
def test_any_chunking_equals_one_call(
    exact: None, kind: str, chunks: list[int], batch: int
) -> None:
    model = make(kind)
    ids = tokens(batch, sum(chunks))
    whole = model(ids)
    stream, at = Stream(model, batch), 0
    for chunk in chunks:
        stream.feed(ids[:, at : at + chunk])
        at += chunk
        so_far = model(ids[:, :at])
        assert (stream.logits() - so_far.logits).abs().max() < 1e-10
    out = stream.finish()
    assert (out.logits - whole.logits).abs().max() < 1e-10
    assert (out.memory - whole.memory).abs().max() < 1e-10
    assert stream.tokens == sum(chunks)


def test_a_finished_stream_goes_on_in_a_new_segment() -> None:
    model = make()
    first, second = tokens(1, 6, seed=2), tokens(1, 5, seed=3)
    stream = Stream(model)
    stream.feed(first)
    middle = stream.finish()
    stream.feed(second)
    out, wanted = stream.finish(), model(second, memory=middle.memory)
    assert (out.logits - wanted.logits).abs().max() < 1e-10
    assert (out.memory - wanted.memory).abs().max() < 1e-10


@pytest.mark.parametrize("cut", [0, 3, 4, 9])
def test_saved_and_restored_equals_uninterrupted(tmp_path: Path, cut: int) -> None:
    model, ids = make(), tokens(2, 13)
    stream = Stream(model, 2)
    if cut:
        stream.feed(ids[:, :cut])
    stream.save(tmp_path / "state.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    other = Stream(make(), 2)
    other.restore(tmp_path / "state.safetensors")
    if cut:
        assert torch.equal(other.logits(), stream.logits())
    other.feed(ids[:, cut:])
    whole = model(ids)
    out = other.finish()
    assert (out.logits - whole.logits).abs().max() < 1e-10
    assert (out.memory - whole.memory).abs().max() < 1e-10
    assert other.tokens == 13


def test_the_caller_may_reuse_its_buffer() -> None:
    model, ids = make(), tokens(1, 7)
    buffer, stream = torch.zeros(1, 1, dtype=torch.long), Stream(model)
    for column in range(7):
        buffer.copy_(ids[:, column : column + 1])
        stream.feed(buffer)
    assert (stream.finish().logits - model(ids).logits).abs().max() < 1e-10


def test_bad_streams_are_refused(tmp_path: Path) -> None:
    model = make()
    with pytest.raises(BadInput, match=r"model in training mode: expected model.eval()"):
        Stream(make().train())
    with pytest.raises(BadInput, match=r"memory of shape \(1, 3, 8\): expected \(1, 2, 8\)"):
        Stream(model, memory=torch.zeros(1, 3, 8, dtype=torch.float64))
    stream = Stream(model)
    with pytest.raises(BadInput, match="stream of 0 tokens"):
        stream.logits()
    with pytest.raises(BadInput, match=r"input_ids of shape \(2, 3\): expected a batch of 1"):
        stream.feed(tokens(2, 3))
    with pytest.raises(BadInput, match="input_ids with id 19: expected 0 to 18"):
        stream.feed(torch.tensor([[19]]))
    assert stream.tokens == 0
    file = tmp_path / "state.safetensors"
    with pytest.raises(BadInput, match="stream state"):
        stream.restore(file)
    stream.feed(tokens(1, 5))
    stream.save(file)
    with pytest.raises(BadInput, match="has segments of 4 tokens: expected 6"):
        Stream(make(size=10)).restore(file)
    save_file(load_file(file), file, {"version": "7", "tokens": "5", "segment_tokens": "4"})
    with pytest.raises(BadInput, match="of version '7': expected '1'"):
        stream.restore(file)
    facts = {"version": "1", "tokens": "5", "segment_tokens": "4"}
    kept = load_file(file)
    for pending, message in (
        (torch.zeros(1, 9, dtype=torch.long), "its tensors are not of this model"),
        (torch.full((1, 1), 19), "input_ids with id 19"),
        (torch.zeros(1, 1), "its tensors are not of this model"),
    ):
        save_file({**kept, "pending": pending}, file, facts)
        with pytest.raises(BadInput, match=message):
            stream.restore(file)
    save_file(kept, file, {"version": "1"})
    with pytest.raises(BadInput, match="has segments of None tokens"):
        stream.restore(file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BadInput, match="stream state"):
        stream.restore(file)
