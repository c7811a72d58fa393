"""A layout: how a step is spread over GPUs.

Degrees multiply to the number of GPUs; neighbours come first in ``tp``, then ``cp``, ``dp`` and
``pp``, so that what talks most stays inside a node. Experts are spread over ``dp``. Sharded states
(ZeRO) are spread over ``dp`` and ``cp`` together, as torchtitan and Megatron-LM do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from rmtscale.errors import BadInput, quoted_list
from rmtscale.units import require_one_of, require_positive

TORCH_CONTEXTS = ("torch", "torchring")
"""Torch's own context parallelism and with it torchtitan's (``costs.layouts.torch_ring``): keys and
values are gathered, as they are unasked, or travel round a ring (``set_rotate_method``)."""
CONTEXTS = ("ring", "gather", "alltoall", *TORCH_CONTEXTS)
"""Ways of context parallelism: keys and values travel round a ring (Liu et al. 2023), are gathered
(Grattafiori et al. 2024), heads are exchanged for positions (Jacobs et al. 2023), or torch's."""
RECOMPUTATIONS = ("none", "selective", "alternate", "attention", "full")
"""Activations that the backward pass makes again: none, the square of attention (Korthikanti et
al. 2022), all but attention and every second matmul, all but attention (both torchtitan's, see
``costs.layouts.recompute``), or all inside each layer."""
_DEGREES = {
    "tp": "tp",
    "pp": "pp",
    "vp": "virtual_stages",
    "cp": "cp",
    "dp": "dp",
    "ep": "ep",
    "zero": "zero",
    "mb": "micro_batch",
}
_FLAGS = {
    "sp": ("sequence_parallel", True),
    "states": ("state_by_state", True),
    "wholevocab": ("shard_vocabulary", False),
    "fp32grads": ("fp32_gradients", True),
}
AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one training step, or one pass, is spread.

    Raises:
        BadInput: a degree below 1, an unknown way, or settings that exclude each other.
    """

    tp: int = 1
    """Ranks that share each matrix (Shoeybi et al. 2019)."""
    sequence_parallel: bool = False
    """Norms and residuals are cut by position among the ``tp`` ranks (Korthikanti et al. 2022)."""
    pp: int = 1
    """Stages of layers (Narayanan et al. 2021)."""
    virtual_stages: int = 1
    """Stages that each rank has."""
    cp: int = 1
    """Ranks that share the positions of a sequence."""
    context: str = "ring"
    dp: int = 1
    """Ranks that have sequences of their own."""
    ep: int = 1
    """Ranks that share the experts."""
    zero: int = 0
    """Sharded over ``dp`` and ``cp``: 1 the optimizer, 2 gradients too, 3 weights too (FSDP2)."""
    micro_batch: int = 1
    """Sequences at once on a rank."""
    recompute: str = "none"
    state_by_state: bool = False
    """RMT: all segments run once without a graph; then each is run and differentiated, the last
    first, from the state that was kept."""
    shard_vocabulary: bool = True
    """Embedding and head are cut by ``tp``."""
    fp32_gradients: bool = False
    """Gradients are summed in fp32 beside those in the dtype of the weights (DeepSpeed's bf16)."""

    def __post_init__(self) -> None:
        for word, name in _DEGREES.items():
            if name != "zero":
                require_positive(word, getattr(self, name))
        require_one_of("context", self.context, CONTEXTS)
        require_one_of("recompute", self.recompute, RECOMPUTATIONS)
        if self.zero not in (0, 1, 2, 3):
            raise BadInput(f"zero {self.zero}: expected 0, 1, 2 or 3")
        if self.sequence_parallel and self.tp == 1:
            raise BadInput("sequence parallelism: expected tp above 1")
        if self.virtual_stages > 1 and self.pp == 1:
            raise BadInput(f"vp {self.virtual_stages}: expected pp above 1")

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.cp * self.dp

    @property
    def shards(self) -> int:
        """Ranks over which ZeRO cuts."""
        return self.dp * self.cp

    def micro_batches(self, batch_size: int) -> int:
        """Micro-batches of a step of so many sequences, on each rank."""
        return batch_size // (self.dp * self.micro_batch)

    @property
    def name(self) -> str:
        """The layout as ``--layout`` takes it: ``tp8-sp-pp4-dp2-zero1-full``."""
        words = []
        for word, field in _DEGREES.items():
            value = getattr(self, field)
            if value != (0 if field == "zero" else 1):
                words.append(f"{word}{value}")
            if word == "tp" and self.sequence_parallel:
                words.append("sp")
            if word == "cp" and self.cp > 1:
                words.append(self.context)
        if self.recompute != "none":
            words.append(self.recompute)
        words += [
            word
            for word, (field, on) in _FLAGS.items()
            if word != "sp" and getattr(self, field) is on
        ]
        return "-".join(words) or "dp1"


def parse_layout(text: str) -> Layout:
    """Returns the layout that a name such as ``tp8-sp-pp4-dp2-zero1-full`` stands for.

    Raises:
        BadInput: a word that is none, or said twice.
    """
    found: dict[str, object] = {}
    for word in filter(None, re.split(r"[-,+ ]+", text.strip().lower())):
        degree = re.fullmatch(r"([a-z]+)(\d+)", word)
        if degree and degree[1] in _DEGREES:
            name, value = _DEGREES[degree[1]], int(degree[2])
        elif word in _FLAGS:
            name, value = _FLAGS[word]
        elif word in CONTEXTS:
            name, value = "context", word
        elif word in RECOMPUTATIONS:
            name, value = "recompute", word
        else:
            known = (*(f"{one}N" for one in _DEGREES), *_FLAGS, *CONTEXTS, *RECOMPUTATIONS)
            raise BadInput(
                f"layout {text!r}: {word!r} is no word of it, expected {quoted_list(known)}"
            )
        if name in found:
            raise BadInput(f"layout {text!r}: says {name.replace('_', ' ')} twice")
        found[name] = value
    known_fields = {field.name for field in fields(Layout)}
    return Layout(**{name: value for name, value in found.items() if name in known_fields})  # type: ignore[arg-type]
