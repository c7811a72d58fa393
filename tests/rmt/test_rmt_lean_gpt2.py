"""GPT-2's segment step with few kernels: the numbers of the backbone's own modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt.lean_gpt2 import LeanGPT2, is_plain_gpt2, product_with_gelu
from tests.rmt.tiny_models import backbone, tokens

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def make(memory_tokens: int = 2) -> RMTForCausalLM:
    torch.manual_seed(3)
    inner = backbone("gpt2", torch.float64)
    model: RMTForCausalLM = RMTForCausalLM(inner, RMTConfig(8, memory_tokens)).eval()
    with torch.no_grad():  # Transformers draws biases as zeros and norms as ones
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def wanted(model: RMTForCausalLM, state: Any, ids: Any, kept: int) -> tuple[Any, Any]:
    with torch.no_grad():
        new_BME, text_BLE = model.step(state, ids)
    return new_BME, text_BLE[:, -kept:]


@pytest.mark.parametrize("compiled", [False, True])
def test_it_gives_what_the_backbone_s_own_modules_give(compiled: bool) -> None:
    shapes = ((1, 2, 1, 4), (3, 2, 3, 4), (2, 0, 1, 8), (2, 1, 2, 3))
    for batch, memory, tokens_kept, length in shapes:
        model, ids = make(memory), tokens(batch, length, seed=length)
        lean = LeanGPT2(model, tokens_kept, compile_step=compiled, backend="aot_eager")
        state = torch.randn(batch, memory, model.embedding_VE.shape[1], dtype=torch.float64)
        for _ in range(2):
            found = lean(state, ids)
            for one, other in zip(found, wanted(model, state, ids, tokens_kept), strict=True):
                assert one.shape == other.shape
                assert ((one - other).abs() < 1e-10).all()
            # Weights that are trained on in place are followed.
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.data.mul_(1.1)


def test_the_dead_band_holds_here_too() -> None:
    model, ids = make(), tokens(1, 4)
    state = torch.randn(1, 2, model.embedding_VE.shape[1], dtype=torch.float64)
    model.set_dead_band(0.5)
    found, _ = LeanGPT2(model, 1)(state, ids)
    assert (found == state).any()
    assert (found - wanted(model, state, ids, 1)[0]).abs().amax() < 1e-10


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "hooks": lambda _, block: block.mlp.register_forward_hook(lambda *_: None),
    "forward": lambda _, block: setattr(block.attn, "forward", block.attn.forward),
    "gelu": lambda _, block: setattr(block.mlp, "act", nn.GELU()),
    "norm": lambda _, block: setattr(block, "ln_2", nn.Identity()),
    "attention": lambda model, _: model.set_attn_implementation("eager"),
    "dtypes": lambda _, block: block.to(torch.float32),
    "fp16": lambda model, _: model.half(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_gpt2_is_left_to_its_own_modules(change: str) -> None:
    model = make()
    assert is_plain_gpt2(model)
    CHANGES[change](model, model.backbone.transformer.h[1])
    assert not is_plain_gpt2(model)


def test_other_kinds_are_left_to_their_own_modules() -> None:
    for kind in ("gpt_neo", "llama", "opt"):
        model = RMTForCausalLM(backbone(kind, torch.float64), RMTConfig(8, 2)).eval()
        assert not is_plain_gpt2(model)


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_on_a_gpu_it_is_as_exact_as_the_backbone_s_own_modules(dtype: torch.dtype) -> None:
    exact = make()
    model = make().to("cuda", dtype)
    ids = tokens(2, 4)
    state = torch.randn(2, 2, exact.embedding_VE.shape[1], dtype=torch.float64)
    truth = wanted(exact, state, ids, 1)
    given = state.to("cuda", dtype), ids.cuda()
    own = wanted(model, *given, 1)
    lean = LeanGPT2(model, 1)(*given)
    for theirs, ours, true in zip(own, lean, truth, strict=True):
        far = (theirs.double().cpu() - true).norm()
        assert (ours.double().cpu() - true).norm() < 1.5 * far + 1e-6 * true.norm()


@CUDA
@pytest.mark.gpu
def test_gelu_inside_of_a_product_is_that_by_tanh() -> None:
    rows, weight, bias = (torch.randn(*size) * 2 for size in ((64, 32), (32, 48), (48,)))
    exact = product_with_gelu(rows.double(), weight.double() / 5, bias.double())
    found = product_with_gelu(
        *(one.to("cuda", torch.bfloat16) for one in (rows, weight / 5, bias))
    ).double()
    assert (found.cpu() - exact).norm() < 0.01 * exact.norm()
