"""One of two processes: every way to cut the weights, every public method.

Rank 0 writes, by wrapper and by what was done, how far the results are from those of whole weights
on one process: gradients, outputs, saved weights. A distributed checkpoint stays in the folder.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM

from rmtscale.rmt import (
    RMTConfig,
    RMTForCausalLM,
    RMTForSequenceClassification,
    Stream,
    shard,
)
from tests.rmt.tiny_models import ENCODERS, backbone, padded, tokens

WRAPPERS = ("ddp", "fsdp2", "tp", "fsdp2 and tp")
TENSOR_PARALLEL = ("tp", "fsdp2 and tp")
LOSSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpoints": {"checkpoint_segments": True},
    "state by state": {"state_by_state": True},
    "truncated": {"bptt_segments": 2},
    "truncated, state by state": {"bptt_segments": 1, "state_by_state": True},
    "last": {"loss_on": "last", "bptt_segments": 2},
    "last, state by state": {"loss_on": "last", "state_by_state": True},
    "adapters": {"adapter_width": 3, "state_by_state": True},
    "left": {"alignment": "left", "state_by_state": True},
    "sink": {"sink_tokens": 1, "bptt_segments": 1, "state_by_state": True},
}
FEWER = ("plain", "truncated", "truncated, state by state", "last, state by state")
"""Losses under DDP and tensor parallelism, of which a model knows little or nothing."""
THOROUGH = os.environ.get("RMTSCALE_THOROUGH") == "1"
WINDOWS = ("truncated", "truncated, state by state")
SHARE: dict[str, tuple[str, ...]] = {
    "ddp": FEWER[::2],
    "fsdp2": (*FEWER, "sink"),
    "tp": FEWER[:2],
    "fsdp2 and tp": FEWER[2:],
}
"""Losses of a wrapper in every run: of both kinds of tensor parallelism together, all of them."""


def losses_under(wrapper: str) -> tuple[str, ...]:
    if not THOROUGH:
        return SHARE[wrapper]
    return tuple(LOSSES) if wrapper == "fsdp2" else FEWER


def windows_under(wrapper: str) -> tuple[str, ...]:
    if wrapper == "ddp":
        return ()
    whole = THOROUGH or wrapper == "fsdp2"
    return WINDOWS if whole else tuple(name for name in WINDOWS if name in SHARE[wrapper])


READING = ("forward", "infer", "generate", "Stream", "save_pretrained")
IDS, MASK = padded([13, 5, 9, 13], 15, left=True)


def wrap(inner: Any, **more: Any) -> Any:
    kind = RMTForSequenceClassification if inner.config.model_type in ENCODERS else RMTForCausalLM
    special: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}
    if kind is RMTForCausalLM:
        special = {}
    torch.manual_seed(0)  # of adapters and memory
    model: Any = kind(inner, RMTConfig(10, 2, **special, **more))
    for parameter in [*model.memory.parameters(), *model.adapters.parameters()]:
        torch.nn.init.normal_(parameter, std=0.5)
    return model.train()


class Made:
    """Whole and cut models of the same weights, and their rows of the batch."""

    def __init__(self, folder: Path) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.data = init_device_mesh("cpu", (self.ranks,), mesh_dim_names=("dp",))
        self.both = init_device_mesh("cpu", (1, self.ranks), mesh_dim_names=("dp", "tp"))
        self.llama = str(folder / "llama")
        if self.rank == 0:
            backbone("llama").save_pretrained(self.llama)
        dist.barrier()

    def whole(self, wrapper: str, kind: str, **more: Any) -> Any:
        if wrapper in TENSOR_PARALLEL:
            return wrap(AutoModelForCausalLM.from_pretrained(self.llama), **more)
        return wrap(backbone(kind), **more)

    def cut(self, wrapper: str, kind: str, **more: Any) -> Any:
        if wrapper in TENSOR_PARALLEL:
            inner = AutoModelForCausalLM.from_pretrained(
                self.llama, tp_plan="auto", device_mesh=self.both["tp"]
            )
            model = wrap(inner, **more)
            return model if wrapper == "tp" else shard(model, self.both["dp"])
        model = self.whole(wrapper, kind, **more)
        return shard(model, self.data) if wrapper == "fsdp2" else DistributedDataParallel(model)

    def rows(self, wrapper: str) -> list[slice]:
        each = len(IDS) // (1 if wrapper in TENSOR_PARALLEL else self.ranks)
        return [slice(first, first + each) for first in range(0, len(IDS), each)]


def losses_of(model: Any, rows: slice, windows: bool) -> Any:
    """The losses to differentiate, one after another."""
    inner = getattr(model, "module", model)
    if isinstance(inner, RMTForSequenceClassification):
        yield model(IDS[rows], MASK[rows], labels=IDS[rows, -1] % 3).loss
    elif windows:
        yield from model.window_losses(IDS[rows], MASK[rows], IDS[rows])
    else:
        yield model(IDS[rows], MASK[rows], labels=IDS[rows]).loss


def joined(value: Any) -> torch.Tensor:
    whole: torch.Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole


def whole_gradients(made: Made, wrapper: str, kind: str, windows: bool, more: Any) -> Any:
    """Gradients of whole weights, by name; on rank 0, which compares."""
    if made.rank:
        return {}
    plain, rows = made.whole(wrapper, kind, **more), made.rows(wrapper)
    for own in rows:
        for loss in losses_of(plain, own, windows):
            (loss / len(rows)).backward()
    return {name: parameter.grad for name, parameter in plain.named_parameters()}


def gradients_apart(made: Made, wrapper: str, kind: str, windows: bool, more: Any) -> float:
    """The largest difference of any gradient, in the second of two steps."""
    wanted = whole_gradients(made, wrapper, kind, windows, more)
    model, rows = made.cut(wrapper, kind, **more), made.rows(wrapper)
    for _ in range(2):
        model.zero_grad()
        for loss in losses_of(model, rows[made.rank % len(rows)], windows):
            loss.backward()
    ours = dict(getattr(model, "module", model).named_parameters())
    assert set(wanted) <= set(ours)
    worst = 0.0
    for name, parameter in ours.items():
        if parameter.grad is None:
            assert name not in wanted or not wanted[name].any(), name
            continue
        grad = joined(parameter.grad)  # by all ranks
        if name in wanted:
            worst = max(worst, float((grad - wanted[name]).abs().max()))
    return worst


def read(model: Any, what: str, folder: Path | None) -> list[torch.Tensor]:
    ids, out = tokens(2, 23), None  # type: Any, Any
    if what == "forward":
        out = model(ids)
        return [out.logits, out.memory]
    if what == "infer":
        out = model.infer(ids)
        return [out.logits, out.memory]
    if what == "generate":
        return [model.generate(ids, max_new_tokens=7, do_sample=False)]
    if what == "Stream":
        stream = Stream(model, 2)
        stream.feed(ids[:, :7])
        before = stream.logits()
        stream.feed(ids[:, 7:])
        out = stream.finish()
        return [before, out.logits, out.memory]
    if folder is not None:
        model.save_pretrained(folder)
        dist.barrier()  # under DDP nobody waits for the process that writes
        model = RMTForCausalLM.from_pretrained(folder)
    return [value for _, value in sorted(model.state_dict().items())]


def readings(made: Made, wrapper: str, folder: Path) -> dict[str, float]:
    plain = None if made.rank else made.whole(wrapper, "gpt2").eval()
    model = made.cut(wrapper, "gpt2").eval()
    inner = getattr(model, "module", model)
    found = {}
    for what in READING:
        ours = read(inner, what, folder / wrapper)
        if plain is not None:  # rank 0, which compares
            wanted = read(plain, what, None)
            found[what] = max(
                float((mine - theirs).abs().max())
                for mine, theirs in zip(ours, wanted, strict=True)
            )
    return found


def keep_distributed(made: Made, folder: Path) -> None:
    """Two steps of a sharded training, with a distributed checkpoint between them."""
    model = made.cut("fsdp2", "gpt2", state_by_state=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(2):
        model.zero_grad()
        for loss in losses_of(model, made.rows("fsdp2")[made.rank], False):
            loss.backward()
        optimizer.step()
        if step == 0:
            weights, moments = get_state_dict(model, optimizer)
            save({"model": weights, "optimizer": moments}, checkpoint_id=folder / "dcp")
    model.save_pretrained(folder / "after")


def main(name: str) -> None:
    """What one process does of it; it ends here."""
    warnings.filterwarnings("ignore")
    dist.init_process_group("gloo")
    folder = Path(name)
    made = Made(folder)
    found: dict[str, dict[str, float]] = {}
    apart: Callable[..., float] = gradients_apart
    for wrapper in WRAPPERS:
        kinds = dict.fromkeys(LOSSES, "gpt2") | {"adapters": "llama", "left": "opt"}
        found[wrapper] = {
            label: apart(made, wrapper, kinds[label], False, LOSSES[label])
            for label in losses_under(wrapper)
        }
        if wrapper == "fsdp2":
            for by_state in (False, True) if THOROUGH else (True,):
                more = {"state_by_state": by_state}
                found[wrapper][f"encoder {by_state}"] = apart(made, wrapper, "bert", False, more)
        for label in windows_under(wrapper):
            distance = apart(made, wrapper, "gpt2", True, LOSSES[label])
            found[wrapper][f"window_losses {label}"] = distance
        found[wrapper] |= readings(made, wrapper, folder)
    keep_distributed(made, folder)
    if made.rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.barrier()
    # Without taking gloo down, as in test_rmt_two_processes.py.
    os._exit(0)
