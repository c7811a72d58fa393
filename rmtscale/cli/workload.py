"""The workload that the options of a command ask for, and how it is said in words."""

from __future__ import annotations

from typing import Any

from rmtscale.cli.given import refuse_unread
from rmtscale.costs.captured_steps import why_not_captured
from rmtscale.specs.adapter import Adapter
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload
from rmtscale.units import parse_bytes

_TRAINING = (
    *("optimizer", "accumulate", "adapter", "offload_optimizer", "dropout", "bptt_segments"),
    *("checkpoint_segments", "checkpoint_layers"),
)
"""Options that say how a training is done."""


def chosen_adapter(kind: str, rank: int, targets: str) -> Adapter | None:
    """Returns what ``--adapter`` asks for; None where all weights are trained.

    Raises:
        BadInput: no such kind, a rank below 1, or targets for a parallel adapter.
    """
    return Adapter(kind, rank, targets) if kind else None


def chosen_workload(
    mode: str, tokens: int, *, dropout: bool, host_memory: str = "", **settings: Any
) -> Workload:
    """Returns the workload of a mode: ``train``, ``forward``, or what keeps a cache.

    Args:
        mode: ``prefill`` keeps keys and values, ``generate`` does not here: what it keeps is
            counted with what it writes.
        tokens: text tokens of the input.
        dropout: as the model's config has it; else none.
        host_memory: such as ``512GiB``; empty where nothing is offloaded.
        settings: other fields of ``Workload``, as they are.

    Raises:
        BadInput: a value that a workload cannot have.
    """
    return Workload(
        tokens=tokens,
        mode="train" if mode == "train" else "forward",
        cache=mode == "prefill",
        dropout=None if dropout else False,
        host_memory_bytes=parse_bytes(host_memory, "host memory") if host_memory else None,
        **settings,
    )


def refuse_unread_settings(mode: str, adapter: str, *, offload_optimizer: bool = False) -> None:
    """Refuses settings that were given and that a workload of these does not have.

    Args:
        mode: ``train``, ``generate``, or one pass that reads.
        adapter: its kind; empty where all weights are trained.
        offload_optimizer: whether the host's memory is asked for.

    Raises:
        BadInput: names the option.
    """
    if mode != "train":
        refuse_unread("with --mode train", *_TRAINING)
        captured = "segments of a forward pass are captured anyway"
        refuse_unread(f"with --mode train; {captured}", "capture")
    else:
        refuse_unread("with another mode than train, which needs all of them", "logits")
    if mode != "generate":
        refuse_unread("with --mode generate", "new_tokens")
    if not adapter:
        refuse_unread("with --adapter", "adapter_rank", "adapter_targets")
    if not offload_optimizer:
        refuse_unread("with --offload-optimizer", "host_memory")


def in_words(work: Workload) -> str:
    """Returns precision, attention, batch, and of a training all that is set, in one line."""
    words = [work.precision, work.attention, f"batch size {work.batch_size}"]
    if work.train:
        words.append(work.optimizer)
        words += [f"{work.accumulate} micro-batches"] * (work.accumulate > 1)
        words += [work.adapter.title()] if work.adapter else []
        words += ["optimizer on the host"] * work.offload_optimizer
    words += ["RMT captured"] * work.capture + ["RMT compiled"] * work.compile_step
    return ", ".join(words)


def why_eager(model: ModelSpec, work: Workload) -> str:
    """Returns the sentence that says why an RMT is not captured that was to be; else nothing."""
    why = why_not_captured(model, work) if work.capture else ""
    return f"Not captured: {why}; its times are those of an eager RMT." if why else ""
