"""Is the RMT as fast and as small as it has to be? Ratios, all measured in one run on one GPU.

    PYTHONPATH=. python tests/bench/rmt_h200.py --out records.jsonl    # on the GPU, ~6 minutes
    PYTHONPATH=. python tests/bench/rmt_h200.py --toy                  # anywhere; no meaning

Training: one step (forward, backward, AdamW) of GPT-2 at 16,000 tokens, fp32, batch 1, dropout
off: Hugging Face's own GPT-2 with full SDPA attention beside the RMT with segments of 1000.
Inference: 2,048,000 tokens in bf16 as segments of 1000, captured and compiled, against the matmul
ceiling of the same card. Every point runs in a fresh process: build, warm up, empty the cache,
reset the peaks, one step for memory; then timed steps (CUDA events, medians). An out-of-memory is
a row. Weights are random: no cost depends on their values.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY_TOKENS = 2
TARGETS = {
    "train time, plain": ("<=", 0.64),
    "train peak, plain": ("<=", 0.70),
    "train time, checkpointed": ("<=", 0.93),
    "train peak, checkpointed": ("<=", 0.12),
    "inference, share of matmul ceiling": (">=", 0.30),
    "inference, peak GiB at the longest": ("<=", 0.5),
    "inference, peak at the longest / shortest": ("<=", 1.02),
}


def sizes(toy: bool) -> dict[str, Any]:
    """The real measurement, or one that only shows that the script works."""
    if toy:
        return {
            "layers": 2, "width": 32, "heads": 2, "vocabulary": 97, "segment": 20, "train": 100,
            "short": 60, "long": 400, "ceiling": 128, "repeats": 2, "dtype": "float32",
        }  # fmt: skip
    return {
        "layers": 12, "width": 768, "heads": 12, "vocabulary": 50257, "segment": 1000,
        "train": 16_000, "short": 8_000, "long": 2_048_000, "ceiling": 8192, "repeats": 5,
        "dtype": "bfloat16",
    }  # fmt: skip


def segment_flops(size: int, given: dict[str, Any]) -> int:
    """Matmul FLOPs of the blocks on one segment; no head (it is applied once, at the end)."""
    width, layers = int(given["width"]), int(given["layers"])
    return layers * (24 * size * width**2 + 4 * size**2 * width)


def step_flops(size: int, given: dict[str, Any], captured: bool) -> int:
    """Matmul FLOPs that a segment of inference takes.

    A captured one leaves out of its last block what is not read: all but keys and values of all
    positions but the last text token and the write memory.
    """
    whole = segment_flops(size, given)
    if not captured:
        return whole
    width = int(given["width"])
    left_out = size - MEMORY_TOKENS - 1
    return whole - left_out * (20 * width**2 + 4 * size * width)


def inference_flops(tokens: int, given: dict[str, Any], captured: bool = False) -> int:
    """Every segment at its true size, memory tokens included."""
    text = int(given["segment"]) - 2 * MEMORY_TOKENS
    full, rest = divmod(tokens, text)
    flops = full * step_flops(given["segment"], given, captured)
    return flops + (segment_flops(rest + 2 * MEMORY_TOKENS, given) if rest else 0)


def gpt2(
    given: dict[str, Any], positions: int, *, attention: str = "sdpa", dropout: float = 0.0
) -> Any:
    """A random GPT-2 with a position table of any length."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=given["vocabulary"],
        n_positions=positions,
        n_embd=given["width"],
        n_layer=given["layers"],
        n_head=given["heads"],
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    return GPT2LMHeadModel._from_config(config, attn_implementation=attention)


def measure(step: Any, device: Any, repeats: int, warm_up: int) -> dict[str, Any]:
    """Peak memory of one step, then times of ``repeats`` more."""
    import torch

    cuda = device.type == "cuda"
    for _ in range(warm_up):
        step()
    gc.collect()
    memory: dict[str, Any] = {"peak_allocated_bytes": None, "peak_reserved_bytes": None}
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        memory["baseline_allocated_bytes"] = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        memory["peak_allocated_bytes"] = torch.cuda.max_memory_allocated()
        memory["peak_reserved_bytes"] = torch.cuda.max_memory_reserved()
    events, walls = [], []
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            first.record()
        begin = time.perf_counter()
        step()
        if cuda:
            last.record()
            torch.cuda.synchronize()
            events.append(first.elapsed_time(last) / 1000)
        walls.append(time.perf_counter() - begin)
    return {
        **memory,
        "event_seconds": events,
        "wall_seconds": walls,
        "iteration_seconds": statistics.median(events or walls),
    }


def ceiling(given: dict[str, Any], device: Any, dtype: str) -> dict[str, Any]:
    """FLOP/s of one large square matmul: what the card can do at all."""
    import torch

    size = given["ceiling"]
    left, right = (
        torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2)
    )
    many = 20 if device.type == "cuda" else 2

    def step() -> None:
        for _ in range(many):
            torch.mm(left, right)

    found = measure(step, device, given["repeats"], 2)
    return {**found, "flops_per_second": many * 2 * size**3 / found["iteration_seconds"]}


def training(
    given: dict[str, Any],
    device: Any,
    method: str,
    checkpoint: bool = False,
    *,
    tokens: int | None = None,
    segment: int | None = None,
    dtype: str = "float32",
    attention: str = "sdpa",
    dropout: float = 0.0,
    capture: bool = False,
    compile_step: bool = False,
    fused: bool = False,
    pad_vocabulary_to: int | None = None,
    state_by_state: bool = False,
) -> dict[str, Any]:
    """One training step: forward, backward, AdamW."""
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM

    torch.manual_seed(0)
    tokens = given["train"] if tokens is None else tokens
    size = given["segment"] if segment is None else segment
    with device:  # random numbers are drawn faster where they are needed
        positions = tokens if method == "full" else size
        model = gpt2(given, positions, attention=attention, dropout=dropout)
    if method == "full":
        if checkpoint:
            model.gradient_checkpointing_enable()
        extra: dict[str, Any] = {"use_cache": False}
    else:
        config = RMTConfig(
            size,
            MEMORY_TOKENS,
            checkpoint_segments=checkpoint,
            keep_logits="none",
            pad_vocabulary_to=pad_vocabulary_to,
            state_by_state=state_by_state,
        )
        model = RMTForCausalLM(model, config)
        extra = {}
    model = model.to(device, getattr(torch, dtype)).train()
    if capture:
        model.capture_training(compile_step=compile_step)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=fused or None)
    ids = torch.randint(0, given["vocabulary"], (1, tokens), device=device)

    def step() -> None:
        loss = model(input_ids=ids, labels=ids, **extra).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # The first step captures, before the optimizer has any state.
        found = measure(step, device, given["repeats"], 2)
    if capture:
        found["captured_shapes"] = len(model.captured_training)
        found["said"] = [str(one.message) for one in said if "captured" in str(one.message)]
    return {"tokens": tokens, **found}


def inference(
    given: dict[str, Any],
    device: Any,
    *,
    tokens: int,
    compile_step: bool | str,
    graph: bool,
    batch: int,
) -> dict[str, Any]:
    """All of a long input, logits of its last token."""
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM

    torch.manual_seed(0)
    config = RMTConfig(given["segment"], MEMORY_TOKENS)
    model = RMTForCausalLM(gpt2(given, given["segment"]), config)
    model = model.to(device, getattr(torch, given["dtype"])).eval()
    ids = torch.randint(0, given["vocabulary"], (batch, tokens), device=device)

    def step() -> None:
        model.infer(ids, compile_step=compile_step, cuda_graph=graph)

    # The first call captures and compiles; the short first segment is warmed up with it.
    model.infer(ids[:, : 3 * given["segment"]], compile_step=compile_step, cuda_graph=graph)
    found = measure(step, device, min(given["repeats"], 3), 1)
    flops = batch * inference_flops(tokens, given, captured=graph and device.type == "cuda")
    return {
        "tokens": tokens,
        "batch_size": batch,
        "ids_bytes": ids.numel() * ids.element_size(),
        "matmul_flops": flops,
        "flops_per_second": flops / found["iteration_seconds"],
        **found,
    }


def kind_of_kernel(name: str) -> str:
    """What a GPU kernel does, by its name."""
    lower = name.lower()
    for word, kinds in {
        "attention": ("flash", "fmha", "attention", "sdpa"),
        "matmul": ("gemm", "cutlass", "cublas", "nvjet", "splitk", "xmma"),
        "norm": ("norm",),
        "copy": ("memcpy", "memset", "copy", "cat"),
        "fused elementwise": ("triton",),
    }.items():
        if any(part in lower for part in kinds):
            return word
    return "elementwise and other"


def segment_profile(given: dict[str, Any], device: Any, compile_step: bool) -> dict[str, Any]:
    """Where the time of ten segment steps is: launches, and GPU time by kind of kernel."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from rmtscale.rmt import RMTConfig, RMTForCausalLM, SegmentStep

    torch.manual_seed(0)
    model = RMTForCausalLM(
        gpt2(given, given["segment"]), RMTConfig(given["segment"], MEMORY_TOKENS)
    )
    model = model.to(device, getattr(torch, given["dtype"])).eval()
    step = SegmentStep(model, compile_step=compile_step)
    ids = torch.randint(0, given["vocabulary"], (1, model.segment_tokens), device=device)
    found = measure(lambda: step(ids), device, 20, 5)
    seconds: dict[str, float] = defaultdict(float)
    kernels = 0
    if device.type == "cuda":
        with profile(activities=[ProfilerActivity.CUDA]) as run:
            for _ in range(10):
                step(ids)
            torch.cuda.synchronize()
        for event in run.events():
            if event.device_type == torch.autograd.DeviceType.CUDA:  # type: ignore[attr-defined]
                seconds[kind_of_kernel(event.name)] += event.time_range.elapsed_us() / 1e7
                kernels += 1
    return {
        **found,
        "kernels_per_step": kernels / 10,
        "kernel_seconds": dict(sorted(seconds.items())),
        "matmul_flops": step_flops(given["segment"], given, device.type == "cuda"),
    }


def points(given: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of each point, and the function with its arguments."""
    full = {"method": "full", "checkpoint": False}
    captured = {"compile_step": False, "graph": True, "batch": 1}
    compiled = {"compile_step": True, "graph": True, "batch": 1}
    return {
        "ceiling inference dtype": ("ceiling", {"dtype": given["dtype"]}),
        "ceiling fp32": ("ceiling", {"dtype": "float32"}),
        "train full sdpa": ("training", full),
        "train full sdpa, one checkpoint per layer": ("training", {**full, "checkpoint": True}),
        "train rmt": ("training", {"method": "rmt", "checkpoint": False}),
        "train rmt, one checkpoint per segment": (
            "training", {"method": "rmt", "checkpoint": True},
        ),
        "train full sdpa, again": ("training", full),
        "infer short, captured and compiled": ("inference", {"tokens": given["short"], **compiled}),
        "infer long, captured and compiled": ("inference", {"tokens": given["long"], **compiled}),
        "infer long, captured": ("inference", {"tokens": given["long"], **captured}),
        "infer short, eager": (
            "inference", {"tokens": given["short"], **captured, "graph": False},
        ),
        "infer short, captured and compiled, batch 8": (
            "inference", {"tokens": 8 * given["short"], **compiled, "batch": 8},
        ),
        "one segment step, captured": ("segment_profile", {"compile_step": False}),
        "one segment step, captured and compiled": ("segment_profile", {"compile_step": True}),
    }  # fmt: skip


def child(pipe: Any, kind: str, given: dict[str, Any], options: dict[str, Any]) -> None:
    """Runs one point in its own process; ``kind`` is a function here, or ``script:function``."""
    try:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu":
            torch.set_num_threads(1)
        script, _, name = kind.rpartition(":")
        functions = vars(importlib.import_module(script)) if script else globals()
        found = functions[name](given, device, **options)
        pipe.send({"outcome": "ok", **found})
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a row
        name = type(error).__name__
        outcome = "oom" if name == "OutOfMemoryError" else "crashed"
        pipe.send(
            {"outcome": outcome, "error": f"{name}: {error}", "trace": traceback.format_exc()}
        )


def start_point(kind: str, given: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Any]:
    """Starts the process of a point: the end of a pipe that its row comes out of, and itself.

    All come of one server that has loaded the libraries and has touched no device.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "rmtscale.rmt"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(theirs, kind, given, options))
    process.start()
    theirs.close()
    return ours, process


def run_point(kind: str, given: dict[str, Any], options: dict[str, Any], limit: float) -> Any:
    """The row of one point: its measurement, or how it ended."""
    ours, process = start_point(kind, given, options)
    row: dict[str, Any] = {"outcome": "timeout", "error": f"more than {limit:.0f} s"}
    try:
        if ours.poll(limit):
            row = ours.recv()
    except EOFError:
        process.join()
        row = {"outcome": "crashed", "error": f"exit code {process.exitcode}"}
    finally:
        if process.is_alive():
            process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    return row


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    import torch
    import transformers

    cuda = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """What the targets are about; None where a point is missing."""

    def value(name: str, key: str) -> float | None:
        found = rows.get(name, {}).get(key)
        return None if found is None else float(found)

    def over(top: float | None, bottom: float | None) -> float | None:
        return None if top is None or not bottom else top / bottom

    full, plain = "train full sdpa", "train rmt"
    again = "train rmt, one checkpoint per segment"
    short, long = "infer short, captured and compiled", "infer long, captured and compiled"
    seconds, peak = "iteration_seconds", "peak_allocated_bytes"

    def beyond_ids(name: str) -> float | None:
        used, ids = value(name, peak), value(name, "ids_bytes")
        return None if used is None or ids is None else used - ids

    return {
        "train time, plain": over(value(plain, seconds), value(full, seconds)),
        "train peak, plain": over(value(plain, peak), value(full, peak)),
        "train time, checkpointed": over(value(again, seconds), value(full, seconds)),
        "train peak, checkpointed": over(value(again, peak), value(full, peak)),
        "inference, share of matmul ceiling": over(
            value(long, "flops_per_second"), value("ceiling inference dtype", "flops_per_second")
        ),
        "inference, peak GiB at the longest": over(value(long, peak), 2.0**30),
        "inference, peak at the longest / shortest": over(beyond_ids(long), beyond_ids(short)),
    }


def table(
    rows: dict[str, dict[str, Any]],
    found: dict[str, float | None],
    toy: bool,
    targets: dict[str, tuple[str, float]] = TARGETS,
) -> str:
    """Both tables, for people."""
    lines = [f"{'point':48} {'outcome':8} {'seconds':>10} {'peak GiB':>9} {'TFLOP/s':>8}"]
    for name, row in rows.items():
        seconds, peak = row.get("iteration_seconds"), row.get("peak_allocated_bytes")
        flops = row.get("flops_per_second")
        lines.append(
            f"{name:48} {row['outcome']:8} "
            f"{'-' if seconds is None else format(seconds, '.4f'):>10} "
            f"{'-' if peak is None else format(peak / 2**30, '.3f'):>9} "
            f"{'-' if flops is None else format(flops / 1e12, '.1f'):>8}"
        )
        for kind, spent in row.get("kernel_seconds", {}).items():
            lines.append(f"    {kind:44} {'':8} {spent:>10.6f}")
        if row.get("kernels_per_step"):
            lines.append(f"    kernels per step {row['kernels_per_step']:.0f}")
        lines += [f"    {text[:90]}" for text in row.get("said", [])]
        if row["outcome"] != "ok":
            lines.append(f"    {str(row.get('error', '')).splitlines()[0][:90]}")
    lines += ["", f"{'ratio':48} {'found':>8} {'target':>10}"]
    for name, (sign, target) in targets.items():
        value = found[name]
        if value is None:
            lines.append(f"{name:48} {'-':>8} {sign + ' ' + str(target):>10}  not measured")
            continue
        if toy:
            lines.append(f"{name:48} {value:>8.4f} {sign + ' ' + str(target):>10}  toy")
            continue
        met = value <= target if sign == "<=" else value >= target
        verdict = "met" if met else "NOT met"
        lines.append(f"{name:48} {value:>8.4f} {sign + ' ' + str(target):>10}  {verdict}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Bench:
    """A script that measures points and compares them with targets."""

    schema: str
    description: str
    sizes: Callable[[bool], dict[str, Any]]
    points: Callable[[dict[str, Any]], dict[str, tuple[str, dict[str, Any]]]]
    ratios: Callable[[dict[str, dict[str, Any]]], dict[str, float | None]]
    targets: dict[str, tuple[str, float]]

    def run(self, arguments: list[str] | None = None) -> int:
        """Measures what the command line asks for; the exit code."""
        parsed = self._parse(arguments)
        given = self.sizes(parsed.toy)
        environ = environment()
        if environ["gpu"] is None and not parsed.toy:
            print("error: no CUDA device: expected one, or --toy", file=sys.stderr)  # noqa: T201
            return 2
        rows: dict[str, dict[str, Any]] = {}
        about: dict[str, Any] = {
            "schema": self.schema,
            "toy": parsed.toy,
            "run_started_unix_seconds": time.time(),
            "environment": environ,
        }
        chosen = {
            name: point
            for name, point in self.points(given).items()
            if not parsed.only or any(part in name for part in parsed.only)
        }
        if parsed.compile_first:
            compile_together([point for name, point in chosen.items() if "compiled" in name], given)
        for name, (kind, options) in chosen.items():
            if parsed.seconds and time.time() - about["run_started_unix_seconds"] > parsed.seconds:
                print(f"{name}: no time left", flush=True)  # noqa: T201
                continue
            row = run_point(kind, given, options, parsed.limit)
            rows[name] = row
            seconds = row.get("iteration_seconds")
            text = row["outcome"] if seconds is None else f"{seconds:.4f} s"
            print(f"{name}: {text}", flush=True)  # noqa: T201
            what = {"point": name, "kind": kind, "options": options, "sizes": given}
            append(parsed.out, about | what | {"memory_tokens": MEMORY_TOKENS} | row)
        found = self.ratios(rows)
        append(parsed.out, about | {"kind": "ratios", "targets": self.targets, "ratios": found})
        print("\n" + table(rows, found, parsed.toy, self.targets))  # noqa: T201
        return 0 if all(row["outcome"] == "ok" for row in rows.values()) else 1

    def _parse(self, arguments: list[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--out", type=Path, help="append one JSON line per point to this file")
        parser.add_argument("--toy", action="store_true", help="tiny sizes, to try it anywhere")
        parser.add_argument(
            "--only", action="append", default=[], help="points whose name contains one of these"
        )
        parser.add_argument(
            "--compile-first",
            action="store_true",
            help="run all that compile at once before anything is timed, so that torch's cache "
            "has what they need",
        )
        parser.add_argument("--seconds", type=float, help="begin no point after so many seconds")
        parser.add_argument("--limit", type=float, default=240, help="seconds a point may take")
        return parser.parse_args(arguments)


def compile_together(points: list[tuple[str, dict[str, Any]]], given: dict[str, Any]) -> None:
    """Runs points side by side, for what they leave in torch's cache of compiled code."""
    begun = time.time()
    started = [start_point(kind, given | {"repeats": 1}, options) for kind, options in points]
    for pipe, process in started:
        row = {"outcome": "crashed"}
        with suppress(EOFError):
            row = pipe.recv()
        process.join()
        if row["outcome"] != "ok":
            print(f"compiling: {row}", flush=True)  # noqa: T201
    print(f"compiled in {time.time() - begun:.0f} s", flush=True)  # noqa: T201


def append(path: Path | None, record: dict[str, Any]) -> None:
    """Adds a line to a file of records, if there is one."""
    if path is None:
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def main(arguments: list[str] | None = None) -> int:
    return Bench("rmt_h200/1", str(__doc__), sizes, points, ratios, TARGETS).run(arguments)


if __name__ == "__main__":
    sys.exit(main())
