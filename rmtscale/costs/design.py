"""A design to compare with full attention: an RMT, or any other method."""

from __future__ import annotations

from typing import TypeAlias

from rmtscale.costs.methods.full import Full
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload

Design: TypeAlias = Recurrence | Method | None
"""None is full attention, a ``Recurrence`` an RMT; both may also be given as methods."""


def resolve_design(model: ModelSpec, workload: Workload, design: Design) -> Design:
    """The design as the estimates tell it apart: full attention and RMT have paths of their own.

    Raises:
        BadInput: a method, or an RMT, on a backbone that cannot have it, or an option of the
            workload that only an RMT has.
    """
    if isinstance(design, Recurrence) and (reason := why_no_rmt(model)):
        raise BadInput(f"method 'rmt': {reason}")
    if not isinstance(design, Method):
        return design
    if type(design) is Full:
        return None
    if type(design) is Rmt:
        return design.recurrence
    design.require_backbone(model)
    for option in ("checkpoint_segments", "bptt_segments"):
        if getattr(workload, option):
            raise BadInput(
                f"{option.replace('_', ' ')} {getattr(workload, option)}: expected only with "
                f"method rmt, not {design.name}"
            )
    return design


def why_no_rmt(model: ModelSpec) -> str:
    """Says why an RMT of a model is not shown; empty where one is."""
    return Rmt().refusal(model) or ""
