"""Two processes have the gradients of one process with both halves of the batch."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.forked import as_ranks
from tests.rmt.stand_in_capture import capture_by_rerun
from tests.rmt.tiny_models import backbone, tokens

WHOLE, TRUNCATED = 0, 2


def build(depth: int | None, by_state: bool = False) -> RMTForCausalLM:
    torch.manual_seed(0)
    config = RMTConfig(8, 2, bptt_segments=depth, state_by_state=by_state)
    return RMTForCausalLM(backbone("gpt2", torch.float64), config)


def gradients(
    accelerator: Accelerator, depth: int | None, by_state: bool
) -> dict[str, torch.Tensor]:
    """By parameter, of the half that is this rank's."""
    ids = tokens(4, 13)
    model = accelerator.prepare(build(depth, by_state))
    rank = accelerator.process_index
    mine = ids[2 * rank : 2 * rank + 2]
    accelerator.backward(model(mine, labels=mine).loss)
    found = {name: p.grad for name, p in accelerator.unwrap_model(model).named_parameters()}
    for grad in found.values():
        first = grad.clone()
        torch.distributed.broadcast(first, 0)
        assert torch.equal(first, grad), "ranks disagree"
    return found


def captured_gradients(rank: int, depth: int | None, bucket_views: bool) -> dict[str, torch.Tensor]:
    """By parameter, of replayed steps under DDP: one alone, and one behind another of ``no_sync``.

    Two steps of a different half each, so that gradients of an earlier one are seen if they stay.
    """
    inner = build(depth)
    capture = capture_by_rerun(inner)
    model = DistributedDataParallel(inner, gradient_as_bucket_view=bucket_views)
    ids, found = tokens(4, 13), {}
    for step in (1, 0, 0):
        model.zero_grad(set_to_none=step == 0)
        mine = ids[2 * (rank ^ step) : 2 * (rank ^ step) + 2]
        model(mine, labels=mine).loss.backward()
        found = {name: p.grad.clone() for name, p in inner.named_parameters()}
    model.zero_grad()
    with model.no_sync():
        (model(mine, labels=mine).loss / 2).backward()
    (model(mine, labels=mine).loss / 2).backward()
    for name, parameter in inner.named_parameters():
        assert torch.allclose(found[name], parameter.grad, rtol=0, atol=1e-12), name
    assert capture.made == 1
    return found


def step_on_one_rank(out: Path, depths: tuple[int, ...]) -> None:
    """Writes, by BPTT segments (0 is all) and whether state by state or captured, what all ranks
    end up with.

    Every rank checks that its own agree.
    """
    accelerator = Accelerator(cpu=True)
    found: dict[tuple[int, bool | str], dict[str, torch.Tensor]] = {
        (depth, by_state): gradients(accelerator, depth or None, by_state)
        for depth in depths
        for by_state in (False, True)
    }
    rank = accelerator.process_index
    for depth in depths:
        for views in (False, True):
            found[depth, f"captured {views}"] = captured_gradients(rank, depth or None, views)
    if accelerator.is_main_process:
        torch.save(found, out)
    accelerator.wait_for_everyone()
    # Without taking gloo down: torch 2.13 now and then waits there for ever, for a thread that
    # waits for the interpreter's lock.
    os._exit(0)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    out = tmp_path / "grads.pt"
    as_ranks(2, tmp_path, step_on_one_rank, out, (WHOLE, TRUNCATED))
    together = torch.load(out, weights_only=True)
    assert {depth for depth, _ in together} == {WHOLE, TRUNCATED}
    assert len(together) == 8
    for (depth, _), found in together.items():
        model, ids = build(depth or None), tokens(4, 13)
        for half in (ids[:2], ids[2:]):
            (model(half, labels=half).loss / 2).backward()
        for name, parameter in model.named_parameters():
            assert torch.allclose(found[name], parameter.grad, rtol=0, atol=1e-12), (depth, name)
