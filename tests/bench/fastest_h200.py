"""How fast can an RMT be that never waits for the host? Ratios, all measured in one run on one GPU.

    PYTHONPATH=. python tests/bench/fastest_h200.py --out records.jsonl   # on the GPU, ~8 minutes
    PYTHONPATH=. python tests/bench/fastest_h200.py --toy                 # anywhere; no meaning

Training: one step (forward, backward, fused AdamW) of GPT-2, batch 1: Hugging Face's own GPT-2 with
full attention beside the RMT with captured training steps, as they are and compiled. Inference:
captured and compiled, against the matmul ceiling of the same card. Every point runs in a fresh
process, as in ``rmt_h200.py``, whose points these are with other options. What a replayed graph
works in is reserved, and torch does not count it as allocated: memory of a captured step is the
peak of what is reserved, that of full attention the peak of what is allocated, the smaller of its
two numbers.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.bench.rmt_h200 import MEMORY_TOKENS, Bench, measure, sizes

GPT2_DROPOUT = 0.1
TARGETS = {
    "16k fp32, segment 1000: time": ("<=", 0.55),
    "16k fp32, segment 1000: memory": ("<=", 0.68),
    "16k fp32, segment 500: time": ("<=", 0.62),
    "16k fp32, segment 1000, checkpoints: time": ("<=", 0.72),
    "16k fp32, segment 1000, checkpoints: memory": ("<=", 0.11),
    "16k bf16, segment 1000: time": ("<=", 0.95),
    "32k bf16, segment 1000: time": ("<=", 0.65),
    "figure 10, RMT 500 at 4,000: time": ("<=", 1.0),
    "figure 10, RMT 1000 at 2,000: time": ("<=", 1.0),
    "inference, batch 1: share of ceiling": (">=", 0.50),
    "inference, batch 1: seconds": ("<=", 1.25),
    "inference, batch 8: share of ceiling": (">=", 0.72),
    "inference, Llama of 1.2B: share of ceiling": (">=", 0.65),
}
_TRAIN = "tests.bench.rmt_h200:training"


def llama(given: dict[str, Any], positions: int) -> Any:
    """A random Llama of the shape of Llama 3.2 1B: 1.24 billion parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**given["llama"], max_position_embeddings=positions, use_cache=False)
    return LlamaForCausalLM._from_config(config, attn_implementation="sdpa")


def llama_flops(tokens: int, given: dict[str, Any]) -> int:
    """Matmul FLOPs of the blocks on whole segments of text; no head."""
    shape, size = given["llama"], given["llama segment"]
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    head = width // shape["num_attention_heads"]
    both = head * shape["num_key_value_heads"] * 2
    weights = width * (2 * width + both) + 3 * width * inner
    segment = int(shape["num_hidden_layers"]) * (2 * size * weights + 4 * size**2 * width)
    text = size - 2 * MEMORY_TOKENS
    assert tokens % text == 0, "whole segments"
    return int(tokens // text * segment)


def llama_inference(given: dict[str, Any], device: Any, *, segments: int) -> dict[str, Any]:
    """Whole segments of a Llama, captured and compiled."""
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM

    torch.manual_seed(0)
    size = given["llama segment"]
    with torch.device(device):
        backbone = llama(given, size)
    model = RMTForCausalLM(backbone, RMTConfig(size, MEMORY_TOKENS))
    model = model.to(device, getattr(torch, given["dtype"])).eval()
    tokens = segments * model.segment_tokens
    ids = torch.randint(0, given["llama"]["vocab_size"], (1, tokens), device=device)
    found = measure(lambda: model.infer(ids, compile_step=True), device, given["repeats"], 2)
    flops = llama_flops(tokens, given)
    return {
        "tokens": tokens,
        "matmul_flops": flops,
        "flops_per_second": flops / found["iteration_seconds"],
        **found,
    }


def fastest_sizes(toy: bool) -> dict[str, Any]:
    """Those of ``rmt_h200.py``, and a Llama's."""
    if toy:
        shape = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 64,
                 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                 "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
        return sizes(toy) | {"thousand": 10, "llama": shape, "llama segment": 20}
    shape = {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
             "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
             "tie_word_embeddings": True}  # fmt: skip
    return sizes(toy) | {"thousand": 1000, "llama": shape, "llama segment": 1024}


def points(given: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of each point, and the function with its arguments."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "ceiling inference dtype": ("tests.bench.rmt_h200:ceiling", {"dtype": given["dtype"]}),
        "ceiling fp32": ("tests.bench.rmt_h200:ceiling", {"dtype": "float32"}),
    }
    small, large = given["segment"] // 2, given["segment"]

    def train(name: str, thousands: int, **more: Any) -> None:
        options = {"tokens": thousands * given["thousand"], "fused": True, **more}
        found[f"train {thousands}k {name}"] = (_TRAIN, options)

    def captured(name: str, thousands: int, segment: int, **more: Any) -> None:
        options = {"method": "rmt", "capture": True, "segment": segment, **more}
        train(f"{name} rmt {segment}, captured", thousands, **options)
        train(f"{name} rmt {segment}, captured, compiled", thousands, **options, compile_step=True)

    train("fp32 full", 16, method="full")
    train(f"fp32 rmt {large}, eager", 16, method="rmt", segment=large)
    captured("fp32", 16, large)
    captured("fp32", 16, small)
    train(f"fp32 checkpoints rmt {large}, eager", 16, method="rmt", segment=large, checkpoint=True)
    captured("fp32 checkpoints", 16, large, checkpoint=True)
    columns = -(-given["vocabulary"] // 64) * 64
    for thousands in (16, 32):
        train("bf16 full", thousands, method="full", dtype="bfloat16")
        captured("bf16", thousands, large, dtype="bfloat16", pad_vocabulary_to=columns)
    infer = {"compile_step": True, "graph": True}
    long, short = given["long"], 8 * given["short"]
    script = "tests.bench.rmt_h200:inference"
    found["infer long, compiled, batch 1"] = (script, {"tokens": long, "batch": 1, **infer})
    paper = {"attention": "eager", "dropout": GPT2_DROPOUT}
    for thousands, segment in ((4, small), (2, large)):
        train("figure 10 full", thousands, method="full", **paper)
        captured("figure 10", thousands, segment, **paper)
    found["infer, compiled, batch 8"] = (script, {"tokens": short, "batch": 8, **infer})
    found["infer llama, compiled"] = ("tests.bench.fastest_h200:llama_inference", {"segments": 16})
    return found


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """What the targets are about; None where a point is missing.

    Training steps are captured as they are and compiled as well; the faster of the two counts. One
    that ran eagerly in the end does not.
    """

    def value(name: str, key: str) -> float | None:
        found = rows.get(name, {}).get(key)
        return None if found is None else float(found)

    def over(top: float | None, bottom: float | None) -> float | None:
        return None if top is None or not bottom else top / bottom

    def fastest(prefix: str) -> str:
        names = [name for name in rows if name.startswith(prefix) and "captured" in name]
        names = [name for name in names if rows[name].get("captured_shapes", 1)]
        timed = [name for name in names if value(name, "iteration_seconds")]
        return min(timed, key=lambda name: value(name, "iteration_seconds") or 0, default="")

    def pair(prefix: str, full: str) -> tuple[float | None, float | None]:
        name = fastest(prefix)
        memory = value(name, "peak_reserved_bytes")
        return (
            over(value(name, "iteration_seconds"), value(full, "iteration_seconds")),
            over(memory, value(full, "peak_allocated_bytes")),
        )

    full = "train 16k fp32 full"
    # Of all points, so that a run of only some of them does not take one segment for the other.
    sizes_of = {int(name.split("rmt ")[1].split(",")[0]) for name in rows if "rmt " in name}
    large, small = max(sizes_of, default=0), min(sizes_of, default=0) if len(sizes_of) > 1 else 0
    plain = pair(f"train 16k fp32 rmt {large},", full)
    checked = pair("train 16k fp32 checkpoints", full)
    ceiling = value("ceiling inference dtype", "flops_per_second")
    return {
        "16k fp32, segment 1000: time": plain[0],
        "16k fp32, segment 1000: memory": plain[1],
        "16k fp32, segment 500: time": pair(f"train 16k fp32 rmt {small},", full)[0],
        "16k fp32, segment 1000, checkpoints: time": checked[0],
        "16k fp32, segment 1000, checkpoints: memory": checked[1],
        "16k bf16, segment 1000: time": pair("train 16k bf16 rmt", "train 16k bf16 full")[0],
        "32k bf16, segment 1000: time": pair("train 32k bf16 rmt", "train 32k bf16 full")[0],
        "figure 10, RMT 500 at 4,000: time": pair(
            "train 4k figure 10 rmt", "train 4k figure 10 full"
        )[0],
        "figure 10, RMT 1000 at 2,000: time": pair(
            "train 2k figure 10 rmt", "train 2k figure 10 full"
        )[0],
        "inference, batch 1: share of ceiling": over(
            value("infer long, compiled, batch 1", "flops_per_second"), ceiling
        ),
        "inference, batch 1: seconds": value("infer long, compiled, batch 1", "iteration_seconds"),
        "inference, batch 8: share of ceiling": over(
            value("infer, compiled, batch 8", "flops_per_second"), ceiling
        ),
        "inference, Llama of 1.2B: share of ceiling": over(
            value("infer llama, compiled", "flops_per_second"), ceiling
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    bench = Bench("fastest_h200/1", str(__doc__), fastest_sizes, points, ratios, TARGETS)
    return bench.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
