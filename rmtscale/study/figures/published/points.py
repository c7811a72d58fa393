"""Published measurements, each with its model, layout and machine as the prediction takes them.

The table holds measurements alone, each with its source; numbers that a paper computed are not in
it. No constant of a step time was fitted to them. torchtitan's selective checkpoints are those of
its list of operators, which float8's matmuls are not on (``costs.layouts.recompute``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.layouts.float8 import ROWWISE, TENSORWISE
from rmtscale.costs.layouts.memory import gpu_memory
from rmtscale.costs.layouts.pace import Reached, sustained_rate
from rmtscale.costs.layouts.seconds import step_time
from rmtscale.costs.time.constants import datasheet_constants
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.device import DeviceSpec
from rmtscale.specs.devices import find_device
from rmtscale.specs.layout import Layout
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload
from rmtscale.study.figures.published_points import published_rows

GIB = 2**30
SOURCES = {
    "megatron": "Narayanan et al. 2021",
    "korthikanti": "Korthikanti et al. 2022",
    "mtnlg": "MT-NLG 530B, arXiv 2201.11990",
    "bloom": "BigScience, tr11-176B",
    "titan": "torchtitan, benchmarks",
}
_INTERCONNECTS = {"bloom": "opa-400"}
_BLOOM_LINK = 100 * 10**9
"""Four NVLinks a GPU, as BigScience's readme has it, of 25 GB/s in one direction each."""
_WATTS = (500, 700)
"""The card of torchtitan's benchmarks against the one of the data sheet; speed goes with the cube
root of the power."""
_SLOWER_BANDWIDTH = 2_400 * 10**9
_ATTENTION_2 = 0.35
"""Share of an H100's peak that FlashAttention-2, torchtitan's, reaches (Shah et al. 2024)."""
_MEASURED_CONFLICT = "INCONSISTENT"


@dataclass(frozen=True, slots=True)
class Published:
    """One measurement and its prediction."""

    name: str
    source: str
    where: str
    kind: str
    """``time`` or ``memory``."""
    measured: float
    """Seconds of a step, or bytes of a GPU; 0 where it ran out of memory."""
    predicted: float
    flops: int
    """FLOPs of a step, none of them recomputed."""
    peak: float
    """FLOP/s of all GPUs together, by the data sheet."""
    room: int
    """Bytes of a GPU."""
    layout: str
    alike: tuple[str, ...]
    """Equal for rows that differ in nothing but their layout."""
    float8: bool

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted / self.measured - 1


@lru_cache(maxsize=1)
def published_points() -> tuple[Published, ...]:
    """Returns all measurements with predictions; rows whose own numbers disagree are left out."""
    rows = published_rows("published")
    return tuple(_point(row) for row in rows if _MEASURED_CONFLICT not in row["note"])


def _point(row: dict[str, str]) -> Published:
    model, layout, cluster = _model(row), _layout(row), _cluster(row)
    work = _workload(row)
    device = cluster.device
    float8 = "float8" in row["dtype"]
    flops = estimate_flops(model, work, None, "matmul").total
    if row["kind"] == "time":
        predicted = step_time(model, work, layout, cluster, reached=_reached(row, device)).seconds
        measured = _seconds(row)
    else:
        # BLOOM's runs in bf16 had an optimizer that steps on fp32 sums as they are.
        flattened = row["id"].startswith("bloom") and layout.zero == 1 and row["dtype"] == "fp16"
        held = gpu_memory(model, work, layout, None, device, flattened=flattened)
        predicted = float(held.total)
        measured = float(row["value"]) * GIB
    alike = tuple(row[key] for key in ("layers", "width", "heads", "global_batch", "dtype", "gpus"))
    return Published(
        name=row["id"],
        source=row["id"].split("-")[0],
        where=row["where"],
        kind=row["kind"],
        measured=measured,
        predicted=predicted,
        flops=flops,
        peak=cluster.gpus * device.flops_per_second("bf16"),
        room=device.usable_memory_bytes,
        layout=layout.name,
        alike=alike,
        float8=float8,
    )


def _number(row: dict[str, str], name: str, default: int = 1) -> int:
    return int(float(row[name])) if row[name] else default


def _model(row: dict[str, str]) -> ModelSpec:
    """A GPT or a Llama of the row's shape; BLOOM has no position table and no dropout."""
    width, heads = _number(row, "width"), _number(row, "heads")
    llama, bloom = row["gated"] == "1", row["id"].startswith("bloom")
    rows = 0 if llama or bloom else _number(row, "tokens")
    dropout = 0.0 if llama or bloom else 0.1
    return ModelSpec(
        name=row["model"],
        kind="llama" if llama else "gpt2",
        layers=_number(row, "layers"),
        width=width,
        heads=heads,
        kv_heads=_number(row, "kv_heads"),
        head_width=width // heads,
        mlp_width=_number(row, "mlp_width"),
        vocabulary=_number(row, "vocabulary"),
        embedding_width=width,
        position_rows=rows,
        rotary_width=width // heads if llama else 0,
        gated_mlp=llama,
        activation="silu" if llama else "gelu",
        norm="rms" if llama else "layer",
        qkv_bias=not llama,
        output_bias=not llama,
        mlp_bias=not llama,
        tied_head=not llama,
        hidden_dropout=dropout,
        attention_dropout=dropout,
    )


def _layout(row: dict[str, str]) -> Layout:
    sharded = row["shard"]
    pp, tp = _number(row, "pp"), _number(row, "tp")
    local = _number(row, "micro_batch")
    if row["id"].startswith("titan"):  # its batch of a rank is cut into as many as there are stages
        local = max(1, local // pp)
    recompute = next((one for one in ("full", "selective") if row["recompute"].startswith(one)), "")
    if recompute == "selective" and row["id"].startswith("titan"):
        recompute = "attention" if "float8" in row["dtype"] else "alternate"
    return Layout(
        tp=tp,
        sequence_parallel=row["sp"] == "1" and tp > 1,
        pp=pp,
        virtual_stages=_number(row, "virtual_stages") if pp > 1 else 1,
        cp=_number(row, "cp"),
        context="torch",
        dp=_number(row, "dp"),
        zero=3 if "3" in sharded else 1 if "1" in sharded else 0,
        micro_batch=local,
        recompute=recompute or "none",
        fp32_gradients="fp32 gradients" in row["dtype"],
    )


def _cluster(row: dict[str, str]) -> Cluster:
    name, *card = row["gpu"].split()
    device = find_device(name)
    if card:  # torchtitan's: 96 GB of HBM2e and 500 W
        speed = (_WATTS[0] / _WATTS[1]) ** (1 / 3)
        device = replace(
            device,
            bf16_flops_per_second=int(speed * device.flops_per_second("bf16")),
            bandwidth_bytes_per_second=_SLOWER_BANDWIDTH,
            driver_memory_bytes=96 * GIB,
            memory_bytes=95 * GIB,
        )
    gpus, source = _number(row, "gpus"), row["id"].split("-")[0]
    cluster = Cluster.of(device, gpus, 8, _INTERCONNECTS.get(source, ""))
    if source == "bloom":
        inside = cluster.inside._replace(bytes_per_second=_BLOOM_LINK)
        cluster = replace(cluster, inside=inside)
    return cluster


def _workload(row: dict[str, str]) -> Workload:
    """Megatron and DeepSpeed keep fp32 copies of 16-bit weights, torchtitan fp32 weights."""
    return Workload(
        tokens=_number(row, "tokens"),
        batch_size=_number(row, "global_batch"),
        mode="train",
        precision="amp-bf16" if row["id"].startswith("titan") else "master-bf16",
        attention="eager" if row["attention"].startswith("eager") else "sdpa",
        optimizer="adamw-fused",
    )


def _reached(row: dict[str, str], device: DeviceSpec) -> Reached | None:
    """Returns what kernels of a source's time reach, how they cast to float8, and how they wait.

    BLOOM's ran with ``CUDA_LAUNCH_BLOCKING=1``, without which 320 GPUs always hung (its chronicles
    and ``tr11-176B-ml.slurm``); its attention is matmuls.
    """
    rate = sustained_rate(datasheet_constants(device), "bf16") / device.flops_per_second("bf16")
    if row["id"].startswith("bloom"):
        return Reached(rate, rate, blocking=True)
    if not row["id"].startswith("titan"):
        return None
    cast = ROWWISE if "rowwise" in row["dtype"] else TENSORWISE
    return Reached(rate, _ATTENTION_2, cast if "float8" in row["dtype"] else None)


def _seconds(row: dict[str, str]) -> float:
    """Seconds of a step from what the source prints: seconds, tokens a second, or FLOP/s.

    FLOP/s are those of Narayanan et al. 2021, equation 3, which counts what is recomputed.
    """
    value = float(row["value"])
    if row["measured"] == "step_seconds":
        return value
    batch, tokens = _number(row, "global_batch"), _number(row, "tokens")
    if row["measured"] == "tokens_per_second_per_gpu":
        return batch * tokens / (value * _number(row, "gpus"))
    layers, width, vocabulary = (_number(row, one) for one in ("layers", "width", "vocabulary"))
    counted: float = 96 * batch * tokens * layers * width**2
    counted = counted * (1 + tokens / (6 * width) + vocabulary / (16 * layers * width))
    return float(counted / (value * 1e12 * _number(row, "gpus")))
