"""rmtscale: what a long input costs a transformer, and what segment recurrence (RMT) buys.

>>> import rmtscale
>>> opt = rmtscale.resolve_model("opt-175b")
>>> work = rmtscale.Workload(tokens=2_048_000)
>>> full = rmtscale.estimate_flops(opt, work, convention="paper")
>>> rmt = rmtscale.estimate_flops(opt, work, rmtscale.Recurrence(512, 10), convention="paper")
>>> round(full.total / rmt.total, 2)
29.02
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmtscale.costs.breakdown import Breakdown, Term
    from rmtscale.costs.comparison import Comparison, compare_methods
    from rmtscale.costs.conventions import CONVENTIONS
    from rmtscale.costs.flops import estimate_flops
    from rmtscale.costs.generation import Generation, GenerationCost, estimate_generation
    from rmtscale.costs.memory import PeakMemory, estimate_memory
    from rmtscale.costs.method_estimates import MethodEstimate, estimate_method
    from rmtscale.costs.methods.catalog import METHODS
    from rmtscale.costs.methods.method import Method
    from rmtscale.costs.parameters import count_parameters
    from rmtscale.costs.plan import Plan, make_plan
    from rmtscale.costs.roofline import TimeEstimate, estimate_time
    from rmtscale.errors import BadInput, CheckFailed, MissingDependency, RmtscaleError
    from rmtscale.records.store import RecordStore
    from rmtscale.specs.catalog import PRESETS
    from rmtscale.specs.device import DeviceSpec
    from rmtscale.specs.devices import DEVICES, find_device
    from rmtscale.specs.huggingface import from_config, resolve_model
    from rmtscale.specs.model import ModelSpec
    from rmtscale.specs.recurrence import Recurrence
    from rmtscale.specs.workload import Workload

__version__ = "0.2.0"
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
    "estimate_flops",
    "estimate_generation",
    "estimate_memory",
    "estimate_method",
    "estimate_time",
    "find_device",
    "from_config",
    "make_plan",
    "resolve_model",
]

HOMES = {
    "costs.breakdown": ("Breakdown", "Term"),
    "costs.comparison": ("Comparison", "compare_methods"),
    "costs.conventions": ("CONVENTIONS",),
    "costs.flops": ("estimate_flops",),
    "costs.generation": ("Generation", "GenerationCost", "estimate_generation"),
    "costs.memory": ("PeakMemory", "estimate_memory"),
    "costs.method_estimates": ("MethodEstimate", "estimate_method"),
    "costs.methods.catalog": ("METHODS",),
    "costs.methods.method": ("Method",),
    "costs.parameters": ("count_parameters",),
    "costs.plan": ("Plan", "make_plan"),
    "costs.roofline": ("TimeEstimate", "estimate_time"),
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
