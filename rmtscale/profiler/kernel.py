"""Which kernel ``scaled_dot_product_attention`` really ran: looked up in an untimed pass."""

from __future__ import annotations

from collections.abc import Callable

_OPERATORS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_attention_math": "math",
}


def attention_kernel(step: Callable[[], object]) -> str | None:
    """Runs ``step`` under torch's profiler; several kernels are joined by ``+``, none is None."""
    from torch.profiler import ProfilerActivity, profile

    # Operators are seen on the host's side already; the GPU's own trace is not needed.
    with profile(activities=[ProfilerActivity.CPU]) as run:
        step()
    names = {event.key for event in run.key_averages()}
    return "+".join(sorted({_OPERATORS[name] for name in names & set(_OPERATORS)})) or None
