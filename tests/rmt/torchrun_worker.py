"""One of two processes under torchrun: a training step on its half of the batch.

    torchrun --nproc_per_node 2 tests/rmt/torchrun_worker.py OUT BPTT_SEGMENTS

Rank 0 writes the gradients that all ranks ended up with; every rank checks that its own agree.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from accelerate import Accelerator
from tiny_models import backbone, tokens

from rmtscale.rmt import RMTConfig, RMTForCausalLM


def build(depth: int | None) -> RMTForCausalLM:
    torch.manual_seed(0)
    return RMTForCausalLM(backbone("gpt2", torch.float64), RMTConfig(8, 2, bptt_segments=depth))


def main(out: str, depth: str) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    ids = tokens(4, 13)
    model = accelerator.prepare(build(int(depth) or None))
    rank = accelerator.process_index
    mine = ids[2 * rank : 2 * rank + 2]
    accelerator.backward(model(mine, labels=mine).loss)
    grads = {name: p.grad for name, p in accelerator.unwrap_model(model).named_parameters()}
    for grad in grads.values():
        first = grad.clone()
        torch.distributed.broadcast(first, 0)
        assert torch.equal(first, grad), "ranks disagree"
    if accelerator.is_main_process:
        torch.save(grads, out)
    accelerator.wait_for_everyone()
    # Without taking gloo down: torch 2.13 now and then waits there for ever, for a thread that
    # waits for the interpreter's lock.
    os._exit(0)


if __name__ == "__main__":
    assert os.environ["WORLD_SIZE"] == "2", "run me under torchrun"
    main(*sys.argv[1:])
