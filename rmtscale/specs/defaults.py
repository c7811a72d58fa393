"""Defaults of every command, function and sweep: one table for all.

Two ways of asking the same question without an option have to give the same answer. A test walks
the options of every command, the fields of ``Workload``, ``Generation``, ``Recurrence`` and sweeps,
and the arguments of the public functions, and holds their defaults against this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmtscale.specs.device import DeviceSpec

DEFAULTS: dict[str, object] = {
    "segment_size": 512,
    "memory_tokens": 10,
    "method": "rmt",
    "mode": "forward",
    "batch_size": 1,
    "precision": "bf16",
    "dtype": "bf16",
    "kv_dtype": None,
    "attention": "sdpa",
    "optimizer": "adamw",
    "accumulate": 1,
    "adapter": None,
    "adapter_rank": 16,
    "adapter_targets": "attention",
    "offload_optimizer": False,
    "host_memory": None,
    "dropout": True,
    "logits": "last",
    "cache": False,
    "bptt_segments": None,
    "checkpoint_segments": False,
    "checkpoint_layers": False,
    "convention": "hoffmann",
    "calibration": None,
    "prefill_chunk": None,
    "reserve": None,
}
"""Defaults by the name of the option; None: not given.

The precision is that in which models are run. Where a device is named, that is the device's usual
one: fp16 where it has no bf16 (``usual_dtype``).
"""

EXCEPTIONS: dict[tuple[str, str], tuple[object, str]] = {
    ("verify", "segment_size"): (128, "several segments in the 512 tokens that it builds"),
    ("verify", "memory_tokens"): (4, "as above"),
    ("verify", "mode"): ("train", "counts the backward pass too"),
    ("plan", "mode"): ("all", "a column each"),
    ("estimate", "mode"): ("prefill", "what is asked is reading, writing or training"),
    ("estimate", "segment_size"): ("auto", "it recommends one"),
    ("Workload", "dropout"): (None, "as the model's config has it, which True stands for"),
    ("sweep", "method"): (["full", "rmt"], "both are measured"),
    ("sweep", "adapter"): ("none", "how a file says None"),
    ("sweep", "host_memory"): ("none", "how a file says None"),
    ("sweep", "bptt_segments"): ("all", "how a file says None"),
}
"""Where one place differs: the default there, and why."""


def default_precision(device: DeviceSpec | None = None) -> str:
    """Returns the precision where none is given: bf16, or fp16 on a device that has no bf16."""
    return str(DEFAULTS["precision"]) if device is None else device.usual_dtype
