"""Where is the time of one captured segment of inference, and how much of it can be had back?

    PYTHONPATH=. python tests/bench/inference_kernels_h200.py --compile-first --out records.jsonl
    PYTHONPATH=. python tests/bench/inference_kernels_h200.py --toy    # anywhere; no meaning

Shape legend: B batch, T positions of a segment, R = B times T, E width, H heads, D width of a head.

GPT-2 in bf16, segments of 1000. Points: the table of kernels of the step as it is, with the time
between them; each matmul alone, by torch's choice and by each suggestion of cuBLASLt; each
attention kernel alone; the same step written with as few kernels as there can be (``lean``), with
torch's matmuls and with the fastest suggestions; two inputs on two streams. All times are those of
replayed graphs. FLOPs are those of the work that is done: the step leaves out of its last block
what nobody reads. Every point runs in a fresh process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.lean_gpt2 import made, matmul_shapes
from tests.bench.replays import replayed_seconds, timed
from tests.bench.rmt_h200 import Bench, sizes, step_flops

_HERE = "tests.bench.inference_kernels_h200"
_LEAN = "tests.bench.lean_gpt2"
PROCESSORS = 132
"""Of an H200."""


def shipped(
    given: dict[str, Any],
    device: Any,
    *,
    batch: int,
    compile_step: bool = True,
    table: bool = True,
) -> dict[str, Any]:
    """The segment step that ``infer`` takes: its time, one after another, and kernels."""
    import torch

    from rmtscale.rmt import SegmentStep

    model = made(given, device)
    step = SegmentStep(model, batch, compile_step=compile_step)
    ids = torch.randint(0, given["vocabulary"], (batch, model.segment_tokens), device=device)
    for _ in range(3):
        step(ids)
    flops = batch * step_flops(given["segment"], given, captured=step.uses_graph)
    return timed(lambda: step(ids), given, device, batch, table=table, flops=flops)


def bound(rows: int, inner: int, outer: int, tile: tuple[int, int]) -> dict[str, float]:
    """Waves of tiles over all processors, and the most of their peak that can be reached."""
    tiles = math.ceil(rows / tile[0]) * math.ceil(outer / tile[1])
    waves = math.ceil(tiles / PROCESSORS)
    done = waves * PROCESSORS * tile[0] * tile[1] * inner
    return {"tiles": tiles, "waves": waves, "share": rows * inner * outer / done}


TILES = ((64, 64), (64, 128), (64, 256), (128, 128), (128, 192), (128, 256), (256, 128))


def matmuls(given: dict[str, Any], device: Any, *, batch: int) -> dict[str, Any]:
    """Each product alone: as torch runs it, and by every suggestion of cuBLASLt.

    Twelve weights in turn, as in a step: they do not all fit in the cache.
    """
    import torch

    dtype, layers = getattr(torch, given["dtype"]), given["layers"]
    found: dict[str, Any] = {}

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=dtype) / shape[-1] ** 0.5

    for rows in [batch * given["segment"] + more for more in ((0, 24) if batch == 1 else (0,))]:
        for name, (_, inner, outer, epilogue) in matmul_shapes(given, rows).items():
            left, bias, added = draw(rows, inner), draw(outer), draw(rows, outer)
            right = [draw(inner, outer) for _ in range(layers)]
            turned = [one.t().contiguous() for one in right]
            out = torch.empty_like(added)

            def each(call: Callable[[Any], Any], weights: Sequence[Any]) -> float:
                def all_of_them() -> None:
                    for weight in weights:
                        call(weight)

                return replayed_seconds(all_of_them, device) / len(weights)

            row: dict[str, Any] = {
                "addmm": each(lambda w: torch.addmm(bias, left, w), right),  # noqa: B023
                "mm": each(lambda w: torch.mm(left, w), right),  # noqa: B023
                "addmm, turned": each(lambda w: torch.addmm(bias, left, w.t()), turned),  # noqa: B023
            }
            if epilogue == "gelu":
                row["addmm with gelu"] = each(
                    lambda w: torch._addmm_activation(bias, left, w, use_gelu=True),  # noqa: B023
                    right,
                )
            if device.type == "cuda":
                adds = name in ("attention out", "down")
                for turn, weights in ((False, right), (True, turned)):
                    tried = suggested(
                        (rows, inner, outer), epilogue, turn, adds, weights, left, bias, added, out
                    )
                    row[f"cublasLt{', turned' if turn else ''}"] = sorted(
                        tried, key=lambda one: float(one["seconds"])
                    )[:6] + [one | {"first": True} for one in tried[:1]]
            row["flops"] = 2 * rows * inner * outer
            row["bounds"] = {f"{a}x{b}": bound(rows, inner, outer, (a, b)) for a, b in TILES}
            found[f"{name}, {rows} rows"] = row
    return {"matmuls": found, "batch_size": batch}


def suggested(
    shape: tuple[int, int, int],
    epilogue: str,
    turned: bool,
    adds: bool,
    weights: Sequence[Any],
    left: Any,
    bias: Any,
    added: Any,
    out: Any,
) -> list[dict[str, Any]]:
    """Seconds of each suggestion of cuBLASLt, in its order."""
    import torch

    from tests.bench.cublaslt import Product

    workspace = torch.empty(2**25, dtype=torch.uint8, device=left.device)
    product = Product(shape, epilogue, workspace, transposed=turned, adds=adds)
    found: list[dict[str, Any]] = []
    for one in product.suggestions(bias):

        def all_of_them() -> None:
            for weight in weights:
                product(one, left, weight, bias, added, out)  # noqa: B023

        try:
            seconds = replayed_seconds(all_of_them, left.device, 3) / len(weights)
        except RuntimeError:
            continue  # a suggestion that cannot run
        found.append({"seconds": seconds, **one.facts})
    return found


def attention(given: dict[str, Any], device: Any, *, batch: int) -> dict[str, Any]:
    """Each attention kernel alone, on views of one matrix of queries, keys and values."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    size, heads, width = given["segment"], given["heads"], given["width"]
    both = torch.randn(
        batch, size, 3, heads, width // heads, device=device, dtype=getattr(torch, given["dtype"])
    )
    query, key, value = (part.transpose(1, 2) for part in both.unbind(2))
    found: dict[str, Any] = {}
    for kernel in (
        SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ):  # fmt: skip
        try:
            with sdpa_kernel(kernel), torch.no_grad():
                found[kernel.name] = (
                    replayed_seconds(
                        lambda: [
                            scaled_dot_product_attention(query, key, value, is_causal=True)
                            for _ in range(12)
                        ],
                        device,
                    )
                    / 12
                )
        except RuntimeError as error:
            found[kernel.name] = str(error)[:80]
    return {"attention_seconds": found, "batch_size": batch}


def points(given: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of each point, and the function with its arguments; what matters most comes first."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "ceiling": ("tests.bench.rmt_h200:ceiling", {"dtype": given["dtype"]})
    }
    for batch in (1, 8):
        found[f"step, compiled, batch {batch}"] = (f"{_HERE}:shipped", {"batch": batch})
        plain = {"batch": batch, "compile_step": False}
        found[f"step, batch {batch}"] = (f"{_HERE}:shipped", plain)
        found[f"matmuls, batch {batch}"] = (f"{_HERE}:matmuls", {"batch": batch})
        found[f"attention, batch {batch}"] = (f"{_HERE}:attention", {"batch": batch})
        for name, chosen in (("torch", False), ("chosen", True)):
            options = {"batch": batch, "chosen": chosen}
            found[f"lean, {name} products, compiled, batch {batch}"] = (f"{_LEAN}:lean", options)
    for batch in (2, 8):
        options = {"batch": batch}
        found[f"two streams, compiled, batch {batch}"] = (f"{_LEAN}:two_streams", options)
    found["lean, torch products, compiled, batch 2"] = (
        f"{_LEAN}:lean", {"batch": 2, "chosen": False},
    )  # fmt: skip
    return found


TARGETS = {
    "batch 1: share of ceiling": (">=", 0.50),
    "batch 8: share of ceiling": (">=", 0.72),
    "batch 1: time between kernels": ("<=", 0.03),
}


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """What the targets are about, of the step as it is; None where a point is missing."""
    ceiling = rows.get("ceiling", {}).get("flops_per_second")
    found: dict[str, float | None] = {}
    for batch in (1, 8):
        row = rows.get(f"step, compiled, batch {batch}", {})
        rate = row.get("flops_per_second")
        found[f"batch {batch}: share of ceiling"] = rate / ceiling if rate and ceiling else None
        if batch == 1:
            busy, whole = row.get("kernel_seconds_sum"), row.get("iteration_seconds")
            found["batch 1: time between kernels"] = 1 - busy / whole if busy else None
    return found


def main(arguments: list[str] | None = None) -> int:
    bench = Bench("inference_kernels_h200/1", str(__doc__), sizes, points, ratios, TARGETS)
    return bench.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
