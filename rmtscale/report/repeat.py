"""The commands that measure a group's points again, written from the points themselves."""

from __future__ import annotations

import shlex

from rmtscale.costs.captured_steps import captures_segments
from rmtscale.report.series import Group, Series


def commands(group: Group, out: str) -> list[str]:
    """Returns a ``rmtscale profile`` command for each series, in their order."""
    return [command(series, out) for series in group.series]


def command(series: Series, out: str) -> str:
    """Returns the ``rmtscale profile`` command of one series."""
    return shlex.join(["rmtscale", "profile", *_arguments(series, out)])


def _arguments(series: Series, out: str) -> list[str]:
    record = series.records[0]
    point, protocol = record.point, record.protocol
    adapter = point.adapter
    tokens = ",".join(str(each.point.tokens) for each in series.records)
    given: dict[str, object] = {
        "--model": point.model.name if point.checkpoint is None else None,
        "--checkpoint": point.checkpoint,
        "--methods": point.method,
        "--tokens": tokens,
        "--segment-size": point.segment_size,
        "--memory-tokens": point.memory_tokens,
        "--mode": point.mode,
        "--precision": point.precision,
        "--attention": point.attention,
        "--batch-size": point.batch_size,
        "--optimizer": point.optimizer,
        "--accumulate": point.accumulate if point.accumulate > 1 else None,
        "--adapter": adapter.kind if adapter else None,
        "--adapter-rank": adapter.rank if adapter else None,
        "--adapter-targets": adapter.targets if adapter and adapter.lora else None,
        "--host-memory": _size(point.host_memory_bytes),
        "--bptt-segments": point.bptt_segments,
        "--logits": point.logits if point.method == "full" else None,
        "--device": point.device,
        "--memory-limit": _size(point.memory_limit_bytes),
        "--warmup-steps": protocol.warmup_steps,
        "--repeats": protocol.repeats,
        "--timeout": f"{protocol.timeout_seconds:g}",
        "--out": out,
    }
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    flags = {
        "--dropout": point.dropout,
        "--no-dropout": point.mode == "train" and not point.dropout,
        "--checkpoint-segments": point.checkpoint_segments,
        "--checkpoint-layers": point.checkpoint_layers,
        "--offload-optimizer": point.offload_optimizer,
        "--no-cuda-graph": point.method == "rmt"
        and point.mode == "forward"
        and point.device == "cuda"
        and point.model.decoder
        and captures_segments(point.model, compiled=point.compile_step)
        and not point.cuda_graph,
        "--capture": point.capture,
        "--compile": point.compile_step,
    }
    return [str(word) for word in words] + [name for name, on in flags.items() if on]


def _size(size_bytes: int | None) -> str | None:
    if size_bytes is None:
        return None
    for power, unit in ((3, "GiB"), (2, "MiB")):
        if size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return f"{size_bytes / 1024:.12g}KiB"
