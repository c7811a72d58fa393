"""GPT-2 with as few kernels as there can be, for a look at what a captured segment could take.

Shape legend: B batch, T positions of a segment, R = B times T, E width, H heads, D width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.replays import Function, captured, replayed_seconds, timed
from tests.bench.rmt_h200 import MEMORY_TOKENS, gpt2


def made(given: dict[str, Any], device: Any) -> Any:
    """The RMT in evaluation mode."""
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM

    torch.manual_seed(0)
    config = RMTConfig(given["segment"], MEMORY_TOKENS)
    model = RMTForCausalLM(gpt2(given, given["segment"]), config)
    return model.to(device, getattr(torch, given["dtype"])).eval()


def matmul_shapes(given: dict[str, Any], rows: int) -> dict[str, tuple[int, int, int, str]]:
    """Rows, in, out and epilogue of the four products of a block."""
    width = given["width"]
    return {
        "qkv": (rows, width, 3 * width, "bias"),
        "attention out": (rows, width, width, "bias"),
        "up": (rows, width, 4 * width, "gelu"),
        "down": (rows, 4 * width, width, "bias"),
    }


def lean_weights(model: Any) -> list[tuple[Any, ...]]:
    """Weights of each block, in the order in which they are used."""
    return [
        tuple(
            tensor.detach()
            for module in (
                block.ln_1, block.attn.c_attn, block.attn.c_proj, block.ln_2, block.mlp.c_fc,
                block.mlp.c_proj,
            )
            for tensor in (module.weight, module.bias)
        )
        for block in model.backbone.transformer.h
    ]  # fmt: skip


def lean(given: dict[str, Any], device: Any, *, batch: int, chosen: bool) -> dict[str, Any]:
    """The blocks with few kernels: biases, GELU and (``chosen``) sums inside of the products.

    Args:
        given: sizes.
        device: where.
        batch: B.
        chosen: products by the fastest suggestion of cuBLASLt, not by torch.
    """
    import torch

    model = made(given, device)
    weights = lean_weights(model)
    rows, width = batch * given["segment"], given["width"]
    start_RE = torch.randn(rows, width, device=device, dtype=getattr(torch, given["dtype"]))
    products = chosen_products(given, device, rows, weights) if chosen else torch_products()
    run = lean_run(given, batch, weights, products)
    hidden_BTE = start_RE.view(batch, -1, width)
    with torch.no_grad():
        want_BTE = hidden_BTE
        for block in model.backbone.transformer.h:
            out = block(want_BTE)
            want_BTE = out[0] if isinstance(out, tuple) else out
        got_RE = run(start_RE)
        error = ((got_RE - want_BTE.reshape(rows, width)).norm() / want_BTE.norm()).item()
        call: Function = lambda: run(start_RE)  # noqa: E731
        if device.type == "cuda":
            call = captured(call).replay
        found = timed(call, given, device, batch, table=True)
    return {"relative_error": error, "chosen": chosen, **found}


def torch_products() -> dict[str, Any]:
    """The four products by torch; of two the sum is left to what follows."""
    import torch

    def up(left: Any, weight: Any, bias: Any) -> Any:
        return torch._addmm_activation(bias, left, weight, use_gelu=True)

    def plain(left: Any, weight: Any, bias: Any) -> Any:
        return torch.addmm(bias, left, weight)

    return {"qkv": plain, "attention out": plain, "up": up, "down": plain}


def chosen_products(
    given: dict[str, Any], device: Any, rows: int, weights: Sequence[tuple[Any, ...]]
) -> dict[str, Any]:
    """The four products by cuBLASLt's fastest suggestion; two of them add to what is there."""
    import torch

    from tests.bench.cublaslt import Product

    workspace = torch.empty(2**25, dtype=torch.uint8, device=device)
    dtype, found = getattr(torch, given["dtype"]), {}
    for place, (name, (_, inner, outer, epilogue)) in zip(
        (2, 4, 8, 10), matmul_shapes(given, rows).items(), strict=True
    ):
        adds = name in ("attention out", "down")
        left = torch.randn(rows, inner, device=device, dtype=dtype)
        out = torch.randn(rows, outer, device=device, dtype=dtype)
        bias, matrices = weights[0][place + 1], [one[place] for one in weights]
        product = Product((rows, inner, outer), epilogue, workspace, adds=adds)

        def seconds(one: Any) -> float:
            def all_of_them() -> None:
                for matrix in matrices:  # noqa: B023
                    product(one, left, matrix, bias, out, out)  # noqa: B023

            try:
                return replayed_seconds(all_of_them, device, 3)
            except RuntimeError:
                return math.inf

        best = min(product.suggestions(bias), key=seconds)

        def run(
            left: Any, weight: Any, bias: Any, onto: Any = None, *, product: Any = product,
            best: Any = best, outer: int = outer,
        ) -> Any:  # fmt: skip
            out = left.new_empty(len(left), outer) if onto is None else onto
            product(best, left, weight, bias, out, out)
            return out

        found[name] = run
    return found | {"adds": True}


def lean_run(
    given: dict[str, Any], batch: int, weights: Sequence[tuple[Any, ...]], products: dict[str, Any]
) -> Callable[[Any], Any]:
    """All blocks on hidden states, (R, E)."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    width, heads = given["width"], given["heads"]
    adds = products.get("adds", False)

    def norm(x_RE: Any, weight: Any, bias: Any) -> Any:
        return F.layer_norm(x_RE, (width,), weight, bias, 1e-5)

    def attend(qkv_RE: Any) -> Any:
        both = qkv_RE.view(batch, -1, 3, heads, width // heads)
        query, key, value = (part.transpose(1, 2) for part in both.unbind(2))
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return out.transpose(1, 2).reshape(-1, width)

    def summing(x_RE: Any, more_RE: Any, *own: Any) -> tuple[Any, Any]:
        """A block that begins with the sum its forerunner left, so that sum and norm are one."""
        g1, b1, wq, bq, wo, bo, g2, b2, wu, bu, wd, bd = own
        x_RE = x_RE + more_RE
        out_RE = products["attention out"](
            attend(products["qkv"](norm(x_RE, g1, b1), wq, bq)), wo, bo
        )
        x_RE = x_RE + out_RE
        return x_RE, products["down"](products["up"](norm(x_RE, g2, b2), wu, bu), wd, bd)

    compiled = torch.compile(summing, dynamic=False)
    compiled_norm = torch.compile(norm, dynamic=False)
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]

    def run(x_RE: Any) -> Any:
        with sdpa_kernel(order, set_priority=True):
            if not adds:
                more_RE = torch.zeros_like(x_RE)
                for own in weights:
                    x_RE, more_RE = compiled(x_RE, more_RE, *own)
                return x_RE + more_RE
            x_RE = x_RE.clone()
            for g1, b1, wq, bq, wo, bo, g2, b2, wu, bu, wd, bd in weights:
                qkv_RE = products["qkv"](compiled_norm(x_RE, g1, b1), wq, bq)
                products["attention out"](attend(qkv_RE), wo, bo, x_RE)
                products["down"](products["up"](compiled_norm(x_RE, g2, b2), wu, bu), wd, bd, x_RE)
            return x_RE

    return run


def two_streams(given: dict[str, Any], device: Any, *, batch: int) -> dict[str, Any]:
    """Two inputs, half of the batch each, beside each other on two streams."""
    import torch

    half = batch // 2
    model = made(given, device)
    weights, width = lean_weights(model), given["width"]
    run = lean_run(given, half, weights, torch_products())
    dtype, rows = getattr(torch, given["dtype"]), half * given["segment"]
    starts = [torch.randn(rows, width, device=device, dtype=dtype) for _ in range(2)]
    with torch.no_grad():
        if device.type != "cuda":
            return timed(lambda: [run(x_RE) for x_RE in starts], given, device, batch, table=False)
        graphs = [captured(lambda x_RE=x_RE: run(x_RE)) for x_RE in starts]  # type: ignore[misc]
        streams: list[Any] = [torch.cuda.Stream() for _ in range(2)]  # type: ignore[no-untyped-call]

        def call() -> None:
            for graph, stream in zip(graphs, streams, strict=True):
                with torch.cuda.stream(stream):
                    graph.replay()

        return timed(call, given, device, batch, table=False)
