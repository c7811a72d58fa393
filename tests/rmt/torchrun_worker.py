"""One of two processes under torchrun: training steps on its half of the batch.

    torchrun --nproc_per_node 2 tests/rmt/torchrun_worker.py OUT BPTT_SEGMENTS ...

Rank 0 writes, by BPTT segments (0 is all) and whether state by state, the gradients that all ranks
ended up with; every rank checks that its own agree.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from accelerate import Accelerator

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.rmt.tiny_models import backbone, tokens


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


def main(out: str, *depths: str) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    found = {
        (int(depth), by_state): gradients(accelerator, int(depth) or None, by_state)
        for depth in depths
        for by_state in (False, True)
    }
    if accelerator.is_main_process:
        torch.save(found, out)
    accelerator.wait_for_everyone()
    # Without taking gloo down: torch 2.13 now and then waits there for ever, for a thread that
    # waits for the interpreter's lock.
    os._exit(0)


if __name__ == "__main__":
    assert os.environ["WORLD_SIZE"] == "2", "run me under torchrun"
    main(*sys.argv[1:])
