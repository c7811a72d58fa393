"""All methods by name: one file per method beside this one."""

from __future__ import annotations

import difflib
from dataclasses import asdict, replace

from rmtscale.costs.methods.armt import Armt
from rmtscale.costs.methods.bigbird import BigBird
from rmtscale.costs.methods.block_recurrent import BlockRecurrent
from rmtscale.costs.methods.colt5 import CoLT5
from rmtscale.costs.methods.compressive import Compressive
from rmtscale.costs.methods.etc import Etc
from rmtscale.costs.methods.full import Full
from rmtscale.costs.methods.hyena import Hyena
from rmtscale.costs.methods.longformer import Longformer
from rmtscale.costs.methods.longnet import LongNet
from rmtscale.costs.methods.longt5 import LongT5
from rmtscale.costs.methods.mamba import Mamba
from rmtscale.costs.methods.mamba2 import Mamba2
from rmtscale.costs.methods.memorizing import Memorizing
from rmtscale.costs.methods.method import Method
from rmtscale.costs.methods.retnet import RetNet
from rmtscale.costs.methods.rmt import Rmt
from rmtscale.costs.methods.rwkv import Rwkv
from rmtscale.costs.methods.s4 import S4
from rmtscale.costs.methods.sliding_window import SlidingWindow
from rmtscale.costs.methods.transformer_xl import TransformerXL
from rmtscale.costs.methods.unlimiformer import Unlimiformer
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Full(),
        Rmt(),
        Armt(),
        TransformerXL(),
        Compressive(),
        BlockRecurrent(),
        Memorizing(),
        Unlimiformer(),
        SlidingWindow(),
        Longformer(),
        BigBird(),
        Etc(),
        LongT5(),
        CoLT5(),
        LongNet(),
        S4(),
        Hyena(),
        Rwkv(),
        RetNet(),
        Mamba(),
        Mamba2(),
    )
}


def find_method(name: str, model: ModelSpec) -> Method:
    """The method called ``name``, if ``model`` can have it.

    Raises:
        BadInput: no such method, or none for a backbone of this kind.
    """
    method = METHODS.get(name.lower())
    if method is None:
        near = difflib.get_close_matches(name.lower(), METHODS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadInput(f"method {name!r}: {hint}expected one of {', '.join(METHODS)}")
    method.require_backbone(model)
    return method


def with_segments(method: Method, recurrence: Recurrence) -> Method:
    """The method with the given segments, if it is an RMT of some kind; else as it is."""
    if isinstance(method, Rmt):
        return replace(method, **asdict(recurrence))
    return method


def methods_for(model: ModelSpec) -> list[Method]:
    """The methods that a backbone can have."""
    return [method for method in METHODS.values() if method.refusal(model) is None]
