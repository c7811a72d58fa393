"""rmtscale: what a long input costs a transformer, and what segment recurrence (RMT) buys.

>>> import rmtscale
>>> full = rmtscale.estimate_flops("opt-175b", "2048k", convention="paper")
>>> rmt = rmtscale.estimate_flops("opt-175b", "2048k", 512, convention="paper")
>>> round(full.total / rmt.total, 2)
29.02
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmtscale.api import (
        compare_methods,
        count_parameters,
        estimate,
        estimate_flops,
        estimate_generation,
        estimate_memory,
        estimate_method,
        estimate_time,
        make_plan,
        quantize,
        weight_bytes,
    )
    from rmtscale.costs.breakdown import Breakdown, Term
    from rmtscale.costs.comparison import Comparison
    from rmtscale.costs.conventions import CONVENTIONS
    from rmtscale.costs.estimate import Estimate
    from rmtscale.costs.generation import GenerationCost
    from rmtscale.costs.generation_runs import Generation
    from rmtscale.costs.memory import PeakMemory
    from rmtscale.costs.method_estimates import MethodEstimate
    from rmtscale.costs.methods.catalog import METHODS
    from rmtscale.costs.methods.method import Method
    from rmtscale.costs.plan import Plan
    from rmtscale.costs.roofline import TimeEstimate
    from rmtscale.errors import BadInput, CheckFailed, MissingDependency, RmtscaleError
    from rmtscale.records.store import RecordStore
    from rmtscale.specs.catalog import PRESETS
    from rmtscale.specs.device import DeviceSpec
    from rmtscale.specs.devices import DEVICES, find_device
    from rmtscale.specs.huggingface import from_config, resolve_model
    from rmtscale.specs.model import ModelSpec
    from rmtscale.specs.recurrence import Recurrence
    from rmtscale.specs.workload import Workload

__version__ = "0.3.0"
__all__ = [
    "CONVENTIONS",
    "DEVICES",
    "METHODS",
    "PRESETS",
    "BadInput",
    "Breakdown",
    "CheckFailed",
    "Comparison",
    "DeviceSpec",
    "Estimate",
    "Generation",
    "GenerationCost",
    "Method",
    "MethodEstimate",
    "MissingDependency",
    "ModelSpec",
    "PeakMemory",
    "Plan",
    "RecordStore",
    "Recurrence",
    "RmtscaleError",
    "Term",
    "TimeEstimate",
    "Workload",
    "compare_methods",
    "count_parameters",
    "estimate",
    "estimate_flops",
    "estimate_generation",
    "estimate_memory",
    "estimate_method",
    "estimate_time",
    "find_device",
    "from_config",
    "make_plan",
    "quantize",
    "resolve_model",
    "weight_bytes",
]

HOMES = {
    "costs.breakdown": ("Breakdown", "Term"),
    "api": (
        "compare_methods",
        "count_parameters",
        "estimate",
        "estimate_flops",
        "estimate_generation",
        "estimate_memory",
        "estimate_method",
        "estimate_time",
        "make_plan",
        "quantize",
        "weight_bytes",
    ),
    "costs.comparison": ("Comparison",),
    "costs.conventions": ("CONVENTIONS",),
    "costs.estimate": ("Estimate",),
    "costs.generation": ("Generation", "GenerationCost"),
    "costs.memory": ("PeakMemory",),
    "costs.method_estimates": ("MethodEstimate",),
    "costs.methods.catalog": ("METHODS",),
    "costs.methods.method": ("Method",),
    "costs.plan": ("Plan",),
    "costs.roofline": ("TimeEstimate",),
    "errors": ("BadInput", "CheckFailed", "MissingDependency", "RmtscaleError"),
    "records.store": ("RecordStore",),
    "specs.catalog": ("PRESETS",),
    "specs.device": ("DeviceSpec",),
    "specs.devices": ("DEVICES", "find_device"),
    "specs.huggingface": ("from_config", "resolve_model"),
    "specs.model": ("ModelSpec",),
    "specs.recurrence": ("Recurrence",),
    "specs.workload": ("Workload",),
}
"""The module of each public name."""


def __getattr__(name: str) -> object:
    """A public name is imported when it is first used, so that a command loads what it needs."""
    for home, names in HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"rmtscale.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'rmtscale' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
