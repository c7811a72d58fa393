"""Values of a combination that concern the point that it makes, and those that would go unread.

One rule a key: a sweep's definition keeps of a combination what concerns the point, and a value
that was asked for and concerns no point of the sweep is refused by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rmtscale.costs.captured_steps import EAGER_KINDS, captures_segments
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec

NONE = "none"


class Unread(BadInput):
    """Raised for a value that was asked for, and that no point of the sweep reads."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        self.key, self.expected = key, expected
        shown = value[0] if isinstance(value, list) and len(value) == 1 else value
        super().__init__(f"{key.replace('_', ' ')} {shown!r}: expected {expected}")


@dataclass(frozen=True, slots=True)
class Combination:
    """One value of each key, the model that it names, and the processes that share the point."""

    value: Mapping[str, Any]
    model: ModelSpec
    processes: int

    @property
    def rmt(self) -> bool:
        """Whether the point is of an RMT."""
        return bool(self.value["method"] == "rmt")

    @property
    def train(self) -> bool:
        """Whether the point is of a training step."""
        return bool(self.value["mode"] == "train")

    @property
    def cuda(self) -> bool:
        """Whether the point is measured on a GPU."""
        return bool(self.value["device"] == "cuda")

    @property
    def inferred(self) -> bool:
        """Whether an RMT reads segment by segment, as a decoder's does outside a training."""
        return self.rmt and not self.train and self.model.decoder

    @property
    def capturable(self) -> bool:
        """Whether whole steps of the training can be captured."""
        return self.rmt and self.train and self.cuda and self.model.kind not in EAGER_KINDS

    @property
    def weight_ranks(self) -> int:
        """Processes that hold the same weights, unless they shard them."""
        tp: int = self.value["tp"]
        return self.processes // max(tp, 1)


class _Rule(NamedTuple):
    concerns: Callable[[Combination], bool]
    expected: str
    """Words for messages: with what a value is read."""


_RMT = _Rule(lambda one: one.rmt, "with method rmt")
_TRAIN = _Rule(lambda one: one.train, "with mode train")
_BOTH = _Rule(lambda one: one.rmt and one.train, "with method rmt and mode train")
_ADAPTER = _Rule(
    lambda one: one.train and one.value["adapter"] != NONE, "with an adapter and mode train"
)
RULES: dict[str, _Rule] = {
    **dict.fromkeys(("segment_size", "memory_tokens"), _RMT),
    **dict.fromkeys(("optimizer", "accumulate", "adapter", "offload_optimizer"), _TRAIN),
    **dict.fromkeys(("dropout", "checkpoint_layers"), _TRAIN),
    **dict.fromkeys(("adapter_rank", "adapter_targets"), _ADAPTER),
    **dict.fromkeys(("bptt_segments", "checkpoint_segments", "state_by_state"), _BOTH),
    "host_memory": _Rule(
        lambda one: one.train and bool(one.value["offload_optimizer"]),
        "with an offloaded optimizer and mode train",
    ),
    "logits": _Rule(
        lambda one: not one.rmt and not one.train and one.model.decoder,
        "with method full and mode forward, of a decoder",
    ),
    "cuda_graph": _Rule(
        lambda one: (
            one.inferred
            and one.cuda
            and captures_segments(one.model, compiled=one.value["compile_step"])
        ),
        "with method rmt and mode forward on a GPU, of a decoder whose segments can be captured",
    ),
    "capture": _Rule(
        lambda one: one.capturable,
        "with method rmt and mode train on a GPU, of a model whose steps can be captured",
    ),
    "compile_step": _Rule(
        lambda one: one.inferred or (one.capturable and bool(one.value["capture"])),
        "with method rmt, and mode forward of a decoder or a captured training",
    ),
    "shard": _Rule(
        lambda one: one.value["shard"] == NONE or one.weight_ranks > 1,
        "with more processes than tp, which share the weights",
    ),
    "context": _Rule(lambda one: one.value["cp"] > 1, "with cp above 1"),
}
"""Rules by key; a key without one concerns every point."""


def concerns(key: str, one: Combination) -> bool:
    """Returns whether the value of a key is read for the point."""
    return key not in RULES or RULES[key].concerns(one)


def require_read(asked: Mapping[str, Any], read: frozenset[str] | set[str]) -> None:
    """Refuses a value that was asked for and that no point reads.

    Args:
        asked: values by key, in the order in which they are told of.
        read: keys that concern a point of the sweep.

    Raises:
        Unread: the first of them.
    """
    for key, value in asked.items():
        if key in RULES and key not in read:
            raise Unread(key, value, RULES[key].expected)
