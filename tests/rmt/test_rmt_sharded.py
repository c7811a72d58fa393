"""Weights that are sharded or cut: the same gradients, outputs and files as whole ones.

One pair of processes goes through the whole matrix of wrappers and public methods. What memory
sharded training takes is counted on one of eight processes, of which the others are not there.
"""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, GPT2Config

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, shard
from rmtscale.rmt.sharding import require_as_many
from tests.costs.layouts.oracle_sharded import world
from tests.forked import as_ranks
from tests.rmt import sharded_worker
from tests.rmt.sharded_worker import (
    IDS,
    MASK,
    READING,
    WRAPPERS,
    losses_under,
    windows_under,
    wrap,
)
from tests.rmt.tiny_models import backbone

TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that two processes left behind."""
    folder = tmp_path_factory.mktemp("sharded")
    as_ranks(2, folder, sharded_worker.main, str(folder))
    return folder


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_public_method_does_what_it_does_with_whole_weights(
    folder: Path, wrapper: str
) -> None:
    found = json.loads((folder / "found.json").read_text())[wrapper]
    windows = (f"window_losses {label}" for label in windows_under(wrapper))
    assert {*losses_under(wrapper), *windows, *READING} <= set(found)
    for what, apart in found.items():
        assert apart < TOLERANCE, (wrapper, what)


def test_a_distributed_checkpoint_of_two_processes_goes_on_in_one(folder: Path) -> None:
    model = wrap(backbone("gpt2", seed=1), state_by_state=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    weights, moments = get_state_dict(model, optimizer)
    load({"model": weights, "optimizer": moments}, checkpoint_id=folder / "dcp", no_dist=True)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    optimizer.zero_grad()
    for rows in (slice(0, 2), slice(2, 4)):
        (model(IDS[rows], MASK[rows], labels=IDS[rows]).loss / 2).backward()
    optimizer.step()
    wanted = RMTForCausalLM.from_pretrained(folder / "after").state_dict()
    for name, value in model.state_dict().items():
        assert (value - wanted[name]).abs().max() < 1e-7, name


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes alive, by what each storage has now: FSDP2 empties those it gathered into."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: dict[int, int] = {}
        self.live = self.peak = 0

    def __enter__(self) -> Any:
        resize = torch.UntypedStorage.resize_

        def resized(storage: torch.UntypedStorage, size: int) -> Any:
            out = resize(storage, size)
            if id(storage) in self.sizes:
                self._count(storage)
            return out

        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(torch.UntypedStorage, "resize_", resized)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *given: Any) -> None:
        super().__exit__(*given)  # type: ignore[no-untyped-call]
        self._patch.undo()

    def track(self, tensor: Any) -> None:
        own = tensor.to_local() if hasattr(tensor, "placements") else tensor
        storage = own.untyped_storage()
        if id(storage) not in self.sizes:
            weakref.finalize(storage, self._gone, id(storage))
        self._count(storage)

    def _count(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.live += size - self.sizes.get(id(storage), 0)
        self.sizes[id(storage)] = size

    def _gone(self, key: int) -> None:
        self.live -= self.sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                self.track(tensor)
        self.peak = max(self.peak, self.live)
        return out


def peak_bytes(tokens: int, **more: Any) -> int:
    """Peak of a training step on one of eight processes; without ``more``, of full attention."""
    config = GPT2Config(
        n_layer=6,
        n_embd=64,
        n_head=4,
        vocab_size=64,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    if more:
        model = shard(RMTForCausalLM(model, RMTConfig(20, 2, keep_logits="none", **more)).train())
    else:
        for block in model.transformer.h:
            fully_shard(block)
        fully_shard(model)
    ids = torch.zeros(1, tokens, dtype=torch.long)
    alive = Alive()
    for parameter in model.parameters():
        alive.track(parameter)
    with alive:
        model(input_ids=ids, labels=ids).loss.backward()
    return alive.peak


def test_sharded_memory_does_not_grow_with_segments() -> None:
    with world(8):
        full = peak_bytes(16)
        few, many = (peak_bytes(16 * count, state_by_state=True) for count in (2, 8))
        whole = peak_bytes(16 * 2, checkpoint_segments=True)
        with pytest.raises(BadInput, match="2 segments here, 2 to 3 on all processes"):
            _with_others(3)
    assert many <= 1.05 * few
    assert many <= 1.2 * full
    assert many < 0.7 * whole, "with checkpoints all weights stay gathered"


def _with_others(segments: int) -> None:
    """As if another process had so many segments."""

    def reduce(counts: torch.Tensor, **_: Any) -> None:
        counts.copy_(torch.maximum(counts, torch.tensor([segments, -segments])))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "all_reduce", reduce)
        require_as_many(2, torch.device("cpu"))
