"""An adapter: the few weights that are trained while those of the model stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

from rmtscale.errors import BadInput
from rmtscale.units import require_one_of, require_positive

ADAPTERS = ("lora", "qlora", "parallel")
ATTENTION, ALL = "attention", "all"


@dataclass(frozen=True, slots=True)
class Adapter:
    """Which adapters a training has; the rest of the model is frozen.

    Raises:
        BadInput: no such kind, a rank below 1, or targets for a parallel adapter.
    """

    kind: str
    """``lora`` (Hu et al. 2022), ``qlora`` (the same on quantised weights, Dettmers et al. 2023)
    or ``parallel`` (He et al. 2022: beside every feed-forward block, as the paper's Table 1)."""
    rank: int = 16
    """Inner width of each adapter."""
    targets: str = ATTENTION
    """LoRA: ``attention`` (its projections), ``all`` (those of the feed-forward too), or names of
    modules, comma-separated: ``q_proj,v_proj``."""

    def __post_init__(self) -> None:
        require_one_of("adapter", self.kind, ADAPTERS)
        require_positive("adapter rank", self.rank)
        if self.kind == "parallel" and self.targets != ATTENTION:
            raise BadInput(
                f"adapter targets {self.targets!r}: expected only with lora or qlora, a parallel "
                "adapter stands beside every feed-forward block"
            )

    @property
    def lora(self) -> bool:
        return self.kind != "parallel"

    def title(self) -> str:
        """In words: ``lora of rank 16 on attention``."""
        where = f" on {self.targets}" if self.lora else ""
        return f"{self.kind} of rank {self.rank}{where}"
