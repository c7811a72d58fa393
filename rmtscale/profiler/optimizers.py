"""The optimizers of a measurement, by the names that a workload has for them.

Shapes: none matter; every optimizer takes parameters as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rmtscale.errors import BadInput, MissingDependency
from rmtscale.rmt.sharding import is_cut, part_of

RATE = 1e-6
"""Learning rate: weights have to move, and nothing else is asked of them."""


class Lion(Optimizer):
    """The sign of a moving average (Chen et al. 2023, Algorithm 2), one tensor after another."""

    def __init__(self, parameters: Iterable[Tensor], lr: float = RATE) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            now, after = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                update = state["momentum"].lerp(parameter.grad, 1 - now).sign_()
                parameter.add_(update, alpha=-group["lr"])
                del update  # and not held beside the next one
                state["momentum"].lerp_(parameter.grad, 1 - after)


class Several:
    """Two optimizers that step one after the other: Muon, and AdamW for what is no matrix."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    def step(self) -> None:
        for one in self.optimizers:
            one.step()


class MasterWeights:
    """Steps on fp32 copies of the weights, on a device of their own.

    A gradient is copied and freed, one after another; when the copies have been stepped on they
    are written back. Of weights that are cut a process copies its own part.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        make: Callable[[list[Tensor]], Any],
        device: torch.device | str,
    ) -> None:
        self.weights = list(parameters)
        self.copies = [
            part_of(weight.detach()).to(device, torch.float32, copy=True).requires_grad_()
            for weight in self.weights
        ]
        self.optimizer = make(list(self.copies))

    @torch.no_grad()
    def step(self) -> None:
        """Moves the copies, and the weights with them."""
        for weight, copied in zip(self.weights, self.copies, strict=True):
            if weight.grad is not None:
                copied.grad = part_of(weight.grad).to(copied.device, torch.float32)
                weight.grad = None
        self.optimizer.step()
        for weight, copied in zip(self.weights, self.copies, strict=True):
            copied.grad = None
            part_of(weight).copy_(copied)


def make_optimizer(
    name: str, module: nn.Module, *, master: bool = False, offloaded: bool = False
) -> Any:
    """Returns the optimizer called ``name`` for what ``module`` trains, or None for ``none``.

    Args:
        master: it steps on fp32 copies of the weights.
        offloaded: these and its states are on the host.

    Raises:
        BadInput: no optimizer of that name.
        MissingDependency: ``adamw-8bit`` without bitsandbytes.
    """
    if name == "none":
        return None
    trained = [one for one in module.parameters() if one.requires_grad]
    if name == "muon":
        matrices = set(matrices_of_blocks(module))
        others = [one for one in trained if one not in matrices]
        muon = torch.optim.Muon([one for one in trained if one in matrices], lr=RATE)
        return Several(muon, torch.optim.AdamW(others, lr=RATE)) if others else muon
    make = _maker(name)
    if not (master or offloaded):
        cut = [one for one in trained if is_cut(one)]
        whole = [one for one in trained if not is_cut(one)]
        # One operator over many tensors takes them all cut or all whole.
        return make([{"params": some} for some in (cut, whole) if some])
    device = "cpu" if offloaded else trained[0].device
    return MasterWeights(trained, make, device)


def matrices_of_blocks(module: nn.Module) -> Iterator[nn.Parameter]:
    """Returns what Muon steps on: matrices inside the blocks, no embedding and no head."""
    blocks = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    seen: set[nn.Parameter] = set()
    for block in blocks:
        for parameter in block.parameters():
            if parameter.ndim == 2 and parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield parameter


def _maker(name: str) -> Callable[[list[Any]], Any]:
    makers: dict[str, Callable[[list[Any]], Any]] = {
        "adamw": partial(torch.optim.AdamW, lr=RATE),
        "adamw-fused": partial(torch.optim.AdamW, lr=RATE, fused=True),
        "adafactor": partial(torch.optim.Adafactor, lr=RATE),
        "lion": Lion,
        "sgd": partial(torch.optim.SGD, lr=RATE),
    }
    if name == "adamw-8bit":
        try:
            optim = import_module("bitsandbytes.optim")
        except ImportError as error:
            raise MissingDependency(
                "optimizer 'adamw-8bit' is measured with bitsandbytes: pip install bitsandbytes"
            ) from error
        return partial(optim.AdamW8bit, lr=RATE)
    if name not in makers:
        raise BadInput(f"optimizer {name!r}: expected {', '.join(makers)}")
    return makers[name]
