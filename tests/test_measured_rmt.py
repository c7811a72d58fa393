"""Numbers of docs/rmt.md beside the records of the benches of the RMT on an H200."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rmtscale.records.store import RecordStore
from rmtscale.report.predictions import done_share

FOLDER = Path(__file__).parents[1] / "profiles" / "nvidia-h200"
PAGE = (FOLDER.parents[1] / "docs" / "rmt.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
GIB, MIB = 2**30, 2**20
Run = dict[str, dict[str, Any]]
"""The points of one run of a bench by name; its ratios under ``ratios``."""


@cache
def runs(bench: str) -> tuple[Run, ...]:
    """All runs of a bench, the first one first."""
    found: dict[float, Run] = {}
    text = (FOLDER / "bench" / f"{bench}.jsonl").read_text(encoding="utf-8")
    for line in map(json.loads, text.splitlines()):
        run = found.setdefault(line["run_started_unix_seconds"], {})
        run[line.get("point", "ratios")] = line["ratios"] if line["kind"] == "ratios" else line
    return tuple(found[began] for began in sorted(found))


def seconds(point: dict[str, Any]) -> float:
    return float(point["iteration_seconds"])


def allocated(point: dict[str, Any]) -> float:
    return float(point["peak_allocated_bytes"])


def reserved(point: dict[str, Any]) -> float:
    return float(point["peak_reserved_bytes"])


def check_shown(text: str, value: float) -> None:
    """The text is the value, in as many places as it has."""
    number = text.strip().strip("*").replace(",", "")
    assert abs(float(number) - value) <= 0.5 * 10 ** -len(number.partition(".")[2]) + 1e-9, text


def check_all_shown(text: str, *values: float) -> None:
    """The numbers of a text are these, in this order."""
    numbers = re.findall(r"\d+\.?\d*", text.replace(",", ""))
    assert len(numbers) == len(values), (text, values)
    for number, value in zip(numbers, values, strict=True):
        check_shown(number, value)


def rows_of(heading: str) -> list[list[str]]:
    """Cells of the table whose first line begins so."""
    (found,) = (part for part in PAGE.split("\n\n") if part.startswith(heading))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines()[2:]]


def table(heading: str) -> dict[str, list[str]]:
    """The same by the first cell of a row."""
    return {name: cells for name, *cells in rows_of(heading)}


def test_ratios_of_the_eager_rmt() -> None:
    rows = rows_of("| GPT-2, batch 1, segments of 1000, 2 memory tokens")
    *_, last = runs("rmt")
    ratios = last["ratios"]
    targets: dict[str, tuple[str, float]] = {}
    full, plain = last["train full sdpa"], last["train rmt"]
    again = last["train full sdpa, again"]
    checked = last["train rmt, one checkpoint per segment"]
    long, ceiling = last["infer long, captured and compiled"], last["ceiling inference dtype"]
    earlier = runs("rmt")[-2]["ratios"]["train time, checkpointed"]
    rates = long["flops_per_second"] / 1e12, ceiling["flops_per_second"] / 1e12
    both = (seconds(full) + seconds(again)) / 2
    told: list[tuple[str, tuple[float, ...]]] = [
        ("train time, plain", (1e3 * seconds(plain), 1e3 * both)),
        ("train peak, plain", (allocated(plain) / GIB, allocated(full) / GIB)),
        ("train time, checkpointed", (1e3 * seconds(checked), earlier)),
        ("train peak, checkpointed", (allocated(checked) / GIB,)),
        ("inference, share of matmul ceiling", (*rates, seconds(long))),
        ("inference, peak GiB at the longest", ()),
        ("inference, peak at the longest / shortest", ()),
    ]
    text = (FOLDER / "bench" / "rmt.jsonl").read_text(encoding="utf-8")
    for line in map(json.loads, text.splitlines()):
        targets |= line.get("targets", {})
    for (name, values), (_, measured, target) in zip(told, rows, strict=True):
        check_all_shown(measured, ratios[name], *values)
        sign, asked = targets[name]
        word = "less" if sign == "<=" else "more"
        assert re.fullmatch(rf"{asked:g}0?( GiB)? or {word}", target)
        missed = ratios[name] > asked if sign == "<=" else ratios[name] < asked
        assert missed == measured.startswith("**"), name


def test_what_three_runs_of_the_eager_rmt_have_in_common() -> None:
    first, before, last = runs("rmt")
    shares = [f"{run['ratios']['train time, checkpointed']:.3f}" for run in runs("rmt")]
    assert f"the host's: {shares[0]}, {shares[1]} and {shares[2]} in three runs" in WORDS
    for point, most, said in (
        ("train rmt", 0.01, "the plain step within 1 %"),
        ("infer long, captured and compiled", 0.002, "inference within 0.2 % of its seconds"),
    ):
        assert abs(seconds(last[point]) / seconds(before[point]) - 1) < most
        assert said in WORDS
    common = [name for name in before.keys() & last.keys() if name != "ratios"]
    assert len(common) > 8
    assert all(allocated(before[name]) == allocated(last[name]) for name in common)
    peak = first["ratios"]["train peak, checkpointed"]
    growth = first["ratios"]["inference, peak at the longest / shortest"]
    missed = f"({peak:.3f} of the memory with checkpoints, and {growth:.4f} from 8,000 to 2,048,000"
    assert f"The first run of the same script missed two of the targets {missed}" in WORDS
    layers = last["train full sdpa, one checkpoint per layer"]
    own = f"({1e3 * seconds(layers):.0f} ms, {allocated(layers) / GIB:.1f} GiB)"
    assert f"`rmt_h200.py` has it {own}" in WORDS


def test_inference_of_gpt2() -> None:
    rows = table("| 2 memory tokens, segments of 1000, bf16, compiled")
    second, fifth = runs("fastest")[1], runs("fastest")[4]
    (before, now) = runs("inference_kernels")
    long = "infer long, compiled, batch 1"
    for run, column in ((second, 0), (fifth, 1)):
        ratios = run["ratios"]
        check_shown(rows["2,048,000 tokens, batch 1: seconds"][column], seconds(run[long]))
        check_shown(
            rows["its share of the matmul ceiling"][column],
            ratios["inference, batch 1: share of ceiling"],
        )
    for run, column in ((before, 0), (now, 1)):
        step, ratios = run["step, compiled, batch 1"], run["ratios"]
        check_all_shown(
            rows["one step, batch 1"][column], 1e3 * seconds(step), step["kernels_per_step"]
        )
        check_shown(
            rows["its time between kernels"][column], ratios["batch 1: time between kernels"]
        )
        check_shown(
            rows["one step, batch 8: share of the ceiling"][column],
            ratios["batch 8: share of ceiling"],
        )


def kind_of(kernel: str) -> str:
    """The row of the table that a kernel is counted in."""
    if "sdpa" in kernel:
        return "attention"
    if kernel.startswith("nvjet") or "gemm" in kernel or "splitK" in kernel:
        return "products"
    return "copies and fills" if kernel.lower().startswith("mem") else "norms and elementwise"


def test_kernels_of_a_segment_step() -> None:
    rows = table("| kernels of a step | before | now |")
    both = [run["step, compiled, batch 1"] for run in runs("inference_kernels")]
    for column, step in enumerate(both):
        by_kind = {name: [0.0, 0.0] for name in rows if name != "between them"}
        for each in step["kernels"]:
            found = by_kind[kind_of(each["kernel"])]
            found[0] += each["count"]
            found[1] += 1e3 * each["seconds"]
        for name, found in by_kind.items():
            check_all_shown(rows[name][column], *found)
        between = 1e3 * (seconds(step) - step["kernel_seconds_sum"])
        check_all_shown(rows["between them"][column], between)
    step = both[1]
    wanted = ("products", "attention")
    counted = [one for one in step["kernels"] if kind_of(one["kernel"]) in wanted]
    alone = sum(one["seconds"] for one in counted)
    ceiling = runs("inference_kernels")[1]["ceiling"]["flops_per_second"]
    share = step["matmul_flops"] / alone / ceiling
    assert f"alone take {1e3 * alone:.3f} ms, {share:.3f} of the ceiling" in WORDS
    count = sum(one["count"] for one in counted)
    gaps = 100 * count * 0.5e-6 / seconds(step)
    assert f"They are {count:.0f} kernels, and 0.5 µs between two make {gaps:.1f} %" in WORDS


def test_the_sweep_of_inference() -> None:
    records = RecordStore(FOLDER / "gpt2-inference.jsonl").read().records
    long = {(one.point.segment_size, one.point.compile_step): one for one in records
            if one.point.tokens == 2_048_000}  # fmt: skip
    times = {}
    for key, record in long.items():
        assert record.measured.event_time is not None
        times[key] = record.measured.event_time.median_seconds
    *_, eager = runs("rmt")
    names = "infer long, captured and compiled", "infer long, captured"
    before = " and ".join(f"{seconds(eager[name]):.2f}" for name in names)
    compiled_seconds, captured_seconds = times[1000, True], times[1000, False]
    assert (
        f"has {compiled_seconds:.2f} s for 2,048,000 tokens, not compiled {captured_seconds:.2f} "
        f"(before, in the third run of `rmt_h200.py`, {before}), and with segments of 500, not "
        f"compiled, {times[500, False]:.2f}."
    ) in WORDS
    compiled = long[1000, True]
    assert compiled.share_of_ceiling is not None
    share = compiled.share_of_ceiling * done_share(
        compiled.point, compiled.measured.attention_kernel
    )
    assert f"Its report says {share:.3f} of that run's ceiling" in WORDS
    memory = compiled.measured.memory
    assert memory is not None
    assert memory.peak_allocated_bytes is not None
    mebibytes = memory.peak_allocated_bytes / MIB, allocated(eager[names[0]]) / MIB
    assert f"Memory is {mebibytes[0]:.0f} MiB, before {mebibytes[1]:.0f}:" in WORDS


CAPTURED = (
    (3, "16k fp32", "16k fp32 rmt 1000, captured, compiled"),
    (3, "16k fp32", "16k fp32 rmt 500, captured, compiled"),
    (4, "16k fp32", "16k fp32 checkpoints rmt 1000, captured, compiled"),
    (3, "16k bf16", "16k bf16 rmt 1000, captured, compiled"),
    (1, "32k bf16", "32k bf16 rmt 1000, captured, compiled"),
    (2, "4k figure 10", "4k figure 10 rmt 500, captured, compiled"),
    (2, "2k figure 10", "2k figure 10 rmt 1000, captured, compiled"),
)
"""Run, full attention and RMT of each row of the table of captured training steps."""


def test_captured_training_steps() -> None:
    rows = table("| training step | full attention | RMT | time | target | memory | target |")
    for cells, (run, whole, name) in zip(rows.values(), CAPTURED, strict=True):
        points = runs("fastest")[run]
        full, rmt = points[f"train {whole} full"], points[f"train {name}"]
        sizes = [1e3 * seconds(full), allocated(full) / GIB]
        check_all_shown(cells[0], *sizes[: 1 + ("GiB" in cells[0])])
        check_all_shown(cells[1], 1e3 * seconds(rmt), reserved(rmt) / GIB)
        time, memory = seconds(rmt) / seconds(full), reserved(rmt) / allocated(full)
        for (text, target), value in zip(
            ((cells[2], cells[3]), (cells[4], cells[5])), (time, memory), strict=True
        ):
            check_shown(text, value)
            assert text.startswith("**") == bool(target and value > float(target))


def test_what_is_said_below_the_captured_steps() -> None:
    first, _, third, fourth, fifth = runs("fastest")

    def share(run: Run, name: str, whole: str) -> float:
        return seconds(run[f"train {name}"]) / seconds(run[f"train {whole} full"])

    two = share(third, "2k figure 10 rmt 1000, captured", "2k figure 10")
    four = share(third, "4k figure 10 rmt 500, captured", "4k figure 10")
    bf16 = share(fourth, "16k bf16 rmt 1000, captured", "16k bf16")
    captured, eager = (
        first[f"train 16k fp32 rmt 1000, {way}"] for way in ("captured", "eager")
    )  # fmt: skip
    checked = [
        reserved(fifth[f"train 16k fp32 checkpoints rmt 1000, {way}"]) / GIB
        for way in ("captured", "eager", "captured, compiled")
    ]
    older = [reserved(runs("memory")[0][way]) / GIB for way in ("captured", "captured, compiled")]
    attention = {
        name: 1e6 * value
        for name, value in runs("inference_kernels")[0]["attention, batch 1"][
            "attention_seconds"
        ].items()
    }
    llama, ceiling = third["infer llama, compiled"], third["ceiling inference dtype"]
    rates = llama["flops_per_second"] / 1e12, ceiling["flops_per_second"] / 1e12
    assert min(attention, key=lambda name: attention[name]) == "CUDNN_ATTENTION"
    for said in (
        f"takes {two:.2f} of full attention's time at 2,000 tokens of Figure 10 and {four:.3f} at "
        f"4,000; {bf16:.3f} at 16,000 in bf16; {1e3 * seconds(captured):.0f} ms at 16,000 in fp32, "
        f"where eager takes {1e3 * seconds(eager):.0f} ms",
        f"eager: {reserved(captured) / GIB:.1f} against {reserved(eager) / GIB:.1f} GiB reserved",
        f"with checkpoints {checked[0]:.2f} against {checked[1]:.2f} GiB, "
        f"{100 * (checked[0] / checked[1] - 1):.1f} % more (asked: 5 %), and compiled "
        f"{checked[2]:.2f}. Before its memory was changed these were {older[0]:.2f} and "
        f"{older[1]:.2f}",
        f"forward {attention['CUDNN_ATTENTION']:.1f} µs a layer, flash attention "
        f"{attention['FLASH_ATTENTION']:.1f} µs, the efficient kernel "
        f"{attention['EFFICIENT_ATTENTION']:.1f} µs",
        f"reaches {rates[0] / rates[1]:.3f} ({rates[0]:.0f} of {rates[1]:.0f} TFLOP/s), batch 1",
    ):
        assert said in WORDS, said


@pytest.mark.parametrize(("tokens", "size"), [(6000, 1000), (1000, 1000)])
def test_what_figure_10_reserves(tokens: int, size: int) -> None:
    peaks: dict[tuple[str, str], tuple[float, float]] = {}
    for name in ("figure-10-captured", "figure-10"):
        for record in RecordStore(FOLDER / f"{name}.jsonl").read().records:
            point, memory = record.point, record.measured.memory
            if point.tokens == tokens and point.segment_size in (None, size):
                assert memory is not None
                assert memory.peak_allocated_bytes is not None
                assert memory.peak_reserved_bytes is not None
                found = memory.peak_allocated_bytes / GIB, memory.peak_reserved_bytes / GIB
                peaks[name, point.method] = found
    captured, eager = peaks["figure-10-captured", "rmt"], peaks["figure-10", "rmt"]
    if tokens == 6000:
        said = (
            f"RMT 1000 at 6,000 tokens allocates {captured[0]:.2f} GiB and reserves "
            f"{captured[1]:.2f} (eager {eager[0]:.2f} and {eager[1]:.2f})"
        )
    else:
        said = (
            f"at 1,000 it reserves {captured[1]:.2f} GiB, full attention "
            f"{peaks['figure-10', 'full'][1]:.2f}"
        )
    assert said in WORDS
