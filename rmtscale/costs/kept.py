"""Keys and values, or a recurrent state: what an inference keeps of the text it has read."""

from __future__ import annotations

from rmtscale.costs.design import Design
from rmtscale.costs.layered import cached_numbers, state_numbers
from rmtscale.costs.methods.method import Method
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload


def cache_numbers(model: ModelSpec, tokens: int) -> int:
    """Numbers of the keys and values that are kept of so many tokens, all layers."""
    if isinstance(model, LayeredSpec):
        return int(cached_numbers(model, tokens))
    return tokens * 2 * model.layers * model.kv_width


def recurrent_state_numbers(model: ModelSpec) -> int:
    """Numbers of the recurrent states of one sequence, all layers."""
    return state_numbers(model) if isinstance(model, LayeredSpec) else 0


def prefill_cache_bytes(model: ModelSpec, workload: Workload, design: Design) -> int:
    """Keys and values that are there after the whole input was read, of the whole batch.

    Full attention keeps those of every token, an RMT those of its last segment, which stays open:
    counted as if it were full, so that a longer input never keeps less. Another method keeps its
    state. An encoder keeps none.
    """
    if not model.decoder:
        return 0
    if isinstance(design, Method):
        return workload.batch_size * int(
            design.state_bytes(model, workload.tokens, workload.dtype_bytes)
        )
    tokens = workload.tokens
    if design is not None:
        tokens = min(design.segment_size, tokens + design.memory_tokens)
    return workload.batch_size * cache_numbers(model, tokens) * workload.dtype_bytes
